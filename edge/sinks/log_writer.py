"""A claim of an upload, and the one segment that it may write.

The rules: flush, confirm the fence, then reply; so a writer that was shut out either has its bytes
in the newer claim's scan or never told anybody of them.  A failed flush ends the segment.
"""

import mmap
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from typing import Final

from edge.record import Ending, ManifestPlace, Mark, Segment, UploadRecord
from edge.seal.header import DEK_BYTES, HEADER_BLOCK_BYTES, Header, Place, is_record_size
from edge.seal.manifest import (
    Manifest,
    Partial,
    SegmentPlace,
    manifest_digest,
    origin_message,
)
from edge.seal.record import Assembler, RecordKeys, Walked
from edge.secret import wipe
from edge.sinks.base import NO_ENDING, NOTHING, Fenced, SinkError
from edge.sinks.log_parts import Parts, unlisted
from edge.sinks.records import Found, Pieces, Transition, sink_error
from zentransfer.disk import File
from zentransfer.errors import Code
from zentransfer.limits import (
    ALLOCATE_AHEAD_BYTES_MAX,
    ALLOCATE_FROM_BYTES,
    MARK_EVERY_BYTES,
    UNLISTED_BYTES_MAX,
)

UNBORN: Final = 0  # the version of a record that a lazy create left to the writer


class LogClaim:
    """The right to add to an upload; see :class:`edge.sinks.base.Claim`."""

    def __init__(self, parts: Parts, found: Found) -> None:
        self._parts = parts
        self._found = found
        self._is_used = False

    @property
    def offset(self) -> int:
        """The durable offset, where the next byte goes."""
        mark = self._found.value.mark
        return mark.offset if mark else 0

    @property
    def fence(self) -> int:
        """The number under which this claim holds."""
        return self._found.value.fence

    @property
    def record(self) -> UploadRecord:
        """The upload record as this claim left it."""
        return self._found.value

    async def writer(self, *, provisional: bool = False, record_bytes: int = 0) -> "LogWriter":
        """Open this claim's one segment; see :class:`edge.sinks.base.Claim`."""
        assert not self._is_used, "a claim has one writer; claim again"
        record = self._found.value
        if record.is_full:
            raise SinkError("the upload has too many segments", temporary=False, code=Code.GONE)
        self._is_used = True
        place = Place(
            kid=self._parts.keys.kid,
            account=record.account,
            upload=record.upload,
            region=self._parts.keys.region,
            number=record.next_number,
            start=self.offset,
            fence=record.fence,
            provisional=provisional,
            record_bytes=record_bytes or self._parts.record_bytes,
        )
        writer = LogWriter(self._parts, self._found, place)
        fits = record.length is not None and record.length < len(writer.room())
        if self._found.version == UNBORN and (provisional or not fits):
            await writer.prepare()
        return writer


