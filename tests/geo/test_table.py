import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo.network import Network
from geo.region import DEFAULT_ORDER, Location, Region
from geo.table import Key, Route, RouteTable
from zentransfer.limits import ROUTE_TABLE_AGE_S_MAX, ROUTE_TTL_S_MAX

ROUTES = [
    Route.of({Region.US: 1.0}),
    Route.of({Region.FR: 1.0}),
    Route.of({Region.SG: 1.0, Region.US: 9.0}),
]
# Few numbers, so that neighbours and equal routes are common.
NETWORKS = st.builds(Network, st.just(4), st.integers(0, 40)) | st.builds(
    Network, st.just(6), st.integers(2**48 - 40, 2**48 - 1)
)
TABLES = st.dictionaries(NETWORKS, st.sampled_from(ROUTES))


@given(TABLES, NETWORKS)
def test_a_network_is_found_exactly_if_it_was_put_in(
    networks: dict[Network, Route], asked: Network
) -> None:
    found = RouteTable.of(1, networks=networks).find(asked, None)
    if asked in networks:
        assert found == (networks[asked], Key.NETWORK)
    else:
        assert found is None


def test_neighbours_with_one_route_are_one_range() -> None:
    networks = {Network(4, number): ROUTES[0] for number in range(1000)}
    networks[Network(4, 500)] = ROUTES[1]
    assert len(RouteTable.of(1, networks=networks).v4.starts) == 3


@pytest.mark.parametrize(
    ("network", "location", "key"),
    [
        (Network(4, 7), Location("FR", asn=64500), Key.NETWORK),
        (Network(4, 8), Location("FR", asn=64500), Key.ASN),
        (Network(4, 8), Location("FR", asn=64501), Key.COUNTRY),
        (Network(4, 8), Location("FR"), Key.COUNTRY),
        (None, Location("FR", asn=64500), Key.ASN),
        (Network(6, 7), Location("IN", asn=64500), None),
        (Network(4, 8), Location(asn=64500), None),
        (None, None, None),
    ],
)
def test_the_narrowest_level_that_knows_the_client_answers(
    network: Network | None, location: Location | None, key: Key | None
) -> None:
    table = RouteTable.of(
        1,
        networks={Network(4, 7): ROUTES[0]},
        asns={(64500, "FR"): ROUTES[1]},
        countries={"FR": ROUTES[2]},
    )
    found = table.find(network, location)
    assert (None if found is None else found.key) == key


@given(st.dictionaries(st.sampled_from(Region), st.floats()))
def test_a_route_names_each_region_once_the_lowest_estimate_first(ms: dict[Region, float]) -> None:
    route = Route.of(ms)
    known = [region for region in route.order if math.isfinite(ms.get(region, math.nan))]
    assert sorted(route.order) == sorted(Region)
    assert list(route.order[: len(known)]) == known
    assert [ms[region] for region in known] == sorted(ms[region] for region in known)


def test_equal_estimates_are_ordered_by_default() -> None:
    assert Route.of(dict.fromkeys(Region, 5.0)).order == DEFAULT_ORDER


def test_a_cost_is_what_the_second_lies_over_the_first_and_never_negative() -> None:
    route = Route.of({Region.FR: 20.0, Region.US: 95.0})
    assert route.cost_ms(Region.FR, Region.US) == 75.0
    assert route.cost_ms(Region.US, Region.FR) == 0.0
    assert route.cost_ms(Region.FR, Region.SG) == math.inf
    assert Route.unmeasured(()).cost_ms(Region.FR, Region.US) == math.inf


@pytest.mark.reaches("ROUTE_TTL_S_MAX")
def test_no_table_makes_an_answer_hold_for_longer_than_the_limit() -> None:
    assert RouteTable.of(1, ttl_s=ROUTE_TTL_S_MAX + 1).ttl_s == ROUTE_TTL_S_MAX
    assert RouteTable.of(1, ttl_s=0).ttl_s == 1


@pytest.mark.reaches("ROUTE_TABLE_AGE_S_MAX")
def test_a_table_that_grew_too_old_is_not_used() -> None:
    table = RouteTable.of(1)
    assert table.fresh(ROUTE_TABLE_AGE_S_MAX) is table
    assert table.fresh(ROUTE_TABLE_AGE_S_MAX + 1) is None
