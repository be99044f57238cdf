import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.nearest import GOES, Asked, Here, Way, Why, can_follow, way
from geo.choose import DOWN, Choice, Mark, Reason, choose
from geo.health import ALL_UP, Health
from geo.load import FULL_ABOVE, IDLE, Load
from geo.network import network_of, parse
from geo.region import Location, Place, Region
from geo.table import Route
from zentransfer.limits import HANDOVER_HOPS_MAX, NEAREST_FROM_BYTES, NEAREST_GAIN_MS_MIN

ALL = frozenset(Region)
ENTRY = Asked(is_entry=True, can_follow=True)
REGIONAL = Asked(is_entry=False, can_follow=True)
SINGAPORE = Location(place=Place(1.35, 103.82))
PARIS = Location(place=Place(48.86, 2.35))
CLIENT = network_of(parse("203.0.113.9"))


def here(region: Region = Region.US, load: Load = IDLE, doors: frozenset[Region] = ALL) -> Here:
    return Here(region, doors - {region}, load)


def chosen(
    location: Location | None = SINGAPORE, load: Load = IDLE, health: Health = ALL_UP
) -> Choice:
    return choose(CLIENT, location=location, load=load, health=health)


REGIONS = st.sampled_from(Region)
LOADS = st.dictionaries(REGIONS, st.floats(0, 1), max_size=3).map(Load)
HEALTHS = st.frozensets(REGIONS).map(Health)
PLACES = st.builds(Place, st.floats(-90, 90), st.floats(-180, 180))
LOCATIONS = st.none() | st.builds(Location, place=PLACES)
CHOICES = st.builds(chosen, LOCATIONS, LOADS, HEALTHS)
ASKED = st.builds(
    Asked,
    is_entry=st.booleans(),
    can_follow=st.booleans(),
    hops=st.integers(0, HANDOVER_HOPS_MAX),
    length=st.none() | st.integers(0, 2**40),
)
HERE = st.builds(here, REGIONS, LOADS, st.frozensets(REGIONS))


@given(HERE, CHOICES, ASKED, st.none() | REGIONS)
def test_it_goes_to_another_region_that_has_a_door_or_stays(
    at: Here, choice: Choice, asked: Asked, pin: Region | None
) -> None:
    found = way(at, pin, choice, asked)
    assert (found.region is None) is (found.why not in GOES)
    assert found.region is None or (found.region in at.doors and found.region is not at.region)


@given(HERE, CHOICES, ASKED, REGIONS)
def test_a_pinned_upload_goes_to_its_region_and_nowhere_else(
    at: Here, choice: Choice, asked: Asked, pin: Region
) -> None:
    found = way(at, pin, choice, asked)
    assert found.region in (None, pin)
    if pin is at.region:
        assert found == Way(None, Why.PINNED_HERE)
    elif pin in at.doors and asked.hops < HANDOVER_HOPS_MAX:
        assert found == Way(pin, Why.PINNED_ELSEWHERE)


@settings(max_examples=40)
@given(st.lists(st.tuples(CHOICES, st.none() | REGIONS), min_size=4, max_size=4), ASKED)
@pytest.mark.reaches("HANDOVER_HOPS_MAX")
def test_no_chain_is_long_even_if_every_region_thinks_something_else(
    opinions: list[tuple[Choice, Region | None]], asked: Asked
) -> None:
    at, asked, count = Region.US, replace(asked, hops=0), 0
    for choice, pin in opinions:
        to = way(here(at), pin, choice, asked).region
        if to is None:
            break
        at, asked, count = to, replace(asked, hops=asked.hops + 1), count + 1
    assert count <= HANDOVER_HOPS_MAX


@given(HERE, CHOICES, ASKED)
def test_who_was_sent_on_or_cannot_follow_is_never_moved_but_by_a_pin(
    at: Here, choice: Choice, asked: Asked
) -> None:
    assert way(at, None, choice, replace(asked, hops=1)) == Way(None, Why.HANDED)
    stuck = replace(asked, hops=0, can_follow=False)
    assert way(at, None, choice, stuck) == Way(None, Why.CANNOT_FOLLOW)


@given(CHOICES, st.none() | st.integers(0, 2**40), REGIONS)
def test_latency_moves_nobody_from_a_regional_name(
    choice: Choice, length: int | None, at: Region
) -> None:
    found = way(here(at), None, choice, replace(REGIONAL, length=length))
    assert found.why in {Why.NEAREST, Why.REGIONAL, Why.SPILLED}
    assert Mark.SPILLED in choice.marks or found.region is None


@given(st.builds(chosen, LOCATIONS), REGIONS)
def test_with_everything_well_only_what_pays_moves(choice: Choice, at: Region) -> None:
    found = way(here(at), None, choice, ENTRY)
    if found.region is not None:
        assert found == Way(choice.order[0], Why.NEARER)
        assert choice.reason is Reason.GEOIP
        assert choice.route is not None
        assert choice.route.cost_ms(found.region, at) >= NEAREST_GAIN_MS_MIN


