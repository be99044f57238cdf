"""Why does this address go where it goes?  Each step of a choice, for people and for programs.

It asks the very function that the doors ask, so what it says is what happens.  ``report`` is the
whole command: ``python -m geo explain`` and ``zentransfer geo explain`` only print what it returns.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from geo.choose import Choice, choose
from geo.health import ALL_UP, Health
from geo.load import IDLE, Load
from geo.mmdb import HOW_TO_BRING_ONE, Source, open_database
from geo.network import Address, network_of, parse
from geo.region import DEFAULT_ORDER, Location, Region, distances_km, light_bound_ms, region
from geo.settings import database_path
from geo.table import RouteTable
from zentransfer.errors import Error
from zentransfer.limits import ADDRESS_CHARS_MAX
from zentransfer.settings import SettingsError

T = TypeVar("T")

_LABEL_CHARS: Final = 12  # the column where the values begin


class CannotExplain(Exception):
    """The question cannot be answered; ``str`` is one line that names what is wrong and the cure.

    It may repeat what was typed: it is for the terminal of whoever typed it, and for nothing else.
    """


@dataclass(frozen=True, slots=True)
class Reach:
    """How far one region is: kilometres, and milliseconds by the speed of light in fibre."""

    region: Region
    km: float
    at_least_ms: float
    over_nearest_ms: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that led to one choice.

    ``sources`` is empty without a database; ``reaches`` is sorted by distance, empty without a
    place; ``table_version`` is ``None`` without a table.
    """

    address: Address
    network: str
    pin: Region | None
    sources: tuple[Source, ...]
    location: Location | None
    reaches: tuple[Reach, ...]
    table_version: int | None
    choice: Choice


def report(
    address: str, *, pin: str | None = None, database: Path | None = None, in_json: bool = False
) -> str:
    """Return the whole text that the command prints for *address*, without a last newline.

    *pin* is a region word as typed; *database* is the option, and without it ``ZT_GEO_DATABASE``
    decides.  Raises :class:`CannotExplain` for everything that a person can get wrong; the command
    then prints its one line on the error stream and leaves with 2.
    """
    try:
        explanation = explain(address, pin, database_path(database))
    except SettingsError as exc:
        raise CannotExplain("; ".join(exc.problems)) from exc
    return as_json(explanation) if in_json else render(explanation)


def explain(
    address: str,
    pin: str | None = None,
    database: Path | None = None,
    *,
    table: RouteTable | None = None,
    health: Health = ALL_UP,
    load: Load = IDLE,
) -> Explanation:
    """Choose for *address* as a door would, and keep what led to it.

    *address* and *pin* are texts as typed, *database* is an MMDB file or a folder of them.  Raises
    :class:`CannotExplain` for a bad address, an unknown region and a database that cannot be read.
    """
    pinned = None if pin is None else _read(region, pin)
    client = _read(parse, address)
    try:
        locator = None if database is None else open_database(database)
        location = None if locator is None else locator.locate(client)
    except Error as exc:  # a DatabaseError, whose text names the file and the cure
        raise CannotExplain(str(exc)) from exc
    network = network_of(client)
    choice = choose(network, pin=pinned, table=table, location=location, health=health, load=load)
    return Explanation(
        client,
        str(network),
        pinned,
        () if locator is None else locator.sources,
        location,
        _reaches(location),
        None if table is None else table.version,
        choice,
    )


def render(explanation: Explanation) -> str:
    """Return *explanation* as aligned text for people, one step a line."""
    lines: list[str] = []
    for label, values in _rows(explanation):
        first, *more = values
        lines.append(f"{label:<{_LABEL_CHARS}}{first}")
        lines.extend(" " * _LABEL_CHARS + value for value in more)
    return "\n".join(lines)


