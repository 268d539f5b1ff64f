"""The lease of the process that learns from the ratings."""

import sqlalchemy as sa
from alembic import op

revision = "4"
down_revision = "3"


def upgrade() -> None:
    """Create the lease, which nobody holds."""
    table = op.create_table(
        "reelgraph_learner", sa.Column("holder", sa.String), sa.Column("expires", sa.Double, nullable=False)
    )
    op.bulk_insert(table, [{"holder": None, "expires": 0.0}])
