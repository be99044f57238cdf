"""Which networks a loaded region sends away first: those to whom it makes the least difference.

Pure.  Below 0.7 of its capacity a region keeps everybody, above 0.9 it takes nobody new, and in
between the share that it sends away grows evenly from none to all.  The same network gets the same
answer as long as the load stands still, so nothing flaps.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import blake2b
from types import MappingProxyType
from typing import Final, Self

from geo.network import Network
from geo.region import Region
from zentransfer.limits import SPILL_COSTS_MAX

SPILL_FROM: Final = 0.7  # utilisation: below it a region keeps everybody
FULL_ABOVE: Final = 0.9  # utilisation: above it a region takes nobody new


class Room(IntEnum):
    """How willing a region is to take a client; the lower, the better."""

    FREE = 0
    SPILLING = 1
    FULL = 2


@dataclass(frozen=True, slots=True)
class Load:
    """How full each region is, and what leaving it would cost those whom it serves.

    ``utilisation``: 0 is idle, 1 is full; a region that is not in it is idle.  ``costs_ms``: for
    each region a sorted sample of what their second choice costs the networks that it serves;
    without one all networks count as equal there.
    """

    utilisation: Mapping[Region, float] = field(default_factory=lambda: MappingProxyType({}))
    costs_ms: Mapping[Region, tuple[float, ...]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    free: bool = field(init=False)  # every region keeps everybody: the usual case, asked first

    def __post_init__(self) -> None:
        free = all(value < SPILL_FROM for value in self.utilisation.values())
        object.__setattr__(self, "free", free)

    @classmethod
    def of(
        cls, utilisation: Mapping[Region, float], costs_ms: Mapping[Region, Iterable[float]]
    ) -> Self:
        """Build a load from unsorted costs, keeping at most ``SPILL_COSTS_MAX`` of each region.

        A longer sample is thinned evenly over its sorted order, which keeps its quantiles.
        """
        return cls(
            MappingProxyType(dict(utilisation)),
            MappingProxyType({region: _quantiles(costs) for region, costs in costs_ms.items()}),
        )

    def room(self, region: Region) -> Room:
        """Return whether *region* takes the clients of others."""
        utilisation = self.utilisation.get(region, 0.0)
        if utilisation < SPILL_FROM:
            return Room.FREE
        return Room.SPILLING if utilisation <= FULL_ABOVE else Room.FULL

    def room_for_own(self, region: Region, network: Network | None, cost_ms: float) -> Room:
        """Return whether *region* keeps *network*, whose best it is.

        *cost_ms* is what the network's second choice costs it; infinity means that nobody knows,
        and such a network is sent away last.
        """
        room = self.room(region)
        if room is not Room.SPILLING:
            return room
        share = (self.utilisation[region] - SPILL_FROM) / (FULL_ABOVE - SPILL_FROM)
        place = self._place(region, network, cost_ms)
        return Room.SPILLING if place < share else Room.FREE

    def _place(self, region: Region, network: Network | None, cost_ms: float) -> float:
        """Return the network's place in the queue of those to send away: 0 is first, 1 is last."""
        costs = self.costs_ms.get(region, ())
        first, last = 0.0, 1.0
        if costs:
            first = bisect_left(costs, cost_ms) / len(costs)
            last = bisect_right(costs, cost_ms) / len(costs)
        if network is None:
            return last
        return first + _lot(network) * (last - first)


def _lot(network: Network) -> float:
    """Return a number in 0..1 (1 excluded) that is the network's own in every run and process."""
    return int.from_bytes(blake2b(bytes(network), digest_size=6).digest(), "big") / 2.0**48


def _quantiles(costs_ms: Iterable[float]) -> tuple[float, ...]:
    """Return the sorted costs, thinned evenly to the limit; what is no number is left out."""
    costs = sorted(cost for cost in costs_ms if not math.isnan(cost))
    if len(costs) <= SPILL_COSTS_MAX:
        return tuple(costs)
    step = len(costs) / SPILL_COSTS_MAX
    return tuple(costs[int((at + 0.5) * step)] for at in range(SPILL_COSTS_MAX))


IDLE = Load()
