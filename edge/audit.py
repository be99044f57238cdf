"""The audit log of a delivery process: durable before a key is used, one chain for ever.

The rule: **no audit record, no key**.  ``AuditedOpenKey`` is the only way from a delivery to the
private half; it writes first, waits until that is durable, sees that the lease still holds, and
only then opens.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from edge.audit_chain import (
    KEYED_ID_BYTES,
    START,
    Entry,
    Head,
    Opening,
    attempts,
    head_at,
    keyed_message,
    line,
    verify,
)
from edge.folders import make_folder_for_good
from edge.keys import OpenKey, RegionPublicKeys
from edge.outbox import Outbox, open_outbox
from edge.seal.header import Header
from edge.spool import Header as SpoolHeader
from edge.spool import Torn, frames
from zentransfer.clock import Clock
from zentransfer.disk import Disk, read_all
from zentransfer.ids import DeliveryID, EpochID, UploadID
from zentransfer.limits import (
    AUDIT_BYTES_MAX,
    OUTBOX_BYTES_MAX,
    OUTBOX_FACT_BYTES_MAX,
    OUTBOX_SEGMENT_BYTES,
)

__all__ = ["Attempted", "AuditLog", "AuditedOpenKey", "Head", "keyed_id", "open_audit", "verified"]

Make = Callable[[Head], Entry]
"""Returns the entry that shall follow a head."""

_STEP: Final = 1_000  # payloads: looked over at once for the end of the oldest file


@dataclass(slots=True)
class _Waiting:
    """An entry that is not durable yet; ``head`` is the one behind it once it is."""

    make: Make
    head: Head | None = None


class AuditLog:
    """One process's chain in one folder of a disk; made by :func:`open_audit`."""

    def __init__(self, spool: Outbox, head: Head, bytes_max: int) -> None:
        self._spool = spool
        self._head = head
        self._bytes_max = bytes_max
        self._waiting: list[_Waiting] = []
        self._turn = asyncio.Lock()  # one flush at a time; the others wait and find it done

    @property
    def head(self) -> Head:
        """The durable end of the chain."""
        return self._head

    async def add(self, make: Make) -> Head:
        """Append what *make* returns for the head that it will follow; durable when it returns.

        Returns the head behind it.  *make* is called again if a flush failed meanwhile; its last
        answer is the one that counts.  Raises ``Error(SINK_UNAVAILABLE)`` when the disk fails:
        then the line stands in the chain or not.  The oldest lines go when there is no room.
        """
        own = _Waiting(make)
        self._waiting.append(own)
        try:
            while True:
                async with self._turn:
                    if own.head is None:
                        await self._flush()
                    if own.head is not None:
                        return own.head
        finally:
            if own.head is None:
                self._waiting.remove(own)

    def lines(self) -> list[bytes]:
        """Return the durable lines that are kept, oldest first."""
        found: list[bytes] = []
        after = self._spool.first_kept - 1
        while True:
            first, payloads = self._spool.read(after)
            if not payloads:
                return found
            found += _lines(payloads)
            after = first + len(payloads) - 1

    def close(self) -> None:
        """Close the file; what was added is durable already."""
        self._spool.close()

    async def _flush(self) -> None:
        """Let all that waits be durable, as few writes as their size allows."""
        await self._make_room()
        batch: list[_Waiting] = []
        heads: list[Head] = []
        text, head = b"", self._head
        for each in self._waiting:
            added, after = line(head, each.make(head))
            assert len(added) <= OUTBOX_FACT_BYTES_MAX, "cannot happen: every field has a bound"
            if batch and len(text) + 1 + len(added) > OUTBOX_FACT_BYTES_MAX:
                break
            text, head = text + b"\n" + added if batch else added, after
            batch.append(each)
            heads.append(after)
        await self._spool.add(text)
        self._head = head
        for each, after in zip(batch, heads, strict=True):
            each.head = after
        self._waiting = [each for each in self._waiting if each.head is None]

    async def _make_room(self) -> None:
        """Let the oldest files go; one at least stays."""
        upto = self._spool.first_kept
        while self._spool.size_bytes > self._bytes_max and upto < self._spool.durable:
            upto += _STEP
            await self._spool.acked(upto)


