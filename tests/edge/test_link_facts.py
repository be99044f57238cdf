import asyncio
import io
import json
from collections.abc import Awaitable, Callable, Iterable
from itertools import pairwise
from random import Random

import pytest

from edge.begun import Receiving
from edge.facts import CredentialMiss, Fact, pack_fact
from edge.link_facts import FactSender, Reporter, oldest_ms
from edge.link_state import Acked, Desired, DesiredState, Position, Terms
from edge.outbox import Outbox, open_outbox
from tests.support.sim import simulate
from zentransfer import log
from zentransfer.ids import CredentialID, EpochID, IdMaker, Kind, NodeID
from zentransfer.limits import (
    FLEET_CREDIT,
    LINK_ACK_S,
    LINK_CREDIT_MAX,
    OUTBOX_BATCH_FACTS_MAX,
    OUTBOX_FACT_BYTES_MAX,
    OUTBOX_SEGMENT_BYTES,
    RECEIVING_PAUSE_S,
)
from zentransfer.memory_disk import MemoryDisk
from zentransfer.stream import StreamClosed
from zentransfer.v1.facts_pb2 import FactBatch

NODE = NodeID("fr-1")
MAKE = IdMaker(Random(1).randbytes).make
EPOCH = EpochID(MAKE(Kind.EPOCH))
MISS = CredentialMiss(CredentialID(MAKE(Kind.CREDENTIAL)), 1)


def terms(sequence: int = 1, credit: int = FLEET_CREDIT, epoch: str | None = EPOCH) -> Terms:
    resume = None if epoch is None else Position(epoch, sequence)
    return Terms(1, 10, Desired(DesiredState.ACTIVE), credit, resume)


def ack(sequence: int, again_from: int | None = None, epoch: str = EPOCH) -> Acked:
    return Acked(Position(epoch, sequence), again_from)


class Bench:
    """An outbox on a disk in memory, and a sender for it."""

    def __init__(self, disk: MemoryDisk, outbox: Outbox) -> None:
        self.disk = disk
        self.outbox = outbox
        self.sender = FactSender(outbox, NODE)

    async def fill(self, count: int) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                fact = Fact(f"f{number}", 1_000 + number, MISS)
                group.create_task(self.outbox.add(pack_fact(fact)))

    def sent(self, now_s: float = 0.0) -> list[tuple[int, int]]:
        """Take every batch that may leave now: (first sequence, count) of each."""
        found: list[tuple[int, int]] = []
        while (batch := self.sender.maybe_batch(now_s)) is not None:
            assert sequences(batch) == list(
                range(batch.first_sequence, batch.first_sequence + len(batch.facts))
            )
            found.append((batch.first_sequence, len(batch.facts)))
        return found


def sequences(batch: FactBatch) -> list[int]:
    return [fact.sequence for fact in batch.facts]


def run(main: Callable[[Bench], Awaitable[None]], count: int = 0) -> list[dict[str, object]]:
    """Run *main* over an outbox with *count* facts; return what was logged."""

    async def life() -> None:
        disk = MemoryDisk(Random(1))
        bench = Bench(disk, await open_outbox(disk, "outbox", lambda: EPOCH))
        await bench.fill(count)
        await main(bench)

    stream = io.StringIO()
    log.setup("ingest-0", stream)
    try:
        simulate(life())
    finally:
        log.setup("early")
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def facts_of(lines: Iterable[dict[str, object]]) -> list[object]:
    return [line["fact"] for line in lines]


