import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from control.uploads.commands import Command, CommandKind
from edge import snapshot as edge_snapshot
from edge import snapshot_wire
from tests.support.books import Books, Life
from tests.support.fleet import CONTROL
from tests.support.real_loop import real_loop
from tests.support.sim import simulate
from zentransfer import rpc
from zentransfer.errors import Code, Error
from zentransfer.ids import CommandID, IdMaker, Kind, NodeID, Region, UploadID
from zentransfer.limits import (
    COMMANDS_QUEUED_MAX,
    FLEET_COMMANDS_MAX,
    FLEET_OFFER_S,
    SNAPSHOT_DELTA_BYTES_MAX,
    SNAPSHOT_PART_BYTES,
)
from zentransfer.network import MemoryNetwork
from zentransfer.stream import MessageStream
from zentransfer.v1 import fleet_pb2, types_pb2
from zentransfer.v1.fleet_pb2 import (
    ConnectRequest,
    ConnectResponse,
    FetchSnapshotRequest,
    FetchSnapshotResponse,
)
from zentransfer.v1.fleet_pb2_grpc import FleetServiceStub

Near = MessageStream[ConnectRequest, ConnectResponse]
MAKE = IdMaker(Random(4).randbytes)
US = types_pb2.Identity(node="fr-1", process="ingest-0")


class Node:
    """A process that holds a snapshot and says by hand what its link would."""

    def __init__(self, stream: Near, held: edge_snapshot.Snapshot | None = None) -> None:
        self.stream = stream
        self.held = held
        self.deltas = 0
        self.wholes = 0

    @property
    def version(self) -> int:
        return self.held.version if self.held else 0

    async def beat(self) -> None:
        beaten = fleet_pb2.Heartbeat(
            observed=fleet_pb2.OBSERVED_STATE_SERVING, snapshot_version=self.version
        )
        await self.stream.send(ConnectRequest(heartbeat=beaten))

    async def heard(self, within_s: float = 0.5) -> ConnectResponse | None:
        """Return the next message that is no echo; ``None`` if none comes in time."""
        try:
            async with asyncio.timeout(within_s):
                while (message := await self.stream.receive()).HasField("echo"):
                    pass
                return message
        except TimeoutError:
            return None

    async def ack(self, version: int, nonce: str) -> None:
        ack = fleet_pb2.SnapshotAck(version=version, nonce=nonce)
        await self.stream.send(ConnectRequest(ack=ack))

    async def nack(self, nonce: str, reason: str) -> None:
        nack = fleet_pb2.SnapshotNack(nonce=nonce, reason=reason, serving_version=self.version)
        await self.stream.send(ConnectRequest(nack=nack))

    async def take(self, life: Life) -> ConnectResponse | None:
        """Take what is offered as a sound process does; return the offer."""
        offer = await self.heard()
        if offer is not None and offer.HasField("delta"):
            assert self.held is not None
            change = snapshot_wire.delta(offer.delta, Region.FR)
            self.held, self.deltas = edge_snapshot.applied(self.held, change), self.deltas + 1
            await self.ack(offer.delta.to_version, offer.delta.nonce)
        elif offer is not None and offer.HasField("snapshot"):
            request = FetchSnapshotRequest(identity=US, version=offer.snapshot.version)
            data = b"".join(part.part for part in life.snapshots.parts(request))
            assert hashlib.sha256(data).digest() == offer.snapshot.digest.value
            assert len(data) == offer.snapshot.size_bytes
            self.held, self.wholes = snapshot_wire.snapshot(data), self.wholes + 1
            await self.ack(offer.snapshot.version, offer.snapshot.nonce)
        return offer


class Desk:
    """A control over books, to be dialled in memory."""

    def __init__(self, network: MemoryNetwork, life: Life) -> None:
        self.network = network
        self.life = life

    async def joined(
        self, held: edge_snapshot.Snapshot | None = None, name: str = "fr-1/ingest-0", **fields: Any
    ) -> Node:
        node, _, process = name.partition("/")
        stream: Near = await self.network.dial(name, CONTROL)
        kind = f"PROCESS_KIND_{process.partition('-')[0].upper()}"
        given: dict[str, Any] = {
            "identity": types_pb2.Identity(node=node, process=process, epoch=MAKE.make(Kind.EPOCH)),
            "kind": kind,
            "region": f"REGION_{node[:2].upper()}",
            "proto_min": 1,
            "proto_max": 1,
            "snapshot_version": held.version if held else 0,
            "snapshot_digest": types_pb2.Digest(value=held.digest) if held else None,
        }
        await stream.send(ConnectRequest(hello=fleet_pb2.Hello(**given | fields)))
        assert (await stream.receive()).HasField("welcome")
        made = Node(stream, held)
        await made.beat()
        return made

    async def change(self) -> None:
        await self.life.change()

    @property
    def version(self) -> int:
        return self.life.publisher.current(Region.FR).version


