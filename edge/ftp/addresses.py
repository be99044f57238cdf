"""Addresses of clients and of ours: the one form of each, and what a NAT makes of them.  Pure."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

_V4_PREFIX: Final = 24
_V6_PREFIX: Final = 64


def plain_address(host: str) -> str:
    """Return the numeric address *host* without a zone, and IPv4 in IPv6 as IPv4."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)


def network_of(address: str) -> str:
    """Return the network of the numeric *address*: what one owner's senders have in common."""
    is_v6 = ":" in address
    prefix = _V6_PREFIX if is_v6 else _V4_PREFIX
    return str(ipaddress.ip_network((address, prefix), strict=False))


class Peer(StrEnum):
    """Who may make the data connection of a client, beside its right port."""

    SAME = "same"
    """The address of its control connection."""
    NETWORK = "network"
    """That address's /24 or /64: a carrier's NAT may give each connection another address."""
    ANY = "any"
    """Anybody: a front brings the control connections, and none of the data."""


@dataclass(frozen=True, slots=True)
class Nat:
    """What lies between this process and its clients.

    ``public_host`` is the IPv4 address that clients reach every address of ours at,
    ``public_hosts`` the one for each address of ours; else it is where they came in.
    """

    public_host: str | None = None
    public_hosts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    peer: Peer = Peer.SAME

    def told(self, own_address: str) -> str:
        """Return the address for PASV to tell to who came in at *own_address*."""
        return self.public_hosts.get(own_address) or self.public_host or own_address

    def expected(self, address: str) -> str:
        """Return what the data connection of *address* is known by."""
        if self.peer is Peer.ANY:
            return ""
        return network_of(address) if self.peer is Peer.NETWORK else address
