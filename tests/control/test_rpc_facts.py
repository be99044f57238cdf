import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from control.facts.apply import Applied
from control.facts.model import Batch, CredentialMiss, Reason, Unknown
from control.rpc import facts
from control.rpc.lanes import Intake
from edge import facts_wire
from edge.facts import Fact, Outcome, pack_fact
from tests.support import told
from tests.support.books import Books, Life
from tests.support.fleet import CONTROL
from tests.support.sim import simulate
from zentransfer import log
from zentransfer.errors import Code, Error
from zentransfer.ids import EpochID, IdMaker, Kind, NodeID, ProcessName, UploadID
from zentransfer.limits import DATABASE_RETRY_AFTER_S, FLEET_CREDIT, OUTBOX_BATCH_FACTS_MAX
from zentransfer.network import MemoryNetwork
from zentransfer.stream import MessageStream, StreamClosed
from zentransfer.v1 import facts_pb2, fleet_pb2, types_pb2
from zentransfer.v1.facts_pb2 import FactBatch
from zentransfer.v1.fleet_pb2 import ConnectRequest, ConnectResponse

Near = MessageStream[ConnectRequest, ConnectResponse]
MAKE = IdMaker(Random(1).randbytes)
EPOCH = EpochID(MAKE.make(Kind.EPOCH))
NODE, PROCESS = NodeID("fr-1"), ProcessName("ingest-0")


# --- what a batch says ---


def parsed(*messages: facts_pb2.Fact, **fields: Any) -> Batch:
    given: dict[str, Any] = {"epoch": EPOCH, "first_sequence": 1, "facts": messages}
    return facts.batch(FactBatch(**given | fields), NODE, PROCESS, 0)


@pytest.mark.parametrize(
    "fields",
    [
        {"epoch": "ours"},
        {"first_sequence": 0},
        {"first_sequence": 2},
        {"facts": []},
        {"facts": [facts_pb2.Fact(sequence=1), facts_pb2.Fact(sequence=3)]},
        {"facts": [facts_pb2.Fact(sequence=n) for n in range(1, OUTBOX_BATCH_FACTS_MAX + 2)]},
    ],
    ids=["epoch", "from 0", "another first", "empty", "a hole", "too many"],
)
def test_what_is_no_run_of_facts_is_refused_as_a_whole(fields: dict[str, Any]) -> None:
    with pytest.raises(Error) as refused:
        parsed(facts_pb2.Fact(sequence=1), **fields)
    assert refused.value.code is Code.INVALID


NEWER: Any = 99
MANY = {
    "outcome": facts_pb2.Outcome(state=NEWER, region=types_pb2.REGION_FR),
    "delivery_change": facts_pb2.DeliveryChange(state=NEWER),
    "deletion_receipt": facts_pb2.DeletionReceipt(reason=NEWER, region=types_pb2.REGION_FR),
    "abuse": facts_pb2.AbuseCount(count=1),
    "rollup": facts_pb2.Rollup(length_ms=1),
}


@pytest.mark.parametrize("kind", MANY)
def test_a_fact_of_a_newer_release_is_told_apart_and_refuses_nothing(kind: str) -> None:
    content: dict[str, Any] = {kind: MANY[kind]}
    missed = facts_pb2.CredentialMiss(credential_id="cr_x", count=2)
    batch = parsed(
        facts_pb2.Fact(sequence=1, **content),
        facts_pb2.Fact(sequence=2, credential_miss=missed),
        facts_pb2.Fact(sequence=3),
    )
    assert [fact.body for fact in batch.facts] == [
        Unknown(kind),
        CredentialMiss("cr_x", 2),
        Unknown("none"),
    ]


def test_a_digest_of_another_algorithm_is_not_taken_for_ours() -> None:
    good = facts_wire.fact(1, pack_fact(told.fact(MAKE, told.outcome(MAKE, OWNER))))
    good.outcome.digest.algorithm = NEWER
    assert [fact.body for fact in parsed(good).facts] == [Unknown("outcome")]


# --- over a stream ---

OWNER = simulate(Books.open()).owner.id


class Node:
    """A process of fr-1 that says by hand what its link would."""

    def __init__(self, stream: Near, welcome: fleet_pb2.Welcome) -> None:
        self.stream = stream
        self.welcome = welcome

    async def send(self, first: int, *payloads: bytes, epoch: str = EPOCH) -> None:
        batch = facts_wire.batch(EpochID(epoch), first, payloads)
        await self.stream.send(ConnectRequest(facts=batch))

    async def heard(self) -> fleet_pb2.FactsAck:
        while True:
            message = await self.stream.receive()
            if message.HasField("facts_ack"):
                return message.facts_ack

    async def end(self) -> StreamClosed:
        try:
            while True:
                await self.stream.receive()
        except StreamClosed as closed:
            return closed


