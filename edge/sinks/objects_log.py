"""Where segments lie in a bucket: ``segments/<upload>/<number>-<fence>/``, an object a run.

The rule: each object but the header's is named by the position of its first byte and holds whole
records, so a list of names says what a writer left, and nothing in it ever changes.
"""

import re
from bisect import bisect_right
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from edge.keys import RegionPublicKeys
from edge.record import Segment, UploadRecord
from edge.seal.broken import Broken, Reason
from edge.seal.header import HEADER_BLOCK_BYTES, Header
from edge.sinks.log_parts import Rules, SegmentFile, checked_header
from edge.sinks.objects_bucket import Bucket
from edge.sinks.objects_puts import Memory
from edge.sinks.objects_records import ObjectRecords
from zentransfer.ids import Kind, RandomBytes, UploadID, parse
from zentransfer.limits import OBJECT_BYTES, SEAL_RECORD_BYTES_MAX

SEGMENTS: Final = "segments"
HEADER: Final = "header"

_OBJECT_BYTES_MAX: Final = OBJECT_BYTES + 2 * SEAL_RECORD_BYTES_MAX  # what one may really hold
_POSITION_DIGITS: Final = 16  # a list in order of names is one in order of positions
_FOLDER: Final = re.compile("([0-9]+)-([0-9]+)")


@dataclass(frozen=True, slots=True)
class ObjectParts:
    """One region's log in a bucket, under which keys, and its chance."""

    bucket: Bucket
    records: ObjectRecords
    keys: RegionPublicKeys
    random_bytes: RandomBytes = field(repr=False)
    record_bytes: int
    object_bytes: int
    memory: Memory
    rules: Rules

    async def durable(self, upload: UploadID) -> UploadRecord:
        """Return the record, which is durable whenever it is seen."""
        return (await self.records.load(upload)).found.value

    async def open_segment(self, record: UploadRecord, segment: Segment) -> SegmentFile:
        """Open a segment that *record* lists; raises ``Broken``, ``SinkError``."""
        return await self.open_from(record, segment, HEADER_BLOCK_BYTES)

    async def open_from(
        self, record: UploadRecord, segment: Segment, position: int
    ) -> "ObjectSegment":
        """Open a segment of which only what lies from *position* on is wanted."""
        folder = segment_folder(record.upload, segment.number, segment.fence)
        block = await self.bucket.get(f"{folder}/{HEADER}", HEADER_BLOCK_BYTES)
        if block is None:
            raise Broken(Reason.MISSING)
        header = checked_header(block.data, self.keys, record, segment)
        runs = [run async for run in self.runs(folder, position)]
        return ObjectSegment(self.bucket, folder, header, runs, position)

    async def runs(self, folder: str, position: int) -> AsyncIterator["Run"]:
        """Yield the runs of a segment that may hold *position* or what is behind it, in order."""
        before = max(position - _OBJECT_BYTES_MAX, 0)
        async for listed in self.bucket.names(f"{folder}/", object_key(folder, before)):
            name = listed.key.removeprefix(f"{folder}/")
            if name.isdecimal() and int(name) + listed.size > position:
                yield Run(int(name), listed.size)

    async def everything(self, upload: UploadID) -> list[str]:
        """Return the keys of all objects of an upload's segments, headers first."""
        prefix = f"{upload_folder(upload)}/"
        keys = [listed.key async for listed in self.bucket.names(prefix)]
        return sorted(keys, key=lambda key: not key.endswith(f"/{HEADER}"))


@dataclass(frozen=True, slots=True)
class Run:
    """One object of a segment: where its first byte stands in the segment, and its size."""

    position: int
    size: int


class ObjectSegment:
    """A segment as one run of bytes, read from its objects one at a time."""

    def __init__(
        self, bucket: Bucket, folder: str, header: Header, runs: list[Run], begin: int
    ) -> None:
        self.header = header
        self._bucket = bucket
        self._folder = folder
        self._runs = runs
        self._positions = [run.position for run in runs]
        self._begin = begin  # what lies before is never asked for
        self._data = memoryview(b"")
        self._at = 0  # position of its first byte

    async def read(self, into: memoryview, position: int) -> int:
        """Read from *position* until *into* is full or a run is missing; returns the count.

        Raises ``Broken`` for an object that went since it was listed, ``SinkError``.
        """
        filled = 0
        while filled < len(into):
            at = position + filled
            if not self._at <= at < self._at + len(self._data) and not await self._load(at):
                break
            rest = self._data[at - self._at :]
            count = min(len(rest), len(into) - filled)
            into[filled : filled + count] = rest[:count]
            filled += count
        return filled

    def close(self) -> None:
        """Forget what was read last."""
        self._data = memoryview(b"")

    async def _load(self, at: int) -> bool:
        """Get the run that holds the byte at *at*; False if there is none."""
        index = bisect_right(self._positions, at) - 1
        if index < 0 or at >= self._runs[index].position + self._runs[index].size:
            return False
        run = self._runs[index]
        skipped = max(self._begin - run.position, 0)
        found = await self._bucket.get(
            object_key(self._folder, run.position), _OBJECT_BYTES_MAX, start=skipped
        )
        if found is None or len(found.data) != run.size - skipped:
            raise Broken(Reason.MISSING)
        self._data = memoryview(found.data)
        self._at = run.position + skipped
        return True


def upload_folder(upload: UploadID) -> str:
    """Return the folder of an upload's segments; raises ``Error(INVALID)`` for no id of ours."""
    return f"{SEGMENTS}/{parse(Kind.UPLOAD, upload)}"


def segment_folder(upload: UploadID, number: int, fence: int) -> str:
    """Return the folder of a segment: by number and fence, so no two writers share a name."""
    return f"{upload_folder(upload)}/{number}-{fence}"


def object_key(folder: str, position: int) -> str:
    """Return the key of the object of a segment's *folder* that begins at *position*."""
    return f"{folder}/{position:0{_POSITION_DIGITS}}"


def fence_of(folder: str) -> int | None:
    """Return the fence in the name of a segment's folder; None for another kind of folder."""
    found = _FOLDER.fullmatch(folder)
    return int(found[2]) if found else None