def test_from_the_entry_name_a_client_goes_to_the_nearest_region() -> None:
    assert way(here(Region.US), None, chosen(SINGAPORE), ENTRY) == Way(Region.SG, Why.NEARER)
    assert way(here(Region.SG), None, chosen(SINGAPORE), ENTRY) == Way(None, Why.NEAREST)
    assert way(here(Region.SG), None, chosen(PARIS), ENTRY) == Way(Region.FR, Why.NEARER)
    assert way(here(doors=frozenset()), None, chosen(), ENTRY) == Way(None, Why.NEAREST)
    two = frozenset({Region.US, Region.FR})
    assert way(here(doors=two), None, chosen(), ENTRY).region is not Region.SG
    assert way(here(doors=two), Region.SG, chosen(), ENTRY) == Way(None, Why.NO_DOOR)


def test_of_whom_nothing_is_known_is_served() -> None:
    assert chosen(None).order[0] is Region.FR
    assert way(here(Region.US), None, chosen(None), ENTRY) == Way(None, Why.UNKNOWN)


def measured(extra_ms: float) -> Choice:
    route = Route((Region.SG, Region.US, Region.FR), (0.0, extra_ms, math.inf))
    return Choice(route.order, Reason.NETWORK, (), 60, route)


@pytest.mark.reaches("NEAREST_GAIN_MS_MIN")
def test_a_gain_that_a_new_connection_would_eat_moves_nobody() -> None:
    at_least, less = measured(NEAREST_GAIN_MS_MIN), measured(NEAREST_GAIN_MS_MIN - 0.1)
    assert way(here(Region.US), None, at_least, ENTRY) == Way(Region.SG, Why.NEARER)
    assert way(here(Region.US), None, less, ENTRY) == Way(None, Why.NO_GAIN)
    assert way(here(Region.FR), None, at_least, ENTRY) == Way(None, Why.NO_GAIN), "not measured"


@pytest.mark.reaches("NEAREST_FROM_BYTES")
def test_a_small_upload_is_over_before_a_redirect_would_be() -> None:
    at = here(Region.US)
    small, large = (replace(ENTRY, length=NEAREST_FROM_BYTES - more) for more in (1, 0))
    assert way(at, None, chosen(), small) == Way(None, Why.SMALL)
    assert way(at, None, chosen(), large) == Way(Region.SG, Why.NEARER)


def test_a_full_region_sends_on_from_its_own_name_too() -> None:
    full = Load({Region.SG: FULL_ABOVE + 0.05})
    at = here(Region.SG, full)
    for asked in (REGIONAL, ENTRY, replace(ENTRY, length=1)):
        found = way(at, None, chosen(SINGAPORE, full), asked)
        assert found.why is Why.SPILLED
        assert found.region is not None
    # Whose nearest is elsewhere anyway goes there.
    assert way(at, None, chosen(PARIS, full), REGIONAL) == Way(Region.FR, Why.SPILLED)
    assert way(at, Region.SG, chosen(SINGAPORE, full), REGIONAL) == Way(None, Why.PINNED_HERE)


def test_a_leaving_region_sends_on_from_the_entry_name() -> None:
    leaving = Health(ALL - {Region.SG})
    choice = chosen(SINGAPORE, health=leaving)
    assert DOWN[Region.SG] in choice.marks
    small = replace(ENTRY, length=1)
    assert way(here(Region.SG), None, choice, small) == Way(choice.order[0], Why.LEAVING)
    assert way(here(Region.SG), None, choice, REGIONAL) == Way(None, Why.REGIONAL)


@pytest.mark.parametrize(
    ("method", "headers", "expected"),
    [
        ("PUT", {"Content-Length": "5"}, True),
        ("PUT", {"Content-Length": "5", "Expect": "100-continue"}, True),
        ("PUT", {"Transfer-Encoding": "chunked", "Expect": "100-Continue"}, True),
        ("PUT", {"Transfer-Encoding": "chunked"}, False),
        ("PUT", {"Content-Length": "5", "Origin": "https://a.example"}, False),
        ("POST", {"Sec-Fetch-Mode": "cors"}, False),
        ("POST", {"Content-Type": "multipart/form-data; boundary=x"}, False),
        ("PUT", {"Content-Type": "multipart/form-data; boundary=x"}, True),
        ("POST", {"Tus-Resumable": "1.0.0", "User-Agent": "curl/8.0"}, True),
        ("POST", {"Tus-Resumable": "1.0.0", "User-Agent": "python-requests/2.32"}, True),
        ("POST", {"Tus-Resumable": "1.0.0", "User-Agent": "Python/3.11 aiohttp/3.14"}, True),
        ("POST", {"Tus-Resumable": "1.0.0", "User-Agent": "Java/21"}, False),
        ("POST", {"Tus-Resumable": "1.0.0", "Upload-Length": "5"}, False),
        ("POST", {"User-Agent": "curl/8.0", "Upload-Concat": "partial"}, False),
        ("POST", {"X-HTTP-Method-Override": "POST"}, False),
        ("POST", {"Upload-Complete": "?0"}, True),
    ],
)
def test_who_can_follow_tells_so(method: str, headers: dict[str, str], expected: bool) -> None:
    assert can_follow(method, headers) is expected
