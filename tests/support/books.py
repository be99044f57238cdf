"""A control with its books in memory: what streams carry, over a database that outlives a crash."""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from sqlalchemy import select

from control.accounts.handlers import IssueCredential, Tools, issue_credential
from control.accounts.model import Account, CredentialKind
from control.billing.ledger import Unit
from control.billing.usage import usage_account
from control.database import MemoryDatabase
from control.facts.intake import FactIntake
from control.facts.plan import SetAside
from control.fleet.model import Fleet
from control.fleet.publisher import Publisher
from control.keystore import open_keystore
from control.rpc.fleet import DEFAULT_TIMING, FleetService, Timing, Truth
from control.rpc.lanes import Intake
from control.rpc.snapshots import Snapshots
from control.tables import outcome
from control.unit_of_work import Database, UnitOfWork
from control.uploads.feed import EventFeed
from control.uploads.receiving import ReceivingBook
from tests.control.builders import ROOTS, account, destination, with_account
from tests.support.fleet import LoopClock
from zentransfer.errors import Code, Error
from zentransfer.ids import IdMaker
from zentransfer.memory_disk import MemoryDisk
from zentransfer.stream import MessageStream, StreamClosed
from zentransfer.v1.fleet_pb2 import FetchSnapshotRequest, FetchSnapshotResponse

FetchStream = MessageStream[FetchSnapshotResponse, FetchSnapshotRequest]


class SlowDatabase:
    """A database whose commits take a while: control may die before one, and right behind it."""

    def __init__(self, inner: Database, chance: random.Random, most_s: float) -> None:
        self.inner = inner
        self._chance = chance
        self._most_s = most_s

    @asynccontextmanager
    async def write(self) -> AsyncGenerator[UnitOfWork, None]:
        async with self.inner.write() as uow:
            yield uow
            await asyncio.sleep(self._chance.uniform(0, self._most_s))
        await asyncio.sleep(self._chance.uniform(0, self._most_s))

    @asynccontextmanager
    async def read(self) -> AsyncGenerator[UnitOfWork, None]:
        async with self.inner.read() as uow:
            yield uow

    async def close(self) -> None:
        await self.inner.close()


class Books:
    """What control keeps: made once, and used by every life of control."""

    def __init__(self, database: Database, kit: Tools, owner: Account) -> None:
        self.database = database
        self.kit = kit
        self.owner = owner
        self._names = 0

    @classmethod
    async def open(cls, seed: int = 0) -> "Books":
        """Return the books of one account, nina's, with a destination and a workflow."""
        chance = random.Random(seed)
        keys = await open_keystore(MemoryDisk(random.Random(seed)), chance.randbytes)
        kit = Tools(IdMaker(chance.randbytes), keys, chance.randbytes, ROOTS)
        database = MemoryDatabase()
        async with database.write() as uow:
            owner = await with_account(uow, "nina")
        await keys.make_account(owner.id)
        assert owner == account("nina")
        return cls(database, kit, owner)

    async def issue(self) -> str:
        """Issue a credential; return the name that it is looked up by."""
        async with self.database.write() as uow:
            command = IssueCredential(self.owner.id, CredentialKind.API, "made")
            issued = await issue_credential(command, uow, LoopClock().now_ms(), self.kit)
        return issued.credential.name

    async def add_destinations(self, count: int) -> None:
        """Add destinations with long addresses, so that the snapshot grows."""
        async with self.database.write() as uow:
            for _ in range(count):
                self._names += 1
                long = f"/srv/{self._names}/" + "x" * 1_000
                made = destination(self.owner, self._names, address=long)
                await uow.workflows.add_destination(made)

    async def outcomes(self) -> dict[str, int]:
        """Return the size of every upload that is known, by its id."""
        async with self.database.read() as uow:
            rows = await uow.connection.rows(select(outcome.c.upload_id, outcome.c.size_bytes))
        return {row["upload_id"]: row["size_bytes"] for row in rows}

    async def used_bytes(self) -> int:
        """Return what the ledger says that nina used."""
        async with self.database.read() as uow:
            balance = await uow.ledger.balance(usage_account(self.owner.id))
        return balance.get(Unit.BYTE, 0)

    async def aside(self) -> list[SetAside]:
        """Return the facts that were set aside."""
        async with self.database.read() as uow:
            return await uow.facts.quarantined(1_000)


class Life:
    """One life of control over its books."""

    def __init__(
        self,
        books: Books,
        database: Database | None = None,
        timing: Timing = DEFAULT_TIMING,
        intake: Intake | None = None,
    ) -> None:
        database = database or books.database
        clock = LoopClock()
        self.books = books
        self.fleet = Fleet()
        self.publisher = Publisher(database, books.kit.keys, clock)
        self.snapshots = Snapshots(self.publisher)
        self.receiving = ReceivingBook()
        self.intake = intake or FactIntake(database, clock, EventFeed(), self.receiving)
        truth = Truth(self.intake, self.snapshots, receiving=self.receiving)
        self.service = FleetService(self.fleet, clock, books.kit.ids, timing, truth)

    async def run(self) -> None:
        """Publish what changes and let time pass, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.publisher.run(self.service.publish))
            group.create_task(self.service.watch())

    async def change(self) -> None:
        """Issue a credential, as the API does, and say so."""
        await self.books.issue()
        self.publisher.touch()

    async def serve_fetch(self, stream: FetchStream) -> None:
        """Give out parts of a snapshot over a stream in memory."""
        with suppress(StreamClosed):
            for part in self.snapshots.parts(await stream.receive()):
                await stream.send(part)


async def fetched(
    stream: MessageStream[FetchSnapshotRequest, FetchSnapshotResponse],
    request: FetchSnapshotRequest,
) -> AsyncGenerator[FetchSnapshotResponse, None]:
    """Yield what :meth:`Life.serve_fetch` gives, and end where it ends."""
    try:
        await stream.send(request)
        while True:
            yield await stream.receive()
    except StreamClosed as closed:
        if closed.code is not None:
            raise Error(Code(closed.code)) from None
    finally:
        await stream.close()
