"""A claim of an upload in a bucket, and the one segment that it may write.

The rules: every object durable, then the fence confirmed, then the reply; so a writer that was shut
out either has its objects in the newer claim's list or never told anybody of them.  A failure ends
the segment.
"""

import asyncio
import mmap
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from typing import Final

from edge.record import Ending, ManifestPlace, Mark, Segment, State, UploadRecord
from edge.seal.header import DEK_BYTES, HEADER_BLOCK_BYTES, Header, Place, is_record_size
from edge.seal.manifest import Manifest, Partial, SegmentPlace, manifest_digest, origin_message
from edge.seal.record import Assembler, RecordKeys, Walked
from edge.secret import wipe
from edge.sinks.base import NO_ENDING, NOTHING, Fenced, SinkError
from edge.sinks.objects_log import HEADER, ObjectParts, object_key, segment_folder
from edge.sinks.objects_puts import Puts
from edge.sinks.objects_records import Stored
from edge.sinks.records import Found, Transition
from zentransfer.errors import Code, Error
from zentransfer.ids import UploadID
from zentransfer.limits import (
    MARK_EVERY_BYTES,
    OBJECT_BYTES_MIN,
    OBJECT_CLEAN_S,
    UNLISTED_BYTES_MAX,
)

_NO_TAG: Final = ""  # of a record that a lazy create left to the writer


class ObjectClaim:
    """The right to add to an upload; see :class:`edge.sinks.base.Claim`."""

    def __init__(self, parts: ObjectParts, stored: Stored) -> None:
        self._parts = parts
        self._stored = stored
        self._is_used = False

    @classmethod
    def unborn(cls, parts: ObjectParts, found: Found) -> "ObjectClaim":
        """Return the claim of an upload whose record is left to the writer."""
        return cls(parts, Stored(found, _NO_TAG))

    @property
    def offset(self) -> int:
        """The durable offset, where the next byte goes."""
        mark = self.record.mark
        return mark.offset if mark else 0

    @property
    def fence(self) -> int:
        """The number under which this claim holds."""
        return self.record.fence

    @property
    def record(self) -> UploadRecord:
        """The upload record as this claim left it."""
        return self._stored.found.value

    async def writer(self, *, provisional: bool = False, record_bytes: int = 0) -> "ObjectWriter":
        """Open this claim's one segment; see :class:`edge.sinks.base.Claim`."""
        assert not self._is_used, "a claim has one writer; claim again"
        record = self.record
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
        return ObjectWriter(self._parts, self._stored, place)


