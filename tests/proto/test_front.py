import socket
import struct
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zentransfer.errors import Code, Error
from zentransfer.front import Client, forwarded_client, is_trusted, maybe_header
from zentransfer.limits import FORWARDED_CHARS_MAX, PROXY_HEADER_BYTES_MAX

FRONTS = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
FRONT = ip_address("10.0.0.1")
NINA = ip_address("203.0.113.7")
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v2(
    client: IPv4Address | IPv6Address, *, tls: bool | None = None, command: int = 0x21, pad: int = 0
) -> bytes:
    here = ip_address("127.0.0.1") if client.version == 4 else ip_address("::1")
    block = client.packed + here.packed + struct.pack("!HH", 40_000, 443)
    if pad:
        block += struct.pack("!BH", 0x04, pad) + bytes(pad)
    if tls is not None:
        block += struct.pack("!BH", 0x20, 5) + bytes([1 if tls else 0]) + bytes(4)
    family = 0x11 if client.version == 4 else 0x21
    return SIGNATURE + struct.pack("!BBH", command, family, len(block)) + block


def behind(**lines: str | Sequence[str]) -> Client | None:
    headers = {
        name.replace("_", "-"): [told] if isinstance(told, str) else told
        for name, told in lines.items()
    }
    return forwarded_client(FRONT, headers, FRONTS)


@given(
    st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)),
    st.sampled_from([None, True, False]),
    st.integers(0, 200),
    st.binary(max_size=20),
)
def test_a_header_of_version_2_is_read_however_it_is_cut(
    client: IPv4Address | IPv6Address, tls: bool | None, pad: int, rest: bytes
) -> None:
    header = v2(client, tls=tls, pad=pad)
    assert all(maybe_header(header[:size]) is None for size in range(len(header)))
    found = maybe_header(header + rest)
    assert found is not None
    assert found.size == len(header)
    assert found.client == Client(client, is_tls=bool(tls))


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), st.binary(max_size=20))
def test_a_header_of_version_1_is_read_however_it_is_cut(
    client: IPv4Address | IPv6Address, rest: bytes
) -> None:
    header = f"PROXY TCP{client.version} {client} {client} 40000 80\r\n".encode()
    assert all(maybe_header(header[:size]) is None for size in range(len(header)))
    found = maybe_header(header + rest)
    assert found is not None
    assert (found.size, found.client) == (len(header), Client(client, is_tls=False))


def test_a_fronts_own_probe_speaks_for_nobody() -> None:
    for header in (v2(NINA, command=0x20), b"PROXY UNKNOWN\r\n", SIGNATURE + b"\x21\x00\0\0"):
        found = maybe_header(header)
        assert found is not None
        assert found.client is None


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"PROXY TCP4 203.0.113.7\r\n",
        b"PROXY TCP6 203.0.113.7 203.0.113.7 1 2\r\n",
        b"PROXY TCP4 " + b"1" * 120,
        SIGNATURE + b"\x31\x11\0\x0c" + bytes(12),
        SIGNATURE + b"\x21\x11\0\x02" + bytes(2),
        b"\0",
    ],
)
def test_what_is_no_header_is_refused(data: bytes) -> None:
    with pytest.raises(Error) as refused:
        maybe_header(data)
    assert refused.value.code is Code.INVALID


@pytest.mark.reaches("PROXY_HEADER_BYTES_MAX")
def test_a_header_that_never_ends_is_refused_at_its_announcement() -> None:
    longest = PROXY_HEADER_BYTES_MAX - 16 - 12 - 3
    assert maybe_header(v2(NINA, pad=longest)) is not None
    with pytest.raises(Error):
        maybe_header(v2(NINA, pad=longest + 1)[:16])


@given(st.binary(max_size=300))
def test_any_bytes_are_a_header_or_refused(data: bytes) -> None:
    try:
        found = maybe_header(data)
    except Error:
        return
    assert found is None or 0 < found.size <= len(data)


def test_the_first_from_the_right_that_is_no_front_is_the_client() -> None:
    chain = "198.51.100.66, 203.0.113.7, 10.2.2.2"  # the first was written by the client itself
    assert behind(x_forwarded_for=chain, x_forwarded_proto="https") == Client(NINA, is_tls=True)
    forwarded = 'for=198.51.100.66;proto=http, For="203.0.113.7:4711";Proto=https, for=10.2.2.2'
    assert behind(forwarded=forwarded) == Client(NINA, is_tls=True)
    assert behind(forwarded=forwarded.split(", ")) == Client(NINA, is_tls=True)


def test_the_standard_field_goes_before_the_others() -> None:
    told = behind(forwarded="for=203.0.113.7", x_forwarded_for="198.51.100.66")
    assert told == Client(NINA, is_tls=False)


def test_an_address_of_version_6_may_have_brackets_and_a_port() -> None:
    client = Client(ip_address("2001:db8::7"), is_tls=False)
    assert behind(forwarded='for="[2001:db8::7]:4711"') == client
    assert behind(x_forwarded_for="2001:db8::7") == client


def test_who_is_no_front_speaks_for_nobody_else() -> None:
    headers = {"forwarded": ["for=203.0.113.7"], "x-forwarded-for": ["203.0.113.7"]}
    assert forwarded_client(NINA, headers, FRONTS) is None
    assert forwarded_client(None, headers, FRONTS) is None
    assert forwarded_client(FRONT, headers, ()) is None


def test_what_cannot_be_read_is_nobody() -> None:
    assert behind(forwarded="for=_hidden;proto=https") == Client(None, is_tls=True)
    assert behind(x_forwarded_for="unknown") == Client(None, is_tls=False)
    assert behind() == Client(FRONT, is_tls=False)


def test_an_address_in_the_clothes_of_version_6_is_the_same() -> None:
    assert is_trusted(ip_address("::ffff:10.0.0.1"), FRONTS)
    assert not is_trusted(ip_address("::ffff:203.0.113.7"), FRONTS)


@pytest.mark.reaches("FORWARDED_CHARS_MAX")
def test_of_a_very_long_chain_the_nearest_hops_count() -> None:
    chain = "198.51.100.66, " * FORWARDED_CHARS_MAX + "203.0.113.7"
    assert behind(x_forwarded_for=chain) == Client(NINA, is_tls=False)


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_text_is_read_without_a_fault(first: str, second: str) -> None:
    behind(forwarded=first)
    behind(x_forwarded_for=first, x_forwarded_proto=second)


def test_the_signature_is_the_published_one() -> None:
    assert v2(NINA)[:12].hex() == "0d0a0d0a000d0a515549540a"
    assert socket.inet_aton("203.0.113.7") in v2(NINA)
