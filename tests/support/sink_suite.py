"""What every form of a sink must do: each case gets a place with an empty one.

A form runs them all: ``@pytest.mark.parametrize("case", CASES)`` and the loop that suits it.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from hashlib import sha256
from random import Random
from typing import Any

import pytest

from edge.record import Ending, Segment, State, UploadRecord
from edge.seal.broken import Reason
from edge.sinks.base import (
    Claim,
    Conflict,
    Damaged,
    Ended,
    Fenced,
    Partial,
    Sink,
    SinkError,
    UnknownUpload,
    Version,
    Writer,
)
from tests.support.region_keys import SeededKeys
from tests.support.writing import fill, read_whole
from zentransfer.errors import Code
from zentransfer.ids import AccountID, IdMaker, Kind, OutcomeID, UploadID, WorkflowID
from zentransfer.limits import SEGMENTS_PER_UPLOAD_MAX

ENDING = Ending(WorkflowID("wf_x"), 3, 1_795_305_660_000, OutcomeID("oc_x"))


@dataclass
class Site:
    """An empty sink, its keys, and the sink as another process has it.

    ``unwritten_max`` is how many bytes that were filled a killed process may still hold, and
    ``lists_unborn`` whether what never had a record is listed, or else sees to itself.
    """

    sink: Sink
    other: Sink
    keys: SeededKeys
    random: Random = field(default_factory=lambda: Random(5))
    unwritten_max: int = 262_144
    lists_unborn: bool = True

    def record(self) -> UploadRecord:
        upload = UploadID(IdMaker(self.random.randbytes).make(Kind.UPLOAD))
        account = AccountID("ac_aaaaaaaaaaaaaaaaaaaaaaaaaa")
        return UploadRecord(upload, account, self.keys.region, created_ms=1_795_305_600_000)

    async def created(self) -> Claim:
        return await self.sink.create(self.record())

    async def committed(self, size: int) -> tuple[UploadID, bytes]:
        claim, data = await self.created(), self.random.randbytes(size)
        writer = await claim.writer()
        fill(writer, data)
        await writer.finish(sha256(data).digest(), ENDING)
        return claim.record.upload, data

    async def read(self, upload: UploadID) -> bytes:
        return await read_whole(self.sink, upload, self.keys)

    async def refusal(self, upload: UploadID) -> Reason:
        with pytest.raises(Damaged) as refused:
            await self.read(upload)
        assert not refused.value.temporary
        return refused.value.reason


Case = Callable[[Site], Coroutine[Any, Any, None]]

CASES: list[Case] = []


def _case(case: Case) -> Case:
    CASES.append(case)
    return case


async def _append(site: Site, writer: Writer, size: int) -> bytes:
    data = site.random.randbytes(size)
    fill(writer, data)
    assert await writer.flush() == writer.offset == writer.written
    return data


@_case
async def a_created_upload_is_there_and_empty(site: Site) -> None:
    claim = await site.created()
    upload = claim.record.upload
    assert claim.offset == 0
    found = await site.other.record(upload)
    assert found.value == claim.record
    assert [known async for known in site.other.uploads()] == [upload]
    with pytest.raises(Conflict):
        await site.other.create(claim.record)


@_case
async def an_unknown_upload_is_unknown_to_every_verb(site: Site) -> None:
    record = site.record()
    for verb in (site.sink.claim, site.sink.record):
        with pytest.raises(UnknownUpload):
            await verb(record.upload)
    with pytest.raises(UnknownUpload):
        await site.sink.change(record.upload, Version(1), record)
    with pytest.raises(UnknownUpload):
        await site.read(record.upload)
    assert [known async for known in site.sink.uploads()] == []


@_case
async def an_offset_counts_what_is_durable_and_a_resume_starts_there(site: Site) -> None:
    claim = await site.created()
    writer, sent = await claim.writer(), b""
    for size in (1, 4_071, 100, 8_167, 20_000, 37):
        sent += await _append(site, writer, size)
        assert writer.offset == len(sent)
    await writer.close()
    for size in (3, 9_000):
        claim = await site.other.claim(claim.record.upload)
        assert claim.offset == len(sent)
        writer = await claim.writer()
        sent += await _append(site, writer, size)
        await writer.close()
    writer = await (await site.sink.claim(claim.record.upload)).writer()
    manifest = await writer.finish(None)
    assert (manifest.total, len(manifest.segments)) == (len(sent), 4)
    assert await site.read(claim.record.upload) == sent


@_case
async def what_was_filled_but_not_flushed_is_told_to_nobody(site: Site) -> None:
    claim = await site.created()
    writer = await claim.writer()
    fill(writer, bytes(30_000))
    assert (writer.offset, writer.written) == (0, 30_000)
    await writer.close()
    assert (await site.sink.claim(claim.record.upload)).offset == 0


@_case
async def whole_records_of_a_killed_process_are_kept(site: Site) -> None:
    claim = await site.created()
    writer = await claim.writer()
    sent = await _append(site, writer, 10)
    more = site.random.randbytes(600_000)
    fill(writer, more)
    claim = await site.other.claim(claim.record.upload)
    assert 10 <= claim.offset <= 600_010
    assert claim.offset > 600_010 - site.unwritten_max
    last = await claim.writer()
    await last.finish(None)
    assert await site.read(claim.record.upload) == (sent + more)[: claim.offset]
    await writer.close()


@_case
async def a_newer_claim_shuts_out_the_older_writer(site: Site) -> None:
    claim = await site.created()
    older = await claim.writer()
    sent = await _append(site, older, 500)
    newer = await site.other.claim(claim.record.upload)
    assert (newer.offset, newer.fence) == (500, claim.fence + 1)
    fill(older, bytes(700_000))
    with pytest.raises(Fenced):
        await older.flush()
    for refused in (older.flush, older.finish):
        with pytest.raises(Fenced):
            await (refused() if refused == older.flush else older.finish(None))
    with pytest.raises(Fenced):
        older.room()
    await older.close()
    again = await site.sink.claim(claim.record.upload)
    assert again.offset == 500, "late bytes of an older writer never count"
    writer = await again.writer()
    sent += await _append(site, writer, 5)
    await writer.finish(None)
    assert await site.read(claim.record.upload) == sent


@_case
async def an_older_writer_cannot_commit(site: Site) -> None:
    claim = await site.created()
    older = await claim.writer()
    await _append(site, older, 500)
    await site.other.claim(claim.record.upload)
    with pytest.raises(Fenced):
        await older.finish(None)
    assert (await site.sink.record(claim.record.upload)).value.state is State.RECEIVING


@_case
async def a_claim_that_is_shut_out_opens_no_writer_that_counts(site: Site) -> None:
    older = await site.created()
    await site.other.claim(older.record.upload)
    writer = await older.writer()
    fill(writer, b"late")
    with pytest.raises(Fenced):
        await writer.flush()
    empty = await (await site.created()).writer()
    assert await empty.flush() == 0


@_case
async def asking_again_tells_the_same_offset(site: Site) -> None:
    claim = await site.created()
    writer = await claim.writer()
    await _append(site, writer, 12_345)
    for _ in range(3):
        for sink in (site.sink, site.other):
            assert (await sink.claim(claim.record.upload)).offset == 12_345
    await writer.close()


@_case
async def provisional_bytes_count_once_they_are_accepted(site: Site) -> None:
    claim = await site.created()
    upload = claim.record.upload
    writer = await claim.writer(provisional=True)
    sent = site.random.randbytes(9_000)
    fill(writer, sent)
    assert await writer.flush() == 0
    writer.accept(9_000)
    writer.accept(9_000)
    assert await writer.flush() == 9_000
    fill(writer, bytes(100))
    assert await writer.flush(mark=False) == 9_000
    await writer.close()

    dropped = await site.other.claim(upload)
    assert dropped.offset == 9_000
    writer = await dropped.writer(provisional=True)
    fill(writer, bytes(300_000))
    assert await writer.flush() == 9_000
    await writer.close()

    writer = await (await site.sink.claim(upload)).writer()
    sent += await _append(site, writer, 10)
    manifest = await writer.finish(None)
    assert len(manifest.segments) == 2, "a segment of which nothing counts is dropped"
    assert await site.read(upload) == sent


@_case
async def a_provisional_segment_may_finish_the_upload(site: Site) -> None:
    claim = await site.created()
    writer = await claim.writer(provisional=True)
    data = site.random.randbytes(300)
    fill(writer, data)
    writer.accept(300)
    assert (await writer.finish(None)).total == 300
    assert await site.read(claim.record.upload) == data


@_case
async def a_commit_stamps_everything_in_one_change(site: Site) -> None:
    upload, data = await site.committed(70_000)
    record = (await site.other.record(upload)).value
    assert (record.state, record.size, record.ending) == (State.COMMITTED, 70_000, ENDING)
    manifest = await site.sink.manifest(upload, site.keys)
    assert manifest.digest == sha256(data).digest()
    assert await site.read(upload) == data
    with pytest.raises(Ended) as ended:
        await site.other.claim(upload)
    assert ended.value.record == record


@_case
async def what_the_client_announced_goes_into_the_manifest(site: Site) -> None:
    writer = await (claim := await site.created()).writer()
    fill(writer, b"abc")
    await writer.finish(None, expected={"sha-256": b"announced", "md5": b"too"})
    manifest = await site.sink.manifest(claim.record.upload, site.keys)
    assert manifest.expected == {"sha-256": b"announced", "md5": b"too"}


@_case
async def an_upload_of_no_bytes_is_whole(site: Site) -> None:
    upload, data = await site.committed(0)
    assert await site.read(upload) == data == b""


@_case
async def a_cut_upload_is_finished_by_an_empty_segment(site: Site) -> None:
    claim = await site.created()
    writer = await claim.writer()
    sent = await _append(site, writer, 5_000)
    await writer.close()
    writer = await (await site.other.claim(claim.record.upload)).writer()
    assert (await writer.finish(None)).total == 5_000
    assert await site.read(claim.record.upload) == sent


@_case
async def a_lazy_upload_is_born_by_its_commit(site: Site) -> None:
    record = site.record()
    claim = await site.sink.create(record, lazily=True)
    writer = await claim.writer()
    fill(writer, b"small")
    with pytest.raises(UnknownUpload):
        await site.other.record(record.upload)
    await writer.finish(None, ENDING)
    assert (await site.other.record(record.upload)).value.state is State.COMMITTED
    assert await site.read(record.upload) == b"small"


@_case
async def a_lazy_upload_is_born_by_its_first_flush(site: Site) -> None:
    for data in (b"", b"some"):
        claim = await site.sink.create(site.record(), lazily=True)
        writer = await claim.writer()
        fill(writer, data)
        assert await writer.flush() == len(data)
        assert (await site.other.claim(claim.record.upload)).offset == len(data)
        await writer.close()


@_case
async def a_lazy_upload_that_was_destroyed_is_not_born(site: Site) -> None:
    claim = await site.sink.create(site.record(), lazily=True)
    writer = await claim.writer()
    fill(writer, bytes(300_000))
    if site.lists_unborn:
        assert [known async for known in site.other.uploads()] == [claim.record.upload]
    await asyncio.sleep(0.3)  # where filling is not writing, what was filled is under way by now
    await site.other.destroy(claim.record.upload)
    with pytest.raises(Fenced):
        await writer.finish(None)
    await writer.close()
    assert (await site.sink.record(claim.record.upload)).value.state is State.DESTROYED


@_case
async def what_is_not_whole_is_not_read(site: Site) -> None:
    claim = await site.created()
    writer = await claim.writer()
    await _append(site, writer, 5_000)
    assert await site.refusal(claim.record.upload) is Reason.NOT_WHOLE
    with pytest.raises(Damaged):
        await site.sink.manifest(claim.record.upload, site.keys)
    await writer.close()


@_case
async def a_record_changes_only_at_the_version_that_was_read(site: Site) -> None:
    claim = await site.created()
    upload = claim.record.upload
    found = await site.sink.record(upload)
    version = await site.sink.change(upload, found.version, found.value.announced(7))
    with pytest.raises(Conflict):
        await site.other.change(upload, found.version, found.value)
    after = await site.other.record(upload)
    assert (after.value.length, after.version) == (7, version)
    writer = await claim.writer()
    fill(writer, bytes(7))
    await writer.finish(None)
    committed = (await site.other.record(upload)).value
    assert committed.length == 7, "a writer keeps what others changed in the meantime"


@_case
async def a_closed_writer_takes_nothing_more(site: Site) -> None:
    claim = await site.created()
    writer = await claim.writer()
    await _append(site, writer, 10)
    await writer.close()
    await writer.close()
    with pytest.raises(SinkError) as refused:
        writer.room()
    assert refused.value.temporary
    with pytest.raises(SinkError):
        await writer.flush()
    with pytest.raises(AssertionError):
        await claim.writer()


@_case
async def an_upload_of_too_many_segments_goes_no_further(site: Site) -> None:
    claim = await site.created()
    upload = claim.record.upload
    found = await site.sink.record(upload)
    segments = tuple(
        Segment(number + 1, 1, number, bytes(32)) for number in range(SEGMENTS_PER_UPLOAD_MAX)
    )
    await site.sink.change(upload, found.version, replace(found.value, segments=segments))
    full = await site.other.claim(upload)
    with pytest.raises(SinkError) as refused:
        await full.writer()
    assert (refused.value.code, refused.value.temporary) == (Code.GONE, False)


@_case
async def a_destroyed_upload_leaves_a_tombstone_and_nothing_else(site: Site) -> None:
    upload, _ = await site.committed(20_000)
    for sink in (site.sink, site.other, site.sink):
        await sink.destroy(upload)
        record = (await sink.record(upload)).value
        assert (record.state, record.segments, record.names) == (State.DESTROYED, (), b"")
        assert record.size == 20_000
    assert await site.refusal(upload) is Reason.NOT_WHOLE
    with pytest.raises(Ended):
        await site.sink.claim(upload)
    await site.sink.destroy(site.record().upload)


@_case
async def destroying_shuts_out_the_writer(site: Site) -> None:
    claim = await site.created()
    writer = await claim.writer()
    await _append(site, writer, 20_000)
    await site.other.destroy(claim.record.upload)
    fill(writer, bytes(600_000))
    with pytest.raises(Fenced):
        await writer.flush()
    await writer.close()
    with pytest.raises(Ended) as ended:
        await site.sink.claim(claim.record.upload)
    assert ended.value.record.state is State.DESTROYED


@_case
async def a_final_upload_reads_as_its_partials_in_order(site: Site) -> None:
    partials, whole = list[Partial](), b""
    for size in (5_000, 1, 5_000):
        upload, data = await site.committed(size)
        place = (await site.sink.record(upload)).value.manifest
        assert place is not None
        partials.append(Partial(upload, place.digest, size))
        whole += data
    final = await site.created()
    manifest = await (await final.writer()).finish(None, partials=tuple(partials))
    assert manifest.total == len(whole)
    assert await site.read(final.record.upload) == whole

    wrong = await site.created()
    other = replace(partials[0], manifest=partials[1].manifest)
    await (await wrong.writer()).finish(None, partials=(other,))
    assert await site.refusal(wrong.record.upload) is Reason.MANIFEST

    place = (await site.sink.record(final.record.upload)).value.manifest
    assert place is not None
    nested = await site.created()
    inner = Partial(final.record.upload, place.digest, len(whole))
    await (await nested.writer()).finish(None, partials=(inner,))
    assert await site.refusal(nested.record.upload) is Reason.MANIFEST