@pytest.mark.reaches("FLEET_CREDIT")
def test_no_more_batches_are_in_flight_than_the_credit_allows() -> None:
    async def main(bench: Bench) -> None:
        await bench.sender.begin(terms(), 0)
        most = OUTBOX_BATCH_FACTS_MAX
        assert bench.sent() == [(1 + most * n, most) for n in range(FLEET_CREDIT)]
        await bench.sender.on_ack(ack(most), 0)
        assert bench.sent() == [(1 + most * FLEET_CREDIT, most)]
        await bench.sender.on_ack(ack(most * 5), 0)
        assert bench.sent() == [(1 + most * 5, 50)]
        assert not bench.sender.is_done()
        await bench.sender.on_ack(ack(most * 5 + 50), 0)
        assert bench.sender.is_done()
        assert bench.outbox.lag == 0

    run(main, OUTBOX_BATCH_FACTS_MAX * 5 + 50)


@pytest.mark.reaches("LINK_CREDIT_MAX")
def test_no_welcome_makes_it_send_without_bound() -> None:
    async def main(bench: Bench) -> None:
        await bench.sender.begin(terms(credit=10_000), 0)
        assert len(bench.sent()) == LINK_CREDIT_MAX

    run(main, OUTBOX_BATCH_FACTS_MAX * (LINK_CREDIT_MAX + 1))


@pytest.mark.parametrize(
    "given", [terms(credit=0), terms(epoch=None), terms(epoch="ep_other")], ids=str
)
def test_without_credit_or_a_place_to_begin_nothing_is_sent(given: Terms) -> None:
    async def main(bench: Bench) -> None:
        assert bench.sent() == []
        await bench.sender.begin(given, 0)
        assert bench.sent() == []
        await bench.sender.on_ack(ack(2), 0)
        assert bench.outbox.lag == 3
        assert bench.sender.is_done(), "nothing more will be told on this stream"

    assert run(main, 3) == []


def test_it_begins_where_control_ended_and_forgets_what_control_has() -> None:
    async def main(bench: Bench) -> None:
        await bench.sender.begin(terms(3), 0)
        assert bench.outbox.lag == 3
        assert bench.sent() == [(3, 3)]

    run(main, 5)


def test_an_outbox_older_than_what_it_told_sends_nothing_and_says_so() -> None:
    async def main(bench: Bench) -> None:
        await bench.sender.begin(terms(7), 0)
        assert bench.sent() == []
        assert bench.outbox.lag == 5

    assert facts_of(run(main, 5)) == ["link.outbox_behind"]


def test_a_gap_is_sent_again_from_its_beginning() -> None:
    async def main(bench: Bench) -> None:
        await bench.sender.begin(terms(), 0)
        bench.sent()
        await bench.sender.on_ack(ack(2, again_from=3), 0)
        assert bench.sent() == [(3, 3)]
        await bench.sender.on_ack(ack(2, again_from=3), 0)
        assert bench.sent() == [(3, 3)]

    assert run(main, 5) == []


def test_an_older_ack_and_one_of_another_outbox_change_nothing() -> None:
    async def main(bench: Bench) -> None:
        await bench.sender.begin(terms(), 0)
        bench.sent()
        await bench.sender.on_ack(ack(4), 0)
        for late in (ack(3), ack(1, again_from=2), ack(5, epoch="ep_other"), ack(0, again_from=1)):
            await bench.sender.on_ack(late, 0)
            assert bench.sent() == []
            assert bench.outbox.lag == 1

    run(main, 5)


def test_an_ack_of_what_was_sent_by_the_stream_before_moves_on() -> None:
    async def main(bench: Bench) -> None:
        await bench.sender.begin(terms(1), 0)
        await bench.sender.on_ack(ack(4), 0)  # what the old stream had sent was committed meanwhile
        assert bench.sent() == [(5, 1)]

    run(main, 5)


def test_an_ack_of_what_was_never_made_ends_the_stream() -> None:
    async def main(bench: Bench) -> None:
        await bench.sender.begin(terms(), 0)
        with pytest.raises(StreamClosed):
            await bench.sender.on_ack(ack(6), 0)

    run(main, 5)


