import asyncio
import errno
from random import Random

import pytest

from edge.begun import Receiving
from edge.outcome import maybe_outcome
from tests.support.sim import simulate
from tests.support.taking import Node, Sender, file_named
from zentransfer.errors import Code, Error
from zentransfer.ids import UploadID
from zentransfer.limits import RECEIVING_AFTER_S, RECEIVING_PAUSE_S, RECEIVING_REPORT_MAX
from zentransfer.memory_disk import MemoryDisk

PART = 1 << 20


async def started(disk: MemoryDisk | None = None) -> Node:
    return await Node(disk or MemoryDisk(Random(1))).start()


async def heard(node: Node, within_s: float = 60) -> list[Receiving]:
    """Return the next news, or nothing if none comes."""
    try:
        async with asyncio.timeout(within_s):
            return await node.intake.begun.news()
    except TimeoutError:
        return []


def test_an_upload_whose_address_was_told_is_named_with_what_is_durable() -> None:
    async def run() -> None:
        node = await started()
        upload = await node.create(9, [b"abc"])
        (one,) = await heard(node)
        assert (one.upload_id, one.account_id) == (upload, node.customer.account_id)
        assert (one.received_bytes, one.announced_bytes, one.durable) == (3, 9, True)
        record = (await node.sink.record(upload)).value
        known = node.intake.tools.settling.open(record)
        assert one.name == known.sealed_name
        assert maybe_outcome(record, known) is None
        assert await heard(node) == []
        await node.append(upload, 3, [b"de"])
        assert [more.received_bytes for more in await heard(node)] == [5]
        await node.append(upload, 5, [b"fghi"])
        assert await heard(node) == []

    simulate(run())


@pytest.mark.reaches("RECEIVING_AFTER_S", "RECEIVING_PAUSE_S")
def test_a_quick_one_is_never_named_and_a_slow_one_as_it_grows() -> None:
    async def run() -> None:
        node = await started()
        told: list[Receiving] = []

        async def listen() -> None:
            while True:
                told.extend(await node.intake.begun.news())
                await asyncio.sleep(RECEIVING_PAUSE_S)

        async def clock() -> None:
            while True:
                await asyncio.sleep(0.5)
                node.clock.advance(500)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(listen()), group.create_task(clock())]
            await node.send([b"quick"])
            await asyncio.sleep(10)
            assert told == []
            slow = Sender([bytes(PART)] * 20, pause_s=1)
            outcome = await node.send(slow, file_named("slow"))
            await asyncio.sleep(10)
            for task in tasks:
                task.cancel()
        assert {one.upload_id for one in told} == {outcome.upload_id}
        assert not told[0].durable
        assert told[0].received_bytes == 0
        assert told[-1].durable
        received = [one.received_bytes for one in told]
        assert received == sorted(set(received)), "what did not change is not said again"
        begun_ms = outcome.ended_ms - 20_000
        assert outcome.created_ms <= begun_ms + int(RECEIVING_AFTER_S * 1_000)

    simulate(run())


def test_each_stream_hears_everything_anew() -> None:
    async def run() -> None:
        node = await started()
        uploads = {await node.create(9, [b"abc"]) for _ in range(3)}
        for _ in range(3):
            node.intake.begun.forget()
            assert {one.upload_id for one in await heard(node)} == uploads

    simulate(run())


@pytest.mark.reaches("RECEIVING_REPORT_MAX")
def test_a_report_holds_so_many_and_the_others_come_next() -> None:
    async def run() -> None:
        node = await started()
        uploads = {await node.create(9, [b"abc"]) for _ in range(RECEIVING_REPORT_MAX + 5)}
        first, second = await heard(node), await heard(node)
        assert len(first) == RECEIVING_REPORT_MAX
        assert {one.upload_id for one in first + second} == uploads

    simulate(run())


def test_what_a_crash_left_is_named_by_the_next_process_too() -> None:
    async def run() -> None:
        node = await started()
        upload = await node.create(9, [b"abc"])
        after = await started(node.disk.crash())
        await after.sweep()
        assert [one.upload_id for one in await heard(after)] == [upload]

    simulate(run())


def test_what_is_not_there_and_what_cannot_be_read_costs_nothing() -> None:
    async def run() -> None:
        node = await started()
        node.intake.begun.changed(UploadID("up_" + "a" * 26))
        assert await heard(node) == []
        upload = await node.create(9, [b"abc"])
        node.disk.fail_at(1, errno.EIO)
        with pytest.raises(Error) as cut:
            await node.append(upload, 3, Sender([b"d"], Error(Code.PEER_GONE)))
        assert cut.value.code in (Code.PEER_GONE, Code.SINK_UNAVAILABLE)
        assert [one.upload_id for one in await heard(node)] == [upload]

    simulate(run())
