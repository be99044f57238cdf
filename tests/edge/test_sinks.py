import asyncio
import errno
import gc
import os
import threading
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from edge.record import State, UploadRecord
from edge.seal.broken import Reason
from edge.sinks.base import Damaged, Ended, Fenced, SinkError, UnknownUpload
from edge.sinks.directory import DirectorySink
from edge.sinks.log import LogSink
from edge.sinks.log_writer import LogWriter
from edge.sinks.memory import MEMORY_RECORD_BYTES, MemorySink
from edge.sinks.objects import ObjectSink
from edge.sinks.objects_memory import MemoryBucket
from tests.support.real_loop import real_loop
from tests.support.region_keys import SeededKeys
from tests.support.sim import simulate
from tests.support.sink_suite import CASES, Case, Site
from tests.support.writing import fill, read_whole
from zentransfer.disk import Data, DiskPath, File, read_all
from zentransfer.errors import Code
from zentransfer.ids import UploadID
from zentransfer.limits import (
    ALLOCATE_AHEAD_BYTES_MAX,
    ALLOCATE_FROM_BYTES,
    DISK_LOCK_WAIT_S,
    MARK_EVERY_BYTES,
    SEAL_RECORD_BYTES_MAX,
    UNLISTED_BYTES_MAX,
)
from zentransfer.machine import Crashed
from zentransfer.memory_disk import MemoryDisk
from zentransfer.platter import keep_all, keep_none


def memory_site(seed: int = 1) -> Site:
    random, keys = Random(seed), SeededKeys()
    disk = MemoryDisk(random)
    other = MemorySink(disk.process(), keys.public, random)
    return Site(MemorySink(disk, keys.public, random), other, keys)


def object_site(seed: int = 1, object_bytes: int = 65_536) -> Site:
    random, keys = Random(seed), SeededKeys()
    bucket = MemoryBucket(random, page=3)
    sinks = [
        ObjectSink(one, keys.public, random.randbytes, MEMORY_RECORD_BYTES, object_bytes)
        for one in (bucket, bucket.process())
    ]
    return Site(sinks[0], sinks[1], keys, unwritten_max=600_001, lists_unborn=False)


def disk_of(site: Site) -> MemoryDisk:
    assert isinstance(site.sink, MemorySink)
    disk = site.sink._parts.disk
    assert isinstance(disk, MemoryDisk)
    return disk


def folder(upload: UploadID) -> str:
    return f"uploads/{upload[3:5]}/{upload}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_sink_in_memory(case: Case) -> None:
    site = memory_site()
    simulate(case(site))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_sink_of_objects_in_memory(case: Case) -> None:
    simulate(case(object_site()))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_sink_in_a_directory(case: Case, tmp_path: Path) -> None:
    async def run() -> None:
        keys = SeededKeys()
        sinks = [DirectorySink(tmp_path, keys.public, os.urandom) for _ in range(2)]
        await case(Site(sinks[0], sinks[1], keys))
        for sink in sinks:
            sink.close()

    real_loop(run())


@pytest.mark.reaches("SEGMENTS_PER_UPLOAD_MAX")
def test_the_limit_of_segments_is_a_case_of_the_suite() -> None:
    (case,) = (case for case in CASES if "too_many_segments" in case.__name__)
    simulate(case(memory_site()))


# What lies on the disk.


def test_a_small_upload_is_one_file_and_few_flushes() -> None:
    async def run() -> None:
        site = memory_site()
        await site.committed(10)  # the shards
        disk = disk_of(site)
        before = disk._machine.flushes
        record = site.record()
        writer = await (await site.sink.create(record, lazily=True)).writer()
        fill(writer, bytes(3_000))
        await writer.finish(None)
        assert disk.names(folder(record.upload)) == ["1-1.seg", "record"]
        # New shard (3), the folder's name, content, its name, the record, its name.
        assert disk._machine.flushes - before <= 8

    simulate(run())


