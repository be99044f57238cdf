"""Servers and secrets of destinations, and the keys of regions that secrets are sealed to."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add columns that may be empty, so that what a folder is stays as it is; and two tables."""
    op.add_column("destination", sa.Column("endpoint", sa.Text(), nullable=True))
    op.add_column("destination", sa.Column("store_region", sa.Text(), nullable=True))
    op.add_column("destination", sa.Column("secret_sealed", sa.LargeBinary(), nullable=True))
    int64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "region_key",
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("kid", sa.Text(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("learned_ms", int64, nullable=False),
        sa.PrimaryKeyConstraint("region", name=op.f("pk_region_key")),
        sqlite_strict=True,
    )
    op.create_table(
        "destination_secret",
        sa.Column("destination_id", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("version", int64, nullable=False),
        sa.Column("kid", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["destination_id"],
            ["destination.id"],
            name=op.f("fk_destination_secret_destination_id"),
        ),
        sa.PrimaryKeyConstraint("destination_id", "region", name=op.f("pk_destination_secret")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
