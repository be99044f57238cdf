import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from random import Random

import pytest

from edge.keeping import tend
from edge.record import Ending, State, UploadRecord
from edge.seal.broken import Reason
from edge.sinks.base import Damaged, Ended, Fenced, SinkError, UnknownUpload
from edge.sinks.memory import MEMORY_RECORD_BYTES
from edge.sinks.objects import ObjectSink
from edge.sinks.objects_bucket import Taken, prove
from edge.sinks.objects_memory import Failure, MemoryBucket
from edge.sinks.objects_puts import Memory, Puts
from edge.sinks.objects_records import ObjectRecords
from edge.sinks.objects_writer import ObjectWriter
from tests.support.real_loop import real_loop
from tests.support.region_keys import SeededKeys
from tests.support.sim import simulate
from tests.support.sink_suite import Site
from tests.support.writing import fill, read_whole
from zentransfer.clock import ManualClock
from zentransfer.ids import OutcomeID, UploadID
from zentransfer.limits import (
    OBJECT_BYTES,
    OBJECT_BYTES_MIN,
    OBJECT_CHANGE_TRIES,
    OBJECT_CLEAN_S,
    OBJECT_LOOK_S,
    OBJECT_ORPHAN_S,
    OBJECT_PROBE_S,
    OBJECT_PUTS_IN_FLIGHT,
    OBJECT_TOMBSTONE_S,
    OBJECTS_DELETED_TOGETHER,
    OBJECTS_MEMORY_BYTES_MAX,
)

LONG_AFTER = ManualClock(10**12)


class Place:
    """A bucket in memory with the sinks of two processes, and another upload's chance."""

    def __init__(self, seed: int = 1, object_bytes: int = 24_576) -> None:
        self.random, self.keys = Random(seed), SeededKeys()
        self.bucket = MemoryBucket(self.random, page=3)
        self.object_bytes = object_bytes
        self.site = Site(self.sink(self.bucket), self.sink(), self.keys, Random(3))

    def sink(self, bucket: MemoryBucket | None = None) -> ObjectSink:
        public, chance = self.keys.public, self.random.randbytes
        chosen = bucket or self.bucket.process()
        return ObjectSink(chosen, public, chance, MEMORY_RECORD_BYTES, self.object_bytes)

    def segments(self) -> list[str]:
        return [key for key in self.bucket.keys if key.startswith("segments/")]


# The story of one upload, with one request of it going wrong.


class Story:
    """One upload through two processes to its end; says what was told on the way."""

    def __init__(self, seed: int) -> None:
        self.place = Place(seed)
        self.record = self.place.site.record()
        self.told = 0
        self.is_told_of = self.is_whole = False
        self.data = Random(4).randbytes(70_000)

    async def tell(self) -> None:
        site = self.place.site
        claim = await site.sink.create(self.record)
        self.is_told_of = True
        writer = await claim.writer()
        for end in (100, 12_000, 50_000):
            fill(writer, self.data[writer.written : end])
            self.told = await writer.flush(mark=end != 12_000)
        fill(writer, self.data[50_000:66_000])
        claim = await site.sink.claim(self.record.upload)
        self.told = claim.offset
        last = await claim.writer()
        fill(last, self.data[claim.offset :])
        await last.finish(None)
        self.is_whole = True
        await last.close()

    async def check(self) -> None:
        """See by another process, after whatever happened, that nothing told is lost."""
        sink = self.place.sink()
        try:
            claim = await sink.claim(self.record.upload)
        except UnknownUpload:
            assert not self.is_told_of
        except Ended:
            assert await read_whole(sink, self.record.upload, self.place.keys) == self.data
        else:
            assert not self.is_whole
            assert claim.offset >= self.told
            writer = await claim.writer()
            fill(writer, self.data[claim.offset :])
            await writer.finish(None)
            assert await read_whole(sink, self.record.upload, self.place.keys) == self.data