class ObjectWriter:
    """One segment of one upload; see :class:`edge.sinks.base.Writer`.

    Sealed records are collected until they are an object's worth, and are put then without anybody
    waiting; ``is_due`` says when the store is behind.  A small upload is a header, one object and
    the record: two round trips.
    """

    def __init__(self, parts: ObjectParts, stored: Stored, place: Place) -> None:
        """Seal a fresh data key to the region and forget it, all but its cipher."""
        assert is_record_size(place.record_bytes), "a record size that no reader takes"
        dek = parts.random_bytes(DEK_BYTES)
        self._header = Header.of(place, parts.keys.seal(dek, place.info()))
        self._block = self._header.block(parts.keys.tag(self._header.hash))
        # Anonymous memory is given page by page as it is filled, and belongs to this writer alone.
        self._memory = mmap.mmap(-1, place.record_bytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        keys = RecordKeys(dek, self._header.hash)
        wipe(dek)
        seed = parts.rules.seed(self._header.hash)
        window = memoryview(self._memory)
        self._assembler = Assembler(keys, seed, place.start, self._block, window)
        self._parts = parts
        self._place = place
        self._stored = stored
        self._folder = segment_folder(stored.found.value.upload, place.number, place.fence)
        self._puts = Puts(parts.bucket, parts.memory)
        self._pending = bytearray()  # sealed, and not yet handed over
        self._pending_at = HEADER_BLOCK_BYTES  # its position in the segment
        self._is_unborn = stored.tag == _NO_TAG
        self._is_listed = False
        self._is_doubtful = False  # whether a change of the record may yet come to be
        self._is_open = True
        self._is_fenced = False
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

    @property
    def is_due(self) -> bool:
        """Whether a ``flush`` is wanted soon: to be listed, for a mark, or to let the store follow.

        Also where all uploads together hold too much, and this one holds some of it.
        """
        unmarked = self._assembler.offset - self._marked
        if unmarked >= (MARK_EVERY_BYTES if self._is_listed else UNLISTED_BYTES_MAX):
            return True
        return self._puts.is_behind or (self._parts.memory.is_full and bool(self._pending))

    def room(self) -> memoryview:
        """Return where the next plaintext bytes go."""
        self._must_be_open()
        return self._assembler.room()

    def filled(self, count: int) -> None:
        """Count *count* bytes in the room; a full record is sealed in place and collected."""
        self._must_be_open()
        if self._assembler.filled(count):
            with self._last_words():
                self._assembler.seal()
                self._collect()

    def accept(self, offset: int) -> None:
        """Let provisional data count up to *offset*, which must be all that was filled."""
        self._must_be_open()
        assert self._place.provisional, "plain data counts without"
        assert offset == self._assembler.offset, "what was filled is accepted whole"
        with self._last_words():
            if self._assembler.seal():
                self._collect()
            # Twice the same would stand between the last byte that counts and the manifest.
            if offset > self._assembler.walked.accepted and self._assembler.accept(offset):
                self._collect()

    async def flush(self, *, mark: bool = True, now_ms: int = 0) -> int:
        """Return the durable offset, with the fence confirmed."""
        self._must_be_open()
        with self._last_words():
            self._assembler.seal()
            walked = self._assembler.walked
            told = walked.accepted if self._place.provisional else walked.written
            if walked.position > HEADER_BLOCK_BYTES:
                self._collect()
                self._hand_over()
                await self._puts.settle()
                if mark or not self._is_listed or self._is_mark_due:
                    await self._mark(told, walked, now_ms)
                else:
                    await self._confirm()
            else:
                await self._confirm_empty()
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
        with self._last_words():
            self._assembler.seal()
            self._collect()
            walked = self._assembler.walked
            manifest = self._manifest(walked, digest, expected, partials)
            place = self._append_manifest(manifest, walked.position)
            self._hand_over()
            await self._puts.settle()
            await self._commit(place, walked, manifest.total, ending)
        self._end()
        return manifest

    async def close(self) -> None:
        """End the segment; keeps what is durable; idempotent."""
        self._end()
        # What counts nowhere goes now, if the store lets us; else with the next claim, with the
        # end of the upload, or as an orphan.
        with suppress(Error, TimeoutError):
            async with asyncio.timeout(OBJECT_CLEAN_S):
                if await self._is_nowhere():
                    await self._remove()

    # The objects.

    def _collect(self) -> None:
        """Take what is sealed from the window; an object's worth of it is handed over."""
        if not self._assembler.has_more:
            return
        data, position = self._assembler.take()
        if position == 0:  # the header is an object of its own, so that it can go first
            data = data[HEADER_BLOCK_BYTES:]
        self._pending += data
        self._parts.memory.add(len(data))
        if len(self._pending) >= self._object_bytes:
            self._hand_over()

    @property
    def _object_bytes(self) -> int:
        wanted = self._parts.object_bytes
        return min(wanted, OBJECT_BYTES_MIN) if self._parts.memory.is_tight else wanted

    def _hand_over(self) -> None:
        if not self._puts.is_begun:
            self._puts.hand_over(f"{self._folder}/{HEADER}", self._block)
        if not self._pending:
            return
        self._puts.hand_over(object_key(self._folder, self._pending_at), bytes(self._pending))
        self._pending_at += len(self._pending)
        self._forget_pending()

    def _forget_pending(self) -> None:
        self._parts.memory.add(-len(self._pending))
        self._pending = bytearray()

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
        segments = self._stored.found.value.segments
        if not self._is_listed:
            segments = (*segments, self._segment())
        places = tuple(SegmentPlace(s.number, s.start, s.header_hash) for s in segments)
        return Manifest(total, places, digest, expected, partials)

    def _append_manifest(self, manifest: Manifest, position: int) -> ManifestPlace:
        assert position == self._pending_at + len(self._pending), "behind all data"
        counter = self._assembler.counter
        sealed = self._assembler.seal_manifest(manifest.pack())
        digest = manifest_digest(self._header.hash, sealed)
        tag = self._parts.keys.tag(origin_message(digest))
        record = self._assembler.frame_manifest(sealed + tag)
        self._pending += record
        self._parts.memory.add(len(record))
        return ManifestPlace(digest, position, counter)

    # The record.

    @property
    def _is_mark_due(self) -> bool:
        return self._assembler.offset - self._marked >= MARK_EVERY_BYTES

    async def _mark(self, told: int, walked: Walked, now_ms: int) -> None:
        """Note what is durable, the segment itself at the first time: this confirms the fence."""
        mark = Mark.at(told, walked)

        def marked(found: Found | None) -> UploadRecord:
            record = self._current(found, self._parts.rules.may_reply)
            if self._is_listed:
                return record.marked(mark).heard(now_ms)
            return record.opened(self._segment(), mark).heard(now_ms)

        await self._swap(marked)
        self._is_listed = True
        self._marked = walked.written

    async def _commit(
        self, place: ManifestPlace, walked: Walked, total: int, ending: Ending
    ) -> None:
        mark = Mark.at(walked.written, walked)

        def committed(found: Found | None) -> UploadRecord:
            record = self._current(found, self._parts.rules.may_commit)
            if not self._is_listed:
                record = record.opened(self._segment(), mark)
            return record.committed(place, total, ending)

        await self._swap(committed)
        self._is_listed = True
        self._told = walked.written

    async def _swap(self, transition: Transition) -> None:
        """Change the record from what we saw of it last: mostly nobody has been there since."""
        upload, records = self._place.upload, self._parts.records
        self._is_doubtful = True
        try:
            if self._is_unborn:
                self._stored = await records.create(UploadID(upload), transition)
            else:
                self._stored = await records.swap(UploadID(upload), transition, seen=self._stored)
        except Fenced:
            self._is_doubtful = False
            raise
        self._is_doubtful = False
        self._is_unborn = False

    async def _confirm_empty(self) -> None:
        """Confirm the fence of a segment that holds nothing yet, and so is not listed."""
        if self._is_unborn:
            await self._swap(lambda found: self._current(found, self._parts.rules.may_reply))
        else:
            await self._confirm()

    async def _confirm(self) -> None:
        """Confirm the fence by reading it: a claim that comes later will list what was put."""
        stored = await self._parts.records.maybe(UploadID(self._place.upload))
        self._current(None if stored is None else stored.found, self._parts.rules.may_reply)
        if stored is not None:
            self._stored = stored

    def _current(
        self, found: Found | None, may: Callable[[UploadRecord, int], bool]
    ) -> UploadRecord:
        """Return the record to go on from; raises :class:`Fenced` if it is no longer ours."""
        if found is None and self._is_unborn:
            return self._stored.found.value
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
    def _last_words(self) -> Generator[None, None, None]:
        """End the segment on any failure: a new claim says what came of it."""
        try:
            yield
        except BaseException as failure:
            self._is_fenced = isinstance(failure, Fenced)
            self._end()
            raise

    def _end(self) -> None:
        if self._is_open:
            self._assembler.forget()
            self._memory.madvise(mmap.MADV_DONTNEED)  # plaintext goes, and the pages with it
            self._forget_pending()
        self._is_open = False
        self._puts.end()

    async def _is_nowhere(self) -> bool:
        """Say whether no record lists this segment, nor ever will; or the upload is going."""
        if not self._puts.is_begun or self._is_doubtful:
            return False
        if not self._is_listed:
            return True
        if not self._is_fenced:
            return False
        stored = await self._parts.records.maybe(UploadID(self._place.upload))
        return stored is not None and stored.found.value.state in (
            State.DESTROYING,
            State.DESTROYED,
        )

    async def _remove(self) -> None:
        bucket = self._parts.bucket
        keys = [listed.key async for listed in bucket.names(f"{self._folder}/")]
        await bucket.delete(keys)
