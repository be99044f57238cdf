"""More of an end: how long it should have been, when it was gone, what was delivered."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add columns that may be empty: older nodes did not tell."""
    int64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.add_column("outcome", sa.Column("announced_bytes", int64, nullable=True))
    op.add_column("outcome", sa.Column("destroyed_ms", int64, nullable=True))
    op.add_column("delivery", sa.Column("digest", sa.LargeBinary(), nullable=True))