def test_a_gap_before_what_is_kept_needs_a_new_hello() -> None:
    async def main(bench: Bench) -> None:
        for _ in range(2):  # each fills a segment
            async with asyncio.TaskGroup() as group:
                for _ in range(OUTBOX_SEGMENT_BYTES // OUTBOX_FACT_BYTES_MAX + 1):
                    group.create_task(bench.outbox.add(bytes(OUTBOX_FACT_BYTES_MAX)))
        await bench.outbox.acked(bench.outbox.durable)
        assert bench.outbox.first_kept > 1
        await bench.sender.begin(terms(1), 0)  # control came back from a backup
        bench.sent()
        with pytest.raises(StreamClosed):
            await bench.sender.on_ack(ack(0, again_from=1), 0)

    run(main)


@pytest.mark.reaches("LINK_ACK_S")
def test_what_is_not_acked_in_time_is_sent_again() -> None:
    async def main(bench: Bench) -> None:
        await bench.sender.begin(terms(), 100)
        assert bench.sender.due_s(100) is None
        assert bench.sent(100) == [(1, 200), (201, 100)]
        assert bench.sender.due_s(100) == 100 + LINK_ACK_S
        await bench.sender.on_ack(ack(200), 110)
        assert bench.sent(110 + LINK_ACK_S - 0.1) == []
        assert bench.sent(110 + LINK_ACK_S) == [(201, 100)]

    lines = run(main, 300)
    assert [(line["fact"], line["count"]) for line in lines] == [("link.facts_again", 100)]


def test_what_became_durable_wakes_the_sender() -> None:
    async def main(bench: Bench) -> None:
        wakes = 0

        def wake() -> None:
            nonlocal wakes
            wakes += 1

        async with asyncio.TaskGroup() as group:
            watch = group.create_task(bench.sender.watch(wake))
            await asyncio.sleep(1)
            before = wakes
            await bench.fill(3)
            await asyncio.sleep(1)
            assert wakes > before
            watch.cancel()

    run(main)


def test_an_outbox_that_cannot_be_read_rests_and_is_tried_again() -> None:
    async def main(bench: Bench) -> None:
        await bench.sender.begin(terms(), 0)
        name = bench.disk.names("outbox")[0]
        bench.disk.rename(f"outbox/{name}", "outbox/away")
        assert bench.sent() == []
        assert bench.sent(1) == []
        assert bench.sender.due_s(1) == LINK_ACK_S
        bench.disk.rename("outbox/away", f"outbox/{name}")
        assert bench.sent(LINK_ACK_S) == [(1, 5)]

    assert facts_of(run(main, 5)) == ["link.outbox_failed"]


def test_the_age_of_the_oldest_fact_is_known() -> None:
    async def main(bench: Bench) -> None:
        assert oldest_ms(bench.outbox, 0) == 1_000
        assert oldest_ms(bench.outbox, 3) == 1_003
        assert oldest_ms(bench.outbox, 5) is None
        await bench.outbox.add(b"what nobody can read")
        assert oldest_ms(bench.outbox, 5) is None

    run(main, 5)


class Source:
    """News by hand."""

    def __init__(self) -> None:
        self.queue = asyncio.Queue[list[Receiving]]()
        self.forgotten = 0

    def forget(self) -> None:
        self.forgotten += 1

    async def news(self) -> list[Receiving]:
        return await self.queue.get()


def test_reports_leave_one_at_a_time_with_a_pause_between_them() -> None:
    async def main() -> None:
        source, woken = Source(), asyncio.Event()
        reporter = Reporter(source)
        loop, sent = asyncio.get_running_loop(), list[float]()
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(reporter.watch(woken.set))
            for _ in range(3):
                source.queue.put_nowait([])
            while len(sent) < 3:
                await woken.wait()
                woken.clear()
                assert reporter.maybe_report() is not None
                assert reporter.maybe_report() is None
                sent.append(loop.time())
            watching.cancel()
        assert source.forgotten == 1
        pauses = [later - earlier for earlier, later in pairwise(sent)]
        assert min(pauses) >= RECEIVING_PAUSE_S

    simulate(main())
