"""The contract of a sink: one region's keeping place of sealed logs and upload records.

The rule: **an offset that was returned is durable** and never goes back (law 1).  Every form
passes ``tests/support/sink_suite.py``.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Generic, NewType, Protocol, TypeVar

from edge.keys import OpenKey
from edge.record import Ending, UploadRecord
from edge.seal.broken import Reason
from edge.seal.manifest import Manifest, Partial
from zentransfer.errors import Code, Error
from zentransfer.ids import UploadID

__all__ = [
    "NOTHING",
    "NO_ENDING",
    "Claim",
    "Conflict",
    "Damaged",
    "Ended",
    "Ending",
    "Fenced",
    "Manifest",
    "OpenKey",
    "Partial",
    "Sink",
    "SinkError",
    "UnknownUpload",
    "Version",
    "Versioned",
    "Writer",
]

Version = NewType("Version", int)
"""Counts the changes of one record; 0 is a record that is not there."""

NOTHING: Final[Mapping[str, bytes]] = MappingProxyType({})
NO_ENDING: Final = Ending()

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Versioned(Generic[T]):
    """A stored value and the version that a change of it must name."""

    value: T
    version: Version


class SinkError(Error):
    """The sink failed; ``temporary`` tells whether trying again later may help."""

    def __init__(self, detail: str, *, temporary: bool, code: Code | None = None) -> None:
        super().__init__(code or (Code.SINK_UNAVAILABLE if temporary else Code.DAMAGED), detail)
        self.temporary = temporary


class Damaged(SinkError):
    """What is stored must not be believed; permanent, with one word for why."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(f"the stored upload is refused: {reason}", temporary=False)
        self.reason = reason


class Fenced(Error):
    """A newer claim took over: nothing of this writer counts any more, and nothing was told."""

    def __init__(self) -> None:
        super().__init__(Code.FENCED)


class Conflict(Error):
    """The record is not at the version that the change named; read it and decide anew."""

    def __init__(self) -> None:
        super().__init__(Code.CONFLICT)


class UnknownUpload(Error):
    """There is no record of this upload here."""

    def __init__(self) -> None:
        super().__init__(Code.NOT_FOUND)


class Ended(Error):
    """The upload takes no more bytes; ``record``, durable, says what became of it."""

    def __init__(self, record: UploadRecord) -> None:
        super().__init__(Code.GONE)
        self.record = record


class Writer(Protocol):
    """One segment, one writer.

    ``room`` and ``filled`` are plain calls, thread-neutral, of one thread at a time; nothing else
    may run beside them but a ``flush`` that waits for its disk.  After any error the writer takes
    nothing more; what was durable stays, and a new claim says how much that is.
    """

    @property
    def offset(self) -> int:
        """The durable offset that was told last, in bytes."""
        ...

    @property
    def written(self) -> int:
        """The offset of the next byte to come, durable or not."""
        ...

    @property
    def is_due(self) -> bool:
        """Whether a ``flush`` is wanted soon, because a claim would have to scan too much."""
        ...

    def room(self) -> memoryview:
        """Return where the next plaintext bytes go; never empty, valid until ``filled``."""
        ...

    def filled(self, count: int) -> None:
        """Count *count* bytes in the room; a full record is sealed in place and written.

        Raises :class:`SinkError`.
        """
        ...

    def accept(self, offset: int) -> None:
        """Let provisional data count up to *offset*, which must be all that was filled.

        It counts once a ``flush`` returned.  Raises :class:`SinkError`.
        """
        ...

    async def flush(self, *, mark: bool = True, now_ms: int = 0) -> int:
        """Return the durable offset, with the fence confirmed.

        With *mark* (the end of a request) it is also noted in the record, so that its loss would
        be seen; without (progress in between) only when one is due.  *now_ms* (UTC) is noted with
        it, so that an upload without progress is known.  Raises :class:`Fenced`,
        :class:`SinkError`.
        """
        ...

    async def finish(
        self,
        digest: bytes | None,
        ending: Ending = NO_ENDING,
        *,
        expected: Mapping[str, bytes] = NOTHING,
        partials: tuple[Partial, ...] = (),
    ) -> Manifest:
        """Commit: manifest, flush, and one change of the record that also stamps *ending*.

        *digest* is the SHA-256 of the whole upload, if this process saw every byte; *expected*
        what the client announced, by algorithm; *partials* whole uploads that this one consists
        of instead of bytes of its own.  Durable when it returns; the writer is closed then.
        Raises :class:`Fenced`, :class:`SinkError`; then a new claim says what became of it.
        """
        ...

    async def close(self) -> None:
        """End the segment; keeps what is durable; idempotent."""
        ...


class Claim(Protocol):
    """The right to add to an upload, until the next claim."""

    @property
    def offset(self) -> int:
        """The durable offset, where the next byte goes."""
        ...

    @property
    def fence(self) -> int:
        """The number under which this claim holds; a higher one ends it."""
        ...

    @property
    def record(self) -> UploadRecord:
        """The upload record as this claim left it."""
        ...

    async def writer(self, *, provisional: bool = False, record_bytes: int = 0) -> Writer:
        """Open this claim's one segment; a further one needs a new claim.

        *provisional* data counts only up to its last ``accept``.  *record_bytes* is the size of
        a full record, and so of the writer's memory; 0 is the sink's default.  Raises
        :class:`SinkError`; GONE when the upload has too many segments to go on.
        """
        ...


class Sink(Protocol):
    """One region's keeping place."""

    async def create(self, record: UploadRecord, *, lazily: bool = False) -> Claim:
        """Create an upload; durable when it returns.

        *lazily* leaves the record to the writer's first ``flush`` or ``finish``, which saves
        flushes where nobody was told of the upload before.  Raises :class:`Conflict`,
        :class:`SinkError`.
        """
        ...

    async def claim(self, upload: UploadID) -> Claim:
        """Shut out every older writer, and find the durable offset.

        Raises :class:`Ended`, :class:`UnknownUpload`, :class:`Fenced` when a newer claim came in
        between, :class:`Damaged` when told bytes are gone, :class:`SinkError`.
        """
        ...

    async def record(self, upload: UploadID) -> Versioned[UploadRecord]:
        """Return the record; an end that it tells of is durable.

        Raises :class:`UnknownUpload`, :class:`SinkError`.
        """
        ...

    async def change(self, upload: UploadID, at: Version, to: UploadRecord) -> Version:
        """Replace the record if it is still at the version *at*; durable when it returns.

        Raises :class:`Conflict`, :class:`UnknownUpload`, :class:`SinkError`.
        """
        ...

    def uploads(self) -> AsyncIterator[UploadID]:
        """Yield every upload, tombstones too, in a stable order.

        Leftovers of unborn ones only where nobody but this machine's processes can be at them.
        """
        ...

    def reader(self, upload: UploadID, open_key: OpenKey) -> AsyncIterator[memoryview]:
        """Yield the plaintext of a committed upload, authenticated, in order; delivery only.

        A view is valid until the next one is asked for.  Raises :class:`Damaged`, also in the
        middle: only a reader that ended by itself has given the whole.
        """
        ...

    async def manifest(self, upload: UploadID, open_key: OpenKey) -> Manifest:
        """Return the manifest of a committed upload; delivery only; raises :class:`Damaged`."""
        ...

    async def destroy(self, upload: UploadID) -> None:
        """Destroy the keys, then the content, then the names; a tombstone stays.

        Idempotent, and to be repeated after a crash or a :class:`SinkError`.
        """
        ...
