"""Client, pin, table, place, health and load to an ordered list of regions and a reason.  Pure.

``choose`` is total (law 9): it raises nothing and always answers, with no database, no table and
every node down.  What decides, in this order: the pin; what was measured; the distance; the
default order.  Then the living come before the dead, and the roomy before the full; a pin is moved
by neither (law 12).
"""

import math
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from geo.health import ALL_UP, Health
from geo.load import IDLE, Load, Room
from geo.network import Network
from geo.region import DEFAULT_ORDER, Location, Place, Region, distances_km, light_bound_ms
from geo.table import Key, Route, RouteTable
from zentransfer.limits import ROUTE_TTL_S_MAX


class Reason(StrEnum):
    """What the order rests on; a closed set."""

    PINNED = "pinned"
    NETWORK = "measured:network"
    ASN = "measured:asn"
    COUNTRY = "measured:country"
    GEOIP = "geoip"
    DEFAULT = "default"


class Mark(StrEnum):
    """What changed the order afterwards; a closed set."""

    SPILLED = "spilled"
    DOWN_US = "down:us"
    DOWN_FR = "down:fr"
    DOWN_SG = "down:sg"
    ALL_DOWN = "all-down"


MEASURED: Final = MappingProxyType(
    {Key.NETWORK: Reason.NETWORK, Key.ASN: Reason.ASN, Key.COUNTRY: Reason.COUNTRY}
)
DOWN: Final = MappingProxyType({region: Mark(f"down:{region}") for region in Region})
REASONS: Final = MappingProxyType(
    {
        Reason.PINNED: "the account keeps its content in one region, and there is no other choice",
        Reason.NETWORK: "measured from this network",
        Reason.ASN: "measured from this provider in this country",
        Reason.COUNTRY: "measured from this country",
        Reason.GEOIP: "nothing is measured yet, so the nearest by distance comes first",
        Reason.DEFAULT: "neither measured nor located, so the stated default order is used",
    }
)
MARKS: Final = MappingProxyType(
    {
        Mark.SPILLED: "the best region is loaded, and another costs this network little",
        Mark.DOWN_US: "us takes nothing new now (down or draining)",
        Mark.DOWN_FR: "fr takes nothing new now (down or draining)",
        Mark.DOWN_SG: "sg takes nothing new now (down or draining)",
        Mark.ALL_DOWN: "every region seems down: health is not believed, the usual order stands",
    }
)
_UNMEASURED: Final = Route.unmeasured(DEFAULT_ORDER)


class Choice(NamedTuple):
    """The answer for one client: where to go, why, and for how many seconds that holds.

    ``order`` is never empty: every region once, best first; of a pinned account only its own.
    ``route`` is what the order was before health and load changed it; a pinned account has none.
    """

    order: tuple[Region, ...]
    reason: Reason
    marks: tuple[Mark, ...]
    ttl_s: int
    route: Route | None

    @property
    def steps(self) -> tuple[str, ...]:
        """Say in sentences how it came about; made when asked, so that a decision stays cheap."""
        steps = [f"{self.reason}: {REASONS[self.reason]}"]
        if self.route is not None:
            steps.append(f"usual order: {_with_margins(self.route)}")
        steps.extend(f"{mark}: {MARKS[mark]}" for mark in self.marks)
        steps.append(f"order: {', '.join(self.order)}, good for {self.ttl_s} s")
        return tuple(steps)


def choose(  # noqa: PLR0913 - what it depends on is the point: nothing hidden, all given
    client: Network | None,
    *,
    pin: Region | None = None,
    table: RouteTable | None = None,
    location: Location | None = None,
    health: Health = ALL_UP,
    load: Load = IDLE,
    default_order: tuple[Region, ...] = DEFAULT_ORDER,
) -> Choice:
    """Return the regions that *client* should use, best first, and the reason; raises nothing.

    *client* is ``None`` where there is no address (a Unix socket).  A *default_order* that lacks
    regions is completed.
    """
    ttl_s = health.ttl_s(ROUTE_TTL_S_MAX if table is None else table.ttl_s)
    if pin is not None:
        down = () if pin in health.up else (DOWN[pin],)
        return Choice((pin,), Reason.PINNED, down, ttl_s, None)
    route, reason = _usual(client, table, location, default_order)
    if load.free and health.all_up:
        return Choice(route.order, reason, (), ttl_s, route)
    order, marks = _adjusted(route, client, health, load)
    return Choice(order, reason, marks, ttl_s, route)


def by_distance(place: Place) -> Route:
    """Return the regions by distance from *place*, each estimated by its light-speed bound."""
    return Route.of({region: light_bound_ms(km) for region, km in distances_km(place).items()})


def _usual(
    client: Network | None,
    table: RouteTable | None,
    location: Location | None,
    default_order: tuple[Region, ...],
) -> tuple[Route, Reason]:
    """Return the order of a day on which every region lives and has room."""
    if table is not None:
        found = table.find(client, location)
        if found is not None:
            return found.route, MEASURED[found.key]
    if location is not None and location.place is not None:
        return by_distance(location.place), Reason.GEOIP
    if default_order == DEFAULT_ORDER:
        return _UNMEASURED, Reason.DEFAULT
    return Route.unmeasured(default_order), Reason.DEFAULT


def _adjusted(
    route: Route, client: Network | None, health: Health, load: Load
) -> tuple[tuple[Region, ...], tuple[Mark, ...]]:
    """Move the dead behind the living, and a full region behind those with room."""
    up = health.up
    alive = [region for region in route.order if region in up]
    if not alive:
        return route.order, (Mark.ALL_DOWN,)
    roomy = alive if load.free else _spilled(alive, route, client, load)
    marks = [] if roomy[0] is alive[0] else [Mark.SPILLED]
    if health.all_up:
        return tuple(roomy), tuple(marks)
    dead = [region for region in route.order if region not in up]
    return (*roomy, *dead), (*marks, *[DOWN[region] for region in dead])


def _spilled(alive: list[Region], route: Route, client: Network | None, load: Load) -> list[Region]:
    """Sort the living by the room that they have for this client; where it is equal, as before."""
    if len(alive) == 1:
        return alive
    best, second = alive[:2]
    room: dict[Region, Room] = {region: load.room(region) for region in alive}
    if room[best] is Room.SPILLING:
        room[best] = load.room_for_own(best, client, route.cost_ms(best, second))
    return sorted(alive, key=room.__getitem__)


def _with_margins(route: Route) -> str:
    """Return the regions of *route*, each with what it costs over the first."""
    best, *others = route.order
    words = [str(best)]
    for region in others:
        cost_ms = route.cost_ms(best, region)
        words.append(region if math.isinf(cost_ms) else f"{region} (+{cost_ms:.1f} ms)")
    return ", ".join(words)