@pytest.mark.parametrize("failure", list(Failure))
def test_a_failure_of_any_request_loses_nothing_told(failure: Failure) -> None:
    async def run(count: int) -> bool:
        story = Story(count)
        story.place.bucket.fail_at(count, failure)
        with suppress(SinkError, Fenced):
            await story.tell()
        is_reached = not story.place.bucket.is_fault_planned
        await story.check()
        await asyncio.sleep(20)
        await story.place.sink().destroy(story.record.upload)
        await story.place.sink().remove_orphans(LONG_AFTER)
        assert story.place.segments() == []
        return is_reached

    count = 1
    while simulate(run(count)):
        count += 1
    assert count > 20


def test_a_cancellation_at_any_moment_loses_nothing_told() -> None:
    async def run(after_s: float) -> bool:
        story = Story(1)
        telling = asyncio.timeout(after_s)
        with suppress(TimeoutError):
            async with telling:
                await story.tell()
        await story.check()
        return telling.expired()

    after_s = 0.0005
    while simulate(run(after_s)):
        after_s += 0.004
    assert after_s > 0.1


@pytest.mark.parametrize("failure", list(Failure))
def test_a_failure_in_destroying_is_mended_by_destroying_again(failure: Failure) -> None:
    async def run(count: int) -> bool:
        story = Story(count)
        await story.tell()
        story.place.bucket.fail_at(count, failure)
        sink, upload = story.place.site.sink, story.record.upload
        try:
            await sink.destroy(upload)
        except SinkError:
            await asyncio.sleep(20)
            await sink.destroy(upload)
        assert story.place.segments() == []
        assert (await story.place.sink().record(upload)).value.state is State.DESTROYED
        return not story.place.bucket.is_fault_planned

    count = 1
    while simulate(run(count)):
        count += 1
    assert count > 8


def test_keys_go_before_what_they_open() -> None:
    class Watched(MemoryBucket):
        """Says what is removed, in order."""

        gone: list[str]

        async def delete(self, keys: Sequence[str]) -> None:
            self.gone += keys
            await super().delete(keys)

    async def run() -> None:
        random, keys = Random(1), SeededKeys()
        bucket = Watched(random)
        bucket.gone = []
        sink = ObjectSink(bucket, keys.public, random.randbytes, MEMORY_RECORD_BYTES, 24_576)
        site = Site(sink, sink, keys)
        upload, _ = await site.committed(100_000)
        await sink.destroy(upload)
        kinds = [key.endswith("/header") for key in bucket.gone]
        assert kinds == [True] + [False] * (len(kinds) - 1)
        assert len(kinds) > 3

    simulate(run())


# Who wins.


def test_two_claims_that_write_the_same_words_do_not_both_win() -> None:
    async def run(seed: int) -> None:
        place = Place(seed)
        upload = (await place.site.created()).record.upload
        buckets = [place.bucket.process() for _ in range(3)]
        for bucket in buckets:
            bucket.fail_at(2, Failure.AFTER)  # the put that raises the fence

        fences = list[int]()

        async def claim(bucket: MemoryBucket) -> None:
            with suppress(SinkError):
                fences.append((await place.sink(bucket).claim(upload)).fence)

        async with asyncio.TaskGroup() as group:
            for bucket in buckets:
                group.create_task(claim(bucket))
        assert len(set(fences)) == len(fences)
        assert fences

    for seed in range(20):
        simulate(run(seed))


def test_what_a_late_writer_puts_never_counts_and_goes_with_the_next_claim() -> None:
    async def run() -> None:
        place = Place()
        claim = await place.site.created()
        upload = claim.record.upload
        writer = await claim.writer()
        fill(writer, bytes(10_000))
        await writer.flush()
        assert (await place.site.other.claim(upload)).offset == 10_000
        fill(writer, bytes(60_000))
        await asyncio.sleep(1)
        assert len(place.segments()) > 2
        assert (await place.site.other.claim(upload)).offset == 10_000
        assert len(place.segments()) == 2
        with pytest.raises(Fenced):
            await writer.flush()

    simulate(run())