def test_nothing_of_the_content_or_its_key_lies_on_the_disk_in_clear() -> None:
    async def run() -> None:
        site, deks = memory_site(), Random(77)
        random_bytes = Random(77).randbytes

        sink = LogSink(disk_of(site), site.keys.public, random_bytes, MEMORY_RECORD_BYTES)
        record = site.record()
        writer = await (await sink.create(record)).writer()
        plain = b"a plain text that is easily found " * 1_000
        fill(writer, plain)
        await writer.flush()
        dek = deks.randbytes(32)
        assert dek not in reachable(writer), "the writer forgets the key, all but its cipher"
        await writer.finish(None)
        for name in disk_of(site).names(folder(record.upload)):
            data = read_all(disk_of(site), f"{folder(record.upload)}/{name}", 1 << 20)
            assert plain[:16] not in data
            assert dek not in data

    simulate(run())


def reachable(start: object) -> set[bytes]:
    """Return every bytes object that can be reached from *start*."""
    seen, found, waiting = set[int](), set[bytes](), [start]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, type):
            continue
        seen.add(id(thing))
        if isinstance(thing, bytes):
            found.add(thing)
        elif type(thing).__module__.startswith(("edge", "builtins", "zentransfer")):
            waiting += gc.get_referents(thing)
    return found


def test_a_writer_that_ended_holds_no_plaintext() -> None:
    async def run() -> None:
        claim = await memory_site().created()
        writer = await claim.writer()
        fill(writer, b"pending plaintext")
        late = writer.room()
        await writer.close()
        assert isinstance(writer, LogWriter)
        assert b"pending" not in bytes(writer._memory)
        late[:4] = b"late"  # by a thread that has not heard yet: into nobody else's memory
        assert (writer.written, writer.offset) == (17, 0)

    simulate(run())


def test_an_upload_that_was_never_born_leaves_nothing() -> None:
    async def run() -> None:
        site = memory_site()
        for size in (0, 50_000):
            record = site.record()
            writer = await (await site.sink.create(record, lazily=True)).writer()
            fill(writer, bytes(size))
            await writer.close()
            assert not disk_of(site).exists(folder(record.upload))

    simulate(run())


def test_content_stays_in_its_region() -> None:
    site = memory_site()
    record = site.record()
    foreign = UploadRecord(record.upload, record.account, SeededKeys().region.US, created_ms=1)
    with pytest.raises(AssertionError):
        simulate(site.sink.create(foreign))


def test_a_thread_fills_the_same_writer(tmp_path: Path) -> None:
    async def run() -> None:
        keys = SeededKeys()
        sink = DirectorySink(tmp_path, keys.public, os.urandom)
        site = Site(sink, sink, keys)
        claim = await site.created()
        writer = await claim.writer()
        first, second = os.urandom(700_000), os.urandom(700_000)
        fill(writer, first)
        thread = threading.Thread(target=fill, args=(writer, second))
        thread.start()
        thread.join()
        await writer.finish(None)
        assert await site.read(claim.record.upload) == first + second
        sink.close()

    real_loop(run())


# Damage.


async def damaged(spoil: Callable[[MemoryDisk, str], None]) -> tuple[Site, UploadID]:
    site = memory_site()
    claim = await site.created()
    writer = await claim.writer()
    for size in (9_000, 9_000):
        fill(writer, site.random.randbytes(size))
        await writer.flush()
    await writer.close()
    spoil(disk_of(site), f"{folder(claim.record.upload)}/1-1.seg")
    return site, claim.record.upload


def cut(disk: MemoryDisk, path: str) -> None:
    file = disk.open(path, write=True)
    file.truncate(15_000)
    file.close()


def lose_the_end(disk: MemoryDisk, path: str) -> None:
    file = disk.open(path, write=True)
    file.write_at(bytes(512), file.size() - 512)
    file.close()


