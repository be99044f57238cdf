"""The signature of a deletion receipt, and what it is over."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add columns that may be empty: receipts of older nodes came without."""
    int64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.add_column("receipt", sa.Column("audit_sequence", int64, nullable=True))
    op.add_column("receipt", sa.Column("audit_hash", sa.LargeBinary(), nullable=True))
    op.add_column("receipt", sa.Column("signature", sa.LargeBinary(), nullable=True))
    op.add_column("receipt", sa.Column("root_key", sa.LargeBinary(), nullable=True))
