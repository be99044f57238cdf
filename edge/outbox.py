"""What this process has to tell control, durable before it is told and kept until it is heard.

The rule: ``add`` returns when the fact is durable (law 2), and a fact leaves only after control
acknowledged it (law 6).  Facts have consecutive sequences under an epoch that is random per
outbox, so a node that lost its disk begins again at 1 and collides with nothing.

Flushes are grouped: what waits when one ends rides in the next, and no timer delays a lone fact.
"""

import asyncio
from array import array
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from edge.spool import FRAME_BYTES, HEADER_BYTES, Header, Torn, frame, frames
from zentransfer import log
from zentransfer.disk import Disk, File, make_durable_folder, read_all
from zentransfer.errors import Code, Error
from zentransfer.ids import EpochID
from zentransfer.limits import (
    OUTBOX_BATCH_FACTS_MAX,
    OUTBOX_BYTES_MAX,
    OUTBOX_FACT_BYTES_MAX,
    OUTBOX_SEGMENT_BYTES,
)

_SUFFIX: Final = ".out"


@dataclass(slots=True)
class _Waiting:
    """A fact that is not durable yet; it gets its sequence when it is."""

    payload: bytes
    since_s: float  # by the loop's time
    sequence: int = 0


@dataclass(slots=True)
class _Segment:
    """One file: its number, its header, and where each of its frames ends (4 bytes a fact)."""

    number: int
    header: Header
    ends: "array[int]"  # not a class of its own before Python 3.12

    @property
    def next(self) -> int:
        return self.header.first + len(self.ends)

    @property
    def name(self) -> str:
        return f"{self.number:08d}{_SUFFIX}"

    @property
    def size(self) -> int:
        return self.ends[-1] if self.ends else HEADER_BYTES

    def begins(self, index: int) -> int:
        """Return where the frame *index* begins."""
        return self.ends[index - 1] if index else HEADER_BYTES


