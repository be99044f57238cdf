"""The keys that verify the tickets by which regions hand uploads over to one another."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add a table; a region's nodes tell its key when they link."""
    int64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "ticket_key",
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("kid", sa.Text(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("learned_ms", int64, nullable=False),
        sa.PrimaryKeyConstraint("region", name=op.f("pk_ticket_key")),
        sqlite_strict=True,
    )
