"""The route table: what was measured, by network, then (ASN, country), then country.  Pure.

A table is immutable and carries its version; a newer one replaces it whole, so a reader never sees
half of a change.  Its lookups raise nothing.
"""

import math
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, Self

from geo.network import V4, V6, Network
from geo.region import DEFAULT_ORDER, Location, Region, complete
from zentransfer.limits import ROUTE_TABLE_AGE_S_MAX, ROUTE_TTL_S_MAX

_RANK: Final = MappingProxyType({region: rank for rank, region in enumerate(DEFAULT_ORDER)})


@dataclass(frozen=True, slots=True)
class Route:
    """An order of all regions, best first, and what each costs over the best estimate.

    ``extra_ms`` stands in the same order as ``order``; infinity means that nothing was measured.
    It may be below that of an earlier region: an order holds on to its place until a gain is worth
    the move.  ``samples`` is the weight of what was measured.
    """

    order: tuple[Region, ...]
    extra_ms: tuple[float, ...]
    samples: float = 0.0

    @classmethod
    def of(cls, ms: Mapping[Region, float], samples: float = 0.0) -> Self:
        """Order the regions by their estimates in milliseconds, equal ones by the default order.

        A region without an estimate, or with one that is no number, comes after those with one.
        """
        known = {region: value for region, value in ms.items() if math.isfinite(value)}
        order = complete(tuple(sorted(known, key=lambda region: (known[region], _RANK[region]))))
        best = min(known.values(), default=0.0)
        return cls(order, tuple(known.get(r, math.inf) - best for r in order), samples)

    @classmethod
    def unmeasured(cls, order: Iterable[Region]) -> Self:
        """Return a route in the given order, of which no milliseconds are known."""
        whole = complete(tuple(order))
        return cls(whole, (math.inf,) * len(whole))

    def cost_ms(self, first: Region, second: Region) -> float:
        """Return what going to *second* instead of *first* costs: >= 0, infinity if unknown."""
        there = self.extra_ms[self.order.index(second)]
        here = self.extra_ms[self.order.index(first)]
        return math.inf if math.isinf(there) or math.isinf(here) else max(0.0, there - here)


class Key(StrEnum):
    """The level of the table that answered."""

    NETWORK = "network"
    ASN = "asn"
    COUNTRY = "country"


class Found(NamedTuple):
    """What a table knows of a client, and at which level it knows it."""

    route: Route
    key: Key


@dataclass(frozen=True, slots=True)
class _Ranges:
    """Networks of one address family, as disjoint sorted ranges: 12 or 20 bytes a range.

    A range is a start, an end (inclusive) and an index into the few answers that differ.
    """

    starts: "array[int]"
    ends: "array[int]"
    which: "array[int]"
    answers: tuple[Found, ...]

    @classmethod
    def of(cls, numbers: Mapping[int, Route], integer: Literal["I", "Q"]) -> Self:
        starts: array[int] = array(integer)
        ends: array[int] = array(integer)
        which: array[int] = array("I")
        index: dict[Route, int] = {}
        for number in sorted(numbers):
            route = index.setdefault(numbers[number], len(index))
            if starts and ends[-1] == number - 1 and which[-1] == route:
                ends[-1] = number
                continue
            starts.append(number)
            ends.append(number)
            which.append(route)
        return cls(starts, ends, which, tuple(Found(route, Key.NETWORK) for route in index))

    def find(self, number: int) -> Found | None:
        at = bisect_right(self.starts, number) - 1
        if at < 0 or number > self.ends[at]:
            return None
        return self.answers[self.which[at]]


@dataclass(frozen=True, slots=True)
class RouteTable:
    """What is known of the whole world as of ``version``; ``ttl_s`` is how long an answer holds."""

    version: int
    ttl_s: int
    v4: _Ranges
    v6: _Ranges
    asns: Mapping[tuple[int, str], Found]
    countries: Mapping[str, Found]

    @classmethod
    def of(
        cls,
        version: int,
        *,
        networks: Mapping[Network, Route] = MappingProxyType({}),
        asns: Mapping[tuple[int, str], Route] = MappingProxyType({}),
        countries: Mapping[str, Route] = MappingProxyType({}),
        ttl_s: int = ROUTE_TTL_S_MAX,
    ) -> Self:
        """Build a table; *asns* is keyed by (ASN, ISO country), *countries* by ISO country.

        ``ttl_s`` is in seconds and cut to 1..``ROUTE_TTL_S_MAX``.
        """
        return cls(
            version,
            max(1, min(ttl_s, ROUTE_TTL_S_MAX)),
            _Ranges.of(
                {key.number: route for key, route in networks.items() if key.version == V4}, "I"
            ),
            _Ranges.of(
                {key.number: route for key, route in networks.items() if key.version == V6}, "Q"
            ),
            MappingProxyType({key: Found(route, Key.ASN) for key, route in asns.items()}),
            MappingProxyType({key: Found(route, Key.COUNTRY) for key, route in countries.items()}),
        )

    def find(self, network: Network | None, location: Location | None) -> Found | None:
        """Return what the narrowest level knows of this client, ``None`` if no level does.

        *network* is the client's, *location* what a database says of it.
        """
        if network is not None:
            ranges = self.v4 if network.version == V4 else self.v6
            found = ranges.find(network.number)
            if found is not None:
                return found
        if location is None or location.country is None:
            return None
        if location.asn is not None:
            found = self.asns.get((location.asn, location.country))
            if found is not None:
                return found
        return self.countries.get(location.country)

    def fresh(self, age_s: float) -> Self | None:
        """Return the table, or ``None`` if it is too old to trust: then GeoIP and health serve.

        *age_s* is in seconds since it was received, by the receiver's own clock.
        """
        return self if age_s <= ROUTE_TABLE_AGE_S_MAX else None
