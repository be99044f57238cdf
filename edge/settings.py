"""What a node's processes are told at start; an empty file makes one that works on one machine."""

from enum import StrEnum
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from edge.ftp.addresses import Peer
from edge.ftp.security import Reuse
from edge.ftp.settings import Ftp, Ftps
from geo.settings import Route
from zentransfer.fronted import Front
from zentransfer.ids import NodeID, Region, region_of
from zentransfer.lab import PlaneSettings
from zentransfer.limits import BODY_IDLE_S, BODY_RATE_WINDOW_S, INGEST_WORKERS_MAX
from zentransfer.settings import Group
from zentransfer.tls import Tls


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
    interim_responses: bool = Field(
        default=True,
        description="send 104 to clients that resume by it; turn off behind nginx, which breaks it",
    )
    front: Front = Field(default_factory=Front, description="the fronts before this listener")


class Https(Group):
    """The HTTP door's second listener, which ends TLS itself."""

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int | None = Field(
        default=None, ge=0, le=65535, description="TCP port; 0 takes a free one, none: no TLS here"
    )


class Sftp(Group):
    """The SFTP door's listener; its host keys lie in the node's data folder."""

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=0, ge=0, le=65535, description="TCP port; 0: no SFTP here")


class Metrics(Group):
    """The listener for ``/metrics``; it is for operators, never for the public."""

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(
        default=8180,
        ge=0,
        le=65535,
        description="TCP port of ingest 0, that of others follow it; 0 takes a free one",
    )


class Neighbours(Group):
    """How the processes of a region hear of each other at once; without it they hear later."""

    redis: SecretStr | None = Field(
        default=None,
        description="a Redis or Valkey that all nodes of the region share: redis://HOST:PORT/0",
    )

    @field_validator("redis")
    @classmethod
    def _is_an_address(cls, told: SecretStr | None) -> SecretStr | None:
        schemes = ("redis://", "rediss://", "unix://")
        if told is not None and not told.get_secret_value().startswith(schemes):
            raise ValueError("it begins with redis://, rediss:// or unix://")
        return told


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


class SinkKind(StrEnum):
    """Where sealed content is kept."""

    DIRECTORY = "directory"
    S3 = "s3"


class Sink(Group):
    """Where the region keeps sealed content: this machine's folder, or a bucket of all its nodes.

    What a region keeps in a bucket lies under its own word there, so no two regions ever meet.
    """

    kind: SinkKind = Field(
        default=SinkKind.DIRECTORY, description="directory, or s3: any node continues any upload"
    )
    endpoint: str = Field(
        default="", description="address of the S3-compatible server; default: Amazon's"
    )
    region: str = Field(default="us-east-1", description="the server's own word for its region")
    bucket: str = Field(default="", description="name of the bucket")
    prefix: str = Field(
        default="",
        pattern=r"^([A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*)?$",
        description="folder in the bucket",
    )
    access_key_id: SecretStr = Field(
        default=SecretStr(""), description="name of the key that may read, write, list and delete"
    )
    secret_access_key: SecretStr = Field(default=SecretStr(""), description="that key's secret")

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.kind is SinkKind.DIRECTORY:
            return self
        key = (self.access_key_id.get_secret_value(), self.secret_access_key.get_secret_value())
        if not self.bucket or not all(key):
            raise ValueError("s3 needs bucket, access_key_id and secret_access_key")
        if self.endpoint and not _is_safe_endpoint(self.endpoint):
            raise ValueError(
                "endpoint must be https://...; http:// only with a private or loopback address"
            )
        return self


def _is_safe_endpoint(endpoint: str) -> bool:
    """Say whether nobody on the way can read who signs for what: TLS, or a network of ours."""
    try:
        parts = urlsplit(endpoint)
        host, _ = parts.hostname or "", parts.port
        if parts.scheme == "http":
            return host == "localhost" or ip_address(host).is_private
    except ValueError:
        return False
    return parts.scheme == "https" and bool(host)


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
    workers: int = Field(
        default=1,
        ge=1,
        le=INGEST_WORKERS_MAX,
        description="ingest processes of this node, each with its part of FTP's passive ports",
    )
    drain_deadline_s: float = Field(
        default=900, gt=0, le=3600, description="seconds that running uploads get at a drain"
    )
    http: Http = Field(default_factory=Http, description="the HTTP door")
    https: Https = Field(default_factory=Https, description="the HTTP door by TLS")
    tls: Tls = Field(default_factory=Tls, description="the certificate of the doors")
    ftp: Ftp = Field(default_factory=Ftp, description="the FTP door")
    ftps: Ftps = Field(default_factory=Ftps, description="the FTP door by TLS")
    sftp: Sftp = Field(default_factory=Sftp, description="the SFTP door")
    metrics: Metrics = Field(default_factory=Metrics, description="the metrics listener")
    sink: Sink = Field(default_factory=Sink, description="where sealed content is kept")
    delivery: Delivery = Field(default_factory=Delivery, description="deliveries")
    neighbours: Neighbours = Field(
        default_factory=Neighbours, description="the other processes of the region"
    )
    control: Control = Field(default_factory=Control, description="the control plane")
    route: Route = Field(default_factory=Route, description="where clients are sent")

    @model_validator(mode="after")
    def _has_passive_ports_for_all(self) -> Self:
        if self.ftp.passive_last - self.ftp.passive_first + 1 < self.workers:
            raise ValueError("ftp.passive_first to passive_last are fewer ports than workers")
        return self

    @model_validator(mode="after")
    def _has_a_certificate(self) -> Self:
        if self.https.port is not None and self.tls.certificate_file is None:
            raise ValueError("https.port needs tls.certificate_file and tls.key_file")
        return self

    @model_validator(mode="after")
    def _has_a_certificate_for_ftp(self) -> Self:
        needs = {
            "ftps.port": self.ftps.port is not None,
            "ftps.legacy_port": self.ftps.legacy_port is not None,
            "ftp.tls_required": self.ftp.tls_required,
        }
        has_none = self.tls.certificate_file is None and self.ftps.tls.certificate_file is None
        wanting = [name for name, is_set in needs.items() if is_set]
        if has_none and wanting:
            raise ValueError(f"{wanting[0]} needs tls.certificate_file and tls.key_file")
        return self

    @model_validator(mode="after")
    def _trusts_no_session_alone(self) -> Self:
        if self.ftp.data_peer is Peer.ANY and self.ftps.session_reuse is Reuse.REQUIRED:
            raise ValueError(
                "ftps.session_reuse = required does not protect ftp.data_peer = any: whose TLS "
                "session a data connection continues cannot be told; leave session_reuse off"
            )
        return self

    @model_validator(mode="after")
    def _node_is_in_its_region(self) -> Self:
        if region_of(NodeID(self.node)) is not self.region:
            raise ValueError(f"node must be one of region {self.region}: {self.region}-1, ...")
        return self