def hello(**fields: Any) -> ConnectRequest:
    given: dict[str, Any] = {
        "identity": types_pb2.Identity(node=NODE, process=PROCESS, epoch=MAKE.make(Kind.EPOCH)),
        "kind": types_pb2.PROCESS_KIND_INGEST,
        "region": types_pb2.REGION_FR,
        "proto_min": 1,
        "proto_max": 1,
        "outbox_epoch": EPOCH,
        "outbox_first_sequence": 1,
    }
    return ConnectRequest(hello=fleet_pb2.Hello(**given | fields))


class Desk:
    """A control over books, to be dialled in memory."""

    def __init__(self, network: MemoryNetwork, life: Life) -> None:
        self.network = network
        self.life = life

    async def joined(self, **fields: Any) -> Node:
        stream: Near = await self.network.dial("fr-1/ingest-0", CONTROL)
        await stream.send(hello(**fields))
        return Node(stream, (await stream.receive()).welcome)


@asynccontextmanager
async def running(books: Books, intake: Intake | None = None) -> AsyncIterator[Desk]:
    async with MemoryNetwork(Random(1)) as network:
        life = Life(books, intake=intake)
        await life.publisher.refresh()
        network.listen(CONTROL, life.service.serve_stream)
        yield Desk(network, life)


def payload(size_bytes: int = 1_000) -> bytes:
    return pack_fact(told.fact(MAKE, told.outcome(MAKE, OWNER, size_bytes)))


def test_facts_are_committed_and_acked_and_the_next_stream_goes_on_behind_them() -> None:
    async def main() -> None:
        books = await Books.open()
        async with running(books) as desk:
            node = await desk.joined()
            assert node.welcome.credit == FLEET_CREDIT
            assert (node.welcome.resume_from.epoch, node.welcome.resume_from.sequence) == (EPOCH, 1)
            await node.send(1, payload(10), payload(20))
            ack = await node.heard()
            assert (ack.epoch, ack.sequence, ack.resume_from) == (EPOCH, 2, 0)
            assert await books.used_bytes() == 30
            await node.stream.close()
            assert (await desk.joined()).welcome.resume_from.sequence == 3
        async with running(books) as desk:  # and so it does with the next life of control
            assert (await desk.joined()).welcome.resume_from.sequence == 3
            assert (await desk.joined(outbox_epoch="")).welcome.credit == 0
            other = EpochID(MAKE.make(Kind.EPOCH))
            assert (await desk.joined(outbox_epoch=other)).welcome.resume_from.sequence == 1

    simulate(main())


def test_duplicates_and_other_cuts_of_the_batches_change_nothing() -> None:
    async def main() -> None:
        books = await Books.open()
        payloads = [payload(1) for _ in range(6)]
        async with running(books) as desk:
            node = await desk.joined()
            for first, last in ((1, 3), (1, 3), (2, 5), (1, 6), (6, 6)):
                await node.send(first, *payloads[first - 1 : last])
                assert (await node.heard()).sequence >= last
        assert await books.used_bytes() == 6
        assert await books.aside() == []

    simulate(main())


def test_of_a_gap_the_node_is_told_once_and_nothing_behind_it_is_applied() -> None:
    async def main() -> None:
        books = await Books.open()
        async with running(books) as desk:
            node = await desk.joined()
            await node.send(1, payload(1))
            assert (await node.heard()).sequence == 1
            for first in (3, 4, 5):
                await node.send(first, payload(1))
            ack = await node.heard()
            assert (ack.sequence, ack.resume_from) == (1, 2)
            await node.send(2, payload(1))
            ack = await node.heard()
            assert (ack.sequence, ack.resume_from) == (2, 0)
            assert await books.used_bytes() == 2
            await node.send(4, payload(1))
            assert (await node.heard()).resume_from == 3, "a new gap is told of"

    simulate(main())


def test_a_poisoned_fact_is_set_aside_and_the_ledger_goes_on() -> None:
    async def main() -> None:
        books = await Books.open()
        async with running(books) as desk:
            node = await desk.joined()
            await node.send(1, payload(1), b"\xc1 nobody can read this", payload(1))
            assert (await node.heard()).sequence == 3
            await node.send(4, payload(1))
            assert (await node.heard()).sequence == 4
        assert await books.used_bytes() == 3
        assert [(one.sequence, one.reason) for one in await books.aside()] == [
            (2, Reason.UNKNOWN_KIND)
        ]

    simulate(main())