def as_json(explanation: Explanation) -> str:
    """Return *explanation* as JSON for programs; what is not known is ``null`` or empty.

    Milliseconds and kilometres are rounded to a tenth.
    """
    choice, location = explanation.choice, explanation.location
    place = None if location is None else location.place
    found = (
        None
        if location is None
        else {
            "country": location.country,
            "city": location.city,
            "asn": location.asn,
            "latitude": None if place is None else place.latitude,
            "longitude": None if place is None else place.longitude,
        }
    )
    answer = {
        "address": str(explanation.address),
        "network": explanation.network,
        "pin": explanation.pin,
        "databases": [
            {
                "file": source.file,
                "type": source.type,
                "built": source.built,
                "reader": source.reader,
                "attribution": source.attribution,
            }
            for source in explanation.sources
        ],
        "location": found,
        "distances": [
            {
                "region": reach.region,
                "km": round(reach.km, 1),
                "at_least_ms": round(reach.at_least_ms, 1),
                "over_nearest_ms": round(reach.over_nearest_ms, 1),
            }
            for reach in explanation.reaches
        ],
        "table_version": explanation.table_version,
        "order": choice.order,
        "reason": choice.reason,
        "marks": choice.marks,
        "ttl_s": choice.ttl_s,
        "steps": choice.steps,
    }
    return json.dumps(answer, indent=2, ensure_ascii=False)


def _rows(explanation: Explanation) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each label with its lines, in the order in which a choice is made."""
    choice = explanation.choice
    yield "address", (str(explanation.address),)
    yield "network", (explanation.network,)
    yield "pin", (explanation.pin or "none",)
    yield "database", _database_lines(explanation)
    yield "location", (_location_line(explanation),)
    yield "measured", (_measured_line(explanation),)
    if explanation.reaches:
        yield (
            "distance",
            tuple(
                f"{reach.region} {reach.km:8,.0f} km {reach.at_least_ms:7.1f} ms by light"
                f"{reach.over_nearest_ms:+8.1f} ms"
                for reach in explanation.reaches
            ),
        )
    yield "steps", tuple(f"{at}. {step}" for at, step in enumerate(choice.steps, 1))
    yield "order", (", ".join(choice.order),)
    yield "reason", (" ".join((choice.reason, *choice.marks)),)
    yield "ttl", (f"{choice.ttl_s} s",)


def _database_lines(explanation: Explanation) -> tuple[str, ...]:
    sources = explanation.sources
    if not sources and explanation.pin is not None:
        return ("none, and a pinned account needs none",)
    if not sources:
        default = ", ".join(DEFAULT_ORDER)
        return (f"none: the default order ({default}) is used;", HOW_TO_BRING_ONE)
    lines = [
        f"{source.file} ({source.type}, built {source.built}, read by {source.reader})"
        for source in sources
    ]
    return (*lines, *sorted({source.attribution for source in sources if source.attribution}))


def _location_line(explanation: Explanation) -> str:
    location = explanation.location
    if location is None:
        if not explanation.sources:
            return "unknown"
        if explanation.address.is_global:
            return "unknown: the database holds nothing for this address"
        return "unknown: this is not a public address, so no database holds it"
    parts = [location.city, location.country]
    place = location.place
    if place is not None:
        parts.append(f"{place.latitude:.2f}, {place.longitude:.2f}")
    else:
        parts.append(
            "no coordinates: a country database cannot tell distances, a city database can"
        )
    if location.asn is not None:
        parts.append(f"AS{location.asn}")
    return "; ".join(part for part in parts if part)


def _measured_line(explanation: Explanation) -> str:
    if explanation.table_version is None:
        return "no route table here: nothing measured is known"
    if not explanation.choice.reason.startswith("measured:"):
        return f"route table {explanation.table_version} does not decide here"
    route = explanation.choice.route
    weight = 0.0 if route is None else route.samples
    return f"route table {explanation.table_version}, samples of weight {weight:.1f}"


def _reaches(location: Location | None) -> tuple[Reach, ...]:
    """Return how far the regions are from *location*, the nearest first."""
    if location is None or location.place is None:
        return ()
    km = distances_km(location.place)
    nearest = min(km.values())
    return tuple(
        Reach(name, km[name], light_bound_ms(km[name]), light_bound_ms(km[name] - nearest))
        for name in sorted(km, key=km.__getitem__)
    )


def _read(reader: Callable[[str], T], typed: str) -> T:
    try:
        return reader(typed)
    except Error as exc:
        raise CannotExplain(f"{typed[:ADDRESS_CHARS_MAX]!a}: {exc.detail}") from exc
