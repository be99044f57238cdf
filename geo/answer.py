"""What ``GET /route`` answers: the regions in order, their doors, and why.  Pure.

The rule: everybody who asks gets an answer that can be followed.  A region without a door is left
out, and what the order rests on is said in the same words as ``geo explain`` says it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypedDict

from geo.choose import Choice
from geo.region import Region

VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Doors:
    """Where a region is reached: the HTTP door's URL, and ``host:port`` of the FTP door if any."""

    http: str
    ftp: str | None = None


class RegionAnswer(TypedDict):
    """One region of an answer."""

    region: str
    http: str
    ftp: str | None


class Answer(TypedDict):
    """The whole document; ``ttl_s`` is for how many seconds it holds."""

    version: int
    ttl_s: int
    reason: str
    marks: list[str]
    steps: list[str]
    attribution: list[str]
    regions: list[RegionAnswer]


def answer(choice: Choice, doors: Mapping[Region, Doors], attribution: list[str]) -> Answer:
    """Return the document that tells *choice*; *attribution* is what the database's licence asks.

    The steps name regions and reasons only, never the address that was asked for.
    """
    return Answer(
        version=VERSION,
        ttl_s=choice.ttl_s,
        reason=choice.reason,
        marks=[str(mark) for mark in choice.marks],
        steps=list(choice.steps),
        attribution=attribution,
        regions=[
            RegionAnswer(region=region, http=doors[region].http, ftp=doors[region].ftp)
            for region in choice.order
            if region in doors
        ],
    )