class Outbox:
    """One writer's outbox in one folder of a disk; made by :func:`open_outbox`."""

    def __init__(
        self,
        disk: Disk,
        folder: str,
        epoch: EpochID,
        segments: list[_Segment],
        *,
        number: int,
        bytes_max: int,
    ) -> None:
        self.epoch = epoch
        self.changed = asyncio.Event()
        """Set when a fact became durable; whoever waits clears it first."""
        self._disk = disk
        self._folder = folder
        self._segments = segments
        self._number = number  # of the newest segment file that was ever made
        self._bytes_max = bytes_max
        self._file: File | None = None  # of the last segment, while it takes facts
        self._durable = segments[-1].next - 1 if segments else 0
        self._acked = (segments[0].header.first if segments else 1) - 1
        self._waiting: list[_Waiting] = []
        self._turn = asyncio.Lock()  # one flush at a time; the others wait and find it done

    @property
    def first_kept(self) -> int:
        """Return the lowest sequence that can still be read."""
        return self._segments[0].header.first if self._segments else self._durable + 1

    @property
    def durable(self) -> int:
        """Return the highest sequence that is durable; 0 when there was none yet."""
        return self._durable

    @property
    def lag(self) -> int:
        """Return how many durable facts control has not acknowledged."""
        return self._durable - self._acked

    @property
    def size_bytes(self) -> int:
        """Return the bytes that the segments hold, and those that wait for a flush."""
        waiting = sum(FRAME_BYTES + len(each.payload) for each in self._waiting)
        return waiting + sum(segment.size for segment in self._segments)

    @property
    def waiting_s(self) -> float:
        """Return for how many seconds the oldest fact that is not durable has been waiting."""
        if not self._waiting:
            return 0.0
        return asyncio.get_running_loop().time() - self._waiting[0].since_s

    async def add(self, payload: bytes) -> int:
        """Append one fact; returns its sequence when it is durable.

        Raises ``Error(OUTBOX_FULL)`` at OUTBOX_BYTES_MAX, and ``Error(SINK_UNAVAILABLE)`` when
        the disk fails: the fact may then become durable later or never, so its maker adds it
        again under the same id.
        """
        if len(payload) > OUTBOX_FACT_BYTES_MAX:
            raise Error(Code.TOO_LARGE, "a fact is larger than its limit")
        if self.size_bytes + len(payload) + FRAME_BYTES > self._bytes_max:
            raise Error(Code.OUTBOX_FULL)
        own = _Waiting(payload, asyncio.get_running_loop().time())
        self._waiting.append(own)
        try:
            while not own.sequence:
                async with self._turn:
                    if not own.sequence:
                        await self._flush()
        finally:
            if not own.sequence:  # its maker is told, and adds it again or not
                self._waiting.remove(own)
        return own.sequence

    def read(self, after: int, count: int = OUTBOX_BATCH_FACTS_MAX) -> tuple[int, list[bytes]]:
        """Return (first sequence, payloads) of at most *count* durable facts above *after*.

        What is no longer kept is passed over: the first sequence says where the answer begins.
        """
        first = max(after + 1, self.first_kept)
        found: list[bytes] = []
        for segment in self._segments:
            if segment.next <= first or len(found) == count:
                continue
            skip = max(first - segment.header.first, 0)
            found += self._payloads(
                segment, skip, min(skip + count - len(found), len(segment.ends))
            )
        return first, found

    async def acked(self, sequence: int) -> None:
        """Drop whole segments up to *sequence*, which control has committed; idempotent."""
        self._acked = max(self._acked, min(sequence, self._durable))
        while len(self._segments) > 1 and self._segments[0].next <= self._acked + 1:
            oldest = self._segments.pop(0)
            with suppress(FileNotFoundError):
                self._disk.unlink(f"{self._folder}/{oldest.name}")

    def close(self) -> None:
        """Close the open segment; what was added is durable already."""
        if self._file is not None:
            self._file.close()
            self._file = None

    # -- inside ----------------------------------------------------------------------------------

    async def _flush(self) -> None:
        """Write and flush all that waits; raises ``Error`` and gives the segment up on failure."""
        batch = list(self._waiting)
        try:
            segment = await self._open_segment()
            assert self._file is not None
            data = b"".join(frame(segment.header, each.payload) for each in batch)
            self._file.write_at(data, segment.size)
            await self._file.flush()
        except OSError as exc:
            self._give_up()
            log.error("outbox.flush_failed", exc)
            raise Error(Code.SINK_UNAVAILABLE) from exc
        except asyncio.CancelledError:
            self._give_up()
            raise
        for each in batch:
            segment.ends.append(segment.size + FRAME_BYTES + len(each.payload))
            self._durable += 1
            each.sequence = self._durable
        self._waiting = [each for each in self._waiting if not each.sequence]
        self.changed.set()

    def _give_up(self) -> None:
        """Leave the open segment: a file whose flush failed is never written or flushed again.

        What it holds beyond its durable frames is shut out by the next one, which begins there.
        """
        self.close()
        if self._segments and not self._segments[-1].ends:
            useless = self._segments.pop()
            with suppress(OSError):
                self._disk.unlink(f"{self._folder}/{useless.name}")

    async def _open_segment(self) -> _Segment:
        """Return the segment to append to, a new one when there is none or it is full."""
        last = self._segments[-1] if self._segments else None
        if self._file is not None and last is not None and last.size < OUTBOX_SEGMENT_BYTES:
            return last
        self.close()
        self._number += 1
        fresh = _Segment(self._number, Header(self.epoch, self._durable + 1), array("I"))
        path = f"{self._folder}/{fresh.name}"
        with suppress(FileNotFoundError):  # left by a try that failed
            self._disk.unlink(path)
        file = self._disk.create(path)
        try:
            file.write_at(fresh.header.pack(), 0)
            await self._disk.flush_folder(self._folder)
        except BaseException:
            file.close()
            with suppress(OSError):
                self._disk.unlink(path)
            raise
        self._file = file
        self._segments.append(fresh)
        return fresh

    def _payloads(self, segment: _Segment, first: int, last: int) -> list[bytes]:
        """Read the payloads of the frames *first* up to, not including, *last* of *segment*."""
        return _read_payloads(self._disk, f"{self._folder}/{segment.name}", segment, first, last)


