"""What a node's processes are told at start; an empty file makes one that works on one machine."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from zentransfer.ids import NodeID, Region, region_of
from zentransfer.settings import Group, ProcessSettings


class Http(Group):
    """The HTTP door's listener."""

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8100, ge=0, le=65535, description="TCP port; 0 takes a free one")


class Metrics(Group):
    """The listener for ``/metrics``; it is for operators, never for the public."""

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8180, ge=0, le=65535, description="TCP port; 0 takes a free one")


class Control(Group):
    """Where the control plane is."""

    address: str = Field(default="127.0.0.1:8001", description="host:port of control's gRPC")


class EdgeSettings(ProcessSettings):
    """The settings of a node; its ingest and delivery processes read the same file."""

    model_config = SettingsConfigDict(env_prefix="ZT_EDGE_")

    region: Region = Field(default=Region.US, description="where this node is: us, fr or sg")
    node: str = Field(
        default="us-1",
        pattern=r"^(us|fr|sg)-[1-9][0-9]{0,3}$",
        description="this node's name in the fleet",
    )
    data_dir: Path = Field(default=Path("var/us"), description="folder of the node's durable data")
    drain_deadline_s: float = Field(
        default=900, gt=0, le=3600, description="seconds that running uploads get at a drain"
    )
    http: Http = Field(default_factory=Http, description="the HTTP door")
    metrics: Metrics = Field(default_factory=Metrics, description="the metrics listener")
    control: Control = Field(default_factory=Control, description="the control plane")

    @model_validator(mode="after")
    def _node_is_in_its_region(self) -> Self:
        if region_of(NodeID(self.node)) is not self.region:
            raise ValueError(f"node must be one of region {self.region}: {self.region}-1, ...")
        return self
