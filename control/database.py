"""The forms of control's database: a SQLite file, and the same in memory for the simulator.

The rule: one connection writes, its transactions begin with ``BEGIN IMMEDIATE``, and the driver
begins none by itself; a transaction that would turn from reader to writer half-way is the classic
"database is locked".  Every commit is flushed (``synchronous=FULL``): control writes little, and a
ledger may not lose what was acked.  Only features of SQLite 3.40 are used.
"""

import asyncio
import functools
import os
import sqlite3
import weakref
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final

from sqlalchemy import Connection as SyncConnection
from sqlalchemy import Engine, Executable, RowMapping, create_engine, event, exc
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import StaticPool

from control.connection import Values
from control.migrations import migrate
from control.unit_of_work import UnitOfWork
from zentransfer.errors import Code, Error
from zentransfer.limits import (
    DATABASE_BUSY_MS,
    DATABASE_READERS,
    DATABASE_RETRY_AFTER_S,
    DATABASE_WAIT_S,
)

_EVERY: Final = ("PRAGMA foreign_keys=ON",)
_WRITER: Final = (
    f"PRAGMA busy_timeout={DATABASE_BUSY_MS}",
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    *_EVERY,
)
_READER: Final = (f"PRAGMA busy_timeout={DATABASE_BUSY_MS}", "PRAGMA query_only=ON", *_EVERY)


class SqliteDatabase:
    """A SQLite file; each connection has its own thread, so the loop never waits for the disk."""

    def __init__(self, path: Path) -> None:
        """Stand on the file *path*, made 0600 when missing; its folder must exist."""
        self._path = path
        self._writer = _engine(path, _WRITER, "BEGIN IMMEDIATE", connections=1)
        self._reader = _engine(path, _READER, "BEGIN", connections=DATABASE_READERS)
        self._turn = asyncio.Lock()
        self._readers = asyncio.Semaphore(DATABASE_READERS)

    async def open(self) -> None:
        """Make the file when it is missing and bring its tables up to date.

        Raises ``control.migrations.NewerDatabase``, ``OSError``, or ``Error(UNAVAILABLE)`` when
        the file cannot be used as a database.
        """
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        async with self._turn, _begun(self._writer) as connection:
            await connection.run_sync(migrate)

    @asynccontextmanager
    async def write(self) -> AsyncGenerator[UnitOfWork, None]:
        """Open a transaction that commits at its end; see :class:`Database`."""
        async with _admitted(self._turn), _begun(self._writer) as connection:
            yield UnitOfWork(_FileConnection(connection))

    @asynccontextmanager
    async def read(self) -> AsyncGenerator[UnitOfWork, None]:
        """Open a transaction that refuses to write; see :class:`Database`."""
        async with _admitted(self._readers), _begun(self._reader) as connection:
            yield UnitOfWork(_FileConnection(connection))

    async def close(self) -> None:
        """End every connection; the last one folds the log into the file.  Idempotent."""
        await self._reader.dispose()
        await self._writer.dispose()


class MemoryDatabase:
    """The same tables in memory, without a thread: for the simulator, whose time would run away.

    What was committed outlives whoever used it, so a crash of control keeps the object and drops
    the rest.
    """

    def __init__(self) -> None:
        """Make an empty database with all tables."""
        self._engine = _memory_engine(_template())
        self._turn = asyncio.Lock()
        weakref.finalize(self, self._engine.dispose)  # Python 3.13 warns of what is only dropped

    @asynccontextmanager
    async def write(self) -> AsyncGenerator[UnitOfWork, None]:
        """Open a transaction that commits at its end; see :class:`Database`."""
        async with _admitted(self._turn):
            with _explained(), self._engine.begin() as connection:
                yield UnitOfWork(_MemoryConnection(connection))

    @asynccontextmanager
    async def read(self) -> AsyncGenerator[UnitOfWork, None]:
        """Open a transaction that refuses to write; see :class:`Database`."""
        async with _admitted(self._turn):
            with _explained(), self._engine.begin() as connection:
                connection.exec_driver_sql("PRAGMA query_only=ON")
                try:
                    yield UnitOfWork(_MemoryConnection(connection))
                finally:
                    connection.exec_driver_sql("PRAGMA query_only=OFF")

    async def close(self) -> None:
        """Do nothing: memory is given back with the object."""


