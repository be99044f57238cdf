"""What the one-machine launcher is told at start; an empty file starts all three regions."""

from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from zentransfer.ids import Region
from zentransfer.limits import (
    CHILD_AT_ONCE_S,
    CHILD_LOG_BYTES_MAX,
    CHILD_START_S,
    INGEST_WORKERS_MAX,
    LEFTOVER_WAIT_S,
    PORT_BASE_MAX,
    RESTART_FIRST_S,
    RESTART_MAX_S,
    RESTART_RESET_S,
)
from zentransfer.settings import Group, ProcessSettings

FILE_NAME = "zentransfer.toml"  # looked for in the folder of the data


class Restart(Group):
    """How long a process that died waits before it is started again."""

    first_s: float = Field(
        default=RESTART_FIRST_S, gt=0, le=60, description="seconds, after one death"
    )
    max_s: float = Field(
        default=RESTART_MAX_S, gt=0, le=3600, description="seconds, after many deaths"
    )
    reset_s: float = Field(
        default=RESTART_RESET_S, gt=0, le=3600, description="seconds of life that clear the count"
    )


class UpSettings(ProcessSettings):
    """The settings of ``zentransfer up``; those of the command line win over them."""

    model_config = SettingsConfigDict(env_prefix="ZT_UP_")

    dir: Path = Field(default=Path("var"), description="folder of all data, logs and ready.json")
    base: int = Field(
        default=8000, ge=1, le=PORT_BASE_MAX, description="first port; the others follow it"
    )
    regions: tuple[Region, ...] = Field(
        default=tuple(Region), min_length=1, description="regions to start: us, fr, sg"
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=INGEST_WORKERS_MAX,
        description="processes of each region that take bytes in; one for each core pays",
    )
    timeout_s: float = Field(
        default=60, gt=0, le=3600, description="seconds until everything must be ready at the start"
    )
    start_deadline_s: float = Field(
        default=CHILD_START_S, gt=0, le=600, description="seconds until one process must be ready"
    )
    drain_deadline_s: float = Field(
        default=900, gt=0, le=3600, description="seconds that running uploads get when it stops"
    )
    at_once_s: float = Field(
        default=CHILD_AT_ONCE_S, gt=0, le=60, description="seconds from a second Ctrl-C to the kill"
    )
    leftover_wait_s: float = Field(
        default=LEFTOVER_WAIT_S,
        ge=0,
        le=3600,
        description="seconds to wait for ports of an earlier run",
    )
    log_bytes_max: int = Field(
        default=CHILD_LOG_BYTES_MAX, ge=4096, description="bytes of one log, then it becomes .1"
    )
    restart: Restart = Field(default_factory=Restart, description="back-off after a death")

    @field_validator("regions")
    @classmethod
    def _are_different(cls, regions: tuple[Region, ...]) -> tuple[Region, ...]:
        if len(set(regions)) < len(regions):
            raise ValueError("a region is named twice")
        return regions
