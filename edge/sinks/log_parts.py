"""What every part of a log sink stands on: its disk, keys, records, and its safety steps."""

import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

from edge.keys import RegionPublicKeys
from edge.record import Segment, State, UploadRecord
from edge.seal.broken import Broken, Reason
from edge.seal.header import HEADER_BLOCK_BYTES, Header, read_header
from edge.seal.record import crc_seed
from edge.sinks.base import Damaged
from edge.sinks.records import Records
from zentransfer.disk import Disk, File
from zentransfer.ids import RandomBytes, UploadID

_SEGMENT_NAME: Final = re.compile("[0-9]+-([0-9]+)[.]seg([.]new)?")

RECORD_BYTES: Final = 262_144
"""A full record: 128 to 512 KiB measured equal to or better than 1 MiB, with less memory."""


class Rules:
    """The steps that the log's promises stand on, each by itself.

    Tests leave out one at a time, and the random histories must notice.
    """

    async def flush_found(self, file: File) -> None:
        """Make durable what an older writer left in the page cache, before it is counted."""
        await file.flush()

    def drop_found(self, file: File) -> None:
        """Forget what a failed flush left behind: it reads back, but is not on the disk."""
        file.drop_cache()

    def may_reply(self, record: UploadRecord, fence: int) -> bool:
        """Say whether the holder of *fence* may tell an offset."""
        return record.fence == fence and record.state is State.RECEIVING

    def may_commit(self, record: UploadRecord, fence: int) -> bool:
        """Say whether the holder of *fence* may end the upload."""
        return record.fence == fence and record.state is State.RECEIVING

    def seed(self, header_hash: bytes) -> int:
        """Return where the CRCs of a segment begin, so that no other segment's record passes."""
        return crc_seed(header_hash)


class SegmentFile(Protocol):
    """The bytes of one segment, whose header is the one that the record names."""

    @property
    def header(self) -> Header:
        """The header, checked."""
        ...

    async def read(self, into: memoryview, position: int) -> int:
        """Read from *position* until *into* is full or the segment ends; returns the count."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class Log(Protocol):
    """Where sealed logs lie, for whoever opens them."""

    @property
    def keys(self) -> RegionPublicKeys:
        """The public half of the region's keys."""
        ...

    @property
    def rules(self) -> Rules:
        """The steps that the log's promises stand on."""
        ...

    async def durable(self, upload: UploadID) -> UploadRecord:
        """Return the record when no power loss can take it back; raises ``UnknownUpload``."""
        ...

    async def open_segment(self, record: UploadRecord, segment: Segment) -> SegmentFile:
        """Open a segment that *record* lists, to be closed; raises :class:`Broken`."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """One region's log: where it lies, under which keys, and its chance."""

    disk: Disk
    records: Records
    keys: RegionPublicKeys
    random_bytes: RandomBytes = field(repr=False)
    record_bytes: int
    rules: Rules

    def path(self, upload: UploadID, number: int, fence: int) -> str:
        """Return the path of a segment: named by number and fence, so no two writers share one."""
        return f"{self.records.folder(upload)}/{segment_name(number, fence)}"

    def header(self, file: File, record: UploadRecord, segment: Segment) -> Header:
        """Return the header of *file* if it is the one of *segment*; raises :class:`Broken`."""
        block = bytearray(HEADER_BLOCK_BYTES)
        if read_fully(file, memoryview(block), 0) < HEADER_BLOCK_BYTES:
            raise Broken(Reason.CUT)
        return checked_header(bytes(block), self.keys, record, segment)

    async def durable(self, upload: UploadID) -> UploadRecord:
        """Return the record when no power loss can take it back; see :class:`Log`."""
        return (await self.records.load_durable(upload)).value

    async def open_segment(self, record: UploadRecord, segment: Segment) -> SegmentFile:
        """Open a segment that *record* lists; see :class:`Log`."""
        try:
            file = self.disk.open(self.path(record.upload, segment.number, segment.fence))
        except FileNotFoundError as missing:
            raise Broken(Reason.MISSING) from missing
        try:
            return _DiskSegment(file, self.header(file, record, segment))
        except BaseException:
            file.close()
            raise


class _DiskSegment:
    """A :class:`SegmentFile` that is one file."""

    def __init__(self, file: File, header: Header) -> None:
        self._file = file
        self.header = header

    async def read(self, into: memoryview, position: int) -> int:
        return read_fully(self._file, into, position)

    def close(self) -> None:
        self._file.close()


def checked_header(
    block: bytes, keys: RegionPublicKeys, record: UploadRecord, segment: Segment
) -> Header:
    """Return the header in *block* if it is the one of *segment*; raises :class:`Broken`."""
    header = read_header(block, keys.is_ours)
    place = header.place
    ours = (record.upload, record.account, keys.region)
    if (place.upload, place.account, place.region) != ours:
        raise Broken(Reason.FOREIGN)
    named = (segment.number, segment.fence, segment.start, segment.header_hash)
    if (place.number, place.fence, place.start, header.hash) != named:
        raise Broken(Reason.SEGMENT)
    return header


def segment_name(number: int, fence: int) -> str:
    """Return the name of a listed segment's file in the upload's folder."""
    return f"{number}-{fence}.seg"


def unlisted(path: str) -> str:
    """Return the name that a segment bears until it is listed."""
    return f"{path}.new"


def fence_in(name: str) -> int | None:
    """Return the fence in the name of a segment's file; None for another kind of file."""
    found = _SEGMENT_NAME.fullmatch(name)
    return int(found[1]) if found else None


def read_fully(file: File, into: memoryview, position: int) -> int:
    """Read until *into* is full or the file ends; returns the count of bytes."""
    filled = 0
    while filled < len(into):
        count = file.read_at(into[filled:], position + filled)
        if count == 0:
            break
        filled += count
    return filled


@contextmanager
def refusals() -> Generator[None, None, None]:
    """Turn the words of the format into the sink's error, the same words in it."""
    try:
        yield
    except Broken as broken:
        raise Damaged(broken.reason) from broken
