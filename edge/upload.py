"""An upload on its way in: open, then committed or aborted, with an offset that is true.  Pure.

The rules: the offset counts **durable** bytes and never goes back (law 1); more than was announced
or is allowed is never taken; and there is **exactly one end** (law 3).  Every door drives this same
machine, so no two of them can disagree about an offset.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from zentransfer.errors import Code, Error


class State(StrEnum):
    """Where an upload stands for the door that takes it."""

    OPEN = "open"
    COMMITTED = "committed"
    ABORTED = "aborted"


TABLE: Final[Mapping[State, frozenset[State]]] = MappingProxyType(
    {
        State.OPEN: frozenset({State.OPEN, State.COMMITTED, State.ABORTED}),
        State.COMMITTED: frozenset(),
        State.ABORTED: frozenset(),
    }
)
"""From each state to those that may follow it."""


class OffsetMismatch(Error):
    """The next byte is another one than was sent; ``expected`` is the true offset."""

    def __init__(self, expected: int) -> None:
        super().__init__(Code.OFFSET_MISMATCH)
        self.expected = expected


class UploadEnded(Error):
    """The upload has its end already, and takes neither bytes nor another end."""

    def __init__(self) -> None:
        super().__init__(Code.GONE)


@dataclass(frozen=True, slots=True)
class Upload:
    """One upload: ``offset`` in durable bytes, ``length`` if announced, both in bytes.

    ``size_max`` is the largest size that its account may send.
    """

    size_max: int
    length: int | None = None
    offset: int = 0
    state: State = State.OPEN

    @property
    def left(self) -> int:
        """How many bytes may still come behind the offset."""
        return max(self._bound - self.offset, 0)

    @property
    def is_complete(self) -> bool:
        """Whether every announced byte is durable."""
        return self.offset == self.length

    def expect(self, offset: int) -> "Upload":
        """Return the upload if its next byte is *offset*.

        Raises :class:`OffsetMismatch`, and :class:`UploadEnded` once it has its end.
        """
        self._must_lead_to(State.OPEN)
        if offset != self.offset:
            raise OffsetMismatch(self.offset)
        return self

    def announced(self, length: int) -> "Upload":
        """Return the upload with its length known; once known it never changes.

        Raises ``Error``: TOO_LARGE above ``size_max``, INCONSISTENT_LENGTH for another length than
        before or one that is below the offset.
        """
        self._must_lead_to(State.OPEN)
        if length > self.size_max:
            raise Error(Code.TOO_LARGE)
        if self.length not in (None, length) or length < self.offset:
            raise Error(Code.INCONSISTENT_LENGTH)
        return replace(self, length=length)

    def exceeded(self) -> Error:
        """Return the error for a sender of more than ``left`` bytes."""
        is_known = self.length is not None and self.length <= self.size_max
        return Error(Code.SIZE_EXCEEDED if is_known else Code.TOO_LARGE)

    def written(self, count: int) -> "Upload":
        """Return the upload with *count* more durable bytes; raises as :meth:`exceeded`."""
        self._must_lead_to(State.OPEN)
        assert count >= 0, "an offset never goes back"
        if count > self.left:
            raise self.exceeded()
        return replace(self, offset=self.offset + count)

    def committed(self) -> "Upload":
        """Return the upload with its one good end: whole, as long as announced.

        Raises ``Error(PEER_GONE)`` when announced bytes are missing: a part never looks whole.
        """
        self._must_lead_to(State.COMMITTED)
        if self.length is not None and not self.is_complete:
            raise Error(Code.PEER_GONE, "less came than was announced")
        return replace(self, state=State.COMMITTED, length=self.offset)

    def aborted(self) -> "Upload":
        """Return the upload with its one bad end."""
        self._must_lead_to(State.ABORTED)
        return replace(self, state=State.ABORTED)

    @property
    def _bound(self) -> int:
        return self.size_max if self.length is None else min(self.length, self.size_max)

    def _must_lead_to(self, state: State) -> None:
        if state not in TABLE[self.state]:
            raise UploadEnded