def lose_the_start(disk: MemoryDisk, path: str) -> None:
    file = disk.open(path, write=True)
    file.write_at(bytes(512), 0)
    file.close()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (cut, Reason.CUT),
        (lose_the_end, Reason.CUT),
        (lose_the_start, Reason.HEADER),
        (MemoryDisk.unlink, Reason.MISSING),
    ],
)
def test_told_bytes_that_are_gone_fail_the_upload_visibly(
    spoil: Callable[[MemoryDisk, str], None], reason: Reason
) -> None:
    async def run() -> None:
        site, upload = await damaged(spoil)
        with pytest.raises(Damaged) as refused:
            await site.sink.claim(upload)
        assert (refused.value.reason, refused.value.code) == (reason, Code.DAMAGED)
        with pytest.raises(Ended) as ended:
            await site.sink.claim(upload)
        assert ended.value.record.state is State.DAMAGED
        await site.sink.destroy(upload)

    simulate(run())


def test_a_wrong_origin_key_refuses_and_ruins_nothing() -> None:
    async def run() -> None:
        site, upload = await damaged(lambda _disk, _path: None)
        wrong = MemorySink(disk_of(site), SeededKeys(seed=9).public, site.random)
        with pytest.raises(Damaged) as refused:
            await wrong.claim(upload)
        assert refused.value.reason is Reason.ORIGIN
        assert (await site.sink.claim(upload)).offset == 18_000

    simulate(run())


def test_a_damaged_record_is_refused_for_good() -> None:
    async def run() -> None:
        site, upload = await damaged(lambda _disk, _path: None)
        path = f"{folder(upload)}/record"
        data = bytearray(read_all(disk_of(site), path, 1 << 20))
        data[50] ^= 1
        file = disk_of(site).open(path, write=True)
        file.write_at(data, 0)
        file.close()
        with pytest.raises(SinkError) as refused:
            await site.sink.record(upload)
        assert not refused.value.temporary

    simulate(run())


# Failures.


def test_a_failed_flush_ends_the_segment_and_the_next_claim_tells_the_truth() -> None:
    async def run() -> None:
        site = memory_site()
        disk = disk_of(site)
        claim = await site.created()
        writer = await claim.writer()
        fill(writer, bytes(10))
        await writer.flush()
        fill(writer, bytes(20_000))
        disk.fail_flush()
        with pytest.raises(SinkError) as failed:
            await writer.flush()
        assert failed.value.temporary
        with pytest.raises(SinkError):
            await writer.flush()
        await writer.close()
        assert (await site.other.claim(claim.record.upload)).offset == 10
        assert disk.held == 0

    simulate(run())


def test_a_full_disk_says_so_and_keeps_what_was_told() -> None:
    async def run() -> None:
        site = memory_site()
        disk = disk_of(site)
        claim = await site.created()
        writer = await claim.writer()
        fill(writer, bytes(5_000))
        await writer.flush()
        disk.set_capacity(disk._machine.platter.used + 10_000)
        with pytest.raises(SinkError) as full:
            fill(writer, bytes(50_000))
        assert (full.value.code, full.value.temporary) == (Code.INSUFFICIENT_STORAGE, True)
        await writer.close()
        disk.set_capacity(1 << 40)
        assert (await site.sink.claim(claim.record.upload)).offset >= 5_000

    simulate(run())


def test_a_lock_that_stays_taken_is_a_temporary_error() -> None:
    async def run() -> None:
        site = memory_site()
        claim = await site.created()
        upload = claim.record.upload
        loop = asyncio.get_running_loop()
        async with disk_of(site).process().lock(f"locks/{upload[3:5]}"):
            begun_s = loop.time()
            with pytest.raises(SinkError) as failed:
                await site.sink.claim(upload)
            assert loop.time() - begun_s >= DISK_LOCK_WAIT_S
        assert failed.value.temporary
        assert (await site.sink.claim(upload)).offset == 0

    simulate(run())


