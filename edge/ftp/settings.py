"""What a node is told of its FTP door: its listeners, its data connections, and TLS."""

from ipaddress import IPv4Address, ip_address
from typing import Self

from pydantic import Field, field_validator, model_validator

from edge.ftp.addresses import Nat, Peer
from edge.ftp.security import Policy, Reuse
from zentransfer.settings import Group
from zentransfer.tls import Tls


class Ftp(Group):
    """The FTP door: its listener, and where it takes data connections."""

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8121, ge=0, le=65535, description="TCP port; 0 takes a free one")
    public_host: str | None = Field(
        default=None,
        description="IPv4 address that clients are told for data; default: where they came in",
    )
    public_hosts: dict[str, str] = Field(
        default_factory=dict,
        description="the same for each address of this machine, where it has several",
    )
    data_peer: Peer = Field(
        default=Peer.SAME,
        description="who may make a data connection: same address, same network (/24, /64), any",
    )
    passive_first: int = Field(
        default=10_000, ge=1024, le=65535, description="first port of data connections"
    )
    passive_last: int = Field(
        default=10_999, ge=1024, le=65535, description="last port of data connections"
    )
    tls_required: bool = Field(
        default=False, description="nobody signs in without TLS, whatever the credential says"
    )
    enters_any_folder: bool = Field(
        default=True, description="CWD into a folder that nobody made is 250; else 550, then MKD"
    )

    @field_validator("public_hosts")
    @classmethod
    def _are_addresses(cls, told: dict[str, str]) -> dict[str, str]:
        # Both raise ValueError, which says what is wrong with it.
        return {str(ip_address(own)): str(IPv4Address(public)) for own, public in told.items()}

    @model_validator(mode="after")
    def _has_ports(self) -> Self:
        if self.passive_last < self.passive_first:
            raise ValueError("passive_last must not be below passive_first")
        return self

    def nat(self) -> Nat:
        """Return what lies between this door and its clients."""
        return Nat(self.public_host, self.public_hosts, self.data_peer)


class Ftps(Group):
    """TLS at the FTP door, at ``ftp.host``; with a certificate, ``ftp.port`` offers AUTH TLS."""

    port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="TCP port of implicit TLS; 0 takes a free one, none: explicit TLS only",
    )
    legacy_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="TCP port of explicit TLS from 1.0 on, for old bodies; none: TLS 1.2 and newer",
    )
    tls: Tls = Field(
        default_factory=Tls,
        description="a certificate of its own; default: that of the other doors",
    )
    names: tuple[str, ...] = Field(
        default=(), description="names that clients may ask for in TLS (SNI); default: any"
    )
    tolerates_cuts: bool = Field(
        default=False, description="take a file by TLS as whole without the client's close_notify"
    )
    session_reuse: Reuse = Field(
        default=Reuse.OFF,
        description="data connections continue the TLS session: off, remembered, required",
    )

    def policy(self, *, is_required: bool) -> Policy:
        """Return what the door asks of TLS; *is_required* lets nobody sign in without."""
        return Policy(
            is_required=is_required,
            tolerates_cuts=self.tolerates_cuts,
            reuse=self.session_reuse,
            names=frozenset(name.lower() for name in self.names),
        )
