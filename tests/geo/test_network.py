from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo.network import Network, network_of, parse, unwrapped
from zentransfer.errors import Code, Error
from zentransfer.limits import ADDRESS_CHARS_MAX

V4 = st.ip_addresses(v=4)
V6 = st.ip_addresses(v=6)


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("203.0.113.9", "203.0.113.0/24"),
        ("0.0.0.0", "0.0.0.0/24"),
        ("255.255.255.255", "255.255.255.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("::ffff:203.0.113.9", "203.0.113.0/24"),
        ("::ffff:cb00:7109", "203.0.113.0/24"),
        ("fe80::1%eth0", "fe80::/48"),
        (" 203.0.113.9\n", "203.0.113.0/24"),
    ],
)
def test_an_address_is_cut_to_its_network(text: str, network: str) -> None:
    assert str(network_of(parse(text))) == network


@given(V4 | V6)
def test_a_network_holds_the_addresses_that_were_cut_to_it(
    address: IPv4Address | IPv6Address,
) -> None:
    assert unwrapped(address) in ip_network(str(network_of(address)))


@given(V4)
def test_a_mapped_address_is_the_address_inside(address: IPv4Address) -> None:
    mapped = IPv6Address(f"::ffff:{address}")
    assert unwrapped(mapped) == address
    assert network_of(mapped) == network_of(address)


@given(V4 | V6, V4 | V6)
def test_networks_have_the_same_bytes_only_if_they_are_the_same(
    one: IPv4Address | IPv6Address, other: IPv4Address | IPv6Address
) -> None:
    assert (bytes(network_of(one)) == bytes(network_of(other))) == (
        network_of(one) == network_of(other)
    )


def test_the_bytes_of_a_network_are_the_same_in_every_run() -> None:
    assert bytes(Network(4, 0xCB0071)).hex() == "04000000cb0071"


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "empty"),
        ("203.0.113.0/24", "prefix length"),
        ("203.0.113.9:8080", "leave out the port"),
        ("[2001:db8::1]:443", "brackets"),
        ("example.com", "names are not looked up"),
        ("203.0.113.256", "misspelt"),
        ("2001:db8:::1", "misspelt"),
        ("203.0.113", "misspelt"),
        ("3405803785", "misspelt"),
        ("example.com:80", "leave out the port"),
    ],
)
def test_what_is_no_address_is_refused_with_what_to_type_instead(text: str, advice: str) -> None:
    with pytest.raises(Error, match=advice) as refused:
        parse(text)
    assert refused.value.code is Code.INVALID
    assert "203.0.113.9 or 2001:db8::1" in refused.value.detail


@given(st.text(max_size=80))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        assert network_of(parse(text)).version in (4, 6)
    except Error:
        return  # the only exception there may be


@pytest.mark.reaches("ADDRESS_CHARS_MAX")
def test_a_text_longer_than_any_address_is_refused_unread() -> None:
    zone = "fe80::1%".ljust(ADDRESS_CHARS_MAX, "z")
    assert parse(zone) == IPv6Address("fe80::1")
    with pytest.raises(Error, match="longer than any"):
        parse(zone + "z")
