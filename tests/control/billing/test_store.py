"""The ledger is tried as another program would: raw SQL on the file, no foreign keys, no code."""

import json
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.billing.ledger import Cause, Transaction, Unit, moved
from control.database import MemoryDatabase, SqliteDatabase
from tests.control.billing.test_ledger import transactions
from tests.support.real_loop import real_loop
from tests.support.sim import simulate

GOOD = Transaction(
    Cause.OUTCOME,
    "oc_good",
    5,
    (
        *moved(Unit.BYTE, 10, debit="usage:a", credit="accepted:fr"),
        *moved(Unit.FILE, 1, debit="usage:a", credit="accepted:fr"),
    ),
)
INSERT = "INSERT INTO ledger_transaction (id, cause, cause_id, at_ms, entered_ms, lines) VALUES"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database file whose ledger holds one good transaction."""
    path = tmp_path_factory.mktemp("ledger") / "control.db"

    async def fill() -> None:
        database = SqliteDatabase(path)
        await database.open()
        async with database.write() as uow:
            assert await uow.ledger.enter([GOOD], 6) == 1
        await database.close()

    real_loop(fill())
    return path


@pytest.fixture
def ledger(file: Path) -> Iterator[sqlite3.Connection]:
    """Return a foreign connection to the file; whatever is tried must change nothing."""
    connection = sqlite3.connect(file, isolation_level=None)
    before = content(connection)
    yield connection
    assert content(connection) == before, "the ledger changed"
    connection.close()


def content(connection: sqlite3.Connection) -> tuple[list[object], list[object]]:
    postings = connection.execute("SELECT * FROM posting ORDER BY txn_id, line").fetchall()
    entered = connection.execute("SELECT * FROM ledger_transaction ORDER BY id").fetchall()
    return postings, entered


CHANGES = [
    "UPDATE posting SET debit = debit + 1 WHERE debit > 0",
    "UPDATE posting SET ledger_account = 'usage:b'",
    "UPDATE OR REPLACE posting SET line = 0 WHERE line = 1",
    "UPDATE ledger_transaction SET at_ms = 9",
    "UPDATE OR IGNORE ledger_transaction SET lines = '[]'",
    "DELETE FROM posting",
    "DELETE FROM posting WHERE line = 1",
    "DELETE FROM ledger_transaction",
    "INSERT INTO posting VALUES ('{id}', 4, 'usage:a', 5, 0, 'byte')",
    "INSERT INTO posting VALUES ('new', 0, 'usage:a', 5, 0, 'byte')",
    "INSERT OR REPLACE INTO posting VALUES ('{id}', 0, 'usage:a', 11, 0, 'byte')",
    "INSERT OR REPLACE INTO posting VALUES ('{id}', 0, 'usage:a', 10, 0, 'byte')",
    "INSERT OR IGNORE INTO posting VALUES ('new', 0, 'usage:a', 5, 0, 'byte')",
    "INSERT INTO posting VALUES ('{id}', 0, 'usage:a', 99, 0, 'byte') "
    "ON CONFLICT DO UPDATE SET debit = 99",
    "INSERT OR REPLACE INTO ledger_transaction VALUES ('{id}', 'outcome', 'x', 1, 1, '{lines}')",
    "INSERT OR IGNORE INTO ledger_transaction VALUES ('{id}', 'outcome', 'x', 1, 1, '{lines}')",
    "INSERT INTO ledger_transaction VALUES ('{id}', 'outcome', 'x', 1, 1, '{lines}') "
    "ON CONFLICT DO UPDATE SET lines = '[]'",
    "REPLACE INTO posting SELECT 'new', line, ledger_account, debit, credit, unit FROM posting",
]


@pytest.mark.parametrize("statement", CHANGES)
@pytest.mark.parametrize("pragma", ["foreign_keys=OFF", "foreign_keys=ON", "recursive_triggers=ON"])
def test_nothing_that_was_entered_can_be_changed(
    statement: str, pragma: str, ledger: sqlite3.Connection
) -> None:
    ledger.execute(f"PRAGMA {pragma}")
    lines = json.dumps([line("a", debit=7), line("b", credit=7)])
    with pytest.raises(sqlite3.DatabaseError, match="ledger: "):
        ledger.execute(statement.format(id=GOOD.id, lines=lines))


def line(account: object, unit: object = "byte", debit: object = 0, credit: object = 0) -> object:
    return {"account": account, "unit": unit, "debit": debit, "credit": credit}


BAD_LINES = {
    "one side only": [line("a", debit=5)],
    "sides that differ": [line("a", debit=5), line("b", credit=4)],
    "sides of different units": [line("a", "byte", debit=5), line("b", "file", credit=5)],
    "no lines": [],
    "no list": {"account": "a"},
    "a line that is no object": [1, 2],
    "both sides of one line": [line("a", debit=5, credit=5)],
    "neither side": [line("a"), line("b")],
    "amounts below zero": [line("a", debit=-5), line("b", credit=-5)],
    "amounts below zero that cancel out": [
        line("a", debit=-5),
        line("b", debit=5),
        line("c", debit=5),
        line("d", credit=5),
    ],
    "text for an amount": [line("a", debit="5"), line("b", credit="5")],
    "a fraction": [line("a", debit=5.5), line("b", credit=5.5)],
    "a whole number as a fraction": [line("a", debit=5.0), line("b", credit=5.0)],
    "true for an amount": [line("a", debit=True), line("b", credit=True)],
    "no account": [line(None, debit=5), line("b", credit=5)],
    "no unit": [line("a", None, debit=5), line("b", None, credit=5)],
    "an amount left out": [{"account": "a", "unit": "byte", "debit": 5}, line("b", credit=5)],
    "more than can be counted": [
        line("a", debit=2**63 - 1),
        line("a", debit=2**63 - 1),
        line("b", credit=2**63 - 1),
        line("b", credit=2**63 - 1),
    ],
}


@pytest.mark.parametrize("lines", BAD_LINES.values(), ids=BAD_LINES.keys())
@pytest.mark.parametrize("verb", ["INSERT INTO", "INSERT OR IGNORE INTO", "REPLACE INTO"])
def test_a_transaction_that_does_not_balance_is_refused(
    verb: str, lines: object, ledger: sqlite3.Connection
) -> None:
    statement = INSERT.replace("INSERT INTO", verb) + "('new', 'outcome', 'x', 1, 1, ?)"
    with pytest.raises(sqlite3.DatabaseError):
        ledger.execute(statement, (json.dumps(lines),))


def test_lines_that_are_no_json_are_refused(ledger: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.DatabaseError, match="ledger: "):
        ledger.execute(INSERT + "('new', 'outcome', 'x', 1, 1, 'account: a')")


def test_checks_that_are_switched_off_do_not_help(ledger: sqlite3.Connection) -> None:
    ledger.execute("PRAGMA ignore_check_constraints=ON")
    lines = json.dumps([line("a", debit=-5), line("b", credit=-5)])
    with pytest.raises(sqlite3.DatabaseError, match="ledger: "):
        ledger.execute(INSERT + "('new', 'outcome', 'x', 1, 1, ?)", (lines,))


def test_a_row_number_leads_to_no_row_of_the_ledger(ledger: sqlite3.Connection) -> None:
    for table in ("posting", "ledger_transaction"):
        with pytest.raises(sqlite3.DatabaseError, match="rowid"):
            ledger.execute(f"SELECT rowid FROM {table}")


@settings(max_examples=30, deadline=None)
@given(st.lists(transactions(), max_size=6), st.integers())
def test_what_is_entered_in_any_order_and_number_gives_the_same_balances(
    entered: list[Transaction], seed: int
) -> None:
    once = list({one.id: one for one in reversed(entered)}.values())
    repeated = entered * 2
    first = {one.id: one for one in reversed(repeated)}
    random.Random(seed).shuffle(once)

    async def enter() -> None:
        database = MemoryDatabase()
        for one in repeated:
            async with database.write() as uow:
                await uow.ledger.enter([first[one.id]], 0)
        async with database.write() as uow:
            assert await uow.ledger.enter(once, 0) == 0
            for unit, total in (await uow.ledger.totals()).items():
                kept = [line for one in once for line in one.postings if line.unit is unit]
                assert total == sum(line.debit for line in kept)

    simulate(enter())
