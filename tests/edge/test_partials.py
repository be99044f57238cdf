"""Uploads that consist of others: joined, delivered, destroyed; and whatever fails in between."""

import asyncio
import errno
from random import Random

import pytest

from edge.facts import DeletionReceipt, OutcomeState
from edge.incoming import Incoming
from edge.partials import Partials, claim_partials, destroy, must_be_partials, partials_of
from edge.particulars import Particulars, seal_particulars
from edge.record import Ending, State, UploadRecord
from edge.sinks.base import UnknownUpload
from tests.support.delivery_site import (
    ACCOUNT,
    WORKFLOW,
    Region,
    Sent,
    SharedPlaces,
    check_facts,
    check_objects,
    destination_id,
    facts_of,
    start,
    until_quiet,
    work,
)
from tests.support.sim import simulate
from tests.support.taking import Node, Sender, resumable
from tests.support.writing import fill, read_whole
from zentransfer.errors import Code, Error
from zentransfer.ids import AccountID, Kind, OutcomeID, UploadID
from zentransfer.memory_disk import MemoryDisk
from zentransfer.sealed_name import FileName


def partial(length: int) -> Incoming:
    what = resumable(length)
    object.__setattr__(what, "is_partial", True)
    return what


def final(*parts: UploadID) -> Incoming:
    what = resumable(None)
    object.__setattr__(what, "partials", parts)
    return what


async def refused(sending: object) -> Code:
    with pytest.raises(Error) as raised:
        await sending  # type: ignore[misc]
    return raised.value.code


async def whole(here: Node, upload: UploadID) -> bytes:
    return await read_whole(here.sink, upload, here.keys)


async def join(here: Node, *parts: UploadID) -> UploadID:
    """Create a final as a door does; returns it, whole or not."""
    async with here.resumables.create(here.asked()) as taking:
        upload = await taking.begin(final(*parts))
        await (taking.commit() if taking.is_complete else taking.keep())
        return upload


async def mended(here: Node) -> None:
    async with asyncio.TaskGroup() as group:
        mending = group.create_task(here.intake.mend())
        await asyncio.sleep(20)
        mending.cancel()


def test_another_process_may_have_taken_the_parts() -> None:
    async def run() -> None:
        here = await Node(MemoryDisk(Random(1))).start()
        a = await here.create(3, [b"abc"], partial(3))
        other = await Node(here.disk.process(), process="ingest-1").start()
        b = await other.create(3, [b"d"], partial(3))
        made = await join(here, a, b)
        assert here.outcomes() == []
        assert await other.append(b, 1, [b"ef"]) == 3
        await other.resumables.join(b)
        assert await whole(here, made) == b"abcdef"
        assert [one.state for one in other.outcomes()] == [OutcomeState.COMMITTED]
        assert await here.look(made) == 6, "found whole, and told again, the same"
        assert here.outcomes() == other.outcomes()

    simulate(run())


def test_parts_that_end_at_once_make_it_whole_once() -> None:
    async def run() -> None:
        here = await Node(MemoryDisk(Random(1))).start()
        other = await Node(here.disk.process(), process="ingest-1").start()
        a, b = await here.create(1, [], partial(1)), await other.create(1, [], partial(1))
        made = await join(here, a, b)

        async def send(node: Node, upload: UploadID) -> None:
            await node.append(upload, 0, [b"x"])
            await node.resumables.join(upload)

        async with asyncio.TaskGroup() as group:
            group.create_task(send(here, a))
            group.create_task(send(other, b))
        if (await here.sink.record(made)).value.state is State.RECEIVING:  # both were too early
            await here.look(made)
        told = {one.id for one in (*here.outcomes(), *other.outcomes())}
        assert len(told) == 1
        assert await whole(here, made) == b"xx"

    simulate(run())


