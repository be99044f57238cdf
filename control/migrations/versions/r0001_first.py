"""The first tables, and the triggers that keep the ledger append-only and balanced."""

from typing import Any, Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.schema import SchemaItem

revision = "0001"
down_revision = None

_INT64: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make everything."""
    _accounts()
    _workflows()
    _uploads()
    _timelines()
    _facts()
    _ledger()
    _snapshots()
    for trigger in LEDGER_TRIGGERS:
        op.execute(trigger)


def _accounts() -> None:
    _table(
        "account",
        _text("id"),
        _text("state"),
        _text("pin", maybe=True),
        _int("epoch"),
        _text("limits"),
        _int("created_ms"),
        _key("account", "id"),
    )
    _table(
        "member",
        _text("id"),
        _text("account_id"),
        _text("role"),
        _bytes("email_sealed"),
        _bytes("email_hash"),
        _int("created_ms"),
        _key("member", "id"),
        _refers("member", "account_id", "account.id"),
    )
    _index("member", "account_id")
    _index("member", "email_hash", unique=True)
    _table(
        "credential",
        _text("id"),
        _text("account_id"),
        _text("kind"),
        _text("name"),
        _text("label"),
        _bytes("inner_sealed"),
        _text("workflow_id"),
        _text("folder"),
        _int("require_tls"),
        _int("epoch"),
        _int("created_ms"),
        _int("not_after_ms", maybe=True),
        _int("revoked_ms", maybe=True),
        _int("last_used_ms", maybe=True),
        _key("credential", "id"),
        _refers("credential", "account_id", "account.id"),
        _refers("credential", "workflow_id", "workflow.id"),
    )
    _index("credential", "account_id", "created_ms", "id")
    _index("credential", "name", unique=True)


def _workflows() -> None:
    _table(
        "destination",
        _text("id"),
        _text("account_id"),
        _int("version"),
        _text("kind"),
        _text("label"),
        _text("address"),
        _text("clash"),
        _int("created_ms"),
        _int("deleted_ms", maybe=True),
        _key("destination", "id"),
        _refers("destination", "account_id", "account.id"),
    )
    _index("destination", "account_id", "created_ms", "id")
    _table(
        "workflow",
        _text("id"),
        _text("account_id"),
        _int("version"),
        _int("created_ms"),
        _int("deleted_ms", maybe=True),
        _key("workflow", "id"),
        _refers("workflow", "account_id", "account.id"),
    )
    _index("workflow", "account_id", "created_ms", "id")
    _table(
        "workflow_version",
        _text("workflow_id"),
        _int("version"),
        _text("name"),
        _text("folder"),
        _text("rules"),
        _text("destinations"),
        _int("made_ms"),
        _key("workflow_version", "workflow_id", "version"),
        _refers("workflow_version", "workflow_id", "workflow.id"),
        keyed=True,
    )


def _uploads() -> None:
    _table(
        "outcome",
        _text("upload_id"),
        _text("id"),
        _bytes("fact_digest"),
        _text("account_id"),
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
        _key("outcome", "upload_id"),
        _refers("outcome", "account_id", "account.id"),
    )
    _index("outcome", "account_id", "created_ms", "upload_id")
    _index("outcome", "id", unique=True)
    _table(
        "delivery",
        _text("id"),
        _text("account_id"),
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
        _key("delivery", "id"),
        _refers("delivery", "account_id", "account.id"),
    )
    _index("delivery", "account_id", "upload_id")


def _timelines() -> None:
    _table(
        "receipt",
        _text("upload_id"),
        _bytes("fact_digest"),
        _text("account_id"),
        _text("run_id", maybe=True),
        _text("reason"),
        _text("region"),
        _int("size_bytes"),
        _int("keys_destroyed_ms"),
        _int("removed_ms"),
        _text("undelivered"),
        _int("received_ms"),
        _key("receipt", "upload_id"),
        _refers("receipt", "account_id", "account.id"),
    )
    _table(
        "event",
        _int("number", key=True),
        _text("id"),
        _bytes("fact_digest"),
        _text("account_id"),
        _text("upload_id"),
        _text("type"),
        _text("detail"),
        _int("at_ms"),
        _int("received_ms"),
        _refers("event", "account_id", "account.id"),
        counted=True,
    )
    _index("event", "account_id", "number")
    _index("event", "account_id", "upload_id", "number")
    _index("event", "id", unique=True)


def _facts() -> None:
    _table(
        "node_cursor",
        _text("node"),
        _text("epoch"),
        _text("process"),
        _int("sequence"),
        _int("quarantined"),
        _int("moved_ms"),
        _key("node_cursor", "node", "epoch"),
        keyed=True,
    )
    _table(
        "fact_quarantine",
        _text("node"),
        _text("epoch"),
        _int("sequence"),
        _text("fact_id"),
        _text("kind"),
        _text("reason"),
        _bytes("body"),
        _int("received_ms"),
        _key("fact_quarantine", "node", "epoch", "sequence"),
        keyed=True,
    )


def _ledger() -> None:
    _table(
        "ledger_transaction",
        _text("id"),
        _text("cause"),
        _text("cause_id"),
        _int("at_ms"),
        _int("entered_ms"),
        _text("lines"),
        _key("ledger_transaction", "id"),
        keyed=True,
    )
    _table(
        "posting",
        _text("txn_id"),
        _int("line"),
        _text("ledger_account"),
        _int("debit", sa.CheckConstraint("debit >= 0", name=op.f("ck_posting_debit"))),
        _int("credit", sa.CheckConstraint("credit >= 0", name=op.f("ck_posting_credit"))),
        _text("unit"),
        _key("posting", "txn_id", "line"),
        sa.CheckConstraint("(debit = 0) <> (credit = 0)", name=op.f("ck_posting_one_side")),
        _refers("posting", "txn_id", "ledger_transaction.id"),
        keyed=True,
    )
    _index("posting", "ledger_account", "unit")


def _snapshots() -> None:
    _table(
        "snapshot",
        _text("region"),
        _int("version"),
        _bytes("digest"),
        _int("created_ms"),
        _key("snapshot", "region"),
    )


def _table(name: str, *items: SchemaItem, keyed: bool = False, counted: bool = False) -> None:
    op.create_table(
        name,
        *items,
        sqlite_strict=True,
        sqlite_with_rowid=not keyed,
        sqlite_autoincrement=counted,
    )


def _key(table: str, *columns: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*columns, name=op.f(f"pk_{table}"))


def _text(name: str, *, maybe: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Text(), nullable=maybe)


def _bytes(name: str, *, maybe: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.LargeBinary(), nullable=maybe)


def _int(
    name: str, *items: sa.CheckConstraint, maybe: bool = False, key: bool = False
) -> sa.Column[Any]:
    return sa.Column(name, _INT64, *items, nullable=maybe, primary_key=key)


def _refers(table: str, column: str, to: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [to], name=op.f(f"fk_{table}_{column}"))


def _index(table: str, *columns: str, unique: bool = False) -> None:
    op.create_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table, list(columns), unique=unique)


# A transaction is one row that carries all its lines: the database checks them, then writes the
# postings from them itself.  A check that depended on a later statement, or on the foreign keys of
# a connection, could be left out by another program.  Every check raises: under INSERT OR IGNORE a
# mere constraint would only leave out a line.
LEDGER_TRIGGERS: Final = (
    """
    CREATE TRIGGER ledger_transaction_balances BEFORE INSERT ON ledger_transaction
    BEGIN
      SELECT RAISE(ABORT, 'ledger: this transaction is already there')
        WHERE EXISTS (SELECT 1 FROM ledger_transaction WHERE id = NEW.id);
      SELECT RAISE(ABORT, 'ledger: a transaction has a list of lines')
        WHERE NOT json_valid(NEW.lines) OR json_type(NEW.lines) <> 'array'
           OR json_array_length(NEW.lines) = 0;
      SELECT RAISE(ABORT, 'ledger: a line has an account, a unit and one amount above zero')
        FROM json_each(NEW.lines) AS line
        WHERE line.type <> 'object'
           OR json_type(line.value, '$.account') IS NOT 'text'
           OR json_type(line.value, '$.unit') IS NOT 'text'
           OR json_type(line.value, '$.debit') IS NOT 'integer'
           OR json_type(line.value, '$.credit') IS NOT 'integer'
           OR min(line.value ->> '$.debit', line.value ->> '$.credit') <> 0
           OR max(line.value ->> '$.debit', line.value ->> '$.credit') <= 0;
      SELECT RAISE(ABORT, 'ledger: debits and credits differ')
        FROM json_each(NEW.lines) AS line
        GROUP BY line.value ->> '$.unit'
        HAVING sum(line.value ->> '$.debit') <> sum(line.value ->> '$.credit');
    END
    """,
    """
    CREATE TRIGGER ledger_transaction_posts AFTER INSERT ON ledger_transaction
    BEGIN
      INSERT INTO posting (txn_id, line, ledger_account, debit, credit, unit)
        SELECT NEW.id, line.key, line.value ->> '$.account', line.value ->> '$.debit',
               line.value ->> '$.credit', line.value ->> '$.unit'
        FROM json_each(NEW.lines) AS line;
    END
    """,
    """
    CREATE TRIGGER posting_comes_with_transaction BEFORE INSERT ON posting
    BEGIN
      SELECT RAISE(ABORT, 'ledger: postings are made by their transaction')
        WHERE EXISTS (SELECT 1 FROM posting WHERE txn_id = NEW.txn_id AND line = NEW.line)
           OR NOT EXISTS (
             SELECT 1 FROM ledger_transaction AS txn, json_each(txn.lines) AS line
             WHERE txn.id = NEW.txn_id AND line.key = NEW.line
               AND line.value ->> '$.account' = NEW.ledger_account
               AND line.value ->> '$.debit' = NEW.debit
               AND line.value ->> '$.credit' = NEW.credit
               AND line.value ->> '$.unit' = NEW.unit);
    END
    """,
    *(
        f"""
        CREATE TRIGGER {table}_stays_{verb.lower()} BEFORE {verb} ON {table}
        BEGIN
          SELECT RAISE(ABORT, 'ledger: what is entered stays; correct it by another transaction');
        END
        """
        for table in ("ledger_transaction", "posting")
        for verb in ("UPDATE", "DELETE")
    ),
)