class _FileConnection:
    """The open transaction of a file; see :class:`control.connection.Connection`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def rows(self, statement: Executable) -> Sequence[RowMapping]:
        result = await self._connection.execute(statement)
        return result.mappings().all()

    async def change(self, statement: Executable, many: Sequence[Values] | None = None) -> int:
        if many is not None and not many:
            return 0
        result = await self._connection.execute(statement, many)
        return result.rowcount

    @asynccontextmanager
    async def savepoint(self) -> AsyncGenerator[None, None]:
        nested = await self._connection.begin_nested()
        try:
            yield
        except BaseException:
            # On a full or broken disk SQLite has undone everything already: that is the news.
            with suppress(exc.DBAPIError):
                await nested.rollback()
            raise
        await nested.commit()


class _MemoryConnection:
    """The open transaction in memory; see :class:`control.connection.Connection`."""

    def __init__(self, connection: SyncConnection) -> None:
        self._connection = connection

    async def rows(self, statement: Executable) -> Sequence[RowMapping]:
        return self._connection.execute(statement).mappings().all()

    async def change(self, statement: Executable, many: Sequence[Values] | None = None) -> int:
        if many is not None and not many:
            return 0
        return self._connection.execute(statement, many).rowcount

    @asynccontextmanager
    async def savepoint(self) -> AsyncGenerator[None, None]:
        nested = self._connection.begin_nested()
        try:
            yield
        except BaseException:
            with suppress(exc.DBAPIError):  # as above
                nested.rollback()
            raise
        nested.commit()


def _engine(path: Path, pragmas: Sequence[str], begin: str, connections: int) -> AsyncEngine:
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{path}",
        pool_size=connections,
        max_overflow=0,
        hide_parameters=True,  # an error shows no value of a row
        connect_args={"isolation_level": None},  # the driver begins nothing by itself
    )
    _set_up(engine.sync_engine, pragmas, begin)
    return engine


@asynccontextmanager
async def _begun(engine: AsyncEngine) -> AsyncGenerator[AsyncConnection, None]:
    """Open a transaction on a connection of *engine*."""
    with _explained():
        async with AsyncExitStack() as until:
            connection = await _connected(engine)
            until.push_async_exit(connection)
            async with connection.begin():
                yield connection


async def _connected(engine: AsyncEngine) -> AsyncConnection:
    """Return a connection of *engine*; a cancel of this never cancels the connecting itself.

    For a cancelled connect leaves a connection behind that nobody closes (aiosqlite 0.22); and
    every cancelled statement costs its connection, so the pool's next one may have to connect.
    """
    coming = asyncio.ensure_future(engine.connect().start())  # noqa: TID251 - none may cancel it
    try:
        return await asyncio.shield(coming)
    except asyncio.CancelledError:
        coming.add_done_callback(_give_back)
        raise


def _give_back(coming: asyncio.Future[AsyncConnection]) -> None:
    """Let the pool have the connection that nobody waits for any more."""
    if not coming.cancelled() and coming.exception() is None:
        asyncio.shield(coming.result().close())


def _memory_engine(content: bytes | None = None) -> Engine:
    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        if content is not None:
            connection.deserialize(content)
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=StaticPool, hide_parameters=True)
    _set_up(engine, _EVERY, "BEGIN IMMEDIATE")
    return engine


def _set_up(engine: Engine, pragmas: Sequence[str], begin: str) -> None:
    @event.listens_for(engine, "connect")
    def connected(connection: DBAPIConnection, _: object) -> None:
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(pragma)
        cursor.close()

    @event.listens_for(engine, "begin")
    def begun(connection: SyncConnection) -> None:
        connection.exec_driver_sql(begin)


@functools.cache
def _template() -> bytes:
    """Return an empty database with all tables, as the migrations make them."""
    engine = _memory_engine()
    with engine.begin() as connection:
        migrate(connection)
    raw = engine.raw_connection()
    try:
        driver = raw.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        return driver.serialize()
    finally:
        raw.close()
        engine.dispose()


@asynccontextmanager
async def _admitted(turn: asyncio.Lock | asyncio.Semaphore) -> AsyncGenerator[None, None]:
    """Hold *turn*; raises ``Error(OVERLOADED)`` when it takes longer than DATABASE_WAIT_S."""
    try:
        async with asyncio.timeout(DATABASE_WAIT_S):
            await turn.acquire()
    except TimeoutError as late:
        raise Error(Code.OVERLOADED, "the database is busy", DATABASE_RETRY_AFTER_S) from late
    try:
        yield
    finally:
        turn.release()


# What the world does to a database; everything else that SQLite says is our own mistake.
_WORLD: Final = {
    "SQLITE_FULL": Code.INSUFFICIENT_STORAGE,
    "SQLITE_BUSY": Code.OVERLOADED,
    "SQLITE_IOERR": Code.UNAVAILABLE,
    "SQLITE_CANTOPEN": Code.UNAVAILABLE,
    "SQLITE_READONLY": Code.UNAVAILABLE,
    "SQLITE_CORRUPT": Code.UNAVAILABLE,
    "SQLITE_NOTADB": Code.UNAVAILABLE,
}


@contextmanager
def _explained() -> Generator[None, None, None]:
    """Turn what the disk did into an ``Error`` that says whether waiting helps."""
    try:
        yield
    except exc.DBAPIError as failed:
        name = str(getattr(failed.orig, "sqlite_errorname", ""))
        code = next((code for known, code in _WORLD.items() if name.startswith(known)), None)
        if code is None:
            raise
        raise Error(code, "the database cannot do it now", DATABASE_RETRY_AFTER_S) from failed
