"""What a region's processes tell each other at once: what was taken, is whole, or is spent.

The rule: **a notice is a hint**.  It may be lost, doubled, late or forged: the upload record says
what is so, and whoever hears a notice looks there.  So the loss of all of them costs time and
nothing else, and a region of one process needs none.  What is spent is asked, and may go unheard.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from edge.seal.packing import pack, unpack
from zentransfer.errors import Error
from zentransfer.ids import AccountID, Kind, UploadID, parse

_CHARS_MAX: Final = 64
_SHARE: Final = "share"


class Event(StrEnum):
    """What happened to an upload."""

    TAKEN = "taken"
    WHOLE = "whole"
    CUT = "cut"
    """A claim ended a request that another process had for it."""
    KEPT = "kept"
    """It was cut, and its sender knows it by no address but its name."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One event; ``fence`` is that of the claim under which it happened."""

    event: Event
    upload: UploadID
    fence: int


@dataclass(frozen=True, slots=True)
class Share:
    """How many uploads of *account* are under way at *process*, such as ``fr-1/ingest-0``."""

    process: str
    account: AccountID
    count: int


Told = Notice | Share
Hear = Callable[[Told], None]


class RegionState(Protocol):
    """The way to the other processes of the region."""

    def tell(self, told: Told) -> None:
        """Tell the others; never waits and never fails."""
        ...

    def listen(self, hear: Hear) -> None:
        """Call *hear* with what others tell, from now on; perhaps with one's own words too."""
        ...

    async def is_first(self, nonce: bytes, for_s: float) -> bool | None:
        """Say whether nobody in the region asked this before, which is remembered for *for_s*.

        ``None``: nobody can tell now.  It never fails, and waits no longer than REGION_DIAL_S.
        """
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
        self._spent: set[bytes] = set()

    def process(self) -> "MemoryRegionState":
        """Return the way of one more process."""
        made = MemoryRegionState(self._processes, self._spent)
        self._processes.append(made)
        return made


class MemoryRegionState:
    """A :class:`RegionState` within one loop, where nothing is lost."""

    def __init__(self, processes: "list[MemoryRegionState]", spent: set[bytes]) -> None:
        self._processes = processes
        self._spent = spent
        self._hears: list[Hear] = []

    def tell(self, told: Told) -> None:
        """Tell the others, at once."""
        for other in self._processes:
            if other is not self:
                other.heard(told)

    def listen(self, hear: Hear) -> None:
        """Call *hear* with what others tell."""
        self._hears.append(hear)

    def heard(self, told: Told) -> None:
        """Take *told* in."""
        for hear in self._hears:
            hear(told)

    async def is_first(self, nonce: bytes, for_s: float) -> bool | None:
        """Say whether nobody asked this before; remembered until *for_s* have gone by."""
        if nonce in self._spent:
            return False
        self._spent.add(nonce)
        asyncio.get_running_loop().call_later(for_s, self._spent.discard, nonce)
        return True

    async def run(self) -> None:
        """Do nothing: a call carries each notice."""

    def check(self) -> tuple[bool, str]:
        """Say that it is well."""
        return True, "in this process"


def packed(told: Told) -> bytes:
    """Return *told* as it travels."""
    if isinstance(told, Share):
        who = {"process": told.process, "account": told.account}
        return pack({"event": _SHARE, **who, "count": told.count})
    return pack({"event": told.event.value, "upload": told.upload, "fence": told.fence})


def maybe_notice(data: bytes) -> Told | None:
    """Return what is told in *data*; ``None`` for anything else."""
    try:
        told = unpack(data)
        if told.text("event", _CHARS_MAX) == _SHARE:
            account = AccountID(parse(Kind.ACCOUNT, told.text("account", _CHARS_MAX)))
            return Share(told.text("process", _CHARS_MAX), account, told.number("count"))
        upload = parse(Kind.UPLOAD, told.text("upload", _CHARS_MAX))
        event = Event(told.text("event", _CHARS_MAX))
        return Notice(event, UploadID(upload), told.number("fence"))
    except (ValueError, Error):  # Malformed is one
        return None
