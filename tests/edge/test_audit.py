import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from edge.audit import (
    Attempted,
    AuditedOpenKey,
    AuditLog,
    keyed_id,
    open_audit,
    openings,
    stored_lines,
    verified,
)
from edge.audit_chain import ChainBroken, Destruction, Entry, Head, Opening, verify
from edge.seal.header import Header
from edge.workflow.run import LeaseLost
from tests.edge.test_outbox import epochs
from tests.support.delivery_site import LoopClock, Region, destination_id
from tests.support.region_keys import SeededKeys
from tests.support.sim import simulate
from tests.support.writing import read_whole
from zentransfer.disk import read_all
from zentransfer.errors import Code, Error
from zentransfer.ids import DeliveryID, UploadID
from zentransfer.limits import OUTBOX_SEGMENT_BYTES
from zentransfer.machine import Crashed
from zentransfer.memory_disk import MemoryDisk
from zentransfer.platter import keep_none

DELIVERY = DeliveryID("de_" + "a" * 26)
UPLOAD = UploadID("up_" + "a" * 26)


def opening(number: int) -> Opening:
    return Opening(number, "fr-1/delivery-0", DELIVERY, 1, "00", "kid", (1, 1, 1))


def adds(entry: Entry) -> Callable[[Head], Entry]:
    return lambda _: entry


def run(life: Callable[[MemoryDisk, Random], Awaitable[None]], seed: int = 1) -> None:
    async def main() -> None:
        random = Random(seed)
        await life(MemoryDisk(random), random)

    simulate(main())


async def opened(disk: MemoryDisk, random: Random) -> AuditLog:
    return await open_audit(disk, "audit", epochs(random))


def test_a_chain_goes_on_in_the_next_life() -> None:
    async def life(disk: MemoryDisk, random: Random) -> None:
        log = await opened(disk, random)
        assert log.head == Head()
        for number in range(3):
            await log.add(adds(opening(number)))
        head = log.head
        log.close()
        log = await opened(disk.crash(keep_none).process(), random)
        assert log.head == head
        last = await log.add(adds(Destruction(9, "fr-1/delivery-0", "ru", "00", "delivered", "")))
        assert verify(log.lines()) == last
        log.close()

    run(life)


def test_many_at_once_make_one_chain() -> None:
    async def life(disk: MemoryDisk, random: Random) -> None:
        log = await opened(disk, random)
        async with asyncio.TaskGroup() as group:
            for number in range(50):
                group.create_task(log.add(adds(opening(number))))
        assert verified(disk, "audit") == log.head
        assert log.head.sequence == 50
        log.close()

    run(life)


@pytest.mark.parametrize("flush", range(1, 8))
def test_a_failed_flush_breaks_no_chain(flush: int) -> None:
    async def life(disk: MemoryDisk, random: Random) -> None:
        log = await opened(disk, random)
        disk.fail_flush(flush)
        for number in range(4):
            try:
                await log.add(adds(opening(number)))
            except Error as failed:
                assert failed.code is Code.SINK_UNAVAILABLE  # noqa: PT017
        disk._machine.flush_failures.clear()
        head = await log.add(adds(opening(9)))
        log.close()
        after = disk.crash(keep_none)
        assert verified(after, "audit") == head
        again = await opened(after, random)
        assert again.head == head
        again.close()

    run(life, seed=flush)


def test_every_operation_may_be_the_last() -> None:
    """Whatever was told to be durable is in the chain that is found, and the chain is whole."""
    count = 1
    while _crashed(count):
        count += 1
    assert count > 8


def _crashed(count: int) -> bool:
    crashed: list[int] = []

    async def life(disk: MemoryDisk, random: Random) -> None:
        disk.crash_at(count)
        told = Head()
        try:
            log = await opened(disk, random)
            for number in range(4):
                told = await log.add(adds(opening(number)))
        except Crashed:
            crashed.append(1)
        log = await opened(disk.crash(), random)
        assert log.head.sequence >= told.sequence
        if told.sequence:
            assert log.lines()[: told.sequence][-1].startswith(b'{"sequence":%d,' % told.sequence)
        await log.add(adds(opening(5)))
        assert verify(log.lines()) == log.head
        log.close()

    run(life, seed=count)
    return bool(crashed)


def test_whoever_changes_the_stored_chain_is_found_out() -> None:
    async def life(disk: MemoryDisk, random: Random) -> None:
        log = await opened(disk, random)
        for number in range(6):
            await log.add(adds(opening(number)))
        head = log.head
        log.close()
        (name,) = disk.names("audit")
        path = f"audit/{name}"
        before = read_all(disk, path, 1 << 20)
        assert len(stored_lines(disk, "audit")) == 6
        found = 0
        for place in range(0, len(before), 7):
            file = disk.open(path, write=True)
            file.write_at(bytes([before[place] ^ 1]), place)
            file.close()
            try:
                found += verified(disk, "audit") != head
            except ChainBroken:
                found += 1
            file = disk.open(path, write=True)
            file.write_at(before, 0)
            file.close()
        assert found == len(range(0, len(before), 7))

    run(life)


