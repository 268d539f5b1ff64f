"""The secret that signs visitors' tokens."""

import sqlalchemy as sa
from alembic import op

revision = "3"
down_revision = "2"


def upgrade() -> None:
    """Create the table of the secret."""
    op.create_table("reelgraph_secret", sa.Column("value", sa.String, primary_key=True))
