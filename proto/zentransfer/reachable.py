"""Which network addresses an owner may send us to: the public ones, and no form of another.  Pure.

The rule: **our own table decides, and what is inside counts too**.  An IPv4 address can hide in an
IPv6 one in seven ways; such an address is public only if every address in it is.  The library's
``is_global`` is no guard: it says yes to NAT64 of the metadata address, to ``::127.0.0.1``, to
multicast and to site-local addresses.

Source: the IANA special-purpose registries for IPv4 and IPv6 (RFC 6890), and RFC 6052, 3056, 4380,
5214 for addresses inside addresses.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

Address = IPv4Address | IPv6Address

REFUSED_4: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network; Linux takes 0.0.0.0 for itself
            "10.0.0.0/8",  # private (RFC 1918)
            "100.64.0.0/10",  # shared by carriers; Alibaba's metadata is in it
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # Azure's host, public in form only
            "169.254.0.0/16",  # link-local: the metadata address of most clouds
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments; Oracle's metadata is in it
            "192.0.2.0/24",  # documentation
            "192.31.196.0/24",  # AS112
            "192.52.193.0/24",  # AMT
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",  # private
            "192.175.48.0/24",  # AS112
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)
# What is public in IPv6 is assigned from one block; everything outside it is refused unread.
GLOBAL_6: Final = IPv6Network("2000::/3")
REFUSED_6: Final = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments, Teredo and ORCHID with them
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4: nobody serves files behind it any more
            "2620:4f:8000::/48",  # AS112
            "3fff::/20",  # documentation
        ),
    )
)
_NAT64: Final = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_COMPATIBLE: Final = IPv6Network("::/96")
_TRANSLATED: Final = IPv6Network("::ffff:0:0:0/96")
_ISATAP: Final = (0x0000_5EFE, 0x0200_5EFE)  # above the IPv4 address, in the last 64 bits
_LAST_4: Final = 0xFFFF_FFFF


def is_public(address: Address) -> bool:
    """Say whether *address* is one of the public internet, and so is every one hidden in it."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in REFUSED_4)
    hidden = list(_inside(address))
    if hidden:
        # A mapped address is the IPv4 one itself to a socket; any other form is a tunnel or a
        # translator of somebody's, through which a private network could be behind a public number.
        return address.ipv4_mapped is not None and all(map(is_public, hidden))
    return (
        address.scope_id is None
        and address in GLOBAL_6
        and not any(address in network for network in REFUSED_6)
    )


def maybe_literal(host: str) -> Address | None:
    """Return the address that *host* spells, or ``None`` if it is a name.

    Only the one spelling of the standards: whatever else a C library takes for a number (octal,
    hexadecimal, fewer dots) is resolved like a name, and its address is judged then.
    """
    try:
        return ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


def _inside(address: IPv6Address) -> Iterator[IPv4Address]:
    """Yield every IPv4 address that *address* carries in one of the known ways."""
    number = int(address)
    last = IPv4Address(number & _LAST_4)
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    in_last = (*_NAT64, _COMPATIBLE, _TRANSLATED)
    if any(address in network for network in in_last) or (number >> 32 & _LAST_4) in _ISATAP:
        yield last