async def open_audit(
    disk: Disk,
    folder: str,
    new_epoch: Callable[[], EpochID],
    bytes_max: int = AUDIT_BYTES_MAX,
) -> AuditLog:
    """Open the chain in *folder*, or begin one; there is one writer at a time.

    Raises ``OSError``; :class:`edge.audit_chain.ChainBroken` when its last line is none.
    """
    await make_folder_for_good(disk, folder)
    spool = await open_outbox(disk, folder, new_epoch)
    _, last = spool.read(spool.durable - 1, 1)
    return AuditLog(spool, head_at(_lines(last)[-1]) if last else START, bytes_max)


def verified(disk: Disk, folder: str) -> Head:
    """Return the head of the chain in *folder* as it lies there, whoever wrote it.

    Raises :class:`edge.audit_chain.ChainBroken` for a line that was changed, removed, added or
    moved, and ``OSError``.
    """
    lines = stored_lines(disk, folder)
    return verify(lines, None)


def stored_lines(disk: Disk, folder: str) -> list[bytes]:
    """Return the lines in the files of *folder*, oldest first; of a line told twice, the last."""
    found: list[bytes] = []
    first, epoch = 0, ""
    for name in disk.names(folder):
        data = memoryview(
            read_all(disk, f"{folder}/{name}", OUTBOX_SEGMENT_BYTES + OUTBOX_BYTES_MAX)
        )
        try:
            header = SpoolHeader.unpack(data)
        except Torn:  # a crash came before its first line: if it held any, the chain shows a gap
            continue
        first = first or header.first
        if header.epoch == epoch:
            # A file counts up to where the next one begins: after a failed flush that repeats it.
            del found[header.first - first :]
        epoch = header.epoch
        found += [bytes(data[begin:end]) for begin, end in frames(header, data)]
    return _lines(found)


def _lines(payloads: list[bytes]) -> list[bytes]:
    """Return the lines in *payloads*, each of which holds a few."""
    return [text for payload in payloads for text in payload.split(b"\n")]


def keyed_id(keys: RegionPublicKeys, upload: str) -> str:
    """Return the id of *upload* as the chain names it: only the region can tell whose it is."""
    return keys.tag(keyed_message(upload))[:KEYED_ID_BYTES].hex()


def openings(log: AuditLog, keys: RegionPublicKeys, upload: UploadID) -> int:
    """Return how many attempts have opened *upload*, as far as lines are kept."""
    return attempts(log.lines(), keyed_id(keys, upload))


@dataclass(frozen=True, slots=True)
class Attempted:
    """Which attempt a key is used for.

    ``segments`` are those of its uploads that are known beforehand: (count, first, last number).
    ``must_hold`` raises unless the attempt holds its lease now.
    """

    process: str
    delivery: DeliveryID
    fence: int
    segments: Mapping[str, tuple[int, int, int]]
    must_hold: Callable[[], None]


class AuditedOpenKey:
    """An :class:`edge.keys.OpenKey` for one attempt, which leaves a line for each key it uses."""

    def __init__(
        self,
        keys: OpenKey,
        log: AuditLog,
        region: RegionPublicKeys,
        clock: Clock,
        attempt: Attempted,
    ) -> None:
        """Stand before *keys*, the private half, for one attempt."""
        self._keys = keys
        self._log = log
        self._region = region
        self._clock = clock
        self._attempt = attempt
        self._written: set[tuple[str, str, int]] = set()  # segments of one upload at most

    async def open(self, header: Header) -> bytes:
        """Return the data key of a segment; see ``OpenKey``.

        Raises also what ``must_hold`` raises, and ``Error`` when no line could be written.
        """
        self._attempt.must_hold()
        await self._write(header)
        self._attempt.must_hold()  # the disk may have taken longer than the lease lasts
        return await self._keys.open(header)

    async def _write(self, header: Header) -> None:
        """Let a line be durable that covers the segment of *header*."""
        place = header.place
        known = self._attempt.segments.get(place.upload)
        use = (place.upload, place.kid, 0 if known else place.number)
        if use in self._written:
            return
        opening = Opening(
            at_ms=self._clock.now_ms(),
            process=self._attempt.process,
            delivery=self._attempt.delivery,
            fence=self._attempt.fence,
            upload=keyed_id(self._region, place.upload),
            kid=place.kid,
            segments=known or (1, place.number, place.number),
        )
        await self._log.add(lambda _: opening)
        self._written.add(use)
