import asyncio
import os
import sqlite3
import stat
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from control.database import MemoryDatabase, SqliteDatabase
from control.migrations import NewerDatabase
from tests.control.builders import account
from tests.support.real_loop import real_loop
from tests.support.sim import simulate
from tests.support.unit_of_work_suite import CASES, Case, waiting_too_long_is_refused
from zentransfer.errors import Code, Error
from zentransfer.limits import DATABASE_BUSY_MS, DATABASE_READERS


@asynccontextmanager
async def opened(path: Path) -> AsyncGenerator[SqliteDatabase, None]:
    database = SqliteDatabase(path)
    try:
        await database.open()
        yield database
    finally:
        await database.close()


def on_a_file(path: Path, case: Callable[[SqliteDatabase], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with opened(path) as database:
            await case(database)

    real_loop(run())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_file_conforms(case: Case, tmp_path: Path) -> None:
    on_a_file(tmp_path / "control.db", case)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_memory_conforms(case: Case) -> None:
    simulate(case(MemoryDatabase()))


@pytest.mark.reaches("DATABASE_WAIT_S")
@pytest.mark.reaches("DATABASE_RETRY_AFTER_S")
def test_who_waits_too_long_for_the_writer_is_told_to_come_again() -> None:
    simulate(waiting_too_long_is_refused(MemoryDatabase()))


def test_memory_outlives_whoever_used_it() -> None:
    database = MemoryDatabase()

    async def add() -> None:
        async with database.write() as uow:
            await uow.accounts.add(account())

    async def look() -> None:
        async with database.read() as uow:
            assert await uow.accounts.maybe_account(account().id) == account()

    simulate(add())
    simulate(look())


def test_the_writer_flushes_every_commit_and_checks_every_reference(tmp_path: Path) -> None:
    async def look(database: SqliteDatabase) -> None:
        async with database.write() as uow:
            found = {
                name: (await uow.connection.rows(text(f"PRAGMA {name}")))[0]
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            }
        values = {name: next(iter(row.values())) for name, row in found.items()}
        full = 2
        assert values == {
            "journal_mode": "wal",
            "synchronous": full,
            "foreign_keys": 1,
            "busy_timeout": DATABASE_BUSY_MS,
        }

    on_a_file(tmp_path / "control.db", look)


def test_a_transaction_takes_the_write_lock_at_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "control.db"

    async def look(database: SqliteDatabase) -> None:
        async with database.write():
            other = sqlite3.connect(path, timeout=0, isolation_level=None)
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("BEGIN IMMEDIATE")
            other.close()

    on_a_file(path, look)


def test_a_reader_sees_one_state_while_a_writer_goes_on(tmp_path: Path) -> None:
    async def look(database: SqliteDatabase) -> None:
        async with database.read() as reading:
            assert await reading.accounts.maybe_account(account().id) is None
            async with database.write() as writing:
                await writing.accounts.add(account())
            assert await reading.accounts.maybe_account(account().id) is None
        async with database.read() as reading:
            assert await reading.accounts.maybe_account(account().id) is not None

    on_a_file(tmp_path / "control.db", look)


@pytest.mark.reaches("DATABASE_READERS")
def test_more_readers_than_connections_wait_for_their_turn(tmp_path: Path) -> None:
    async def look(database: SqliteDatabase) -> None:
        inside, full, leave = 0, asyncio.Event(), asyncio.Event()

        async def read() -> None:
            nonlocal inside
            async with database.read() as uow:
                await uow.accounts.maybe_account(account().id)
                inside += 1
                if inside == DATABASE_READERS:
                    full.set()
                await leave.wait()

        async with asyncio.TaskGroup() as group:
            for _ in range(DATABASE_READERS + 3):
                group.create_task(read())
            await full.wait()
            await asyncio.sleep(0.1)  # for one too many to slip in
            assert inside == DATABASE_READERS
            leave.set()
        assert inside == DATABASE_READERS + 3

    on_a_file(tmp_path / "control.db", look)


@pytest.mark.reaches("DATABASE_BUSY_MS")
def test_a_foreign_lock_is_waited_for_and_then_named(tmp_path: Path) -> None:
    path = tmp_path / "control.db"

    async def look(database: SqliteDatabase) -> None:
        other = sqlite3.connect(path, timeout=0, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        begin_s = asyncio.get_running_loop().time()
        with pytest.raises(Error) as caught:
            async with database.write():
                pass
        assert asyncio.get_running_loop().time() - begin_s > DATABASE_BUSY_MS / 1000 * 0.9
        assert caught.value.code is Code.OVERLOADED
        other.execute("ROLLBACK")
        other.close()
        async with database.write() as uow:
            await uow.accounts.add(account())

    on_a_file(path, look)


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    before = os.umask(0)
    try:
        on_a_file(path, lambda database: asyncio.sleep(0))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_was_committed_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "control.db"

    async def add(database: SqliteDatabase) -> None:
        async with database.write() as uow:
            await uow.accounts.add(account())

    async def look(database: SqliteDatabase) -> None:
        async with database.read() as uow:
            assert await uow.accounts.maybe_account(account().id) == account()

    on_a_file(path, add)
    on_a_file(path, look)


def test_a_database_of_a_newer_release_is_refused_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    on_a_file(path, lambda database: asyncio.sleep(0))
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(NewerDatabase):
        on_a_file(path, lambda database: asyncio.sleep(0))
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)
    connection.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    path.write_bytes(b"not a database, but long enough to have a header" * 100)
    with pytest.raises(Error) as caught:
        on_a_file(path, lambda database: asyncio.sleep(0))
    assert caught.value.code is Code.UNAVAILABLE


def test_two_that_start_at_once_agree_on_the_tables(tmp_path: Path) -> None:
    path = tmp_path / "control.db"

    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(_open(path))
            group.create_task(_open(path))

    real_loop(both())
    on_a_file(path, CASES[0])


async def _open(path: Path) -> None:
    async with opened(path):
        pass


async def fill(database: SqliteDatabase) -> None:
    async with database.write() as uow:
        for name in range(10_000):
            await uow.accounts.add(account(name))


def test_a_full_disk_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    async def look(database: SqliteDatabase) -> None:
        async with database.write() as uow:
            (row,) = await uow.connection.rows(text("PRAGMA page_count"))
            await uow.connection.rows(text(f"PRAGMA max_page_count={row['page_count']}"))
        with pytest.raises(Error) as caught:
            await fill(database)
        assert caught.value.code is Code.INSUFFICIENT_STORAGE
        async with database.write() as uow:
            await uow.connection.rows(text("PRAGMA max_page_count=1000000"))
            assert await uow.accounts.maybe_account(account(0).id) is None
            await uow.accounts.add(account(0))

    on_a_file(tmp_path / "control.db", look)
