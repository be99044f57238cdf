"""The writes of one file in the order of their offsets.  Pure.

The rule: a client may have many writes under way, and they may come in any order within a bounded
window; but each byte comes once, and what leaves a gap or comes twice is refused: the log is only
ever written at its end.
"""

from zentransfer.errors import Code, Error
from zentransfer.limits import SFTP_AHEAD_BYTES_MAX, SFTP_AHEAD_WRITES_MAX


class InOrder:
    """What came before its turn waits here."""

    def __init__(self, offset: int = 0) -> None:
        """Begin with the byte at *offset*."""
        self.next = offset
        """The offset of the next byte in order."""
        self._waiting = dict[int, bytes]()

    @property
    def has_gap(self) -> bool:
        """Whether bytes came whose predecessors did not."""
        return bool(self._waiting)

    def put(self, offset: int, data: bytes) -> list[bytes]:
        """Take *data* at *offset*; returns what is in order now, possibly nothing.

        Raises ``Error(OFFSET_MISMATCH)`` for bytes that came before, and for a gap too wide.
        """
        if not data:
            return []
        if offset < self.next or offset in self._waiting:
            raise Error(Code.OFFSET_MISMATCH, "these bytes came before; send the file anew")
        if offset > self.next:
            self._wait(offset, data)
            return []
        ready = [data]
        self.next += len(data)
        while self._waiting and (more := self._waiting.pop(self.next, None)) is not None:
            ready.append(more)
            self.next += len(more)
        if self._waiting and min(self._waiting) < self.next:
            raise Error(Code.OFFSET_MISMATCH, "these bytes came before; send the file anew")
        return ready

    def _wait(self, offset: int, data: bytes) -> None:
        is_far = offset + len(data) - self.next > SFTP_AHEAD_BYTES_MAX
        if is_far or len(self._waiting) >= SFTP_AHEAD_WRITES_MAX:
            raise Error(Code.OFFSET_MISMATCH, "a file is written from its start, without gaps")
        self._waiting[offset] = data