def test_facts_that_left_the_outbox_for_good_do_not_hold_up_the_others() -> None:
    async def main() -> None:
        books = await Books.open()
        async with running(books) as desk:
            node = await desk.joined(outbox_first_sequence=8)
            assert node.welcome.resume_from.sequence == 8
            await node.send(8, payload(5))
            assert (await node.heard()).sequence == 8
        assert [one.reason for one in await books.aside()] == [Reason.LOST]

    simulate(main())


def test_what_is_no_batch_of_this_outbox_ends_the_stream() -> None:
    async def main() -> None:
        books = await Books.open()
        async with running(books) as desk:
            for first, epoch in ((1, MAKE.make(Kind.EPOCH)), (1, "ours"), (0, EPOCH)):
                node = await desk.joined()
                await node.send(first, payload(), epoch=epoch)
                assert (await node.end()).code == Code.INVALID
            without = await desk.joined(outbox_epoch="")
            await without.send(1, payload())
            assert (await without.end()).code == Code.INVALID
        assert await books.outcomes() == {}

    simulate(main())


@pytest.mark.parametrize(
    "fields",
    [
        {"outbox_epoch": "ours"},
        {"outbox_first_sequence": 2**63},
        {"snapshot_version": 2**63},
    ],
    ids=str,
)
def test_a_hello_that_no_process_of_ours_says_is_refused(fields: dict[str, Any]) -> None:
    async def main() -> None:
        async with running(await Books.open()) as desk:
            stream: Near = await desk.network.dial("fr-1/ingest-0", CONTROL)
            await stream.send(hello(**fields))
            with pytest.raises(StreamClosed) as closed:
                await stream.receive()
            assert closed.value.code == Code.INVALID

    simulate(main())


# --- the ack and the commit ---


class Scripted(Intake):
    """An intake that takes its time, or cannot, as a test says."""

    def __init__(self) -> None:
        self.taken: list[Batch] = []
        self.may_commit = asyncio.Event()
        self.failures: list[Error] = []

    async def take(self, batch: Batch) -> Applied:
        if self.failures:
            raise self.failures.pop(0)
        await self.may_commit.wait()
        self.taken.append(batch)
        return Applied(batch.last_sequence)

    async def resume(
        self, node: NodeID, process: ProcessName, epoch: EpochID, first_kept: int
    ) -> int:
        if self.failures:
            raise self.failures.pop(0)
        return first_kept


def beat(offset_ms: int = 0) -> ConnectRequest:
    beaten = fleet_pb2.Heartbeat(
        observed=fleet_pb2.OBSERVED_STATE_SERVING, clock_offset_ms=offset_ms
    )
    return ConnectRequest(heartbeat=beaten)


def test_no_ack_leaves_before_the_commit_and_heartbeats_do_not_wait_for_it() -> None:
    async def main() -> None:
        intake = Scripted()
        async with running(await Books.open(), intake) as desk:
            node = await desk.joined()
            await node.send(1, payload())
            with suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await node.heard()
                    raise AssertionError
            await node.stream.send(beat())
            while not (await node.stream.receive()).HasField("echo"):
                pass
            intake.may_commit.set()
            assert (await node.heard()).sequence == 1

    simulate(main())


@pytest.mark.reaches("FLEET_CREDIT")
def test_batches_beyond_the_credit_are_dropped_and_nothing_is_held_for_them() -> None:
    async def main() -> None:
        intake = Scripted()
        async with running(await Books.open(), intake) as desk:
            node = await desk.joined()
            for first in range(1, FLEET_CREDIT + 10):
                await node.send(first, payload())
            await asyncio.sleep(1)
            (session,) = desk.life.service._sessions.values()
            assert session.facts is not None
            assert len(session.facts._waiting) == FLEET_CREDIT
            intake.may_commit.set()
            await asyncio.sleep(1)
            assert [batch.first_sequence for batch in intake.taken] == [1, 2, 3, 4]

    simulate(main())


