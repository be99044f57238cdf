from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zentransfer.reachable import GLOBAL_6, REFUSED_4, REFUSED_6, is_public, maybe_literal

V4 = st.integers(0, 2**32 - 1).map(IPv4Address)
V6 = st.integers(0, 2**128 - 1).map(IPv6Address)


def within(network: IPv4Network | IPv6Network) -> st.SearchStrategy[IPv4Address | IPv6Address]:
    first, last = int(network.network_address), int(network.broadcast_address)
    kind = IPv4Address if isinstance(network, IPv4Network) else IPv6Address
    return st.integers(first, last).map(kind)


def hidden(inner: IPv4Address) -> list[IPv6Address]:
    """Return *inner* in each of the ways in which an IPv6 address can carry it."""
    number = int(inner)
    return [
        IPv6Address(0xFFFF << 32 | number),  # mapped
        IPv6Address(number),  # compatible
        IPv6Address(0xFFFF << 48 | number),  # translated (RFC 2765)
        IPv6Address(int(IPv6Address("64:ff9b::")) | number),  # NAT64
        IPv6Address(int(IPv6Address("64:ff9b:1::")) | number),  # NAT64 of one's own
        IPv6Address(0x2002 << 112 | number << 80 | 1),  # 6to4
        IPv6Address(0x2001 << 112 | number << 64),  # Teredo's server
        IPv6Address(0x2001 << 112 | 0x0808_0808 << 64 | number ^ 0xFFFF_FFFF),  # its client
        IPv6Address(int(IPv6Address("2a00:1450::5efe:0:0")) | number),  # ISATAP
    ]


@given(st.sampled_from(REFUSED_4).flatmap(within))
def test_nothing_of_a_special_block_is_public(address: IPv4Address) -> None:
    assert not is_public(address)
    assert not any(map(is_public, hidden(address)))


@given(st.sampled_from(REFUSED_6).flatmap(within))
def test_nothing_of_a_special_block_of_ipv6_is_public(address: IPv6Address) -> None:
    assert not is_public(address)


@given(V6)
@example(IPv6Address("::1"))
@example(IPv6Address("fe80::1%eth0"))
@example(IPv6Address("fec0::1"))
@example(IPv6Address("fd00:ec2::254"))
@example(IPv6Address("5f00::1"))
@example(IPv6Address("ff02::1"))
@example(IPv6Address("100::1"))
def test_nothing_outside_the_assigned_block_is_public(address: IPv6Address) -> None:
    if address not in GLOBAL_6 and address.ipv4_mapped is None:
        assert not is_public(address)


@given(V4)
def test_a_public_address_is_global_by_the_library_too(address: IPv4Address) -> None:
    """Our table refuses at least what the library does, whatever its release knows."""
    if is_public(address):
        assert address.is_global
        assert not address.is_multicast


@given(V4)
def test_a_mapped_address_is_judged_as_what_it_is(address: IPv4Address) -> None:
    mapped, *others = hidden(address)
    assert is_public(mapped) is is_public(address)
    assert not any(map(is_public, others))


@pytest.mark.parametrize(
    "text",
    ["8.8.8.8", "52.216.8.5", "2a00:1450:4007:80f::200e", "2606:4700::6810:1", "::ffff:8.8.8.8"],
)
def test_public_addresses_are_public(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize(
    "text",
    [
        *("127.0.0.1", "0.0.0.0", "10.1.2.3", "172.31.255.255", "192.168.1.1", "169.254.169.254"),
        *("100.100.100.200", "192.0.0.8", "192.0.0.192", "168.63.129.16", "224.0.0.1"),
        *("255.255.255.255", "192.88.99.1", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1"),
        *("64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "2002:7f00:1::", "2001:0:7f00:1::1"),
        *("fe80::1", "fc00::1", "fd00:ec2::254", "fec0::1", "5f00::1", "ff02::1", "2001:db8::1"),
        *("2002:808:808::1", "64:ff9b::808:808"),
    ],
)
def test_the_known_ways_in_are_closed(text: str) -> None:
    assert not is_public(ip_address(text))


@pytest.mark.parametrize("text", ["localhost", "0x7f000001", "2130706433", "127.1", "0177.0.0.1"])
def test_only_the_one_spelling_is_a_literal(text: str) -> None:
    assert maybe_literal(text) is None


def test_a_literal_may_stand_in_brackets() -> None:
    assert maybe_literal("[::1]") == IPv6Address("::1")
    assert maybe_literal("10.0.0.1") == IPv4Address("10.0.0.1")
