import asyncio
import errno
from collections.abc import Awaitable, Callable
from contextlib import suppress
from inspect import signature
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.outbox import Outbox, open_outbox
from edge.spool import FRAME_BYTES, HEADER_BYTES, Header, Torn, frame, frames
from tests.support.sim import simulate
from zentransfer.errors import Code, Error
from zentransfer.ids import EpochID, IdMaker, Kind
from zentransfer.limits import (
    OUTBOX_BATCH_FACTS_MAX,
    OUTBOX_BYTES_MAX,
    OUTBOX_FACT_BYTES_MAX,
    OUTBOX_SEGMENT_BYTES,
)
from zentransfer.memory_disk import MemoryDisk

HEADER = Header("ep_x", 7)


def epochs(random: Random) -> Callable[[], EpochID]:
    maker = IdMaker(random.randbytes)
    return lambda: EpochID(maker.make(Kind.EPOCH))


def run(seed: int, life: Callable[[MemoryDisk, Random], Awaitable[None]]) -> None:
    random = Random(seed)
    simulate(_awaited(life(MemoryDisk(random), random)))


async def _awaited(life: Awaitable[None]) -> None:
    await life


async def all_of(outbox: Outbox) -> list[bytes]:
    found: list[bytes] = []
    after = outbox.first_kept - 1
    while True:
        first, payloads = outbox.read(after)
        assert first == after + 1
        if not payloads:
            return found
        found += payloads
        after += len(payloads)


@given(st.lists(st.binary(max_size=50)), st.integers(0, 2000))
def test_a_torn_tail_gives_the_whole_frames_before_it(payloads: list[bytes], cut: int) -> None:
    data = HEADER.pack() + b"".join(frame(HEADER, payload) for payload in payloads)
    torn = memoryview(data[: max(HEADER_BYTES, len(data) - cut)])
    found = [bytes(torn[start:end]) for start, end in frames(HEADER, torn)]
    assert found == payloads[: len(found)]
    if cut == 0:
        assert found == payloads