def _read_payloads(disk: Disk, path: str, segment: _Segment, first: int, last: int) -> list[bytes]:
    begin = segment.begins(first)
    data = bytearray(segment.begins(last) - begin)
    file = disk.open(path)
    try:
        count = file.read_at(memoryview(data), begin)
    finally:
        file.close()
    if count != len(data):
        raise Error(Code.SINK_UNAVAILABLE, "an outbox segment is shorter than it was")
    return [
        bytes(data[segment.begins(index) + FRAME_BYTES - begin : segment.ends[index] - begin])
        for index in range(first, last)
    ]


async def open_outbox(
    disk: Disk,
    folder: str,
    new_epoch: Callable[[], EpochID],
    bytes_max: int = OUTBOX_BYTES_MAX,
) -> Outbox:
    """Open the outbox in *folder*, or begin one; drops torn tails.  Raises ``OSError``.

    The facts of the last life are all still there: they were durable before they were promised.
    If a damaged disk left a gap, what can be read goes on under a new epoch: its facts keep
    their ids, so that control counts none of them twice, and no gap holds up the others.
    """
    await make_durable_folder(disk, folder)
    numbers = [
        int(name.removesuffix(_SUFFIX)) for name in disk.names(folder) if name.endswith(_SUFFIX)
    ]
    scanned = [await _scan(disk, folder, number) for number in numbers]
    segments = [segment for segment in scanned if segment is not None]
    _forget_repeated(segments)
    number = max(numbers, default=0)
    if _is_consecutive(segments):
        epoch = EpochID(segments[-1].header.epoch) if segments else new_epoch()
        return Outbox(disk, folder, epoch, segments, number=number, bytes_max=bytes_max)
    log.fact("outbox.gap")
    outbox = Outbox(disk, folder, new_epoch(), [], number=number, bytes_max=2 * bytes_max)
    for segment in segments:
        path = f"{folder}/{segment.name}"
        for payload in _read_payloads(disk, path, segment, 0, len(segment.ends)):
            await outbox.add(payload)
    for segment in segments:
        disk.unlink(f"{folder}/{segment.name}")
    return outbox


async def _scan(disk: Disk, folder: str, number: int) -> _Segment | None:
    """Return what is whole of one file, made durable, or None when not even its header is."""
    path = f"{folder}/{number:08d}{_SUFFIX}"
    file = disk.open(path, write=True)
    try:
        # What a killed process wrote is in the cache and not yet durable: flush before it counts.
        await file.flush()
        file.drop_cache()
    finally:
        file.close()
    data = memoryview(read_all(disk, path, OUTBOX_SEGMENT_BYTES + OUTBOX_BYTES_MAX))
    try:
        header = Header.unpack(data)
    except Torn:
        return None
    return _Segment(number, header, array("I", (end for _, end in frames(header, data))))


def _forget_repeated(segments: list[_Segment]) -> None:
    """Let an older segment count only up to where its successor begins.

    After a failed flush the next segment begins again above the last durable sequence, and what
    the failed one holds beyond that is the same, repeated.
    """
    for older, newer in pairwise(segments):
        if older.header.epoch == newer.header.epoch:
            del older.ends[max(newer.header.first - older.header.first, 0) :]


def _is_consecutive(segments: list[_Segment]) -> bool:
    return all(
        older.header.epoch == newer.header.epoch and older.next == newer.header.first
        for older, newer in pairwise(segments)
    )
