"""What routing is told at start: where the address database lies."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from zentransfer.settings import ProcessSettings, load


class GeoSettings(ProcessSettings):
    """The settings of routing, from ``ZT_GEO_...``; without any, the default order serves."""

    model_config = SettingsConfigDict(env_prefix="ZT_GEO_")

    database: Path | None = Field(
        None, description="an address database: an MMDB file, or a folder of them"
    )


def database_path(option: Path | None = None) -> Path | None:
    """Return *option* if one was given, else what ``ZT_GEO_DATABASE`` says, else ``None``.

    Raises ``zentransfer.settings.SettingsError`` for a variable of ours that nobody knows.
    """
    return option if option is not None else load(GeoSettings, None).database
