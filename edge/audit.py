"""The audit log of a delivery process: durable before a key is used, one chain for ever.

The rule: **no audit record, no key**.  ``AuditedOpenKey`` is the only way from a delivery to the
private half; it writes first, waits until that is durable, sees that the lease still holds, and
only then opens.
"""

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
from edge.keys import OpenKey, RegionPublicKeys
from edge.outbox import Outbox, open_outbox
from edge.seal.header import Header
from edge.spool import Header as SpoolHeader
from edge.spool import frames
from zentransfer.clock import Clock
from zentransfer.disk import Disk, read_all
from zentransfer.errors import Code, Error
from zentransfer.ids import DeliveryID, EpochID, UploadID
from zentransfer.limits import AUDIT_LINES_KEPT, OUTBOX_BYTES_MAX, OUTBOX_SEGMENT_BYTES

__all__ = ["Attempted", "AuditLog", "AuditedOpenKey", "Head", "keyed_id", "open_audit", "verified"]

_NEVER_QUEUED: Final = (Code.TOO_LARGE, Code.OUTBOX_FULL)


class AuditLog:
    """One process's chain in one folder of a disk; made by :func:`open_audit`."""

    def __init__(self, spool: Outbox, head: Head, lines_kept: int) -> None:
        self._spool = spool
        self._head = head
        self._lines_kept = lines_kept

    @property
    def head(self) -> Head:
        """The end of the chain, which the next line will name."""
        return self._head

    async def add(self, entry: Entry) -> Head:
        """Append *entry*; returns the head behind it when it is durable.

        Raises ``Error(SINK_UNAVAILABLE)`` when the disk fails: the line then stands in the chain
        nevertheless, and becomes durable with the next one or not at all.  The oldest lines go
        when there are more than the limit.
        """
        before = self._head
        text, after = line(before, entry)
        self._head = after  # now, not later: others add while this one is being flushed
        try:
            await self._spool.add(text)
        except Error as refused:
            if refused.code in _NEVER_QUEUED:  # raised before anybody else had a turn
                self._head = before
            raise
        await self._spool.acked(max(self._spool.durable - self._lines_kept, 0))
        return after

    def lines(self) -> list[bytes]:
        """Return the durable lines that are kept, oldest first."""
        found: list[bytes] = []
        after = self._spool.first_kept - 1
        while True:
            first, payloads = self._spool.read(after)
            if not payloads:
                return found
            found += payloads
            after = first + len(payloads) - 1

    def close(self) -> None:
        """Close the file; what was added is durable already."""
        self._spool.close()


async def open_audit(
    disk: Disk,
    folder: str,
    new_epoch: Callable[[], EpochID],
    lines_kept: int = AUDIT_LINES_KEPT,
) -> AuditLog:
    """Open the chain in *folder*, or begin one; there is one writer at a time.

    Raises ``OSError``; :class:`edge.audit_chain.ChainBroken` when its last line is none.
    """
    spool = await open_outbox(disk, folder, new_epoch)
    _, last = spool.read(spool.durable - 1, 1)
    return AuditLog(spool, head_at(last[0]) if last else START, lines_kept)


def verified(disk: Disk, folder: str) -> Head:
    """Return the head of the chain in *folder* as it lies there, whoever wrote it.

    Raises :class:`edge.audit_chain.ChainBroken` for a line that was changed, removed, added or
    moved, ``OSError``, and :class:`edge.spool.Torn` for a file that is none of ours.
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
        header = SpoolHeader.unpack(data)
        first = first or header.first
        if header.epoch == epoch:
            # A file counts up to where the next one begins: after a failed flush that repeats it.
            del found[header.first - first :]
        epoch = header.epoch
        found += [bytes(data[begin:end]) for begin, end in frames(header, data)]
    return found


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
        await self._log.add(
            Opening(
                at_ms=self._clock.now_ms(),
                process=self._attempt.process,
                delivery=self._attempt.delivery,
                fence=self._attempt.fence,
                upload=keyed_id(self._region, place.upload),
                kid=place.kid,
                segments=known or (1, place.number, place.number),
            )
        )
        self._written.add(use)
