"""Whether a destination is tried at all: one breaker for each.  Pure.

The rule: a destination that is closed is asked by one delivery at a time and ever more rarely, and
the first success lets all of them go.  Times are seconds of one monotonic clock.
"""

from collections import OrderedDict
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from edge.workflow.run import Fault
from zentransfer.ids import DestinationID
from zentransfer.limits import (
    BREAKER_FAILURES,
    BREAKER_PAUSE_FIRST_S,
    BREAKER_PAUSE_MAX_S,
    BREAKER_PROBE_FIRST_S,
    BREAKER_PROBE_MAX_S,
    BREAKERS_MAX,
)

if TYPE_CHECKING:
    from random import Random


class Gate(StrEnum):
    """What a breaker lets through."""

    OPEN = "open"
    """Every delivery."""
    PAUSED = "paused"
    """None for a short while: it failed several times in a row."""
    SHUT = "shut"
    """None, and they are parked: it said that it takes nothing until somebody acts."""
    PROBE = "probe"
    """One, which is to find out."""


class Breaker:
    """One destination's, in one process; *version* is that of the destination it was made for."""

    def __init__(self, version: int, random: "Random") -> None:
        self.version = version
        self._random = random
        self._failures = 0  # in a row
        self._is_shut = False
        self._is_probing = False
        self._until_s = 0.0

    @property
    def until_s(self) -> float:
        """When it asks again, if it is paused or shut."""
        return self._until_s

    def gate(self, now_s: float) -> Gate:
        """Return what is let through now."""
        if self._failures < BREAKER_FAILURES and not self._is_shut:
            return Gate.OPEN
        if now_s >= self._until_s and not self._is_probing:
            return Gate.PROBE
        return Gate.SHUT if self._is_shut else Gate.PAUSED

    def begun(self, now_s: float) -> None:
        """Count an attempt, which is the probe if there is to be one."""
        self._is_probing = self._is_probing or self.gate(now_s) is Gate.PROBE

    def given_up(self) -> None:
        """Take note of an attempt that says nothing about the destination."""
        self._is_probing = False

    def succeeded(self) -> None:
        """Take note that the destination answered as it should."""
        self._failures = 0
        self._is_shut = self._is_probing = False
        self._until_s = 0.0

    def failed(self, fault: Fault, now_s: float) -> None:
        """Take note of a failure; a fault of the object is an answer of a sound destination."""
        if fault is Fault.OBJECT:
            self.succeeded()
            return
        self._failures += 1
        self._is_probing = False
        self._is_shut = self._is_shut or fault is Fault.DESTINATION
        first_s, most_s = BREAKER_PAUSE_FIRST_S, BREAKER_PAUSE_MAX_S
        doublings = max(self._failures - BREAKER_FAILURES, 0)
        if self._is_shut:
            first_s, most_s = BREAKER_PROBE_FIRST_S, BREAKER_PROBE_MAX_S
            doublings = self._failures - 1
        ceiling_s = min(first_s * 2 ** min(doublings, _DOUBLINGS_MAX), most_s)
        self._until_s = now_s + self._random.uniform(ceiling_s / 2, ceiling_s)


class Breakers:
    """Those of one process; when there are too many, who was not asked for longest is forgotten."""

    def __init__(self, random: "Random") -> None:
        self._random = random
        self._all: OrderedDict[DestinationID, Breaker] = OrderedDict()

    def __len__(self) -> int:
        return len(self._all)

    def of(self, destination: DestinationID, version: int) -> Breaker:
        """Return the breaker of *destination*; a new one if its owner has changed it."""
        found = self._all.get(destination)
        if found is None or found.version != version:
            found = self._all[destination] = Breaker(version, self._random)
        self._all.move_to_end(destination)
        if len(self._all) > BREAKERS_MAX:
            self._all.popitem(last=False)
        return found

    def forget(self, destination: DestinationID) -> None:
        """Let *destination* be as if it had never failed."""
        self._all.pop(destination, None)


_DOUBLINGS_MAX: Final = 30  # beyond every maximum, and no number grows without end
