"""Every table of control's database on one page; the rows that stores read and write.

The rule: the tables here and what the migrations make are the same, which a test compares.  All
times are UTC milliseconds, all sizes are bytes, flags are 0 or 1, lists are JSON text, and what
names a person or a file is sealed.  Tables are STRICT: SQLite then refuses a text where an integer
belongs, as PostgreSQL does.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
)
from sqlalchemy.schema import SchemaItem

# A migration can only change what has a name, and the engines would choose different names.
CONVENTION: Final = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
metadata: Final = MetaData(naming_convention=CONVENTION)

INT64: Final = BigInteger().with_variant(Integer(), "sqlite")  # STRICT knows no BIGINT


def _text(name: str, *items: SchemaItem, maybe: bool = False, key: bool = False) -> Column[str]:
    return Column(name, Text, *items, nullable=maybe, primary_key=key)


def _int(name: str, *items: SchemaItem, maybe: bool = False, key: bool = False) -> Column[int]:
    return Column(name, INT64, *items, nullable=maybe, primary_key=key)


def _bytes(name: str, *, maybe: bool = False) -> Column[bytes]:
    return Column(name, LargeBinary, nullable=maybe)


def _of_account() -> Column[str]:
    return _text("account_id", ForeignKey("account.id"))


def _table(name: str, *items: SchemaItem, keyed: bool = False, counted: bool = False) -> Table:
    """Return a STRICT table; one that is *keyed* is stored by its primary key alone.

    A keyed table has no hidden row number, so ``INSERT OR REPLACE`` by that number cannot remove a
    row behind its triggers.  In a *counted* one, a number that was seen never comes again.
    """
    return Table(
        name,
        metadata,
        *items,
        sqlite_strict=True,
        sqlite_with_rowid=not keyed,
        sqlite_autoincrement=counted,
    )


# -- accounts ------------------------------------------------------------------------------------

account: Final = _table(
    "account",
    _text("id", key=True),
    _text("state"),
    _text("pin", maybe=True),
    _int("epoch"),
    _text("limits"),
    _int("created_ms"),
)
member: Final = _table(
    "member",
    _text("id", key=True),
    _of_account(),
    _text("role"),
    _bytes("email_sealed"),
    _bytes("email_hash"),
    _int("created_ms"),
    Index(None, "email_hash", unique=True),
    Index(None, "account_id"),
)
destination: Final = _table(
    "destination",
    _text("id", key=True),
    _of_account(),
    _int("version"),
    _text("kind"),
    _text("label"),
    _text("address"),
    _text("clash"),
    _int("created_ms"),
    _int("deleted_ms", maybe=True),
    _text("endpoint", maybe=True),
    _text("store_region", maybe=True),
    _bytes("secret_sealed", maybe=True),
    Index(None, "account_id", "created_ms", "id"),
)
workflow: Final = _table(
    "workflow",
    _text("id", key=True),
    _of_account(),
    _int("version"),
    _int("created_ms"),
    _int("deleted_ms", maybe=True),
    Index(None, "account_id", "created_ms", "id"),
)
# Old versions stay: an upload record names the version that it was committed under.
workflow_version: Final = _table(
    "workflow_version",
    _text("workflow_id", ForeignKey("workflow.id")),
    _int("version"),
    _text("name"),
    _text("folder"),
    _text("rules"),
    _text("destinations"),
    _int("made_ms"),
    PrimaryKeyConstraint("workflow_id", "version"),
    keyed=True,
)
credential: Final = _table(
    "credential",
    _text("id", key=True),
    _of_account(),
    _text("kind"),
    _text("name"),
    _text("label"),
    _bytes("inner_sealed"),
    _text("workflow_id", ForeignKey("workflow.id")),
    _text("folder"),
    _int("require_tls"),
    _int("epoch"),
    _int("created_ms"),
    _int("not_after_ms", maybe=True),
    _int("revoked_ms", maybe=True),
    _int("last_used_ms", maybe=True),
    Index(None, "name", unique=True),
    Index(None, "account_id", "created_ms", "id"),
)

# -- uploads, as facts tell them -----------------------------------------------------------------

# A delivery's process may report before the process that took the upload does, so none of the
# three refers to another by a foreign key.
outcome: Final = _table(
    "outcome",
    _text("upload_id", key=True),
    _text("id"),
    _bytes("fact_digest"),
    _of_account(),
    _text("credential_id", maybe=True),
    _text("state"),
    _text("error"),
    _int("size_bytes"),
    _bytes("digest", maybe=True),
    _text("region"),
    _text("node"),
    _text("door"),
    _text("name_kid", maybe=True),
    _bytes("name_sealed", maybe=True),
    _text("workflow_id", maybe=True),
    _int("workflow_version"),
    _int("created_ms"),
    _int("ended_ms"),
    _int("received_ms"),
    _int("announced_bytes", maybe=True),
    _int("destroyed_ms", maybe=True),
    Index(None, "id", unique=True),
    Index(None, "account_id", "created_ms", "upload_id"),
)
delivery: Final = _table(
    "delivery",
    _text("id", key=True),
    _of_account(),
    _text("upload_id"),
    _text("run_id"),
    _text("destination_id"),
    _text("state"),
    _int("attempt"),
    _int("fence"),
    _text("error"),
    _int("due_ms"),
    _int("size_bytes"),
    _text("node"),
    _int("changed_ms"),
    _bytes("digest", maybe=True),
    Index(None, "account_id", "upload_id"),
)
receipt: Final = _table(
    "receipt",
    _text("upload_id", key=True),
    _bytes("fact_digest"),
    _of_account(),
    _text("run_id", maybe=True),
    _text("reason"),
    _text("region"),
    _int("size_bytes"),
    _int("keys_destroyed_ms"),
    _int("removed_ms"),
    _text("undelivered"),
    _int("received_ms"),
    _int("audit_sequence", maybe=True),
    _bytes("audit_hash", maybe=True),
    _bytes("signature", maybe=True),
    _bytes("root_key", maybe=True),
)
event: Final = _table(
    "event",
    Column("number", INT64, primary_key=True, autoincrement=True),
    _text("id"),
    _bytes("fact_digest"),
    _of_account(),
    _text("upload_id"),
    _text("type"),
    _text("detail"),
    _int("at_ms"),
    _int("received_ms"),
    Index(None, "id", unique=True),
    Index(None, "account_id", "upload_id", "number"),
    Index(None, "account_id", "number"),
    counted=True,
)

# -- facts ---------------------------------------------------------------------------------------

node_cursor: Final = _table(
    "node_cursor",
    _text("node"),
    _text("epoch"),
    _text("process"),
    _int("sequence"),
    _int("quarantined"),
    _int("moved_ms"),
    PrimaryKeyConstraint("node", "epoch"),
    keyed=True,
)
fact_quarantine: Final = _table(
    "fact_quarantine",
    _text("node"),
    _text("epoch"),
    _int("sequence"),
    _text("fact_id"),
    _text("kind"),
    _text("reason"),
    _bytes("body"),
    _int("received_ms"),
    PrimaryKeyConstraint("node", "epoch", "sequence"),
    keyed=True,
)

# -- ledger: triggers of the migration keep it append-only and balanced ---------------------------

ledger_transaction: Final = _table(
    "ledger_transaction",
    _text("id", key=True),
    _text("cause"),
    _text("cause_id"),
    _int("at_ms"),
    _int("entered_ms"),
    _text("lines"),
    keyed=True,
)
posting: Final = _table(
    "posting",
    _text("txn_id", ForeignKey("ledger_transaction.id")),
    _int("line"),
    _text("ledger_account"),
    _int("debit", CheckConstraint("debit >= 0", "debit")),
    _int("credit", CheckConstraint("credit >= 0", "credit")),
    _text("unit"),
    PrimaryKeyConstraint("txn_id", "line"),
    CheckConstraint("(debit = 0) <> (credit = 0)", "one_side"),
    Index(None, "ledger_account", "unit"),
    keyed=True,
)

# -- secrets of destinations, as regions get them -----------------------------------------------

region_key: Final = _table(
    "region_key",
    _text("region", key=True),
    _text("kid"),
    _bytes("key"),
    _int("learned_ms"),
)
ticket_key: Final = _table(
    "ticket_key",
    _text("region", key=True),
    _text("kid"),
    _bytes("key"),
    _int("learned_ms"),
)
# Kept, because sealing again gives other bytes, and those would be another snapshot.
destination_secret: Final = _table(
    "destination_secret",
    _text("destination_id", ForeignKey("destination.id")),
    _text("region"),
    _int("version"),
    _text("kid"),
    _bytes("sealed"),
    PrimaryKeyConstraint("destination_id", "region"),
    keyed=True,
)

# -- snapshots -----------------------------------------------------------------------------------

snapshot: Final = _table(
    "snapshot",
    _text("region", key=True),
    _int("version"),
    _bytes("digest"),
    _int("created_ms"),
)
