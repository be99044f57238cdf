import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo.load import FULL_ABOVE, IDLE, SPILL_FROM, Load, Room
from geo.network import Network
from geo.region import Region
from zentransfer.limits import SPILL_COSTS_MAX

FR = Region.FR
COSTS = tuple(float(cost) for cost in range(100))
NETWORKS = [Network(4, number * 7919 % 2**24) for number in range(2000)]


def load(utilisation: float, costs: tuple[float, ...] = COSTS) -> Load:
    return Load.of({FR: utilisation}, {FR: costs})


@pytest.mark.parametrize(
    ("utilisation", "room"),
    [
        (0.0, Room.FREE),
        (0.699, Room.FREE),
        (SPILL_FROM, Room.SPILLING),
        (FULL_ABOVE, Room.SPILLING),
        (0.901, Room.FULL),
        (7.0, Room.FULL),
        (math.nan, Room.FULL),
    ],
)
def test_a_region_fills_in_three_stages(utilisation: float, room: Room) -> None:
    assert load(utilisation).room(FR) is room
    assert load(utilisation).free is (room is Room.FREE)


def test_an_idle_region_has_room() -> None:
    assert IDLE.free
    assert IDLE.room(FR) is Room.FREE


def test_those_whom_it_costs_least_are_sent_away_first() -> None:
    half = load(0.8)
    spilling = [cost for cost in COSTS if half.room_for_own(FR, NETWORKS[0], cost) is not Room.FREE]
    assert spilling == list(COSTS[:50])


@pytest.mark.parametrize("costs", [(), (5.0,) * 100])
def test_among_equals_the_share_is_kept_by_lot(costs: tuple[float, ...]) -> None:
    kept = [load(0.75, costs).room_for_own(FR, network, 5.0) for network in NETWORKS]
    assert kept.count(Room.SPILLING) / len(kept) == pytest.approx(0.25, abs=0.03)


def test_the_lot_of_a_network_is_the_same_in_every_run() -> None:
    sent = [load(0.8, ()).room_for_own(FR, network, 5.0) for network in NETWORKS[:12]]
    assert "".join("x" if room is Room.SPILLING else "." for room in sent) == "x.xx.x..x.x."


@given(
    st.sampled_from(NETWORKS),
    st.floats(0, 200),
    st.lists(st.floats(0, 200), max_size=20),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_more_load_never_takes_a_network_back(
    network: Network, cost: float, costs: list[float], one: float, other: float
) -> None:
    less, more = (load(value, tuple(costs)) for value in sorted((one, other)))
    assert less.room_for_own(FR, network, cost) <= more.room_for_own(FR, network, cost)


@given(st.sampled_from(NETWORKS), st.floats(0, 200), st.floats(0, 200), st.floats(0, 1))
def test_a_network_to_whom_it_costs_more_is_never_sent_away_before(
    network: Network, one: float, other: float, utilisation: float
) -> None:
    cheap, dear = sorted((one, other))
    loaded = load(utilisation)
    assert loaded.room_for_own(FR, network, cheap) >= loaded.room_for_own(FR, network, dear)


def test_whom_nobody_can_judge_goes_last() -> None:
    assert load(0.899).room_for_own(FR, NETWORKS[0], math.inf) is Room.FREE
    assert load(0.899).room_for_own(FR, None, 5000.0) is Room.FREE
    assert load(0.91).room_for_own(FR, None, math.inf) is Room.FULL


@pytest.mark.reaches("SPILL_COSTS_MAX")
def test_a_long_sample_is_thinned_and_keeps_its_quantiles() -> None:
    many = Load.of({}, {FR: [*map(float, range(SPILL_COSTS_MAX * 40)), math.nan]}).costs_ms[FR]
    assert len(many) == SPILL_COSTS_MAX
    assert many[SPILL_COSTS_MAX // 2] == pytest.approx(SPILL_COSTS_MAX * 20, rel=0.01)
    exact = tuple(map(float, range(SPILL_COSTS_MAX)))
    assert Load.of({}, {FR: exact}).costs_ms[FR] == exact