def test_a_part_whose_sender_was_cut_before_the_answer_is_found_whole() -> None:
    async def run() -> None:
        here = await Node(MemoryDisk(Random(1))).start()
        a = await here.create(3, [], partial(3))
        sender = Sender([b"abc"], Error(Code.PEER_GONE))
        assert await refused(here.append(a, 0, sender)) is Code.PEER_GONE
        made = await join(here, a)
        again = await Node(here.disk.crash()).start()
        await again.sweep()
        await again.look_after(finishes=True)
        assert (await again.sink.record(a)).value.state is State.PARTIAL
        assert await whole(again, made) == b"abc"
        assert [one.state for one in again.outcomes()] == [OutcomeState.COMMITTED]
        assert again.resumables.unfinished.uploads == [a]

    simulate(run())


@pytest.mark.parametrize("is_whole", [True, False])
def test_each_failing_operation_of_a_joining_loses_no_part(is_whole: bool) -> None:
    for step in range(1, 90):

        async def run(step: int = step) -> bool:
            here = await Node(MemoryDisk(Random(step))).start()
            a = await here.create(3, [b"abc"], partial(3))
            b = await here.create(3, [b"def" if is_whole else b""], partial(3))
            before = here.disk.operations
            here.disk.fail_at(step, errno.EIO)
            made: UploadID | None = None
            try:
                made = await join(here, a, b)
            except Error as failure:
                assert failure.code is Code.SINK_UNAVAILABLE  # noqa: PT017 - or none at all
            was_hit = here.disk.operations - before >= step
            here.disk._machine.failures.clear()
            await mended(here)
            assert await here.look(a) == 3
            if not is_whole:
                await here.append(b, 0, [b"def"])
                await here.resumables.join(b)
            if made is None:
                made = await join(here, a, b)
            await here.look(made)
            assert await whole(here, made) == b"abcdef"
            committed = [one for one in here.outcomes() if one.state is OutcomeState.COMMITTED]
            # One whose commit was durable when its outcome was refused was mended meanwhile; its
            # sender heard of a failure, and made another.
            assert made in [one.upload_id for one in committed]
            for one in committed:
                assert await whole(here, one.upload_id) == b"abcdef"
            return was_hit

        if not simulate(run()):
            return
    pytest.fail("never got through")


def test_each_crash_of_a_destruction_is_mended_by_the_next() -> None:
    for step in range(1, 120):

        async def run(step: int = step) -> bool:
            here = await Node(MemoryDisk(Random(step))).start()
            a = await here.create(3, [b"abc"], partial(3))
            b = await here.create(3, [b"def"], partial(3))
            one, two = await join(here, a, b, a), await join(here, a)
            before = here.disk.operations
            here.disk.fail_at(step, errno.EIO)
            try:
                await destroy(here.sink, one)
                was_hit = False
            except Error:
                was_hit = True
            was_hit = was_hit or here.disk.operations - before >= step
            again = await Node(here.disk.crash()).start()
            await destroy(again.sink, one)
            assert await whole(again, two) == b"abc"
            await destroy(again.sink, two)
            await destroy(again.sink, two)
            for upload in (a, b, one, two):
                assert (await again.sink.record(upload)).value.state is State.DESTROYED
                folder = f"uploads/{upload[3:5]}/{upload}"
                assert again.disk.names(folder) == ["record"]
            return was_hit

        if not simulate(run()):
            return
    pytest.fail("never got through")


def test_what_cannot_be_joined_says_no_more_than_that() -> None:
    async def run() -> None:
        here = await Node(MemoryDisk(Random(1))).start()
        a, plain = await here.create(3, [b"abc"], partial(3)), await here.create(3)
        account = here.customer.account().id
        await must_be_partials(here.sink, account, [a, a])
        for parts in ([plain], [UploadID("up_" + "a" * 26)], [a, plain]):
            assert await refused(must_be_partials(here.sink, account, parts)) is Code.INVALID
        stranger = AccountID("ac_" + "a" * 26)
        assert await refused(must_be_partials(here.sink, stranger, [a])) is Code.INVALID

    simulate(run())


