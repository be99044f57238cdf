import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo.region import (
    DEFAULT_ORDER,
    SITES,
    Node,
    Place,
    Region,
    complete,
    distance_km,
    distances_km,
    light_bound_ms,
    region,
)
from zentransfer.errors import Code, Error
from zentransfer.ids import NodeID

PLACES = st.builds(Place, st.floats(-90, 90), st.floats(-180, 180))
HALF_ROUND_KM = 20_015.2  # half the circumference of the mean sphere


def test_the_regions_are_exactly_three_words() -> None:
    assert [str(region) for region in Region] == ["us", "fr", "sg"]
    assert set(SITES) == set(Region) == set(DEFAULT_ORDER)


@pytest.mark.parametrize(
    ("here", "there", "km"),
    [
        (Place(48.8566, 2.3522), Place(51.5074, -0.1278), 343.6),  # Paris, London
        (Place(0, 0), Place(0, 180), HALF_ROUND_KM),
        (Place(90, 0), Place(-90, 77), HALF_ROUND_KM),
        (Place(0, 179.5), Place(0, -179.5), 111.2),  # across the date line
        (Place(1.37, 103.75), Place(1.37, 103.75), 0),
    ],
)
def test_distances_are_those_of_the_atlas(here: Place, there: Place, km: float) -> None:
    assert distance_km(here, there) == pytest.approx(km, rel=2e-3, abs=0.1)


@given(PLACES, PLACES)
def test_a_distance_is_the_same_both_ways_and_never_beyond_the_antipode(
    here: Place, there: Place
) -> None:
    assert distance_km(here, there) == pytest.approx(distance_km(there, here), abs=1e-6)
    assert 0 <= distance_km(here, there) <= HALF_ROUND_KM


def test_light_needs_a_millisecond_there_and_back_for_a_hundred_kilometres() -> None:
    assert light_bound_ms(6184) == pytest.approx(61.84)


@pytest.mark.parametrize(
    ("latitude", "longitude"), [(90.1, 0), (0, -180.5), (math.nan, 0), (0, math.inf)]
)
def test_what_is_no_place_is_refused(latitude: float, longitude: float) -> None:
    with pytest.raises(Error) as refused:
        Place(latitude, longitude)
    assert refused.value.code is Code.INVALID


def test_the_default_order_begins_where_a_wrong_guess_costs_least() -> None:
    farthest = {region: max(distances_km(site).values()) for region, site in SITES.items()}
    assert DEFAULT_ORDER[0] == min(farthest, key=farthest.__getitem__)
    rest = distances_km(SITES[DEFAULT_ORDER[0]])
    assert list(DEFAULT_ORDER) == sorted(Region, key=rest.__getitem__)


@given(st.lists(st.sampled_from(Region)))
def test_a_completed_order_keeps_what_was_said_and_names_each_region_once(
    order: list[Region],
) -> None:
    whole = complete(tuple(order))
    said = list(dict.fromkeys(order))
    assert list(whole[: len(said)]) == said
    assert sorted(whole) == sorted(Region)


def test_an_unknown_region_is_answered_with_the_known_ones() -> None:
    assert region("sg") is Region.SG
    with pytest.raises(Error, match="us, fr, sg"):
        region("de")


def test_a_node_knows_its_region_by_its_name() -> None:
    assert Node(NodeID("fr-1")).region is Region.FR
