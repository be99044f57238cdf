"""The sealed log in files: one implementation over any disk, real or simulated.

The rule: the record decides.  A claim raises the fence in it, makes durable and counts what older
writers left, and writes down where that ends; so no two processes ever tell different offsets.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from pathlib import PurePosixPath
from typing import ClassVar, Final

from edge.keys import OpenKey, RegionPublicKeys
from edge.record import Mark, State, UploadRecord
from edge.seal.broken import Broken, Reason
from edge.seal.header import HEADER_BLOCK_BYTES, is_record_size
from edge.seal.manifest import Manifest
from edge.seal.record import Walked, Walker
from edge.sinks.base import (
    Conflict,
    Damaged,
    Ended,
    SinkError,
    Version,
    Versioned,
)
from edge.sinks.log_parts import (
    RECORD_BYTES,
    Parts,
    Rules,
    fence_in,
    read_fully,
    refusals,
    segment_name,
)
from edge.sinks.log_reader import LogReader
from edge.sinks.log_writer import UNBORN, LogClaim
from edge.sinks.records import Found, Records, sink_errors
from edge.sinks.transitions import LOST, claimed, destroying, ours, there
from zentransfer.disk import Disk, File
from zentransfer.errors import Error
from zentransfer.ids import RandomBytes, UploadID

_ZEROS: Final = bytes(HEADER_BLOCK_BYTES)


class LogSink:
    """A region's sealed logs and upload records on one disk; see :class:`edge.sinks.base.Sink`."""

    rules: ClassVar[Rules] = Rules()

    def __init__(
        self,
        disk: Disk,
        keys: RegionPublicKeys,
        random_bytes: RandomBytes,
        record_bytes: int = RECORD_BYTES,
    ) -> None:
        """Stand on the root of *disk*; *random_bytes* makes data keys."""
        assert is_record_size(record_bytes), "a record size that no reader takes"
        self._records = Records(disk)
        self._parts = Parts(disk, self._records, keys, random_bytes, record_bytes, self.rules)

    async def create(self, record: UploadRecord, *, lazily: bool = False) -> LogClaim:
        """Create an upload; see :class:`edge.sinks.base.Sink`."""
        assert record.state is State.RECEIVING
        assert not record.segments
        assert record.region == self._parts.keys.region, "content stays in its region"
        if lazily:
            return LogClaim(self._parts, Versioned(record, Version(UNBORN)))

        def created(found: Found | None) -> UploadRecord:
            if found is not None:
                raise Conflict
            return record

        return LogClaim(self._parts, await self._records.swap(record.upload, created))

    async def claim(self, upload: UploadID) -> LogClaim:
        """Shut out every older writer, and find the offset; see :class:`edge.sinks.base.Sink`."""
        try:
            found = await self._records.swap(upload, claimed)
        except Ended:
            raise await self._durable_end(upload) from None
        record = found.value
        if record.mark is not None and not record.mark.is_end:
            found = await self._count(record, record.mark)
        self._remove_strays(found.value)
        return LogClaim(self._parts, found)

    async def record(self, upload: UploadID) -> Found:
        """Return the record; see :class:`edge.sinks.base.Sink`."""
        found = self._records.load(upload)
        if found.value.state is State.RECEIVING:  # nothing that a power loss could take back
            return found
        return await self._records.load_durable(upload)

    async def change(self, upload: UploadID, at: Version, to: UploadRecord) -> Version:
        """Replace the record if it is at the version *at*; see :class:`edge.sinks.base.Sink`."""
        assert to.upload == upload, "a record belongs to its upload"

        def changed(found: Found | None) -> UploadRecord:
            if there(found).version != at:
                raise Conflict
            return to

        return (await self._records.swap(upload, changed)).version

    async def uploads(self) -> AsyncIterator[UploadID]:
        """Yield every upload; see :class:`edge.sinks.base.Sink`."""
        for upload in self._records.uploads():
            yield upload

    async def reader(self, upload: UploadID, open_key: OpenKey) -> AsyncGenerator[memoryview, None]:
        """Yield the plaintext of a committed upload; see :class:`edge.sinks.base.Sink`."""
        with refusals(), sink_errors("read the upload"):
            async with aclosing(LogReader(self._parts, open_key).read(upload)) as texts:
                async for text in texts:
                    yield text

    async def manifest(self, upload: UploadID, open_key: OpenKey) -> Manifest:
        """Return the manifest of a committed upload; see :class:`edge.sinks.base.Sink`."""
        with refusals(), sink_errors("read the upload"):
            return await LogReader(self._parts, open_key).manifest(upload)

    async def destroy(self, upload: UploadID) -> None:
        """Destroy keys, then content, then names; see :class:`edge.sinks.base.Sink`.

        Every step finds out by itself what is left to do, so a crash anywhere is mended by going
        through all of them again.
        """
        if not self._parts.disk.exists(self._records.folder(upload)):
            return
        region = self._parts.keys.region
        found = await self._records.swap(upload, lambda now: destroying(now, upload, region))
        with sink_errors("destroy the upload"):
            segments = self._segment_paths(upload)
            for path in segments:
                await self._overwrite_header(path)
            await self._unlink(upload, segments)
        if found.value.state is not State.DESTROYED:
            await self._records.swap(upload, lambda now: there(now).value.destroyed())

    async def _unlink(self, upload: UploadID, segments: list[str]) -> None:
        """Remove the files of *segments*, durably.

        After a failed flush the names are gone to every reader, and back after a power loss.  So
        they are made anew, empty: else the next pass would find nothing and take it for done.
        """
        disk = self._parts.disk
        for path in segments:
            disk.unlink(path)
        try:
            await self._records.flush_names(upload)
        except BaseException:
            for path in segments:
                with suppress(OSError):
                    disk.create(path).close()
            raise

    async def _durable_end(self, upload: UploadID) -> Error:
        """Return the error for a claim of an upload that takes no more bytes."""
        record = (await self._records.load_durable(upload)).value
        if record.state is not State.RECEIVING:
            return Ended(record)
        # Its end could not be made durable and was taken back while we looked.
        return SinkError("the record is changing", temporary=True)

    async def _count(self, record: UploadRecord, mark: Mark) -> Found:
        """Find out where the newest segment ends, and write that down before anybody is told."""
        try:
            with sink_errors("scan the newest segment"):
                end = await self._scan(record, mark)
        except Broken as broken:
            if broken.reason in LOST:
                await self._records.swap(
                    record.upload, lambda now: ours(now, record.fence).damaged()
                )
            raise Damaged(broken.reason) from broken
        return await self._records.swap(
            record.upload, lambda now: ours(now, record.fence).scanned(end)
        )

    async def _scan(self, record: UploadRecord, mark: Mark) -> Mark:
        """Return where the newest segment ends; raises :class:`Broken` below its last mark."""
        newest = record.segments[-1]
        try:
            file = self._parts.disk.open(
                self._parts.path(record.upload, newest.number, newest.fence)
            )
        except FileNotFoundError as missing:
            raise Broken(Reason.MISSING) from missing
        try:
            await self.rules.flush_found(file)
            self.rules.drop_found(file)
            place = self._parts.header(file, record, newest).place
            seed = self.rules.seed(newest.header_hash)
            walked = await _walk(file, Walker(seed, place.record_bytes, mark.walked))
        finally:
            file.close()
        offset = walked.accepted if place.provisional else walked.written
        if walked.position < mark.position or offset < mark.offset:
            raise Broken(Reason.CUT)
        return Mark.at(offset, walked, is_end=True)

    def _remove_strays(self, record: UploadRecord) -> None:
        """Remove segments that older writers never listed: nobody was told of them."""
        listed = {segment_name(segment.number, segment.fence) for segment in record.segments}
        with suppress(OSError):  # the next claim, or the end of the upload, removes them
            for path in self._segment_paths(record.upload):
                name = PurePosixPath(path).name
                if name not in listed and (fence_in(name) or 0) < record.fence:
                    self._parts.disk.unlink(path)

    def _segment_paths(self, upload: UploadID) -> list[str]:
        folder = self._records.folder(upload)
        names = self._parts.disk.names(folder)
        return [f"{folder}/{name}" for name in names if fence_in(name) is not None]

    async def _overwrite_header(self, path: str) -> None:
        """Destroy a segment's sealed key: whatever copies of the ciphertext exist, none opens.

        Overwriting is best effort on flash and on copy-on-write file systems; there the monthly
        end of the region's own key is what shreds it.
        """
        file = self._parts.disk.open(path, write=True)
        try:
            file.write_at(_ZEROS, 0)
            await file.flush()
        finally:
            file.close()


async def _walk(file: File, walker: Walker) -> Walked:
    """Walk *file* to its end, a record's length at a time, letting others go on in between."""
    buffer = bytearray()
    more = True
    while more:
        position, count = walker.wants()
        buffer = buffer if len(buffer) >= count else bytearray(count)
        with memoryview(buffer) as view:
            filled = read_fully(file, view[:count], position)
            more = walker.take(view[:filled])
        await asyncio.sleep(0)
    return walker.walked
