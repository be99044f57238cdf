"""The regions in the order in which ``GET /route`` named them, and which one is next.  Pure.

The rule: the token that opens an account travels no less protected than the question did.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import urlsplit

from zentransfer.ids import Region

PATH: Final = "/route"

_VERSION: Final = 1
_REASONS: Final = {
    "pinned": "your account keeps its content there",
    "geoip": "the nearest by distance",
    "default": "the default order, as nothing is known of your place",
}


class Unusable(Exception):
    """An answer that cannot be followed; the text says why."""


@dataclass(frozen=True, slots=True)
class Door:
    """The HTTP door of a region: its URL, without a slash at the end."""

    region: Region
    http: str


@dataclass(frozen=True, slots=True)
class Nearby:
    """The doors, best first; why in that order, and whose data that rests on."""

    doors: tuple[Door, ...]
    reason: str
    attribution: tuple[str, ...] = ()


def understood(body: bytes, *, is_protected: bool) -> Nearby:
    """Return what an answer of ``GET /route`` says; raises :class:`Unusable`.

    *is_protected* says that the answer came by TLS: then doors without TLS are not used.
    """
    try:
        document = json.loads(body)
        version, found = document["version"], document["regions"]
        doors = [Door(Region(one["region"]), _url(one["http"])) for one in found]
        reason, attribution = str(document["reason"]), tuple(map(str, document["attribution"]))
    except (ValueError, TypeError, KeyError, AttributeError):
        raise Unusable("the answer to /route is not understood; update zentransfer") from None
    if version != _VERSION:
        raise Unusable("the answer to /route is of another version; update zentransfer")
    if is_protected:
        doors = [door for door in doors if door.http.startswith("https:")]
    if not doors:
        raise Unusable("the answer to /route names no region that can be used")
    return Nearby(tuple(doors), reason, attribution)


def _url(given: object) -> str:
    url = cast(str, given).rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not a URL")
    return url


def within(nearby: Nearby, wanted: Region | None) -> Nearby:
    """Return *nearby* with the *wanted* region only; raises :class:`Unusable` if it is not there.

    ``None`` wants any region.
    """
    if wanted is None:
        return nearby
    doors = tuple(door for door in nearby.doors if door.region is wanted)
    if not doors:
        names = ", ".join(door.region for door in nearby.doors)
        raise Unusable(f"region {wanted} is not open to you; there is: {names}")
    return Nearby(doors, "you chose it", nearby.attribution)


def next_door(doors: Sequence[Door], now: Region, tried: Collection[Region]) -> Door | None:
    """Return where to go on from region *now*: the best untried, else the best other one."""
    others = [door for door in doors if door.region is not now]
    untried = [door for door in others if door.region not in tried]
    return next(iter(untried or others), None)


def is_by_place(nearby: Nearby) -> bool:
    """Say whether the order rests on where the client is, and so on the data of others."""
    return nearby.reason == "geoip" or nearby.reason.startswith("measured:")


def why(nearby: Nearby) -> str:
    """Return in words why the first region is first."""
    if nearby.reason.startswith("measured:"):
        return f"measured fastest for your {nearby.reason.removeprefix('measured:')}"
    return _REASONS.get(nearby.reason, nearby.reason)
