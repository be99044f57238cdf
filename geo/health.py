"""Which regions live: up and down by consecutive results, and how soon that could change.  Pure.

One bad check proves nothing, so a node turns only after several results in a row that contradict
what is believed of it.  What could change soon is not promised for long: the shorter of the two is
the TTL.  Health only ever moves a region behind the living ones; nothing is taken out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from geo.region import Node, Region
from zentransfer.ids import NodeID


@dataclass(frozen=True, slots=True)
class Checks:
    """How nodes are checked: the time between checks, and the results in a row that turn one.

    The defaults find a dead node within 4 s (measured with gdnsd: 4.1 s, and 4.1 s back).
    """

    interval_s: float = 2.0
    up_after: int = 2
    down_after: int = 2

    def __post_init__(self) -> None:
        assert self.interval_s > 0
        assert min(self.up_after, self.down_after) > 0


@dataclass(frozen=True, slots=True)
class NodeHealth:
    """What is believed of one node, and how many results in a row spoke against it.

    A node that was never checked counts as up: not knowing must not take anything out.
    """

    up: bool = True
    contrary: int = 0

    def after(self, passed: bool, checks: Checks) -> "NodeHealth":
        """Return the belief after one more check."""
        if passed is self.up:
            return NodeHealth(self.up)
        contrary = self.contrary + 1
        needed = checks.down_after if self.up else checks.up_after
        return NodeHealth(not self.up) if contrary >= needed else NodeHealth(self.up, contrary)

    def seconds_until_change(self, checks: Checks) -> float:
        """Return the soonest time in which this belief could turn, in seconds."""
        needed = checks.down_after if self.up else checks.up_after
        return (needed - self.contrary) * checks.interval_s


@dataclass(frozen=True, slots=True)
class Health:
    """The regions that take new uploads, and how soon that could change (``None``: unwatched)."""

    up: frozenset[Region] = frozenset(Region)
    seconds_until_change: float | None = None
    all_up: bool = field(init=False)  # the usual case, asked first

    def __post_init__(self) -> None:
        object.__setattr__(self, "all_up", self.up.issuperset(Region))

    @classmethod
    def of(
        cls, nodes: Iterable[Node], beliefs: Mapping[NodeID, NodeHealth], checks: Checks
    ) -> Self:
        """Sum up a fleet: a region is up while one of its nodes is up and not draining.

        With no node at all nothing is known, and every region counts as up.
        """
        working: dict[Region, list[NodeHealth]] = {}
        seen = False
        for node in nodes:
            seen = True
            if not node.draining:
                working.setdefault(node.region, []).append(beliefs.get(node.id, NodeHealth()))
        if not seen:
            return cls()
        up = frozenset(region for region, states in working.items() if any(s.up for s in states))
        soonest = min((_soonest(states, checks) for states in working.values()), default=None)
        return cls(up, soonest)

    def ttl_s(self, longest_s: int) -> int:
        """Return for how many seconds an answer holds: at most *longest_s*, at least half of it.

        The lower end is gdnsd's own rule: health is always able to change within seconds, and a
        TTL that followed it all the way down would multiply the questions of every client.
        """
        if self.seconds_until_change is None or self.seconds_until_change >= longest_s:
            return longest_s
        return max(1, longest_s // 2, int(self.seconds_until_change))


def _soonest(states: list[NodeHealth], checks: Checks) -> float:
    """Return how soon a region could turn: up until its last node fails, down until one is back."""
    up = [state.seconds_until_change(checks) for state in states if state.up]
    return max(up) if up else min(state.seconds_until_change(checks) for state in states)


ALL_UP = Health()
