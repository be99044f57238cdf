"""The sealed log in an object store: any node of a region goes on with any upload.

The rule: the record decides.  A claim raises the fence in it, lists what older writers left, and
writes down where that ends; what a late writer puts afterwards never counts.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, closing, suppress
from typing import ClassVar

from edge.keys import OpenKey, RegionPublicKeys
from edge.record import Mark, State, UploadRecord
from edge.seal.broken import Broken, Reason
from edge.seal.header import is_record_size
from edge.seal.manifest import Manifest
from edge.seal.record import Walked, Walker
from edge.sinks.base import Conflict, Damaged, SinkError, Version, Versioned
from edge.sinks.log_parts import RECORD_BYTES, Rules, SegmentFile, refusals
from edge.sinks.log_reader import LogReader
from edge.sinks.objects_bucket import Bucket
from edge.sinks.objects_log import (
    HEADER,
    SEGMENTS,
    ObjectParts,
    fence_of,
    object_key,
    segment_folder,
    upload_folder,
)
from edge.sinks.objects_puts import Memory
from edge.sinks.objects_records import RECORDS, ObjectRecords
from edge.sinks.objects_writer import ObjectClaim
from edge.sinks.records import Found
from edge.sinks.transitions import LOST, claimed, destroying, ours, there
from zentransfer.clock import Clock
from zentransfer.errors import Error
from zentransfer.ids import Kind, RandomBytes, UploadID, parse
from zentransfer.limits import (
    OBJECT_BYTES,
    OBJECT_ORPHAN_S,
    OBJECT_TOMBSTONE_S,
    OBJECTS_DELETED_TOGETHER,
)


class ObjectSink:
    """A region's sealed logs and upload records in a bucket; see :class:`edge.sinks.base.Sink`."""

    rules: ClassVar[Rules] = Rules()

    def __init__(
        self,
        bucket: Bucket,
        keys: RegionPublicKeys,
        random_bytes: RandomBytes,
        record_bytes: int = RECORD_BYTES,
        object_bytes: int = OBJECT_BYTES,
    ) -> None:
        """Stand on *bucket*; *random_bytes* makes data keys and numbers of writes."""
        assert is_record_size(record_bytes), "a record size that no reader takes"
        assert object_bytes <= OBJECT_BYTES, "an object that no reader takes"
        self._bucket = bucket
        self._records = ObjectRecords(bucket, random_bytes)
        self._parts = ObjectParts(
            bucket,
            self._records,
            keys,
            random_bytes,
            record_bytes,
            object_bytes,
            Memory(),
            self.rules,
        )

    async def create(self, record: UploadRecord, *, lazily: bool = False) -> ObjectClaim:
        """Create an upload; see :class:`edge.sinks.base.Sink`."""
        assert record.state is State.RECEIVING
        assert not record.segments
        assert record.region == self._parts.keys.region, "content stays in its region"
        if lazily:
            return ObjectClaim.unborn(self._parts, Versioned(record, Version(0)))

        def created(found: Found | None) -> UploadRecord:
            if found is not None:
                raise Conflict
            return record

        return ObjectClaim(self._parts, await self._records.create(record.upload, created))

    async def claim(self, upload: UploadID) -> ObjectClaim:
        """Shut out every older writer, and find the offset; see :class:`edge.sinks.base.Sink`."""
        stored = await self._records.swap(upload, claimed)
        record = stored.found.value
        if record.mark is not None and not record.mark.is_end:
            end = await self._end(record, record.mark)
            stored = await self._records.swap(
                upload, lambda now: ours(now, record.fence).scanned(end), seen=stored
            )
        with suppress(SinkError):  # the next claim, or the end of the upload, removes them
            await self._remove_strays(stored.found.value)
        return ObjectClaim(self._parts, stored)

    async def record(self, upload: UploadID) -> Found:
        """Return the record; see :class:`edge.sinks.base.Sink`."""
        return (await self._records.load(upload)).found

    async def change(self, upload: UploadID, at: Version, to: UploadRecord) -> Version:
        """Replace the record if it is at the version *at*; see :class:`edge.sinks.base.Sink`."""
        assert to.upload == upload, "a record belongs to its upload"

        def changed(found: Found | None) -> UploadRecord:
            if there(found).version != at:
                raise Conflict
            return to

        return (await self._records.swap(upload, changed)).found.version

    async def uploads(self) -> AsyncIterator[UploadID]:
        """Yield every upload that has a record; see :class:`edge.sinks.base.Sink`."""
        async for listed in self._bucket.names(f"{RECORDS}/"):
            with suppress(Error):  # no record of ours
                yield UploadID(parse(Kind.UPLOAD, listed.key.removeprefix(f"{RECORDS}/")))

    async def reader(self, upload: UploadID, open_key: OpenKey) -> AsyncGenerator[memoryview, None]:
        """Yield the plaintext of a committed upload; see :class:`edge.sinks.base.Sink`."""
        with refusals():
            async with aclosing(LogReader(self._parts, open_key).read(upload)) as texts:
                async for text in texts:
                    yield text

    async def manifest(self, upload: UploadID, open_key: OpenKey) -> Manifest:
        """Return the manifest of a committed upload; see :class:`edge.sinks.base.Sink`."""
        with refusals():
            return await LogReader(self._parts, open_key).manifest(upload)

    async def destroy(self, upload: UploadID) -> None:
        """Destroy keys, then content, then names; see :class:`edge.sinks.base.Sink`.

        Every step finds out by itself what is left to do.  Where there is no record but something
        was put, a tombstone keeps a writer that is late from making one.
        """
        if await self._records.maybe(upload) is None and not await self._parts.everything(upload):
            return
        region = self._parts.keys.region
        stored = await self._records.swap(upload, lambda now: destroying(now, upload, region))
        keys = await self._parts.everything(upload)
        headers = [key for key in keys if key.endswith(f"/{HEADER}")]
        await self._bucket.delete(headers)
        await self._bucket.delete(keys[len(headers) :])
        if stored.found.value.state is not State.DESTROYED:
            await self._records.swap(upload, lambda now: there(now).value.destroyed(), seen=stored)

    async def remove_orphans(self, clock: Clock) -> int:
        """Destroy what writers put long ago and never listed; returns of how many uploads.

        Nobody was told of any of it.  Raises ``SinkError``.
        """
        late_ms = clock.now_ms() - int(OBJECT_ORPHAN_S * 1_000)
        removed = 0
        for name in await self._bucket.folders(f"{SEGMENTS}/"):
            with suppress(Error):
                upload = UploadID(parse(Kind.UPLOAD, name))
                if await self._is_orphan(upload, late_ms):
                    await self.destroy(upload)
                    removed += 1
        return removed

    async def remove_tombstones(self, clock: Clock) -> int:
        """Remove the records of uploads that are long gone; returns how many.

        Any writer that is late by then finds no record, which shuts it out just as well.  Raises
        ``SinkError``.
        """
        late_ms = clock.now_ms() - int(OBJECT_TOMBSTONE_S * 1_000)
        removed, keys = 0, list[str]()
        async for listed in self._bucket.names(f"{RECORDS}/"):
            if listed.put_ms < late_ms and await self._is_over(listed.key):
                removed, keys = removed + 1, [*keys, listed.key]
            if len(keys) >= OBJECTS_DELETED_TOGETHER:
                await self._bucket.delete(keys)
                keys = []
        await self._bucket.delete(keys)
        return removed

    async def _is_over(self, key: str) -> bool:
        """Say whether what lies under *key* is a tombstone of which nothing is left to be told."""
        try:
            upload = UploadID(parse(Kind.UPLOAD, key.removeprefix(f"{RECORDS}/")))
        except Error:
            return False  # no record of ours
        stored = await self._records.maybe(upload)
        if stored is None:
            return False
        record = stored.found.value
        return record.state is State.DESTROYED and not record.lacks_receipt()

    async def _is_orphan(self, upload: UploadID, late_ms: int) -> bool:
        stored = await self._records.maybe(upload)
        if stored is not None:
            # What came late, behind the end of the upload; or the end of what never was, begun
            # here and cut off.  Any other end is its owner's to finish: he has to be told first.
            record = stored.found.value
            is_nobodys = record.state is State.DESTROYING and not record.account
            return is_nobodys or record.state is State.DESTROYED
        prefix = f"{upload_folder(upload)}/"
        return all([listed.put_ms < late_ms async for listed in self._bucket.names(prefix)])

    async def _end(self, record: UploadRecord, mark: Mark) -> Mark:
        """Find out where the newest segment ends; nobody was told more than that."""
        try:
            return await self._scan(record, mark)
        except Broken as broken:
            if broken.reason in LOST:
                await self._records.swap(
                    record.upload, lambda now: ours(now, record.fence).damaged()
                )
            raise Damaged(broken.reason) from broken

    async def _scan(self, record: UploadRecord, mark: Mark) -> Mark:
        """Return where the newest segment ends; raises :class:`Broken` below its last mark."""
        newest = record.segments[-1]
        segment = await self._parts.open_from(record, newest, mark.walked.position)
        with closing(segment):
            place = segment.header.place
            seed = self.rules.seed(newest.header_hash)
            walked = await _walk(segment, Walker(seed, place.record_bytes, mark.walked))
        offset = walked.accepted if place.provisional else walked.written
        if walked.position < mark.position or offset < mark.offset:
            raise Broken(Reason.CUT)
        return Mark.at(offset, walked, is_end=True)

    async def _remove_strays(self, record: UploadRecord) -> None:
        """Remove what older writers put and nobody was told of: segments, and ends of segments."""
        listed = {f"{one.number}-{one.fence}" for one in record.segments}
        base = upload_folder(record.upload)
        for name in await self._bucket.folders(f"{base}/"):
            fence = fence_of(name)
            if name not in listed and fence is not None and fence < record.fence:
                keys = [one.key async for one in self._bucket.names(f"{base}/{name}/")]
                await self._bucket.delete(keys)
        if record.segments and record.mark is not None and record.mark.position:
            newest = record.segments[-1]
            folder = segment_folder(record.upload, newest.number, newest.fence)
            behind = object_key(folder, record.mark.position - 1)
            keys = [one.key async for one in self._bucket.names(f"{folder}/", behind)]
            await self._bucket.delete([key for key in keys if not key.endswith(f"/{HEADER}")])


async def _walk(segment: SegmentFile, walker: Walker) -> Walked:
    """Walk *segment* to its end, a record's length at a time, letting others go on in between."""
    buffer = bytearray()
    more = True
    while more:
        position, count = walker.wants()
        buffer = buffer if len(buffer) >= count else bytearray(count)
        with memoryview(buffer) as view:
            filled = await segment.read(view[:count], position)
            more = walker.take(view[:filled])
        await asyncio.sleep(0)
    return walker.walked
