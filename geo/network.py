"""Address to network: the routing key of a client, an address cut to /24 or to /48.  Pure.

A network is never an identity: it is neither the fingerprint nor an account.  An IPv4 address that
a dual-stack socket shows as ``::ffff:a.b.c.d`` (RFC 4291, 2.5.5.2) is unwrapped before anything
else, so that one client has one network whichever socket took it.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, Literal

from zentransfer.errors import Code, Error
from zentransfer.limits import ADDRESS_CHARS_MAX

Address = IPv4Address | IPv6Address

V4: Final = 4
V6: Final = 6
_V4_CUT: Final = 8  # bits below a /24
_V6_CUT: Final = 80  # bits below a /48
_EXAMPLE: Final = "type one such as 203.0.113.9 or 2001:db8::1"


@dataclass(frozen=True, slots=True, order=True)
class Network:
    """A /24 of IPv4 or a /48 of IPv6; ``number`` is its leading 24 or 48 bits as an integer."""

    version: Literal[4, 6]
    number: int

    def __str__(self) -> str:
        if self.version == V4:
            return f"{IPv4Address(self.number << _V4_CUT)}/24"
        return f"{IPv6Address(self.number << _V6_CUT)}/48"

    def __bytes__(self) -> bytes:
        """Return seven bytes, the same in every run: what a digest of the network is made of."""
        return bytes((self.version,)) + self.number.to_bytes(6, "big")


def parse(text: str) -> Address:
    """Return the address that *text* spells, unwrapped.

    Raises ``Error(Code.INVALID)`` that says what to type instead; it never repeats the text, which
    may be somebody's address.
    """
    text = text.strip()
    address = None if len(text) > ADDRESS_CHARS_MAX else _maybe_address(text)
    if address is None:
        raise Error(Code.INVALID, f"not an IP address: {_advice(text)}")
    return unwrapped(address)


def unwrapped(address: Address) -> Address:
    """Return the IPv4 address inside ``::ffff:0:0/96``, and any other without its scope zone."""
    if isinstance(address, IPv4Address):
        return address
    return address.ipv4_mapped or IPv6Address(int(address))


def network_of(address: Address) -> Network:
    """Return the network that *address* lies in."""
    address = unwrapped(address)
    if isinstance(address, IPv4Address):
        return Network(V4, int(address) >> _V4_CUT)
    return Network(V6, int(address) >> _V6_CUT)


def _advice(text: str) -> str:
    """Say what to type instead of *text*, by what it looks like."""
    host, _, port = text.rpartition(":")
    what = (
        (not text, "it is empty"),
        (len(text) > ADDRESS_CHARS_MAX, "it is longer than any"),
        ("/" in text, "leave out the prefix length"),
        (text.startswith("["), "leave out the brackets and the port"),
        (host and ":" not in host and port.isdecimal(), "leave out the port"),
        (":" not in text and any(map(str.isalpha, text)), "names are not looked up"),
        (True, "it is misspelt"),
    )
    return f"{next(why for applies, why in what if applies)}; {_EXAMPLE}"


def _maybe_address(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
