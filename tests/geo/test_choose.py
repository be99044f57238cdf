import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from geo.choose import DOWN, MARKS, REASONS, Choice, Mark, Reason, by_distance, choose
from geo.health import ALL_UP, Health
from geo.load import Load, Room
from geo.network import Network
from geo.region import DEFAULT_ORDER, SITES, Location, Place, Region
from geo.table import Route, RouteTable
from zentransfer.limits import ROUTE_TTL_S_MAX

HOME = Network(4, 0xCB0071)
MUMBAI = Place(19.07, 72.88)
FR, US, SG = Region.FR, Region.US, Region.SG

REGIONS = st.sampled_from(Region)
ESTIMATES = st.dictionaries(REGIONS, st.floats(0, 500) | st.floats())
ROUTES = st.builds(Route.of, ESTIMATES, st.floats(0, 100)) | st.builds(
    Route.unmeasured, st.lists(REGIONS)
)
CLIENTS = st.none() | st.builds(Network, st.just(4), st.integers(0, 3))
COUNTRIES = st.sampled_from(["FR", "IN"])
PLACES = st.builds(Place, st.floats(-90, 90), st.floats(-180, 180))
LOCATIONS = st.builds(
    Location, st.none() | COUNTRIES, st.none() | PLACES, st.none() | st.integers(1, 2)
)
TABLES = st.builds(
    RouteTable.of,
    st.integers(1),
    networks=st.dictionaries(st.builds(Network, st.just(4), st.integers(0, 3)), ROUTES),
    asns=st.dictionaries(st.tuples(st.integers(1, 2), COUNTRIES), ROUTES),
    countries=st.dictionaries(COUNTRIES, ROUTES),
    ttl_s=st.integers(-1, 1000),
)
HEALTHS = st.builds(Health, st.frozensets(REGIONS), st.none() | st.floats(0.1, 1e6))
LOADS = st.builds(
    Load.of,
    st.dictionaries(REGIONS, st.floats(0, 1.2) | st.floats()),
    st.dictionaries(REGIONS, st.lists(st.floats(0, 200) | st.floats(), max_size=20)),
)
QUESTIONS = st.fixed_dictionaries(
    {
        "pin": st.none() | REGIONS,
        "table": st.none() | TABLES,
        "location": st.none() | LOCATIONS,
        "health": HEALTHS,
        "load": LOADS,
        "default_order": st.lists(REGIONS).map(tuple),
    }
)
UNPINNED = QUESTIONS.map(lambda question: {**question, "pin": None})


@given(CLIENTS, QUESTIONS)
def test_there_is_always_an_order_and_a_reason(
    client: Network | None, question: dict[str, Any]
) -> None:
    choice = choose(client, **question)
    assert len(set(choice.order)) == len(choice.order) == (1 if question["pin"] else len(Region))
    assert isinstance(choice.reason, Reason)
    assert all(isinstance(mark, Mark) for mark in choice.marks)
    assert 1 <= choice.ttl_s <= ROUTE_TTL_S_MAX
    assert all(choice.steps)


@given(CLIENTS, QUESTIONS)
def test_the_same_question_has_the_same_answer(
    client: Network | None, question: dict[str, Any]
) -> None:
    assert choose(client, **question)[:4] == choose(client, **question)[:4]


@given(CLIENTS, QUESTIONS, REGIONS)
def test_pinned_content_has_no_other_region_whatever_happens(
    client: Network | None, question: dict[str, Any], pin: Region
) -> None:
    choice = choose(client, **{**question, "pin": pin})
    assert (choice.order, choice.reason) == ((pin,), Reason.PINNED)
    assert choice.marks == (() if pin in question["health"].up else (DOWN[pin],))


@given(CLIENTS, UNPINNED)
def test_no_dead_or_draining_region_comes_before_a_living_one(
    client: Network | None, question: dict[str, Any]
) -> None:
    up = question["health"].up
    choice = choose(client, **question)
    lives = [region in up for region in choice.order]
    assert lives == sorted(lives, reverse=True)
    if up:
        dead = {DOWN[region] for region in Region if region not in up}
        assert set(choice.marks) - {Mark.SPILLED} == dead


@given(CLIENTS, UNPINNED)
def test_when_all_are_down_the_usual_order_stands(
    client: Network | None, question: dict[str, Any]
) -> None:
    choice = choose(client, **{**question, "health": Health(frozenset())})
    usual = choose(client, **{**question, "health": ALL_UP, "load": Load()})
    assert choice.order == usual.order
    assert choice.marks == (Mark.ALL_DOWN,)


@settings(max_examples=500)
@given(
    st.dictionaries(REGIONS, st.floats(0, 500), min_size=1),
    st.floats(0, 1),
    HEALTHS,
    LOADS,
    st.data(),
)
def test_a_lower_estimate_never_ranks_a_region_worse(
    ms: dict[Region, float], factor: float, health: Health, load: Load, data: st.DataObject
) -> None:
    region = data.draw(st.sampled_from(sorted(ms)))
    lower = {**ms, region: ms[region] * factor}
    before, after = (
        choose(
            HOME,
            table=RouteTable.of(1, networks={HOME: Route.of(estimates)}),
            health=health,
            load=load,
        ).order.index(region)
        for estimates in (ms, lower)
    )
    assert after <= before