@asynccontextmanager
async def running(books: Books | None = None) -> AsyncIterator[Desk]:
    async with MemoryNetwork(Random(1)) as network, asyncio.TaskGroup() as group:
        life = Life(books or await Books.open())
        await life.publisher.refresh()
        network.listen(CONTROL, life.service.serve_stream)
        run = group.create_task(life.run())
        yield Desk(network, life)
        run.cancel()


def test_a_new_node_gets_the_whole_and_then_changes_as_they_happen() -> None:
    async def main() -> None:
        async with running() as desk:
            node = await desk.joined()
            await node.take(desk.life)
            assert (node.version, node.wholes) == (1, 1)
            assert await node.heard() is None
            for _ in range(3):
                before_s = asyncio.get_running_loop().time()
                await desk.change()
                await node.take(desk.life)
                assert asyncio.get_running_loop().time() - before_s < 1
            assert (node.version, node.wholes, node.deltas) == (4, 1, 3)
            assert node.held is not None
            assert node.held.digest == desk.life.publisher.current(Region.FR).digest
            assert len(node.held.names) == 3

    simulate(main())


def test_a_node_that_has_the_newest_version_is_offered_nothing() -> None:
    async def main() -> None:
        async with running() as desk:
            node = await desk.joined()
            await node.take(desk.life)
            again = await desk.joined(node.held)
            assert await again.heard() is None

    simulate(main())


def test_a_node_that_was_away_gets_a_delta_while_control_knows_where_it_was() -> None:
    async def main() -> None:
        books = await Books.open()
        async with running(books) as desk:
            node = await desk.joined()
            await node.take(desk.life)
            for _ in range(3):
                await desk.change()
                await asyncio.sleep(0.1)
            back = await desk.joined(node.held)
            await back.take(desk.life)
            assert (back.version, back.deltas) == (4, 1)
        async with running(books) as desk:  # a control that forgot: it has the newest only
            old = await desk.joined(node.held)
            await old.take(desk.life)
            assert (old.version, old.wholes) == (4, 1)

    simulate(main())


def test_a_node_busy_with_one_offer_skips_to_the_newest() -> None:
    async def main() -> None:
        async with running() as desk:
            node = await desk.joined()
            await node.take(desk.life)
            await desk.change()
            offer = await node.heard()
            assert offer is not None
            for _ in range(5):
                await desk.change()
                await asyncio.sleep(0.1)
            assert await node.heard() is None
            assert node.held is not None
            node.held = edge_snapshot.applied(
                node.held, snapshot_wire.delta(offer.delta, Region.FR)
            )
            await node.ack(2, offer.delta.nonce)
            await node.take(desk.life)
            assert (node.version, node.deltas) == (7, 1)

    simulate(main())


def test_a_delta_that_was_refused_is_followed_by_the_whole() -> None:
    async def main() -> None:
        async with running() as desk:
            node = await desk.joined()
            await node.take(desk.life)
            for reason, then in ((Code.VERSION_MISMATCH, "delta"), (Code.DAMAGED, "snapshot")):
                await desk.change()
                offer = await node.heard()
                assert offer is not None
                await node.nack(offer.delta.nonce, reason)
                whole = await node.take(desk.life)
                assert whole is not None
                assert whole.HasField("snapshot")
                await desk.change()
                following = await node.take(desk.life)
                assert following is not None
                assert following.WhichOneof("body") == then
            assert node.version == desk.version

    simulate(main())


@pytest.mark.reaches("FLEET_OFFER_S")
@pytest.mark.parametrize("answers", [True, False], ids=["refused", "silent"])
def test_an_offer_that_came_to_nothing_is_made_again_later(answers: bool) -> None:
    async def main() -> None:
        async with running() as desk:
            node = await desk.joined()
            offer = await node.heard()
            assert offer is not None
            if answers:
                await node.nack(offer.snapshot.nonce, Code.INSUFFICIENT_STORAGE)
            await asyncio.sleep(FLEET_OFFER_S - 2)
            await node.beat()
            assert await node.heard() is None
            await asyncio.sleep(2)
            await node.beat()
            await node.take(desk.life)
            assert node.version == 1

    simulate(main())


