"""The regions, where their sites stand, and how far away a client is.  Pure.

Distance never decides alone where something was measured: it is the answer of last resort before
the default order, and a bound that no honest round trip can beat.
"""

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from zentransfer.errors import Code, Error
from zentransfer.ids import NodeID, Region, region_of

__all__ = [
    "DEFAULT_ORDER",
    "SITES",
    "Location",
    "Node",
    "Place",
    "Region",
    "complete",
    "distance_km",
    "distances_km",
    "light_bound_ms",
    "region",
]

EARTH_RADIUS_KM: Final = 6371.0088  # the mean radius of the GRS 80 ellipsoid
_LATITUDE_MAX: Final = 90.0  # degrees
_LONGITUDE_MAX: Final = 180.0  # degrees

DEFAULT_ORDER: Final = (Region.FR, Region.US, Region.SG)
"""Where a client goes of whom nothing is known.

``fr`` first for two reasons.  Residency: content of unknown origin then rests under the law of the
EU, where control stands too, and is never moved out of a stricter place by our ignorance.  Centre:
its farthest sister site is the nearest (10,720 km; from ``us`` and from ``sg`` it is 15,530 km), so
a wrong guess costs least.  ``us`` before ``sg`` because it is nearer to ``fr``.
"""


@dataclass(frozen=True, slots=True)
class Place:
    """A point on the Earth: degrees north and degrees east.

    Raises ``Error(Code.INVALID)`` for what is not one, so that no sum over places can fail later.
    """

    latitude: float
    longitude: float

    def __post_init__(self) -> None:
        # A comparison with NaN is false, so this refuses it as well.
        if not (abs(self.latitude) <= _LATITUDE_MAX and abs(self.longitude) <= _LONGITUDE_MAX):
            raise Error(
                Code.INVALID, "a place is a latitude in -90..90 and a longitude in -180..180"
            )


@dataclass(frozen=True, slots=True)
class Location:
    """What an address database says of a client; each part may be unknown.

    ``country`` is ISO 3166-1 alpha-2 in capitals, ``asn`` the number of the autonomous system,
    ``city`` a name for people to read.
    """

    country: str | None = None
    place: Place | None = None
    asn: int | None = None
    city: str | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a region; a draining one finishes what it has and takes nothing new."""

    id: NodeID
    draining: bool = False

    @property
    def region(self) -> Region:
        """The region that the node stands in."""
        return region_of(self.id)


# Ashburn, Paris, Singapore: the coordinates that the DNS servers are given as well.
SITES: Final = MappingProxyType(
    {
        Region.US: Place(38.97, -77.39),
        Region.FR: Place(48.87, 2.35),
        Region.SG: Place(1.37, 103.75),
    }
)


def region(text: str) -> Region:
    """Return the region that *text* names, else raise ``Error(Code.INVALID)`` that lists them."""
    try:
        return Region(text)
    except ValueError:
        names = ", ".join(Region)
        raise Error(Code.INVALID, f"there is no such region: type one of {names}") from None


def complete(order: tuple[Region, ...]) -> tuple[Region, ...]:
    """Return *order* without repetitions and with every missing region after it, in default order.

    What leaves here is always an answer: non-empty, each region once.
    """
    return tuple(dict.fromkeys((*order, *DEFAULT_ORDER)))


def distance_km(here: Place, there: Place) -> float:
    """Return the great-circle distance in kilometres, by the haversine formula (sphere)."""
    north, south = math.radians(here.latitude), math.radians(there.latitude)
    half_height = math.sin((south - north) / 2)
    half_width = math.sin(math.radians(there.longitude - here.longitude) / 2)
    chord = half_height * half_height + math.cos(north) * math.cos(south) * half_width * half_width
    # Rounding may carry the chord of two antipodes a hair above 1, where asin would fail.
    return 2 * EARTH_RADIUS_KM * math.asin(min(1.0, math.sqrt(chord)))


def distances_km(place: Place) -> dict[Region, float]:
    """Return the distance in kilometres from *place* to the site of each region."""
    return {region: distance_km(place, site) for region, site in SITES.items()}


def light_bound_ms(km: float) -> float:
    """Return the least possible round trip over *km* kilometres, in milliseconds.

    Light in fibre makes some 200,000 km/s, so there and back costs 1 ms for 100 km.
    """
    return km / 100