@pytest.mark.reaches("OBJECT_CHANGE_TRIES")
def test_a_record_that_changes_all_the_time_is_a_temporary_error() -> None:
    class Restless(MemoryBucket):
        """Somebody else is faster, always."""

        tries = 0

        async def put(self, key: str, data: bytes, tag: str | None) -> str:
            self.tries += 1
            raise Taken

    async def run() -> None:
        bucket = Restless(Random(1))
        records = ObjectRecords(bucket, Random(1).randbytes)
        record = Place().site.record()
        with pytest.raises(SinkError) as failed:
            await records.swap(record.upload, lambda _: record)
        assert failed.value.temporary
        assert bucket.tries == OBJECT_CHANGE_TRIES

    simulate(run())


# Damage.


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("header", None, Reason.MISSING),
        ("header", bytes(4_096), Reason.HEADER),
        ("0000000000004096", None, Reason.CUT),
        ("0000000000004096", bytes(20_000), Reason.CUT),
    ],
)
def test_told_bytes_that_are_gone_fail_the_upload_visibly(
    name: str, data: bytes | None, reason: Reason
) -> None:
    async def run() -> None:
        place = Place()
        claim = await place.site.created()
        writer = await claim.writer()
        fill(writer, place.random.randbytes(9_000))
        await writer.flush()
        await writer.close()
        upload = claim.record.upload
        place.bucket.spoil(f"segments/{upload}/1-1/{name}", data)
        with pytest.raises(Damaged) as refused:
            await place.site.sink.claim(upload)
        assert refused.value.reason is reason
        with pytest.raises(Ended) as ended:
            await place.site.sink.claim(upload)
        assert ended.value.record.state is State.DAMAGED
        await place.site.sink.destroy(upload)

    simulate(run())


def test_an_object_that_no_process_of_ours_put_is_refused_for_good() -> None:
    async def run() -> None:
        place = Place()
        upload = (await place.site.created()).record.upload
        for data in (bytes(1 << 20), bytes(100)):
            place.bucket.spoil(f"records/{upload}", data)
            with pytest.raises(SinkError) as refused:
                await place.site.sink.record(upload)
            assert not refused.value.temporary

    simulate(run())


def test_content_stays_in_its_region() -> None:
    place = Place()
    record = place.site.record()
    foreign = UploadRecord(record.upload, record.account, place.keys.region.US, created_ms=1)
    with pytest.raises(AssertionError):
        simulate(place.site.sink.create(foreign))


# What is left behind.


def test_an_upload_that_was_never_born_leaves_nothing() -> None:
    async def run() -> None:
        place = Place()
        for size in (0, 10_000, 90_000):
            record = place.site.record()
            writer = await (await place.site.sink.create(record, lazily=True)).writer()
            fill(writer, bytes(size))
            await asyncio.sleep(1)
            await writer.close()
            assert place.bucket.keys == []

    simulate(run())


@pytest.mark.reaches("OBJECT_CLEAN_S")
def test_an_ending_writer_does_not_wait_for_a_store_that_is_slow() -> None:
    async def run() -> None:
        place = Place()
        writer = await (await place.site.sink.create(place.site.record(), lazily=True)).writer()
        fill(writer, bytes(90_000))
        await asyncio.sleep(1)
        place.bucket.fail_at(1, Failure.SLOW)
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        await writer.close()
        assert loop.time() - begun_s == pytest.approx(OBJECT_CLEAN_S)

    simulate(run())


