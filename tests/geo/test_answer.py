from hypothesis import given
from hypothesis import strategies as st

from geo.answer import Doors, answer
from geo.choose import choose
from geo.health import Health
from geo.network import network_of, parse
from geo.region import DEFAULT_ORDER, Location, Place, Region

DOORS = {region: Doors(f"http://{region}.example", f"{region}.example:21") for region in Region}

places = st.builds(Place, st.floats(-90, 90), st.floats(-180, 180))
some_regions = st.sets(st.sampled_from(Region), min_size=1)


@given(places, some_regions, some_regions)
def test_an_answer_has_each_region_with_doors_once_in_the_order_of_the_choice(
    place: Place, having_doors: set[Region], up: set[Region]
) -> None:
    choice = choose(None, location=Location(place=place), health=Health(frozenset(up)))
    doors = {region: DOORS[region] for region in having_doors}
    found = answer(choice, doors, [])
    assert [one["region"] for one in found["regions"]] == [
        region for region in choice.order if region in having_doors
    ]
    assert all(one["http"] == DOORS[Region(one["region"])].http for one in found["regions"])
    assert found["steps"]


def test_an_answer_says_why_and_never_for_whom() -> None:
    address = parse("203.0.113.9")
    found = answer(choose(network_of(address)), DOORS, ["by somebody"])
    assert found["reason"] == "default"
    assert found["attribution"] == ["by somebody"]
    assert [one["region"] for one in found["regions"]] == list(DEFAULT_ORDER)
    assert "203.0.113" not in str(found)