@given(CLIENTS, UNPINNED)
def test_a_full_region_is_not_first_while_a_living_one_has_room(
    client: Network | None, question: dict[str, Any]
) -> None:
    up, load = question["health"].up, question["load"]
    first = choose(client, **question).order[0]
    if any(load.room(region) is Room.FREE for region in up):
        assert load.room(first) is not Room.FULL


@given(CLIENTS, UNPINNED)
def test_the_mark_spilled_says_that_load_changed_the_first_choice(
    client: Network | None, question: dict[str, Any]
) -> None:
    loaded = choose(client, **question)
    idle = choose(client, **{**question, "load": Load()})
    assert (Mark.SPILLED in loaded.marks) == (loaded.order[0] is not idle.order[0])


def test_every_reason_and_mark_is_explained() -> None:
    assert set(REASONS) == set(Reason)
    assert set(MARKS) == set(Mark)


def choice_of_mumbai(**question: Any) -> Choice:
    """Choose for a network in Mumbai whose measured best is sg, against its distance to fr."""
    table = RouteTable.of(
        7,
        networks={HOME: Route.of({SG: 54.0, FR: 113.0, US: 196.0}, samples=12.0)},
        asns={(64500, "IN"): Route.of({FR: 100.0, SG: 120.0})},
        countries={"IN": Route.of({US: 1.0})},
    )
    location = Location("IN", MUMBAI, 64500, "Mumbai")
    return choose(question.pop("client", HOME), table=table, location=location, **question)


def test_the_narrowest_measurement_decides() -> None:
    elsewhere = Network(4, 1)
    assert choice_of_mumbai().order == (SG, FR, US)
    assert choice_of_mumbai().reason is Reason.NETWORK
    assert choice_of_mumbai(client=elsewhere).reason is Reason.ASN
    assert choice_of_mumbai(client=elsewhere).order == (FR, SG, US)


def test_without_a_measurement_the_nearest_comes_first() -> None:
    choice = choose(HOME, location=Location("IN", MUMBAI), table=RouteTable.of(1))
    assert (choice.order, choice.reason) == ((SG, FR, US), Reason.GEOIP)
    for region, site in SITES.items():
        assert by_distance(site).order[0] is region


def test_of_a_stranger_the_default_order_is_used() -> None:
    choice = choose(None)
    assert (choice.order, choice.reason, choice.ttl_s) == (
        DEFAULT_ORDER,
        Reason.DEFAULT,
        ROUTE_TTL_S_MAX,
    )
    assert choose(None, default_order=(SG,)).order == (SG, FR, US)
    assert choose(None, location=Location("FR")).reason is Reason.DEFAULT


def test_a_dead_region_is_tried_last_and_named() -> None:
    choice = choice_of_mumbai(health=Health(frozenset({FR, US}), 4.0))
    assert choice.order == (FR, US, SG)
    assert choice.marks == (Mark.DOWN_SG,)
    assert choice.ttl_s == ROUTE_TTL_S_MAX // 2


def test_a_full_region_sends_its_clients_to_the_next_with_room() -> None:
    choice = choice_of_mumbai(load=Load.of({SG: 0.95}, {}))
    assert choice.order == (FR, US, SG)
    assert choice.marks == (Mark.SPILLED,)
    choice = choice_of_mumbai(load=Load.of({SG: 0.95, FR: 0.8}, {}))
    assert choice.order == (US, FR, SG)
    everywhere = dict.fromkeys(Region, 0.95)
    choice = choice_of_mumbai(load=Load.of(everywhere, {}))
    assert (choice.order, choice.marks) == ((SG, FR, US), ())


def test_a_loaded_region_keeps_whom_leaving_would_hurt() -> None:
    cheap = [float(cost) for cost in range(50)]
    keeps = choice_of_mumbai(load=Load.of({SG: 0.8}, {SG: cheap}))
    sends = choice_of_mumbai(load=Load.of({SG: 0.8}, {SG: [*cheap, *[200.0] * 200]}))
    assert keeps.order[0] is SG
    assert (sends.order[0], sends.marks) == (FR, (Mark.SPILLED,))


def test_the_steps_show_what_each_other_region_would_cost() -> None:
    steps = choice_of_mumbai(health=Health(frozenset({FR, US}))).steps
    assert steps == (
        "measured:network: measured from this network",
        "usual order: sg, fr (+59.0 ms), us (+142.0 ms)",
        "down:sg: sg takes nothing new now (down or draining)",
        "order: fr, us, sg, good for 300 s",
    )
    assert not math.isnan(sum(by_distance(MUMBAI).extra_ms))
