import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo.answer import Doors, answer
from geo.choose import choose
from ops.send import nearby
from ops.send.nearby import Door, Nearby, Unusable, next_door, understood, within
from zentransfer.ids import Region

DOORS = tuple(Door(region, f"http://{region}.test") for region in Region)


def test_the_answer_of_route_itself_is_understood() -> None:
    doors = {region: Doors(f"http://{region}.test/") for region in Region}
    document = answer(choose(None), doors, ["Data by X"])
    found = understood(json.dumps(document).encode(), is_protected=False)
    assert {door.region for door in found.doors} == set(Region)
    assert [door.region for door in found.doors] == [one["region"] for one in document["regions"]]
    assert found.doors[0].http == f"http://{found.doors[0].region}.test"
    assert found.attribution == ("Data by X",)
    assert nearby.why(found) == "the default order, as nothing is known of your place"


def document(**changes: Any) -> bytes:
    regions = [{"region": "fr", "http": "https://fr.test"}, {"region": "us", "http": "http://u"}]
    good = {"version": 1, "reason": "geoip", "attribution": [], "regions": regions}
    return json.dumps({**good, **changes}).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        document(version=2),
        document(regions=[]),
        document(regions=[{"region": "de", "http": "http://de"}]),
        document(regions=[{"region": "fr", "http": "file:///x"}]),
        document(regions=[{"region": "fr", "http": None}]),
    ],
)
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(Unusable):
        understood(body, is_protected=False)


@given(st.binary())
def test_no_answer_is_anything_but_understood_or_unusable(body: bytes) -> None:
    with contextlib.suppress(Unusable):
        understood(body, is_protected=False)


def test_a_protected_question_leads_to_protected_doors_only() -> None:
    assert [door.region for door in understood(document(), is_protected=False).doors] == [
        "fr",
        "us",
    ]
    assert [door.region for door in understood(document(), is_protected=True).doors] == ["fr"]


def test_a_region_can_be_chosen() -> None:
    everywhere = Nearby(DOORS, "geoip")
    assert within(everywhere, None) is everywhere
    assert within(everywhere, Region.SG).doors == (Door(Region.SG, "http://sg.test"),)
    with pytest.raises(Unusable, match="region sg is not open to you; there is: us"):
        within(Nearby(DOORS[:1], "pinned"), Region.SG)


@given(
    st.lists(st.sampled_from(DOORS), unique=True),
    st.sampled_from(list(Region)),
    st.sets(st.sampled_from(list(Region))),
)
def test_the_next_door_is_another_one(doors: list[Door], now: Region, tried: set[Region]) -> None:
    found = next_door(doors, now, tried)
    others = [door for door in doors if door.region is not now]
    assert (found is None) == (not others)
    if found is not None:
        assert found in others
        assert found.region not in tried or all(door.region in tried for door in others)


def test_the_reason_is_said_in_words() -> None:
    assert nearby.why(Nearby((), "measured:network")) == "measured fastest for your network"
    assert nearby.why(Nearby((), "something new")) == "something new"


def test_only_an_order_by_place_rests_on_the_data_of_others() -> None:
    reasons = ("geoip", "measured:network", "default", "pinned", "you chose it")
    used = [why for why in reasons if nearby.is_by_place(Nearby((), why, ("Data by X",)))]
    assert used == ["geoip", "measured:network"]
