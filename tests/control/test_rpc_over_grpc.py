"""A node's link and control's books over real gRPC: facts up, snapshots down, and again."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

import pytest

from control.rpc.fleet import Timing
from edge.facts import pack_fact
from edge.link import Cargo, Link
from edge.link import Timing as LinkTiming
from edge.link_snapshot import SnapshotReceiver
from edge.outbox import Outbox, open_outbox
from edge.snapshot_file import SnapshotFile, open_snapshot_file
from tests.support import told
from tests.support.books import Books, Life
from tests.support.fleet import ToyProcess, identity
from tests.support.real_loop import real_loop
from zentransfer import rpc
from zentransfer.clock import SystemClock
from zentransfer.ids import EpochID, IdMaker, Kind, NodeID, Region
from zentransfer.memory_disk import MemoryDisk
from zentransfer.rpc_stream import Dialler
from zentransfer.v1 import types_pb2
from zentransfer.v1.fleet_pb2 import (
    ConnectRequest,
    ConnectResponse,
    FetchSnapshotRequest,
    FetchSnapshotResponse,
)
from zentransfer.v1.fleet_pb2_grpc import FleetServiceStub

FAST = Timing(heartbeat_s=0.05, hello_s=2.0, silence_s=1.0, tick_s=0.05)
MAKE = IdMaker(Random(1).randbytes)
FR1 = NodeID("fr-1")


@asynccontextmanager
async def served(books: Books) -> AsyncIterator[tuple[Life, str]]:
    """Live one life of control."""
    life = Life(books, timing=FAST)
    await life.publisher.refresh()
    async with (
        rpc.server("127.0.0.1:0", life.service.register) as port,
        asyncio.TaskGroup() as group,
    ):
        run = group.create_task(life.run())
        yield life, f"127.0.0.1:{port}"
        run.cancel()


class Node:
    """A process of fr-1 with a disk in memory."""

    address = ""

    def __init__(self, outbox: Outbox, file: SnapshotFile) -> None:
        self.outbox = outbox
        self.file = file
        owner = ToyProcess()
        owner.cargo = Cargo(outbox, SnapshotReceiver(file, self._fetch, FR1))
        self.dialler = Dialler[ConnectRequest, ConnectResponse](
            lambda: rpc.channel(self.address), lambda channel: FleetServiceStub(channel).Connect
        )
        who = identity("fr-1/ingest-0", Random(1))
        timing = LinkTiming(heartbeat_s_min=0.02)
        self.link = Link(who, self.dialler.dial, owner, SystemClock(), Random(1), timing)

    @classmethod
    async def open(cls) -> "Node":
        disk = MemoryDisk(Random(1))
        outbox = await open_outbox(disk, "outbox", lambda: EpochID(MAKE.make(Kind.EPOCH)))
        return cls(outbox, open_snapshot_file(disk, "snapshot", Region.FR))

    async def _fetch(self, version: int) -> AsyncGenerator[FetchSnapshotResponse, None]:
        channel = rpc.channel(self.address)
        who = types_pb2.Identity(node="fr-1", process="ingest-0")
        request = FetchSnapshotRequest(identity=who, version=version)
        asked: AsyncIterator[FetchSnapshotResponse] = rpc.ask_parts(
            FleetServiceStub(channel).FetchSnapshot, request
        )
        async for part in asked:
            yield part
        await channel.close()

    async def tell(self, books: Books, count: int) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                fact = told.fact(MAKE, told.outcome(MAKE, books.owner.id, 1_000))
                group.create_task(self.outbox.add(pack_fact(fact)))


async def until(holds: Callable[[], bool], within_s: float = 20) -> None:
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("uvloop", [False, True], ids=["asyncio", "uvloop"])
def test_facts_go_up_and_snapshots_down_through_two_lives_of_control(uvloop: bool) -> None:
    async def main() -> None:
        books, node = await Books.open(), await Node.open()
        async with node.dialler, asyncio.TaskGroup() as group:
            async with served(books) as (life, node.address):
                run = group.create_task(node.link.run())
                await node.tell(books, 500)
                await until(lambda: node.outbox.lag == 0 and node.file.version == 1)
                await life.change()
                await until(lambda: node.file.version == 2)
            await node.tell(books, 300)
            assert node.outbox.lag == 300
            await books.issue()
            async with served(books) as (life, node.address):
                await until(lambda: node.outbox.lag == 0 and node.file.version == 3)
                assert node.file.current is not None
                assert node.file.current.digest == life.publisher.current(Region.FR).digest
                await node.link.aclose()
                await run
        assert len(await books.outcomes()) == 800
        assert await books.used_bytes() == 800_000

    real_loop(main(), uvloop=uvloop)
