"""What a node's processes are told at start; an empty file makes one that works on one machine."""

from ipaddress import ip_network
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from geo.settings import Route
from zentransfer.ids import NodeID, Region, region_of
from zentransfer.lab import PlaneSettings
from zentransfer.limits import BODY_IDLE_S, BODY_RATE_WINDOW_S
from zentransfer.settings import Group


class Http(Group):
    """The HTTP door's listener."""

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8100, ge=0, le=65535, description="TCP port; 0 takes a free one")
    body_idle_s: float = Field(
        default=BODY_IDLE_S, gt=0, le=3600, description="seconds of silence that end an upload"
    )
    body_window_s: float = Field(
        default=BODY_RATE_WINDOW_S,
        gt=0,
        le=3600,
        description="seconds over which an upload must keep the lowest rate",
    )


class Ftp(Group):
    """The FTP door: its listener, and where it takes data connections."""

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8121, ge=0, le=65535, description="TCP port; 0 takes a free one")
    public_host: str | None = Field(
        default=None,
        description="IPv4 address that clients are told for data; default: where they came in",
    )
    passive_first: int = Field(
        default=10_000, ge=1024, le=65535, description="first port of data connections"
    )
    passive_last: int = Field(
        default=10_999, ge=1024, le=65535, description="last port of data connections"
    )

    @model_validator(mode="after")
    def _has_ports(self) -> Self:
        if self.passive_last < self.passive_first:
            raise ValueError("passive_last must not be below passive_first")
        return self


class Metrics(Group):
    """The listener for ``/metrics``; it is for operators, never for the public."""

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8180, ge=0, le=65535, description="TCP port; 0 takes a free one")


class Control(Group):
    """Where the control plane is."""

    address: str = Field(default="127.0.0.1:8001", description="host:port of control's gRPC")


class Delivery(Group):
    """How files go to their destinations."""

    sweep_s: float = Field(
        default=5, gt=0, le=60, description="seconds between two looks for what nobody told of"
    )
    lease_s: float = Field(
        default=15, gt=0, le=300, description="seconds after which another process takes over"
    )
    renew_s: float = Field(
        default=5, gt=0, le=100, description="seconds between two renewals of a lease"
    )
    retry_first_s: float = Field(
        default=5, gt=0, le=3600, description="longest pause in seconds before a second attempt"
    )
    retry_max_s: float = Field(
        default=21_600, gt=0, le=86_400, description="longest pause in seconds between attempts"
    )
    stall_s: float = Field(
        default=120, gt=0, le=3600, description="seconds without a byte that end an attempt"
    )
    keep_s: float = Field(
        default=604_800,
        gt=0,
        le=31_536_000,
        description="seconds that undelivered content is kept, where no plan says otherwise",
    )
    folder_roots: tuple[Path, ...] = Field(
        default=(Path("var/delivered"),),
        description="folders at or below which folder destinations may lie",
    )

    ports: tuple[int, ...] = Field(
        default=(443, 8443), description="ports at which owners' servers may be dialled"
    )
    refused_networks: tuple[str, ...] = Field(
        default=(), description="networks never dialled for an owner, such as this node's own"
    )

    @model_validator(mode="after")
    def _names_networks(self) -> Self:
        for each in self.refused_networks:
            ip_network(each)  # raises ValueError, which says what is wrong with it
        return self

    @model_validator(mode="after")
    def _is_renewed_in_time(self) -> Self:
        if self.renew_s > self.lease_s / 2:
            raise ValueError("renew_s must be at most half of lease_s, so that one may fail")
        return self


class EdgeSettings(PlaneSettings):
    """The settings of a node; its ingest and delivery processes read the same file."""

    model_config = SettingsConfigDict(env_prefix="ZT_EDGE_")

    region: Region = Field(default=Region.US, description="where this node is: us, fr or sg")
    node: str = Field(
        default="us-1",
        pattern=r"^(us|fr|sg)-[1-9][0-9]{0,3}$",
        description="this node's name in the fleet",
    )
    data_dir: Path = Field(default=Path("var/us"), description="folder of the node's durable data")
    pepper_file: Path | None = Field(
        default=None,
        description="file with the region's pepper, made by control; default: keys/public/pepper",
    )
    drain_deadline_s: float = Field(
        default=900, gt=0, le=3600, description="seconds that running uploads get at a drain"
    )
    http: Http = Field(default_factory=Http, description="the HTTP door")
    ftp: Ftp = Field(default_factory=Ftp, description="the FTP door")
    metrics: Metrics = Field(default_factory=Metrics, description="the metrics listener")
    delivery: Delivery = Field(default_factory=Delivery, description="deliveries")
    control: Control = Field(default_factory=Control, description="the control plane")
    route: Route = Field(default_factory=Route, description="where clients are sent")

    @model_validator(mode="after")
    def _node_is_in_its_region(self) -> Self:
        if region_of(NodeID(self.node)) is not self.region:
            raise ValueError(f"node must be one of region {self.region}: {self.region}-1, ...")
        return self