@pytest.mark.reaches("OBJECT_ORPHAN_S")
def test_orphans_go_when_nobody_can_be_at_them_any_more() -> None:
    async def run() -> None:
        place = Place()
        writer = await (await place.site.sink.create(place.site.record(), lazily=True)).writer()
        fill(writer, bytes(90_000))
        await asyncio.sleep(1)  # and then its process is killed
        kept, data = await place.site.committed(50_000)
        sink = place.sink()
        assert await sink.remove_orphans(ManualClock(int(OBJECT_ORPHAN_S * 1_000))) == 0
        assert await sink.remove_orphans(ManualClock(int(OBJECT_ORPHAN_S * 1_000) + 60_000)) == 1
        assert all(kept in key for key in place.segments())
        assert await place.site.read(kept) == data
        with pytest.raises(Fenced):
            await writer.finish(None)

    simulate(run())


@pytest.mark.reaches("OBJECT_TOMBSTONE_S")
@pytest.mark.reaches("OBJECTS_DELETED_TOGETHER")
def test_a_tombstone_goes_when_nobody_can_ask_for_it_any_more() -> None:
    async def run() -> None:
        place = Place()
        sink, late_ms = place.sink(place.bucket), int(OBJECT_TOMBSTONE_S * 1_000) + 3_600_000
        open_ = (await place.site.created()).record.upload
        whole, _ = await place.site.committed(50_000)
        for _ in range(OBJECTS_DELETED_TOGETHER + 1):
            await sink.destroy((await place.site.created()).record.upload)
        untold = (await place.site.created()).record.upload  # ended, and control hears of it later
        found = await sink.record(untold)
        ending = Ending(outcome=OutcomeID("oc_1"), ended_ms=1)
        await sink.change(untold, found.version, found.value.ended(ending))
        await sink.destroy(untold)
        delivered, _ = await place.site.committed(50_000)
        await sink.destroy(delivered)
        before = place.bucket.asked
        assert await sink.remove_tombstones(ManualClock(late_ms - 3_600_000)) == 0
        assert place.bucket.asked - before < OBJECTS_DELETED_TOGETHER, (
            "what is young is not even read"
        )
        removed = await sink.remove_tombstones(ManualClock(late_ms))
        assert removed == OBJECTS_DELETED_TOGETHER + 2
        assert {one async for one in sink.uploads()} == {open_, whole, untold}
        assert await sink.remove_tombstones(ManualClock(late_ms)) == 0

    simulate(run())


@pytest.mark.reaches("OBJECT_PROBE_S")
@pytest.mark.reaches("OBJECT_LOOK_S")
def test_a_store_is_asked_now_and_then_and_looked_through_each_hour() -> None:
    async def run() -> None:
        place = Place()
        writer = await (await place.site.sink.create(place.site.record(), lazily=True)).writer()
        fill(writer, bytes(90_000))
        sink = place.sink(place.bucket)
        place.bucket.fail_at(20, Failure.BEFORE)
        looks = list[int]()

        class Counting(ManualClock):
            """Says when somebody looked."""

            def now_ms(self) -> int:
                looks.append(place.bucket.asked)
                return super().now_ms()

        with suppress(TimeoutError):
            async with asyncio.timeout(1.5 * OBJECT_LOOK_S):
                await tend(place.bucket, sink, Counting(10**12))
        assert len(looks) == 4, "twice: for orphans, and for tombstones"
        assert place.bucket.asked >= 1.4 * OBJECT_LOOK_S / OBJECT_PROBE_S
        assert place.segments() == []

    simulate(run())


# Memory.


async def unstopped(place: Place) -> ObjectWriter:
    writer = await (await place.sink().create(place.site.record())).writer()
    assert isinstance(writer, ObjectWriter)
    return writer


def is_due(writer: ObjectWriter) -> bool:
    """Ask anew: to a checker of types what a property said last still holds."""
    return writer.is_due


