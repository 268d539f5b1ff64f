"""The first schema: present ratings."""

import sqlalchemy as sa
from alembic import op

revision = "1"
down_revision = None


def upgrade() -> None:
    """Create the table of ratings."""
    op.create_table(
        "ratings",
        sa.Column("user_id", sa.String, primary_key=True),
        sa.Column("movie_id", sa.String, primary_key=True),
        sa.Column("rating", sa.Double, nullable=False),
        sa.Column("timestamp", sa.BigInteger, nullable=False),
    )
