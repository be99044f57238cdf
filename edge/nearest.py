"""Take a new upload here, or send its sender on to another region?  Pure.

The rules: a pin is obeyed whatever else is so (law 12); who was sent on once is not sent on again
but for a pin, so no chain is long; latency sends on only whoever came by the entry name, and only
when it pays; and in doubt the upload is taken here.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from geo.choose import DOWN, Choice, Mark, Reason
from geo.load import Load, Room
from geo.region import Region
from zentransfer.limits import (
    HANDOVER_HOPS_MAX,
    NEAREST_FROM_BYTES,
    NEAREST_GAIN_MS_MIN,
)

_FOLLOWING: Final = ("curl/", "python-requests/", "aiohttp/")  # the latter two are tuspy's


class Why(StrEnum):
    """What decided; a closed set."""

    # It goes elsewhere.
    PINNED_ELSEWHERE = "pinned-elsewhere"
    NEARER = "nearer"
    SPILLED = "spilled"
    LEAVING = "leaving"
    # It is taken here, or refused here.
    PINNED_HERE = "pinned-here"
    HANDED = "handed"
    CANNOT_FOLLOW = "cannot-follow"
    NO_DOOR = "no-door"
    NEAREST = "nearest"
    REGIONAL = "regional"
    UNKNOWN = "unknown"
    NO_GAIN = "no-gain"
    SMALL = "small"


GOES: Final = frozenset({Why.PINNED_ELSEWHERE, Why.NEARER, Why.SPILLED, Why.LEAVING})
"""What sends an upload elsewhere; everything else keeps it here."""


@dataclass(frozen=True, slots=True)
class Asked:
    """How a client came with a new upload.

    ``is_entry``: by the name that leads to whichever region; ``hops``: how often it was sent on;
    ``can_follow``: it would follow, with its body; ``length`` in bytes, if it is announced.
    """

    is_entry: bool
    can_follow: bool
    hops: int = 0
    length: int | None = None


@dataclass(frozen=True, slots=True)
class Way:
    """Where it goes: ``region`` is ``None`` for here."""

    region: Region | None
    why: Why


@dataclass(frozen=True, slots=True)
class Here:
    """The region that decides, how full it is, and which other regions it can name a door of."""

    region: Region
    doors: frozenset[Region]
    load: Load


def way(here: Here, pin: Region | None, choice: Choice, asked: Asked) -> Way:
    """Return where a new upload goes; *choice* is that of a client without a pin.

    A region of which this one has no door is as if it were not there.
    """
    if pin is not None:
        return _pinned(here, pin, asked)
    best = next(one for one in choice.order if one is here.region or one in here.doors)
    why = _maybe_stays(here.region, best, asked) or _reason(here, best, choice, asked)
    return Way(best if why in GOES else None, why)


def can_follow(method: str, headers: Mapping[str, str]) -> bool:
    """Say whether a client would go on elsewhere with a new upload, body and all.

    A browser asks ``/route`` instead: it follows across origins without its credential, and cannot
    replay a stream.  Who sends chunks unasked has most often nothing to send again: curl and others
    that can wait for our word say so by ``Expect``.  A form is many uploads, a ticket is for one;
    and the pieces of a concatenation must lie where their final is.  Of tus clients many follow
    nothing (tus-js-client in Node), so only those that are known to follow are sent on.
    """
    if "Sec-Fetch-Mode" in headers or "Origin" in headers:
        return False
    if "X-HTTP-Method-Override" in headers or "Upload-Concat" in headers:
        return False
    agent = headers.get("User-Agent", "")
    if "Tus-Resumable" in headers and not any(one in agent for one in _FOLLOWING):
        return False
    media_type = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if method == "POST" and media_type == "multipart/form-data":
        return False
    waits = headers.get("Expect", "").lower() == "100-continue"
    return waits or "Transfer-Encoding" not in headers


def _pinned(here: Here, pin: Region, asked: Asked) -> Way:
    if pin is here.region:
        return Way(None, Why.PINNED_HERE)
    if pin not in here.doors:
        return Way(None, Why.NO_DOOR)
    # Two regions that disagree about a pin would send it to and fro; the second one refuses it.
    if asked.hops >= HANDOVER_HOPS_MAX:
        return Way(None, Why.HANDED)
    return Way(pin, Why.PINNED_ELSEWHERE)


def _maybe_stays(here: Region, best: Region, asked: Asked) -> Why | None:
    """Return why nothing but a pin could move it, if so."""
    if asked.hops:
        return Why.HANDED
    if not asked.can_follow:
        return Why.CANNOT_FOLLOW
    return Why.NEAREST if best is here else None


def _reason(here: Here, best: Region, choice: Choice, asked: Asked) -> Why:
    """Return what moves it to *best*, which is another region, or what keeps it here."""
    if Mark.SPILLED in choice.marks or here.load.room(here.region) is Room.FULL:
        return Why.SPILLED
    if not asked.is_entry:
        return Why.REGIONAL
    if DOWN[here.region] in choice.marks:
        return Why.LEAVING
    return _pays(here.region, best, choice, asked)


def _pays(here: Region, best: Region, choice: Choice, asked: Asked) -> Why:
    """Say whether latency is known to pay for a new connection's round trips."""
    if choice.route is None or choice.reason is Reason.DEFAULT:
        return Why.UNKNOWN
    gain_ms = choice.route.cost_ms(best, here)
    if not NEAREST_GAIN_MS_MIN <= gain_ms < math.inf:  # infinity: nobody has measured it
        return Why.NO_GAIN
    is_small = asked.length is not None and asked.length < NEAREST_FROM_BYTES
    return Why.SMALL if is_small else Why.NEARER