@pytest.mark.reaches("OBJECT_PUTS_IN_FLIGHT")
def test_whoever_is_faster_than_the_store_is_told_to_wait() -> None:
    async def run() -> None:
        place = Place()
        writer = await unstopped(place)
        fill(writer, bytes(1))
        await writer.flush()
        sent = 1
        while not is_due(writer):
            fill(writer, bytes(8_192))
            sent += 8_192
        assert sent >= (OBJECT_PUTS_IN_FLIGHT - 1) * place.object_bytes
        assert sent <= (OBJECT_PUTS_IN_FLIGHT + 1) * place.object_bytes
        assert await writer.flush(mark=False) == sent
        assert not is_due(writer)
        await writer.close()

    simulate(run())


def test_never_more_puts_than_allowed_are_under_way() -> None:
    async def run() -> None:
        bucket = MemoryBucket(Random(1))
        puts = Puts(bucket, Memory())
        for number in range(20):
            puts.hand_over(f"segments/{number}", b"some")
        await asyncio.sleep(0)
        assert bucket.asked == OBJECT_PUTS_IN_FLIGHT
        await puts.settle()
        assert len(bucket.keys) == 20

    simulate(run())


@pytest.mark.reaches("OBJECTS_MEMORY_BYTES_MAX")
@pytest.mark.reaches("OBJECT_BYTES_MIN")
def test_many_uploads_share_one_memory() -> None:
    async def run() -> None:
        place = Place(object_bytes=OBJECT_BYTES)
        sink = place.sink()
        writers = [await (await sink.create(place.site.record())).writer() for _ in range(2)]
        memory = sink._parts.memory
        fill(writers[0], bytes(2 * OBJECT_BYTES_MIN))
        assert len(place.segments()) == 0
        memory.add(OBJECTS_MEMORY_BYTES_MAX // 2)
        fill(writers[0], bytes(OBJECT_BYTES_MIN))
        await asyncio.sleep(1)
        assert len(place.segments()) == 2, "objects are smaller when it gets tight"
        fill(writers[1], bytes(MEMORY_RECORD_BYTES))
        assert not is_due(writers[1])
        memory.add(OBJECTS_MEMORY_BYTES_MAX // 2 + 1)
        assert is_due(writers[1]), "and whoever holds something lets go of it when it is full"
        await writers[1].flush()
        assert not is_due(writers[1])
        memory.add(-OBJECTS_MEMORY_BYTES_MAX - 1)
        for writer in writers:
            await writer.close()
        assert 0 <= memory.used <= 1, "nothing is held any more"

    simulate(run())


def test_a_thread_fills_the_same_writer() -> None:
    async def run() -> None:
        place = Place()
        claim = await place.site.created()
        writer = await claim.writer()
        first, second = place.random.randbytes(300_000), place.random.randbytes(300_000)
        fill(writer, first)
        with ThreadPoolExecutor(1) as threads:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(threads, fill, writer, second)
        await writer.finish(None)
        assert await place.site.read(claim.record.upload) == first + second

    real_loop(run())


def test_a_writer_that_ended_holds_no_plaintext() -> None:
    async def run() -> None:
        writer = await unstopped(Place())
        fill(writer, b"pending plaintext")
        late = writer.room()
        await writer.close()
        assert b"pending" not in bytes(writer._memory)
        late[:4] = b"late"  # by a thread that has not heard yet: into nobody else's memory

    simulate(run())


# The store itself.


def test_a_store_that_keeps_conditions_is_good() -> None:
    async def run() -> None:
        bucket = MemoryBucket(Random(1))
        await prove(bucket, Random(2).randbytes)
        assert bucket.keys == []

    simulate(run())


def test_ids_that_are_none_of_ours_are_not_listed() -> None:
    async def run() -> None:
        place = Place()
        upload = (await place.site.created()).record.upload
        await place.bucket.put("records/somebody", b"else", None)
        await place.bucket.put("segments/somebody/1-1/header", b"else", None)
        found = list[UploadID]([one async for one in place.site.sink.uploads()])
        assert found == [upload]
        assert await place.sink().remove_orphans(LONG_AFTER) == 0

    simulate(run())