class Story:
    """One upload through two processes to its end; says what was told on the way."""

    def __init__(self, disk: MemoryDisk, seed: int) -> None:
        self.random, self.keys = Random(seed), SeededKeys()
        self.disk = disk
        self.site = Site(self.sink(disk), self.sink(disk), self.keys, Random(3))
        self.record = self.site.record()
        self.told = 0
        self.is_told_of = self.is_whole = False
        self.data = Random(4).randbytes(25_000)

    def sink(self, disk: MemoryDisk) -> MemorySink:
        return MemorySink(disk, self.keys.public, self.random)

    async def tell(self) -> None:
        claim = await self.site.sink.create(self.record)
        self.is_told_of = True
        writer = await claim.writer()
        for end in (100, 12_000):
            fill(writer, self.data[writer.written : end])
            self.told = await writer.flush()
        fill(writer, self.data[12_000:22_000])
        claim = await self.site.sink.claim(self.record.upload)
        self.told = claim.offset
        last = await claim.writer()
        fill(last, self.data[claim.offset :])
        await last.finish(None)
        self.is_whole = True

    async def check(self, disk: MemoryDisk) -> None:
        """See on *disk*, after whatever happened, that nothing told is lost."""
        sink = self.sink(disk)
        try:
            claim = await sink.claim(self.record.upload)
        except UnknownUpload:
            assert not self.is_told_of
        except Ended:
            assert await read_whole(sink, self.record.upload, self.keys) == self.data
        else:
            assert not self.is_whole
            assert claim.offset >= self.told
            writer = await claim.writer()
            fill(writer, self.data[claim.offset :])
            await writer.finish(None)
            assert await read_whole(sink, self.record.upload, self.keys) == self.data
        assert disk.held == 0


@pytest.mark.parametrize("keep", [keep_none, keep_all, None])
def test_a_crash_at_any_operation_loses_nothing_told(keep: Callable[[int], int] | None) -> None:
    async def run(count: int) -> bool:
        story = Story(MemoryDisk(Random(count)), count)
        story.disk.crash_at(count)
        crashed = False
        try:
            await story.tell()
        except Crashed:
            crashed = True
        await story.check(story.disk.crash(keep))
        return crashed

    count = 1
    while simulate(run(count)):
        count += 1
    assert count > 30


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_failure_of_any_operation_loses_nothing_told(code: int) -> None:
    async def run(count: int) -> bool:
        story = Story(MemoryDisk(Random(count)), count)
        story.disk.fail_at(count, code)
        try:
            await story.tell()
        except (SinkError, Fenced):
            story.disk.kill()
        is_reached = not story.disk._machine.failures
        story.disk._machine.failures.clear()
        await story.check(story.disk.process())
        await story.check(story.disk.crash(keep_none))
        return is_reached

    count = 1
    while simulate(run(count)):
        count += 1
    assert count > 30


def test_a_cancellation_at_any_moment_loses_nothing_told() -> None:
    async def run(after_s: float) -> bool:
        story = Story(MemoryDisk(Random(1)), 1)
        telling = asyncio.timeout(after_s)
        try:
            async with telling:
                await story.tell()
        except TimeoutError:
            pass
        await story.check(story.disk.process())
        await story.check(story.disk.crash())
        return telling.expired()

    after_s = 0.0005
    while simulate(run(after_s)):
        after_s += 0.003
    assert after_s > 0.05


@pytest.mark.parametrize("keep", [keep_none, keep_all, None])
def test_destroying_goes_on_after_a_crash_at_any_step(keep: Callable[[int], int] | None) -> None:
    async def run(count: int) -> bool:
        story = Story(MemoryDisk(Random(count)), count)
        await story.tell()
        upload = story.record.upload
        disk, crashed = story.disk, False
        disk.crash_at(count)
        try:
            await story.site.sink.destroy(upload)
        except Crashed:
            crashed = True
        disk = disk.crash(keep)
        sink = story.sink(disk)
        state = (await sink.record(upload)).value.state
        if state is State.DESTROYED:
            assert [name for name in disk.names(folder(upload)) if "seg" in name] == []
        elif state is State.COMMITTED:
            assert await read_whole(sink, upload, story.keys) == story.data
        else:
            with pytest.raises(Damaged):
                await read_whole(sink, upload, story.keys)
        await sink.destroy(upload)
        assert set(disk.names(folder(upload))) <= {"record", "record.new"}
        return crashed

    count = 1
    while simulate(run(count)):
        count += 1
    assert count > 10