def test_a_whole_that_is_being_fetched_is_kept_while_the_next_one_is_offered() -> None:
    async def main() -> None:
        async with running() as desk:
            for wanted in (1, 2, 3):
                await (await desk.joined()).heard()  # who is new is offered the whole
                for version in range(1, wanted + 1):
                    request = FetchSnapshotRequest(identity=US, version=version)
                    if version > wanted - 2:
                        assert list(desk.life.snapshots.parts(request))
                        continue
                    with pytest.raises(Error) as gone:
                        desk.life.snapshots.parts(request)
                    assert gone.value.code is Code.GONE
                await desk.change()
                await asyncio.sleep(0.1)

    simulate(main())


def test_a_whole_that_is_gone_is_followed_by_the_newest_at_once() -> None:
    async def main() -> None:
        async with running() as desk:
            node = await desk.joined()
            offer = await node.heard()
            assert offer is not None
            await desk.change()
            await asyncio.sleep(0.1)
            await node.nack(offer.snapshot.nonce, Code.GONE)
            await node.take(desk.life)
            assert node.version == 2

    simulate(main())


def test_an_answer_to_an_older_offer_is_nobody_s() -> None:
    async def main() -> None:
        async with running() as desk:
            node = await desk.joined()
            offer = await node.heard()
            assert offer is not None
            await node.ack(1, "another")
            await node.nack("another", Code.DAMAGED)
            await node.ack(1, offer.snapshot.nonce)
            await desk.change()
            following = await node.heard()
            assert following is not None
            assert following.HasField("delta")

    simulate(main())


def test_a_version_of_another_history_is_outrun_and_one_of_the_same_number_replaced() -> None:
    async def main() -> None:
        async with running(await Books.open(1)) as other:
            for _ in range(5):
                await other.change()
                await asyncio.sleep(0.1)
            stranger = await other.joined()
            await stranger.take(other.life)
            assert stranger.version == 6
        async with running() as desk:  # it came back from a backup, without what was changed since
            node = await desk.joined(stranger.held)
            await node.take(desk.life)
            assert (node.version, node.wholes) == (7, 1)
            assert node.held is not None
            assert node.held.digest == desk.life.publisher.current(Region.FR).digest
        async with running() as desk:
            for _ in range(5):
                await desk.change()
                await asyncio.sleep(0.1)
            node = await desk.joined(stranger.held)
            await node.take(desk.life)
            assert (node.version, node.wholes) == (6, 1)

    simulate(main())