@given(st.binary(min_size=1, max_size=50), st.data())
def test_a_flipped_byte_ends_the_frames(payload: bytes, data: st.DataObject) -> None:
    whole = bytearray(HEADER.pack() + frame(HEADER, payload))
    place = data.draw(st.integers(HEADER_BYTES, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    assert list(frames(HEADER, memoryview(whole))) == []


def test_a_frame_of_another_segment_never_passes() -> None:
    data = HEADER.pack() + frame(Header("ep_x", 8), b"foreign")
    assert list(frames(HEADER, memoryview(data))) == []


@given(st.binary(max_size=80))
def test_what_is_no_header_is_refused(data: bytes) -> None:
    with pytest.raises(Torn):
        Header.unpack(data)


def test_facts_come_back_in_order_and_in_batches() -> None:
    async def life(disk: MemoryDisk, random: Random) -> None:
        outbox = await open_outbox(disk, "out", epochs(random))
        facts = [f"fact {n}".encode() for n in range(450)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(outbox.add(fact)) for fact in facts]
        assert [task.result() for task in tasks] == list(range(1, 451))
        assert await all_of(outbox) == facts
        outbox.close()

    run(1, life)


@pytest.mark.reaches("OUTBOX_BATCH_FACTS_MAX")
def test_a_batch_holds_no_more_than_its_limit() -> None:
    async def life(disk: MemoryDisk, random: Random) -> None:
        outbox = await open_outbox(disk, "out", epochs(random))
        async with asyncio.TaskGroup() as group:
            for _ in range(OUTBOX_BATCH_FACTS_MAX + 1):
                group.create_task(outbox.add(b"x"))
        assert len(outbox.read(0)[1]) == OUTBOX_BATCH_FACTS_MAX
        assert len(outbox.read(OUTBOX_BATCH_FACTS_MAX)[1]) == 1

    run(2, life)


@pytest.mark.reaches("OUTBOX_FACT_BYTES_MAX")
def test_a_fact_above_its_limit_is_refused() -> None:
    async def life(disk: MemoryDisk, random: Random) -> None:
        outbox = await open_outbox(disk, "out", epochs(random))
        await outbox.add(bytes(OUTBOX_FACT_BYTES_MAX))
        with pytest.raises(Error) as refused:
            await outbox.add(bytes(OUTBOX_FACT_BYTES_MAX + 1))
        assert refused.value.code is Code.TOO_LARGE

    run(3, life)


@pytest.mark.reaches("OUTBOX_BYTES_MAX")
def test_a_full_outbox_refuses_and_takes_again_after_an_ack() -> None:
    async def life(disk: MemoryDisk, random: Random) -> None:
        assert signature(open_outbox).parameters["bytes_max"].default == OUTBOX_BYTES_MAX
        bound = OUTBOX_SEGMENT_BYTES + 3 * OUTBOX_FACT_BYTES_MAX
        outbox = await open_outbox(disk, "out", epochs(random), bytes_max=bound)
        while outbox.size_bytes + OUTBOX_FACT_BYTES_MAX + FRAME_BYTES <= bound:
            await outbox.add(bytes(OUTBOX_FACT_BYTES_MAX))
        with pytest.raises(Error) as refused:
            await outbox.add(bytes(OUTBOX_FACT_BYTES_MAX))
        assert refused.value.code is Code.OUTBOX_FULL
        await outbox.acked(outbox.durable)
        await outbox.add(bytes(OUTBOX_FACT_BYTES_MAX))

    run(4, life)


@pytest.mark.reaches("OUTBOX_SEGMENT_BYTES")
def test_acked_segments_leave_and_the_others_stay() -> None:
    async def life(disk: MemoryDisk, random: Random) -> None:
        outbox = await open_outbox(disk, "out", epochs(random))
        await outbox.add(b"first")
        while len(disk.names("out")) < 3:
            async with asyncio.TaskGroup() as group:
                for _ in range(100):
                    group.create_task(outbox.add(bytes(OUTBOX_FACT_BYTES_MAX)))
        last = outbox.durable
        await outbox.acked(last - 1)
        assert len(disk.names("out")) == 1
        assert outbox.lag == 1
        assert outbox.read(last - 1) == (last, [bytes(OUTBOX_FACT_BYTES_MAX)])
        outbox.close()
        again = await open_outbox(disk, "out", epochs(random))
        assert again.epoch == outbox.epoch
        assert again.durable == last

    run(5, life)


@pytest.mark.parametrize("history", range(60))
def test_no_promised_fact_is_lost_in_a_crash_and_sequences_go_on(history: int) -> None:
    async def life(disk: MemoryDisk, random: Random) -> None:
        promised: dict[int, bytes] = {}
        epoch = ""
        for era in range(6):
            outbox = await open_outbox(disk, "out", epochs(random))
            assert not promised or outbox.epoch == epoch
            epoch = outbox.epoch
            kept = await all_of(outbox)
            for sequence, payload in promised.items():
                assert kept[sequence - 1] == payload

            async def add(payload: bytes, outbox: Outbox = outbox) -> None:
                promised[await outbox.add(payload)] = payload

            try:
                async with asyncio.timeout(random.uniform(0, 0.05)), asyncio.TaskGroup() as group:
                    for n in range(random.randrange(40)):
                        group.create_task(add(random.randbytes(random.randrange(700)) + b"%d" % n))
            except TimeoutError:
                pass
            disk = disk.crash() if era % 2 else disk

    run(history, life)


@pytest.mark.parametrize("history", range(40))
def test_a_failed_flush_is_told_and_nothing_promised_is_lost(history: int) -> None:
    async def life(disk: MemoryDisk, random: Random) -> None:
        promised: dict[int, bytes] = {}
        outbox = await open_outbox(disk, "out", epochs(random))
        for n in range(30):
            if random.random() < 0.3:
                disk.fail_flush(1)
            payload = b"%d" % n
            with suppress(Error):
                promised[await outbox.add(payload)] = payload
        again = await open_outbox(disk.crash(), "out", epochs(random))
        kept = await all_of(again)
        for sequence, payload in promised.items():
            assert kept[sequence - 1] == payload

    run(history, life)


def test_a_full_disk_is_told_and_heals() -> None:
    async def life(disk: MemoryDisk, random: Random) -> None:
        outbox = await open_outbox(disk, "out", epochs(random))
        await outbox.add(b"before")
        disk.fail_at(1, errno.ENOSPC)
        with pytest.raises(Error) as refused:
            await outbox.add(b"during")
        assert refused.value.code is Code.SINK_UNAVAILABLE
        await outbox.add(b"after")
        assert await all_of(outbox) == [b"before", b"after"]

    run(6, life)


def test_a_damaged_segment_holds_up_nothing_and_repeats_under_a_new_epoch() -> None:
    async def life(disk: MemoryDisk, random: Random) -> None:
        outbox = await open_outbox(disk, "out", epochs(random))
        async with asyncio.TaskGroup() as group:
            for _ in range(OUTBOX_SEGMENT_BYTES // OUTBOX_FACT_BYTES_MAX + 1):
                group.create_task(outbox.add(bytes(OUTBOX_FACT_BYTES_MAX)))
        await outbox.add(b"in the second segment")
        outbox.close()
        first, _ = disk.names("out")
        file = disk.open(f"out/{first}", write=True)
        file.write_at(b"!", 2 * OUTBOX_FACT_BYTES_MAX)
        file.close()
        again = await open_outbox(disk, "out", epochs(random))
        assert again.epoch != outbox.epoch
        assert await all_of(again) == [bytes(OUTBOX_FACT_BYTES_MAX), b"in the second segment"]

    run(7, life)


def test_a_disk_that_stays_full_makes_nothing_grow() -> None:
    async def life(disk: MemoryDisk, random: Random) -> None:
        outbox = await open_outbox(disk, "out", epochs(random))
        await outbox.add(b"before")
        files, size = len(disk.names("out")), outbox.size_bytes
        disk.set_capacity(0)
        for _ in range(50):
            with pytest.raises(Error) as refused:
                await outbox.add(bytes(1000))
            assert refused.value.code is Code.SINK_UNAVAILABLE
        assert outbox.size_bytes == size
        assert len(disk.names("out")) <= files + 1
        disk.set_capacity(10**9)
        assert await outbox.add(b"after") == 2
        assert await all_of(outbox) == [b"before", b"after"]

    run(8, life)


def test_a_cancelled_add_holds_up_nothing() -> None:
    async def life(disk: MemoryDisk, random: Random) -> None:
        outbox = await open_outbox(disk, "out", epochs(random))
        for _ in range(20):
            with suppress(TimeoutError):
                async with asyncio.timeout(random.uniform(0, 0.01)):
                    await outbox.add(b"perhaps")
        last = await outbox.add(b"last")
        kept = await all_of(outbox)
        assert kept[last - 1] == b"last"
        assert len(kept) == last

    run(9, life)
