"""What ``zentransfer send`` is told: options over the environment over a file."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from zentransfer.limits import (
    SEND_ANSWER_S,
    SEND_AT_ONCE_MAX,
    SEND_FOLLOW_S,
    SEND_PATIENCE_S,
    SEND_STALL_S,
)
from zentransfer.settings import ProcessSettings


class SendSettings(ProcessSettings):
    """The settings of ``zentransfer send``; those of the command line win over them."""

    model_config = SettingsConfigDict(env_prefix="ZT_SEND_")

    control: str | None = Field(
        default=None, description="URL of the control plane; default: what ready.json says"
    )
    token: SecretStr | None = Field(default=None, description="the account's API token")
    token_file: Path | None = Field(default=None, description="file that holds the token")
    dir: Path = Field(default=Path("var"), description="folder of ready.json, of a system here")
    region: str = Field(
        default="auto", pattern="^(auto|us|fr|sg)$", description="auto, or one of us, fr, sg"
    )
    folder: str = Field(default="", description="virtual folder above all names")
    at_once: int = Field(
        default=4, ge=1, le=SEND_AT_ONCE_MAX, description="files on their way at once"
    )
    patience_s: float = Field(
        default=SEND_PATIENCE_S,
        gt=0,
        le=86_400,
        description="seconds without a byte taken, then a file is given up",
    )
    timeout_s: float = Field(
        default=SEND_FOLLOW_S, gt=0, le=604_800, description="seconds to wait for deliveries"
    )
    stall_s: float = Field(
        default=SEND_STALL_S,
        gt=0,
        le=3600,
        description="seconds in which nothing leaves, then a connection is dropped",
    )
    answer_s: float = Field(
        default=SEND_ANSWER_S, gt=0, le=3600, description="seconds to wait for an answer"
    )
