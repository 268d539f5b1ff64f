"""A history of all changes; ratings that exist already count as given once."""

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"


def upgrade() -> None:
    """Create the history and fill it with the present ratings."""
    op.create_table(
        "history",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("user_id", sa.String, nullable=False),
        sa.Column("movie_id", sa.String, nullable=False),
        sa.Column("rating", sa.Double),
        sa.Column("timestamp", sa.BigInteger, nullable=False),
    )
    op.create_index("history_user", "history", ["user_id"])
    op.execute(
        "INSERT INTO history (user_id, movie_id, rating, timestamp) "
        "SELECT user_id, movie_id, rating, timestamp FROM ratings ORDER BY timestamp, user_id, movie_id"
    )