class LogWriter:
    """One segment of one upload; see :class:`edge.sinks.base.Writer`.

    Nothing touches the disk before the first record is full or the first ``flush``, so a small
    upload is one file that is written once.
    """

    def __init__(self, parts: Parts, found: Found, place: Place) -> None:
        """Seal a fresh data key to the region and forget it, all but its cipher."""
        assert is_record_size(place.record_bytes), "a record size that no reader takes"
        dek = parts.random_bytes(DEK_BYTES)
        self._header = Header.of(place, parts.keys.seal(dek, place.info()))
        seed = parts.rules.seed(self._header.hash)
        # Anonymous memory is given page by page as it is filled, and belongs to this writer alone:
        # a buffer shared over time could receive the late bytes of another upload.
        self._memory = mmap.mmap(-1, place.record_bytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        keys = RecordKeys(dek, self._header.hash)
        wipe(dek)
        self._assembler = Assembler(
            keys,
            seed,
            place.start,
            self._header.block(parts.keys.tag(self._header.hash)),
            memoryview(self._memory),
        )
        self._parts = parts
        self._place = place
        self._record = found.value
        self._is_unborn = found.version == UNBORN
        self._is_prepared = not self._is_unborn  # else nothing of it is on the disk
        self._is_listed = False
        self._path = parts.path(found.value.upload, place.number, place.fence)
        self._file: File | None = None
        self._is_open = True
        self._is_fenced = False
        self._allocated = 0  # bytes of the file
        self._flushed = 0  # position in the file up to which it is durable
        self._marked = place.start  # offset up to which a claim need not scan
        self._told = place.start

    @property
    def offset(self) -> int:
        """The durable offset that was told last, in bytes."""
        return self._told

    @property
    def written(self) -> int:
        """The offset of the next byte to come, durable or not."""
        return self._assembler.offset

    async def prepare(self) -> None:
        """Make the place where an upload without a record will be written."""
        if not self._is_prepared:
            await self._parts.records.prepare(self._record.upload)
            self._is_prepared = True

    @property
    def is_due(self) -> bool:
        """Whether a ``flush`` is wanted soon: to be listed at all, or for a mark."""
        unmarked = self._assembler.offset - self._marked
        return unmarked >= (MARK_EVERY_BYTES if self._is_listed else UNLISTED_BYTES_MAX)

    def room(self) -> memoryview:
        """Return where the next plaintext bytes go."""
        self._must_be_open()
        return self._assembler.room()

    def filled(self, count: int) -> None:
        """Count *count* bytes in the room; a full record is sealed in place and written."""
        self._must_be_open()
        if self._assembler.filled(count):
            with self._last_words("write the segment"):
                self._assembler.seal()
                self._write_out()

    def accept(self, offset: int) -> None:
        """Let provisional data count up to *offset*, which must be all that was filled."""
        self._must_be_open()
        assert self._place.provisional, "plain data counts without"
        assert offset == self._assembler.offset, "what was filled is accepted whole"
        with self._last_words("write the segment"):
            if self._assembler.seal():
                self._write_out()
            # Twice the same would stand between the last byte that counts and the manifest.
            if offset > self._assembler.walked.accepted and self._assembler.accept(offset):
                self._write_out()

    async def flush(self, *, mark: bool = True, now_ms: int = 0) -> int:
        """Return the durable offset, with the fence confirmed."""
        self._must_be_open()
        with self._last_words("flush the segment"):
            await self.prepare()
            self._assembler.seal()
            walked = self._assembler.walked
            if walked.position > HEADER_BLOCK_BYTES:
                self._write_out()
            told = walked.accepted if self._place.provisional else walked.written
            if self._file is None:
                await self._confirm_empty()
            else:
                await self._flush_file(self._file, walked.position)
                if mark or self.is_due or not self._is_listed:
                    await self._mark(told, walked, now_ms)
                else:
                    self._confirm()
            self._told = told
            return told

    async def finish(
        self,
        digest: bytes | None,
        ending: Ending = NO_ENDING,
        *,
        expected: Mapping[str, bytes] = NOTHING,
        partials: tuple[Partial, ...] = (),
    ) -> Manifest:
        """Commit; see :class:`edge.sinks.base.Writer`."""
        self._must_be_open()
        with self._last_words("finish the upload"):
            self._assembler.seal()
            walked = self._assembler.walked
            manifest = self._manifest(walked, digest, expected, partials)
            record, place = self._sealed(manifest, walked.position)
            commit = self._committing(place, walked, manifest.total, ending)
            if self._is_prepared:
                self._write_out()
                file = self._opened_file()
                file.write_at(record, walked.position)
                self._give_back(file, walked.position + len(record))
                await self._flush_file(file, walked.position + 1)
                await self._swap(commit)
            else:
                pieces: Pieces = [self._assembler.take(), (record, walked.position)]
                name, upload = self._path.rpartition("/")[2], self._record.upload
                self._born(await self._parts.records.bear(upload, commit, name, pieces))
            self._told = walked.written
        self._end()
        return manifest

    async def close(self) -> None:
        """End the segment; keeps what is durable; idempotent."""
        if self._is_open and self._file is not None:
            with suppress(OSError):  # what is not given back now goes with the file
                self._give_back(self._file, self._assembler.walked.position)
        self._end()
        with suppress(OSError):  # what stays behind goes at the next claim, or as an orphan
            if self._file is not None and not self._is_listed:
                self._parts.disk.unlink(unlisted(self._path))
            if self._is_unborn and self._is_prepared:
                self._parts.disk.remove_folder(self._parts.records.folder(self._record.upload))

    # The file.

    def _write_out(self) -> None:
        """Write what is sealed, the header first of all."""
        if not self._assembler.has_more:
            return
        data, position = self._assembler.take()
        file = self._opened_file()
        self._allocate(file, position + len(data))
        file.write_at(data, position)

    def _opened_file(self) -> File:
        if self._file is None:
            self._file = self._parts.disk.create(unlisted(self._path))
        return self._file

    def _allocate(self, file: File, end: int) -> None:
        """Let the disk choose many blocks at once, if it can: it costs a quarter of the CPU."""
        length = self._record.length
        is_near_end = length is not None and length - self.written < ALLOCATE_FROM_BYTES
        if end <= self._allocated or end < ALLOCATE_FROM_BYTES or is_near_end:
            return  # a small rest is chosen well by itself, and giving back costs a journal entry
        self._allocated = end + min(end, ALLOCATE_AHEAD_BYTES_MAX)
        with suppress(OSError):
            file.allocate(self._allocated)

    def _give_back(self, file: File, end: int) -> None:
        if self._allocated > end:
            file.truncate(end)
            self._allocated = 0

    async def _flush_file(self, file: File, position: int) -> None:
        if position > self._flushed:
            await file.flush()
            self._flushed = position

    def _manifest(
        self,
        walked: Walked,
        digest: bytes | None,
        expected: Mapping[str, bytes],
        partials: tuple[Partial, ...],
    ) -> Manifest:
        assert not self._place.provisional or walked.accepted == walked.written
        assert not partials or walked.written == 0, "partials stand for all the bytes"
        total = sum(partial.size for partial in partials) if partials else walked.written
        segments = self._record.segments
        if not self._is_listed:
            segments = (*segments, self._segment())
        places = tuple(SegmentPlace(s.number, s.start, s.header_hash) for s in segments)
        return Manifest(total, places, digest, expected, partials)

    def _sealed(self, manifest: Manifest, position: int) -> tuple[bytes, ManifestPlace]:
        """Return the record of *manifest*, and what the upload record says of it."""
        counter = self._assembler.counter
        sealed = self._assembler.seal_manifest(manifest.pack())
        digest = manifest_digest(self._header.hash, sealed)
        tag = self._parts.keys.tag(origin_message(digest))
        place = ManifestPlace(digest, position, counter)
        return self._assembler.frame_manifest(sealed + tag), place

    # The record.

    async def _mark(self, told: int, walked: Walked, now_ms: int) -> None:
        """Note what is durable, the segment itself at the first time: this confirms the fence."""
        mark = Mark.at(told, walked)

        def marked(found: Found | None) -> UploadRecord:
            record = self._current(found, self._parts.rules.may_reply)
            if self._is_listed:
                return record.marked(mark).heard(now_ms)
            return record.opened(self._segment(), mark).heard(now_ms)

        await self._swap(marked)
        self._marked = walked.written

    def _committing(
        self, place: ManifestPlace, walked: Walked, total: int, ending: Ending
    ) -> Transition:
        mark = Mark.at(walked.written, walked)

        def committed(found: Found | None) -> UploadRecord:
            record = self._current(found, self._parts.rules.may_commit)
            if not self._is_listed:
                record = record.opened(self._segment(), mark)
            return record.committed(place, total, ending)

        return committed

    async def _swap(self, transition: Transition) -> None:
        found = await self._parts.records.swap(
            self._record.upload,
            transition,
            rename=None if self._is_listed else (unlisted(self._path), self._path),
            prepared=self._is_unborn,
        )
        self._born(found)

    def _born(self, found: Found) -> None:
        self._record = found.value
        self._is_listed = self._is_prepared = True
        self._is_unborn = False

    async def _confirm_empty(self) -> None:
        """Confirm the fence of a segment that holds nothing yet, and so is not listed."""
        if not self._is_unborn:
            self._confirm()
            return
        found = await self._parts.records.swap(
            self._record.upload,
            lambda found: self._current(found, self._parts.rules.may_reply),
            prepared=True,
        )
        self._record = found.value
        self._is_unborn = False

    def _confirm(self) -> None:
        """Confirm the fence by reading it: a claim that comes later will scan what was flushed."""
        found = self._parts.records.load(self._record.upload)
        self._current(found, self._parts.rules.may_reply)

    def _current(
        self, found: Found | None, may: Callable[[UploadRecord, int], bool]
    ) -> UploadRecord:
        """Return the record to go on from; raises :class:`Fenced` if it is no longer ours."""
        if found is None and self._is_unborn:
            return self._record
        if found is None or self._is_unborn or not may(found.value, self._place.fence):
            raise Fenced
        return found.value

    def _segment(self) -> Segment:
        place = self._place
        return Segment(place.number, place.fence, place.start, self._header.hash)

    # The end.

    def _must_be_open(self) -> None:
        if self._is_fenced:
            raise Fenced
        if not self._is_open:
            raise SinkError("the segment has ended; claim the upload again", temporary=True)

    @contextmanager
    def _last_words(self, what: str) -> Generator[None, None, None]:
        """End the segment on any failure: what may be lost is never flushed or written again."""
        try:
            yield
        except BaseException as failure:
            self._is_fenced = isinstance(failure, Fenced)
            self._end()
            if isinstance(failure, OSError):
                raise sink_error(what, failure) from failure
            raise

    def _end(self) -> None:
        if self._is_open:
            self._assembler.forget()
            self._memory.madvise(mmap.MADV_DONTNEED)  # plaintext goes, and the pages with it
        self._is_open = False
        if self._file is not None:
            self._file.close()