def test_how_far_a_node_s_clock_is_off_travels_with_its_facts() -> None:
    async def main() -> None:
        intake = Scripted()
        intake.may_commit.set()
        async with running(await Books.open(), intake) as desk:
            node = await desk.joined()
            await node.send(1, payload())
            await node.stream.send(beat(-90_000))
            await node.send(2, payload())
            await asyncio.sleep(1)
            assert [batch.clock_offset_ms for batch in intake.taken] == [0, -90_000]

    simulate(main())


def logged(main: Callable[[], Coroutine[object, object, None]]) -> list[dict[str, Any]]:
    stream = io.StringIO()
    log.setup("control", stream)
    try:
        simulate(main())
    finally:
        log.setup("early")
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_while_the_database_cannot_commit_the_facts_wait_and_the_stream_lives() -> None:
    async def main() -> None:
        intake = Scripted()
        intake.may_commit.set()
        async with running(await Books.open(), intake) as desk:
            node = await desk.joined()
            full = Error(Code.INSUFFICIENT_STORAGE, "full", 2.0)
            intake.failures = [full, full, Error(Code.UNAVAILABLE)]
            await node.send(1, payload())
            before_s = asyncio.get_running_loop().time()
            assert (await node.heard()).sequence == 1
            waited_s = asyncio.get_running_loop().time() - before_s
            assert waited_s == pytest.approx(4 + DATABASE_RETRY_AFTER_S)

    (line,) = (one for one in logged(main) if one["fact"] == "fleet.facts_wait")
    assert (line["node"], line["reason"]) == ("fr-1", "insufficient_storage")


def test_a_stream_is_not_begun_while_the_database_cannot_say_where() -> None:
    async def main() -> None:
        intake = Scripted()
        intake.failures = [Error(Code.OVERLOADED, "busy", 3.0)]
        async with running(await Books.open(), intake) as desk:
            stream: Near = await desk.network.dial("fr-1/ingest-0", CONTROL)
            await stream.send(hello())
            with pytest.raises(StreamClosed) as closed:
                await stream.receive()
            assert (closed.value.code, closed.value.retry_after_s) == (Code.OVERLOADED, 3.0)
            assert desk.life.fleet.nodes() == []

    simulate(main())


def test_a_fact_has_the_same_rows_whichever_way_it_came() -> None:
    async def main() -> None:
        books = await Books.open()
        outcome = told.outcome(MAKE, OWNER)
        told_thrice = pack_fact(told.fact(MAKE, outcome))
        change = pack_fact(Fact("rc", 5, told.change(MAKE, outcome)))
        async with running(books) as desk:
            node = await desk.joined()
            await node.send(1, change, told_thrice, told_thrice)
            await node.heard()
        assert await books.outcomes() == {outcome.upload_id: outcome.size_bytes}
        assert await books.used_bytes() == outcome.size_bytes

    simulate(main())


def coming(upload: UploadID, *, durable: bool) -> facts_pb2.Receiving:
    return facts_pb2.Receiving(
        upload_id=upload,
        account_id=OWNER,
        region=types_pb2.REGION_FR,
        created_ms=5,
        received_bytes=7,
        durable=durable,
    )


def test_what_a_process_is_receiving_is_known_until_its_stream_or_the_upload_ends() -> None:
    async def main() -> None:
        books = await Books.open()
        kept, fleeting = (UploadID(MAKE.make(Kind.UPLOAD)) for _ in range(2))
        async with running(books) as desk:
            node, book = await desk.joined(), desk.life.receiving
            uploads = [coming(kept, durable=True), coming(fleeting, durable=False)]
            report = ConnectRequest(under_way=facts_pb2.UnderWay(uploads=uploads))
            await node.stream.send(report)
            await asyncio.sleep(1)
            assert len(book) == 0, "before its first heartbeat a stream says nothing"
            observed = fleet_pb2.OBSERVED_STATE_SERVING
            beat = fleet_pb2.Heartbeat(observed=observed)
            await node.stream.send(ConnectRequest(heartbeat=beat))
            await node.stream.send(report)
            await asyncio.sleep(1)
            assert {one.upload_id for one in book.newest(OWNER, 9, None)} == {kept, fleeting}
            await node.stream.close()
            await asyncio.sleep(1)
            assert [one.upload_id for one in book.newest(OWNER, 9, None)] == [kept]
            again = await desk.joined()
            ended = replace(told_outcome(), upload_id=kept)
            await again.send(1, pack_fact(Fact(ended.id, 5, ended)))
            await again.heard()
            assert len(book) == 0

    simulate(main())


def told_outcome() -> Outcome:
    made = told.outcome(MAKE, OWNER, 7)
    assert isinstance(made, Outcome)
    return made