@pytest.mark.reaches("AUDIT_BYTES_MAX")
def test_old_lines_go_and_the_rest_is_still_a_chain() -> None:
    async def life(disk: MemoryDisk, random: Random) -> None:
        bound = 2 * OUTBOX_SEGMENT_BYTES
        log = await open_audit(disk, "audit", epochs(random), bytes_max=bound)
        big = Opening(1, "p" * 2_000, DELIVERY, 1, "00", "k" * 1_500, (1, 1, 1))
        for _ in range(3_600):
            await log.add(adds(big))
        lines = log.lines()
        assert bound / 2 < sum(map(len, lines)) < 2 * bound
        assert verify(lines, None) == log.head == verified(disk, "audit")
        with pytest.raises(ChainBroken):
            verify(lines)
        log.close()

    run(life)


class Watched:
    """The private half, which notes how many lines were durable at each use."""

    def __init__(self, keys: SeededKeys, log: AuditLog) -> None:
        self.keys = keys
        self.log = log
        self.seen: list[int] = []

    async def open(self, header: Header) -> bytes:
        self.seen.append(len(self.log.lines()))
        return await self.keys.open(header)


def test_no_key_is_used_before_its_line_is_durable_and_an_attempt_has_one_line() -> None:
    async def life(disk: MemoryDisk, random: Random) -> None:
        region = Region(random, {destination_id(0): "/x"})
        sink = region.sink(disk)
        sent = await region.commit(disk, b"content")
        log = await opened(disk, random)
        watched = Watched(region.keys, log)
        for fence in (1, 2):
            attempt = Attempted(
                "fr-1/delivery-0", DELIVERY, fence, {sent.upload: (1, 1, 1)}, lambda: None
            )
            keys = AuditedOpenKey(watched, log, region.keys.public, LoopClock(), attempt)
            await sink.manifest(sent.upload, keys)
            assert await read_whole(sink, sent.upload, keys) == b"content"
        assert watched.seen == [1, 1, 2, 2]
        assert openings(log, region.keys.public, sent.upload) == 2
        text = b"".join(log.lines()).decode()
        assert sent.upload not in text
        assert keyed_id(region.keys.public, sent.upload) in text
        log.close()

    run(life)


def test_segments_that_nobody_announced_have_lines_of_their_own() -> None:
    async def life(disk: MemoryDisk, random: Random) -> None:
        region = Region(random, {destination_id(0): "/x"})
        sink = region.sink(disk)
        sent = await region.commit(disk, b"content")
        log = await opened(disk, random)
        attempt = Attempted("fr-1/delivery-0", DELIVERY, 1, {}, lambda: None)
        keys = AuditedOpenKey(region.keys, log, region.keys.public, LoopClock(), attempt)
        assert await read_whole(sink, sent.upload, keys) == b"content"
        assert log.head.sequence == 1
        log.close()

    run(life)


@pytest.mark.parametrize("lost_at", [1, 2])
def test_no_key_is_used_under_a_lease_that_was_lost(lost_at: int) -> None:
    async def life(disk: MemoryDisk, random: Random) -> None:
        region = Region(random, {destination_id(0): "/x"})
        sent = await region.commit(disk, b"content")
        log = await opened(disk, random)
        watched = Watched(region.keys, log)
        asked: list[int] = []

        def must_hold() -> None:
            asked.append(1)
            if len(asked) == lost_at:
                raise LeaseLost

        attempt = Attempted("fr-1/delivery-0", DELIVERY, 1, {}, must_hold)
        keys = AuditedOpenKey(watched, log, region.keys.public, LoopClock(), attempt)
        with pytest.raises(LeaseLost):
            await read_whole(region.sink(disk), sent.upload, keys)
        assert watched.seen == []
        assert log.head.sequence == lost_at - 1
        log.close()

    run(life)


def test_no_key_is_used_when_no_line_can_be_written() -> None:
    async def life(disk: MemoryDisk, random: Random) -> None:
        region = Region(random, {destination_id(0): "/x"})
        sent = await region.commit(disk, b"content")
        log = await opened(disk.process(), random)
        watched = Watched(region.keys, log)
        attempt = Attempted("fr-1/delivery-0", DELIVERY, 1, {}, lambda: None)
        keys = AuditedOpenKey(watched, log, region.keys.public, LoopClock(), attempt)
        disk.fail_flush(2)  # the sink's own look at the record is the first
        with pytest.raises(Error) as failed:
            await read_whole(region.sink(disk), sent.upload, keys)
        assert failed.value.code is Code.SINK_UNAVAILABLE
        assert watched.seen == []
        log.close()

    run(life)


def test_the_keyed_id_is_the_regions_secret() -> None:
    one, other = SeededKeys(1), SeededKeys(2)
    assert keyed_id(one.public, UPLOAD) != keyed_id(other.public, UPLOAD)
    assert keyed_id(one.public, UPLOAD) == keyed_id(one.public, UPLOAD)
    assert len(keyed_id(one.public, UPLOAD)) == 32
