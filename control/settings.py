"""What the control plane is told at start; an empty file makes one that works on one machine."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from geo.settings import Route
from zentransfer.lab import PlaneSettings
from zentransfer.settings import Group


class Http(Group):
    """The listener for pages and API."""

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8000, ge=0, le=65535, description="TCP port; 0 takes a free one")


class Grpc(Group):
    """The listener that nodes dial."""

    host: str = Field(
        default="127.0.0.1", description="address to listen on; loopback unless mTLS is on"
    )
    port: int = Field(default=8001, ge=0, le=65535, description="TCP port; 0 takes a free one")


class ControlSettings(PlaneSettings):
    """The settings of the control plane."""

    model_config = SettingsConfigDict(env_prefix="ZT_CONTROL_")

    data_dir: Path = Field(
        default=Path("var/control"), description="folder of control's durable data"
    )
    folder_roots: tuple[Path, ...] = Field(
        default=(Path("var/delivered"),),
        min_length=1,
        description="folders at or below which folder destinations may lie",
    )
    first_account: bool = Field(
        default=True,
        description="make an account at the first start; data_dir/first-account.json has it",
    )
    drain_deadline_s: float = Field(
        default=30, gt=0, le=600, description="seconds that running requests get at a drain"
    )
    http: Http = Field(default_factory=Http, description="pages and API")
    grpc: Grpc = Field(default_factory=Grpc, description="the fleet's listener")
    route: Route = Field(default_factory=Route, description="where clients are sent")