def test_parts_know_when_they_are_all_there() -> None:
    made, region = UploadID("up_final"), Region(Random(1), {}).keys.region
    blank = UploadRecord(UploadID("up_a"), ACCOUNT, region, 1, is_partial=True, length=5)
    assert not Partials(made, [blank]).is_complete
    assert Partials(made, [blank, blank]).length == 10
    assert Partials(made, [None]).is_lost
    assert Partials(made, [None]).length is None


def test_a_joined_upload_is_delivered_once_and_destroyed_with_its_parts() -> None:
    async def run() -> None:
        random = Random(5)
        region = Region(random, {destination_id(0): "/0", destination_id(1): "/1"})
        disk, places = MemoryDisk(random), SharedPlaces(region)
        parts = [await committed_part(region, disk, bytes([n]) * 30_000) for n in range(3)]
        worker = await start(region, disk.process(), places)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work(worker))
            await asyncio.sleep(30)
            assert facts_of(worker.outbox) == [], "no part is delivered by itself"
            order = [parts[1], parts[0], parts[1], parts[2]]
            sent = await joined(region, disk, order)
            await until_quiet(region, disk, within_s=60)
            task.cancel()
        check_objects(region, places)
        facts = facts_of(worker.outbox)
        check_facts(region, places, facts)
        (receipt,) = [one.body for one in facts if isinstance(one.body, DeletionReceipt)]
        assert receipt.size_bytes == len(sent.content) == 120_000
        for part in parts:
            record = (await region.sink(disk).record(part[0])).value
            assert (record.state, record.segments) == (State.DESTROYED, ())
        worker.close()

    simulate(run())


async def committed_part(region: Region, disk: MemoryDisk, data: bytes) -> tuple[UploadID, bytes]:
    upload = UploadID(region.ids.make(Kind.UPLOAD))
    record = UploadRecord(
        upload, ACCOUNT, region.keys.region, region.clock.now_ms(), door="http", is_partial=True
    )
    writer = await (await region.sink(disk).create(record)).writer()
    fill(writer, data)
    await writer.finish(None, Ending(ended_ms=region.clock.now_ms()))
    return upload, data


async def joined(region: Region, disk: MemoryDisk, parts: list[tuple[UploadID, bytes]]) -> Sent:
    sink, public = region.sink(disk), region.keys.public
    upload = UploadID(region.ids.make(Kind.UPLOAD))
    record = UploadRecord(
        upload,
        ACCOUNT,
        public.region,
        region.clock.now_ms(),
        door="http",
        partials=tuple(part for part, _ in parts),
    )
    known = Particulars(FileName("", "IMG_0001.JPG"), taken_by="fr-1/ingest-0")
    key = public.metadata[public.metadata_kid]
    sealed = seal_particulars(key, upload, known, region.random.randbytes(12))
    claim = await sink.create(record.named(sealed, public.metadata_kid))
    await claim_partials(sink, record)
    found = await partials_of(sink, record)
    assert found.is_complete
    ending = Ending(WORKFLOW, 1, region.clock.now_ms(), OutcomeID(region.ids.make(Kind.OUTCOME)))
    await (await claim.writer()).finish(None, ending, partials=found.places())
    sent = Sent(upload, b"".join(data for _, data in parts), known.name.name)
    region.sent.append(sent)
    return sent


def test_a_part_that_is_not_there_is_lost() -> None:
    async def run() -> None:
        here = await Node(MemoryDisk(Random(1))).start()
        nobody = UploadID("up_" + "a" * 26)
        with pytest.raises(UnknownUpload):
            await here.sink.record(nobody)
        record = UploadRecord(
            UploadID("up_b"), ACCOUNT, here.keys.region, 1, partials=(nobody, nobody)
        )
        assert (await partials_of(here.sink, record)).is_lost
        assert await refused(claim_partials(here.sink, record)) is Code.INVALID
        await destroy(here.sink, nobody)

    simulate(run())