def test_a_failure_in_destroying_is_mended_by_destroying_again() -> None:
    async def run(count: int) -> bool:
        story = Story(MemoryDisk(Random(count)), count)
        await story.tell()
        upload = story.record.upload
        story.disk.fail_at(count, errno.EIO)
        try:
            await story.site.sink.destroy(upload)
        except SinkError:
            await story.site.sink.destroy(upload)
        is_reached = not story.disk._machine.failures
        disk = story.disk.crash(keep_none)
        for name in disk.names(folder(upload)):
            if "seg" in name:  # its name came back; its key did not
                head = read_all(disk, f"{folder(upload)}/{name}", 1 << 20)[:4_096]
                assert head == bytes(4_096)
        assert (await story.sink(disk).record(upload)).value.state is State.DESTROYED
        return is_reached

    count = 1
    while simulate(run(count)):
        count += 1
    assert count > 10


# Limits of one writer, on a disk that swallows content.


class Swallowing:
    """A file that counts and forgets what is written to it."""

    def __init__(self, file: File, allocated: list[int]) -> None:
        self._file = file
        self._allocated = allocated
        self.flush, self.close, self.drop_cache = file.flush, file.close, file.drop_cache
        self.read_at, self.size = file.read_at, file.size

    def write_at(self, data: Data, position: int) -> None:
        pass

    def allocate(self, size: int) -> None:
        self._allocated.append(size)

    def truncate(self, size: int) -> None:
        self._allocated.append(-size)


class SwallowingDisk(MemoryDisk):
    allocated: list[int]

    def create(self, path: DiskPath) -> File:  # type: ignore[override]
        file = super().create(path)
        return Swallowing(file, self.allocated) if ".seg" in str(path) else file


async def swallowed() -> tuple[LogWriter, SwallowingDisk]:
    disk = SwallowingDisk(Random(1))
    disk.allocated = []
    sink = MemorySink(disk, SeededKeys().public, Random(1))
    claim = await sink.create(Site(sink, sink, SeededKeys()).record())
    return await claim.writer(record_bytes=SEAL_RECORD_BYTES_MAX), disk


def skip(writer: LogWriter, count: int) -> None:
    """Send *count* bytes that are whatever the room holds."""
    while count:
        taken = min(count, len(writer.room()))
        writer.filled(taken)
        count -= taken


@pytest.mark.reaches("UNLISTED_BYTES_MAX")
@pytest.mark.reaches("MARK_EVERY_BYTES")
def test_a_flush_is_wanted_before_a_claim_has_too_much_to_scan() -> None:
    async def run() -> None:
        writer, _ = await swallowed()
        due = list[bool]()
        for count in (UNLISTED_BYTES_MAX - 1, 1, MARK_EVERY_BYTES - 1, 1):
            skip(writer, count)
            due.append(writer.is_due)
            if due[-1]:
                await writer.flush(mark=False)
                due.append(writer.is_due)
        assert due == [False, True, False, False, True, False]
        mark = writer._record.mark
        assert mark is not None
        assert mark.offset == UNLISTED_BYTES_MAX + MARK_EVERY_BYTES
        await writer.close()

    simulate(run())


@pytest.mark.reaches("ALLOCATE_FROM_BYTES")
@pytest.mark.reaches("ALLOCATE_AHEAD_BYTES_MAX")
def test_blocks_are_allocated_ahead_in_doubling_steps_and_given_back() -> None:
    async def run() -> None:
        writer, disk = await swallowed()
        skip(writer, 40 * SEAL_RECORD_BYTES_MAX)
        steps = disk.allocated
        assert steps[0] == 2 * SEAL_RECORD_BYTES_MAX >= ALLOCATE_FROM_BYTES
        assert steps[1] == 2 * (steps[0] + SEAL_RECORD_BYTES_MAX)
        assert steps[-1] - steps[-2] == ALLOCATE_AHEAD_BYTES_MAX + SEAL_RECORD_BYTES_MAX
        await writer.flush()
        await writer.close()
        assert 0 < -disk.allocated[-1] < steps[-2]

    simulate(run())


def test_a_small_upload_allocates_nothing_ahead() -> None:
    async def run() -> None:
        writer, disk = await swallowed()
        skip(writer, ALLOCATE_FROM_BYTES // 2)
        await writer.flush()
        assert disk.allocated == []
        await writer.close()

    simulate(run())
