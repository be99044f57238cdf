"""Who is behind a front: the PROXY protocol, and the header fields that fronts add.  Pure.

The rule: **only what a trusted front said counts**, and from the right: each front appends the
address it was called from, so the first one that is not a front is the client, and whatever stands
left of it was written by the client itself.  Nothing of it is kept or logged.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)
from struct import Struct
from typing import Final

from zentransfer.errors import Code, Error
from zentransfer.limits import FORWARDED_CHARS_MAX, PROXY_HEADER_BYTES_MAX

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_V1: Final = b"PROXY "
_V1_BYTES_MAX: Final = 107  # PROXY protocol, section 2.1: with its line end
_V2: Final = b"\r\n\r\n\0\r\nQUIT\n"
_V2_HEAD: Final = Struct("!12sBBH")
_ADDRESSES: Final[Mapping[int, tuple[type[Address], int]]] = {
    0x11: (IPv4Address, 4),
    0x21: (IPv6Address, 16),
}  # over TCP
_LOCAL: Final = 0x20  # version 2, and the command
_PROXY: Final = 0x21
_TLV_HEAD: Final = Struct("!BH")
_TLV_SSL: Final = 0x20
_CLIENT_SSL: Final = 0x01
_PAIR: Final = re.compile(r'[ \t]*([A-Za-z]+)=(?:"((?:[^"\\]|\\.)*)"|([^",; \t]*))[ \t]*')


@dataclass(frozen=True, slots=True)
class Client:
    """Who is at the far end: ``address`` if that is known, and whether it came by TLS."""

    address: Address | None
    is_tls: bool


@dataclass(frozen=True, slots=True)
class Header:
    """A PROXY header of ``size`` bytes; ``client`` is ``None`` for the front's own probe."""

    size: int
    client: Client | None


def is_trusted(address: Address | None, networks: Sequence[Network]) -> bool:
    """Say whether *address* is in one of *networks*; an IPv4 address may come in IPv6's clothes."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    plain = mapped or address
    return plain is not None and any(
        plain.version == network.version and plain in network for network in networks
    )


def maybe_header(data: bytes) -> Header | None:
    """Return the PROXY header (1 or 2) that *data* begins with; ``None`` if more is to come.

    Raises ``Error(INVALID)`` for anything else: on such a connection it is not optional
    (PROXY protocol, section 2).
    """
    if data.startswith(_V2):
        return _maybe_v2(data)
    if data.startswith(_V1):
        return _maybe_v1(data)
    if _V2.startswith(data) or _V1.startswith(data):
        return None
    raise Error(Code.INVALID, "the front sent no PROXY header")


def forwarded_client(
    peer: Address | None, headers: Mapping[str, Sequence[str]], networks: Sequence[Network]
) -> Client | None:
    """Return who is behind the fronts in *networks*; ``None`` if *peer* is none of them.

    *headers* are all lines of each field, by its name in lower case.  ``Forwarded`` (RFC 7239)
    goes before ``X-Forwarded-For`` and ``X-Forwarded-Proto``.  An address that cannot be read ends
    the look: who is behind it is unknown.
    """
    if not is_trusted(peer, networks):
        return None
    hops = _hops(headers)
    address, is_tls = peer, False
    for told, scheme in reversed(hops):
        address, is_tls = told, scheme == "https"
        if not is_trusted(told, networks):
            break
    return Client(address, is_tls)


def _maybe_v1(data: bytes) -> Header | None:
    line, end, _ = data[:_V1_BYTES_MAX].partition(b"\r\n")
    if not end:
        if len(data) >= _V1_BYTES_MAX:
            raise Error(Code.INVALID, "the PROXY header is too long")
        return None
    size = len(line) + len(end)
    words = line.decode("latin-1").split(" ")
    if words[1] == "UNKNOWN":
        return Header(size, None)
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):  # noqa: PLR2004 - its six words
        raise Error(Code.INVALID, "the PROXY header is malformed")
    form = IPv4Address if words[1] == "TCP4" else IPv6Address
    try:
        return Header(size, Client(form(words[2]), is_tls=False))
    except AddressValueError as wrong:
        raise Error(Code.INVALID, "the PROXY header is malformed") from wrong


def _maybe_v2(data: bytes) -> Header | None:
    if len(data) < _V2_HEAD.size:
        return None
    _, command, family, length = _V2_HEAD.unpack_from(data)
    size = _V2_HEAD.size + length
    if size > PROXY_HEADER_BYTES_MAX or command not in (_LOCAL, _PROXY):
        raise Error(Code.INVALID, "the PROXY header is malformed")
    if len(data) < size:
        return None
    known = _ADDRESSES.get(family)
    if command == _LOCAL or known is None:
        return Header(size, None)
    form, width = known
    block = data[_V2_HEAD.size : size]
    told = 2 * width + 4  # two addresses and two ports
    if len(block) < told:
        raise Error(Code.INVALID, "the PROXY header is malformed")
    return Header(size, Client(form(block[:width]), _came_by_tls(block[told:])))


def _came_by_tls(values: bytes) -> bool:
    """Say whether the front ended TLS, as its ``PP2_TYPE_SSL`` says (section 2.2.6)."""
    while len(values) >= _TLV_HEAD.size:
        kind, length = _TLV_HEAD.unpack_from(values)
        value = values[_TLV_HEAD.size : _TLV_HEAD.size + length]
        if kind == _TLV_SSL:
            return bool(value) and bool(value[0] & _CLIENT_SSL)
        values = values[_TLV_HEAD.size + length :]
    return False


def _hops(headers: Mapping[str, Sequence[str]]) -> list[tuple[Address | None, str]]:
    """Return what each front said, its caller and the scheme, the nearest front's last."""
    forwarded = ",".join(headers.get("forwarded", ()))
    if forwarded:
        return [_hop(element) for element in _elements(forwarded[-FORWARDED_CHARS_MAX:])]
    callers = ",".join(headers.get("x-forwarded-for", ()))[-FORWARDED_CHARS_MAX:]
    schemes = ",".join(headers.get("x-forwarded-proto", ()))[-FORWARDED_CHARS_MAX:]
    addresses = [_maybe_address(each) for each in callers.split(",")] if callers else []
    told = [each.strip().lower() for each in schemes.split(",")] if schemes else []
    if told and len(told) < len(addresses):  # one word for all hops is what fronts send
        told = [*[told[-1]] * (len(addresses) - len(told)), *told]
    told = told[len(told) - len(addresses) :] if told else [""] * len(addresses)
    return list(zip(addresses, told, strict=True))


def _elements(text: str) -> list[str]:
    """Cut a list at its commas, but for those in quotes."""
    found: list[str] = []
    begun, quoted = 0, False
    for at, char in enumerate(text):
        if char == '"':
            quoted = not quoted
        elif char == "," and not quoted:
            found.append(text[begun:at])
            begun = at + 1
    return [*found, text[begun:]]


def _hop(element: str) -> tuple[Address | None, str]:
    pairs = {found[1].lower(): found[2] or found[3] for found in _PAIR.finditer(element)}
    return _maybe_address(pairs.get("for", "")), pairs.get("proto", "").lower()


def _maybe_address(text: str) -> Address | None:
    """Return the address in *text*, with or without a port (RFC 7239 section 6)."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return ip_address(text)
    except ValueError:
        return None