@pytest.mark.reaches("SNAPSHOT_DELTA_BYTES_MAX", "SNAPSHOT_PART_BYTES")
def test_a_large_change_is_fetched_in_parts() -> None:
    async def main() -> None:
        books = await Books.open()
        async with running(books) as desk:
            node = await desk.joined()
            await node.take(desk.life)
            await books.add_destinations(2 * SNAPSHOT_DELTA_BYTES_MAX // 1_000 + 100)
            desk.life.publisher.touch()
            offer = await node.heard(5)
            assert offer is not None
            assert offer.HasField("snapshot")
            request = FetchSnapshotRequest(identity=US, version=offer.snapshot.version)
            parts = list(desk.life.snapshots.parts(request))
            assert [len(part.part) for part in parts[:-1]] == [SNAPSHOT_PART_BYTES] * 2
            assert [part.last for part in parts] == [False, False, True]
            assert [part.offset for part in parts] == [n * SNAPSHOT_PART_BYTES for n in range(3)]
            assert sum(len(part.part) for part in parts) == offer.snapshot.size_bytes

    simulate(main())


def test_a_node_gets_its_own_region_s_snapshot_only() -> None:
    async def main() -> None:
        async with running() as desk:
            await desk.change()
            await asyncio.sleep(0.1)
            found = {}
            for node in ("us-1", "fr-1", "sg-1"):
                whoever = types_pb2.Identity(node=node, process="ingest-0")
                request = FetchSnapshotRequest(identity=whoever, version=2)
                data = b"".join(part.part for part in desk.life.snapshots.parts(request))
                found[node] = snapshot_wire.snapshot(data)
            assert [one.region for one in found.values()] == [Region.US, Region.FR, Region.SG]
            verifiers = {next(iter(one.names.values())).verifier for one in found.values()}
            assert len(verifiers) == 3
            with pytest.raises(Error):
                desk.life.snapshots.parts(FetchSnapshotRequest(version=2))

    simulate(main())


def test_a_snapshot_is_fetched_over_grpc_and_refused_with_its_code() -> None:
    async def main() -> None:
        books = await Books.open()
        await books.add_destinations(SNAPSHOT_PART_BYTES // 1_000 + 100)
        life = Life(books)
        await life.publisher.refresh()
        async with rpc.server("127.0.0.1:0", life.service.register) as port:
            channel = rpc.channel(f"127.0.0.1:{port}")
            method = FleetServiceStub(channel).FetchSnapshot
            request = FetchSnapshotRequest(identity=US, version=1)
            asked: AsyncIterator[FetchSnapshotResponse] = rpc.ask_parts(method, request)
            parts = [part async for part in asked]
            data = b"".join(part.part for part in parts)
            assert snapshot_wire.snapshot(data).version == 1
            assert len(parts) == 2
            request.version = 9
            with pytest.raises(Error) as gone:
                await anext(aiter(rpc.ask_parts(method, request)))
            assert gone.value.code is Code.GONE
            await channel.close()

    real_loop(main())


# --- owners' commands ---


def command(kind: CommandKind = CommandKind.CANCEL, node: str = "fr-1") -> Command:
    upload = UploadID(MAKE.make(Kind.UPLOAD))
    return Command(
        id=CommandID(MAKE.make(Kind.COMMAND)),
        kind=kind,
        argument=upload if kind is CommandKind.CANCEL else MAKE.make(Kind.DELIVERY),
        account_id=MAKE.make(Kind.ACCOUNT),  # type: ignore[arg-type]  # any will do
        upload_id=upload,
        region=Region.FR,
        node=NodeID(node),
    )


async def commanded(node: Node, within_s: float = 0.5) -> fleet_pb2.Command | None:
    while (message := await node.heard(within_s)) is not None:
        if message.HasField("command"):
            return message.command
    return None


async def done(node: Node, name: str, state: str = "COMMAND_STATE_DONE") -> None:
    answer: Any = {"id": name, "state": state}
    await node.stream.send(ConnectRequest(done=fleet_pb2.CommandDone(**answer)))


def test_a_command_goes_to_a_delivery_process_of_the_node_that_has_the_upload() -> None:
    async def main() -> None:
        async with running() as desk:
            others = [await desk.joined(name=name) for name in ("fr-1/ingest-0", "fr-2/delivery-0")]
            second = await desk.joined(name="fr-1/delivery-1")
            first = await desk.joined(name="fr-1/delivery-0")
            await asyncio.sleep(0.1)
            for kind in CommandKind:
                asked = command(kind)
                await desk.life.service.send(asked)
                got = await commanded(first)
                assert got is not None
                assert (got.id, got.argument) == (asked.id, asked.argument)
                assert fleet_pb2.CommandKind.Name(got.kind) == f"COMMAND_KIND_{kind.upper()}"
                await done(first, asked.id)
            for node in (*others, second):
                assert await commanded(node) is None

    simulate(main())


def test_a_command_waits_for_its_node_and_is_told_again_until_it_is_answered() -> None:
    async def main() -> None:
        async with running() as desk:
            asked = command()
            await desk.life.service.send(asked)
            elsewhere = await desk.joined(name="fr-2/delivery-0")
            assert await commanded(elsewhere) is None
            for _ in range(2):
                node = await desk.joined(name="fr-1/delivery-0")
                got = await commanded(node)
                assert got is not None
                assert got.id == asked.id
                await node.stream.close()
                await asyncio.sleep(1)
            node = await desk.joined(name="fr-1/delivery-0")
            await commanded(node)
            await done(node, asked.id, "COMMAND_STATE_REFUSED")
            await node.stream.close()
            await asyncio.sleep(1)
            assert await commanded(await desk.joined(name="fr-1/delivery-0")) is None

    simulate(main())


@pytest.mark.reaches("FLEET_COMMANDS_MAX", "COMMANDS_QUEUED_MAX")
def test_a_node_gets_no_more_commands_at_once_than_it_can_answer() -> None:
    async def main() -> None:
        async with running() as desk:
            for _ in range(COMMANDS_QUEUED_MAX):
                await desk.life.service.send(command())
            with pytest.raises(Error) as full:
                await desk.life.service.send(command())
            assert full.value.code is Code.OVERLOADED
            node = await desk.joined(name="fr-1/delivery-0")
            names = set()
            while (got := await commanded(node)) is not None:
                names.add(got.id)
                if len(names) > FLEET_COMMANDS_MAX:
                    await done(node, got.id)
                elif len(names) == FLEET_COMMANDS_MAX:
                    assert await commanded(node) is None
                    for name in names:
                        await done(node, name)
            assert len(names) == COMMANDS_QUEUED_MAX

    simulate(main())
