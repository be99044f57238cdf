"""What the processes of a region tell each other at once: who took an upload, and what is whole.

The rule: **a notice is a hint**.  It may be lost, doubled, late or forged: the upload record says
what is so, and whoever hears a notice looks there.  So the loss of all of them costs time and
nothing else, and a region of one process needs none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from edge.seal.packing import pack, unpack
from zentransfer.errors import Error
from zentransfer.ids import Kind, UploadID, parse

_CHARS_MAX: Final = 64


class Event(StrEnum):
    """What happened to an upload."""

    TAKEN = "taken"
    WHOLE = "whole"


@dataclass(frozen=True, slots=True)
class Notice:
    """One event; ``fence`` is that of the claim under which it happened."""

    event: Event
    upload: UploadID
    fence: int


Hear = Callable[[Notice], None]


class RegionState(Protocol):
    """The way to the other processes of the region."""

    def tell(self, notice: Notice) -> None:
        """Tell the others; never waits and never fails."""
        ...

    def listen(self, hear: Hear) -> None:
        """Call *hear* with what others tell, from now on; perhaps with one's own words too."""
        ...

    async def run(self) -> None:
        """Carry notices until cancelled."""
        ...

    def check(self) -> tuple[bool, str]:
        """Say, for ``/readyz``, whether notices are carried."""
        ...


class MemoryRegion:
    """The region of processes that live in one loop; :meth:`process` gives each its way."""

    def __init__(self) -> None:
        self._processes: list[MemoryRegionState] = []

    def process(self) -> "MemoryRegionState":
        """Return the way of one more process."""
        made = MemoryRegionState(self._processes)
        self._processes.append(made)
        return made


class MemoryRegionState:
    """A :class:`RegionState` within one loop, where nothing is lost."""

    def __init__(self, processes: "list[MemoryRegionState]") -> None:
        self._processes = processes
        self._hears: list[Hear] = []

    def tell(self, notice: Notice) -> None:
        """Tell the others, at once."""
        for other in self._processes:
            if other is not self:
                other.heard(notice)

    def listen(self, hear: Hear) -> None:
        """Call *hear* with what others tell."""
        self._hears.append(hear)

    def heard(self, notice: Notice) -> None:
        """Take *notice* in."""
        for hear in self._hears:
            hear(notice)

    async def run(self) -> None:
        """Do nothing: a call carries each notice."""

    def check(self) -> tuple[bool, str]:
        """Say that it is well."""
        return True, "in this process"


def packed(notice: Notice) -> bytes:
    """Return *notice* as it travels."""
    return pack({"event": notice.event.value, "upload": notice.upload, "fence": notice.fence})


def maybe_notice(data: bytes) -> Notice | None:
    """Return the notice in *data*; ``None`` for anything that is none."""
    try:
        told = unpack(data)
        upload = parse(Kind.UPLOAD, told.text("upload", _CHARS_MAX))
        event = Event(told.text("event", _CHARS_MAX))
        return Notice(event, UploadID(upload), told.number("fence"))
    except (ValueError, Error):  # Malformed is one
        return None
