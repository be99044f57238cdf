"""A sink as its clients know it: what was sent, what was told, and what must be readable."""

from dataclasses import dataclass, field
from enum import Enum, auto


class Violation(AssertionError):
    """A promise that was not kept."""


class Fate(Enum):
    RECEIVING = auto()
    MAYBE_COMMITTED = auto()  # a finish failed, and nobody knows how far it came
    COMMITTED = auto()
    MAYBE_GONE = auto()
    GONE = auto()


@dataclass
class UploadModel:
    """One upload: the bytes of its rightful writers, in order, and what was promised."""

    sent: bytearray = field(default_factory=bytearray)
    countable: int = 0  # provisional bytes count once they are accepted
    told: int = 0
    born: bool = False  # told to somebody, so it must be there
    fate: Fate = Fate.RECEIVING
    whole: bytes = b""

    def appended(self, data: bytes, *, counts: bool) -> None:
        self.sent += data
        if counts:
            self.countable = len(self.sent)

    def accepted(self) -> None:
        self.countable = len(self.sent)

    def flushed(self, offset: int) -> None:
        """A rightful writer told *offset*."""
        _hold(offset == self.countable, f"told {offset}, but {self.countable} were written")
        self.born = True
        self.told = offset

    def claimed(self, offset: int) -> None:
        """A claim told *offset*: nothing told is lost, nothing unsent appears."""
        _hold(offset >= self.told, f"a claim told {offset} after {self.told} was told")
        _hold(offset <= self.countable, f"a claim told {offset}, only {self.countable} were sent")
        _hold(self.fate in (Fate.RECEIVING, Fate.MAYBE_COMMITTED), f"claimed, though {self.fate}")
        del self.sent[offset:]
        self.told = self.countable = offset
        self.born = True
        self.fate = Fate.RECEIVING

    def unknown(self) -> None:
        _hold(not self.born, "an upload that was told of is gone")

    def finishing(self) -> None:
        self.whole = bytes(self.sent)
        self.fate = Fate.MAYBE_COMMITTED

    def finished(self, total: int) -> None:
        _hold(total == len(self.whole), f"{total} committed, {len(self.whole)} sent")
        self.born = True
        self.fate = Fate.COMMITTED

    def fenced_at_finish(self) -> None:
        self.fate = Fate.RECEIVING

    def ended(self, state: str) -> None:
        """A claim was refused because the upload had ended as *state*."""
        if state == "committed":
            possible = (Fate.MAYBE_COMMITTED, Fate.COMMITTED)
            _hold(self.fate in possible, f"committed, though {self.fate}")
            self.fate = Fate.COMMITTED
        else:
            possible = (Fate.MAYBE_GONE, Fate.GONE)
            _hold(self.fate in possible, f"{state}, though {self.fate}")

    def read(self, content: bytes) -> None:
        _hold(self.fate is Fate.COMMITTED, f"readable, though {self.fate}")
        _hold(content == self.whole, "other bytes than were sent")


def _hold(kept: bool, promise: str) -> None:
    if not kept:
        raise Violation(promise)
