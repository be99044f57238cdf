from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo.health import ALL_UP, Checks, Health, NodeHealth
from geo.region import Node, Region
from zentransfer.ids import NodeID

CHECKS = Checks(interval_s=2.0, up_after=3, down_after=2)
UP, DOWN = NodeHealth(), NodeHealth(up=False)
NONE = frozenset[Region]()
FR1, FR2, US1 = (NodeID(name) for name in ("fr-1", "fr-2", "us-1"))


def after(*results: bool) -> NodeHealth:
    """Return what is believed of a new node after *results*."""
    return reduce(lambda state, passed: state.after(passed, CHECKS), results, UP)


@pytest.mark.parametrize(
    ("results", "up"),
    [
        ((), True),
        ((False,), True),
        ((False, False), False),
        ((False, True, False), True),
        ((False, False, True, True), False),
        ((False, False, True, False, True, True), False),
        ((False, False, True, True, True), True),
    ],
)
def test_a_node_turns_only_after_enough_results_in_a_row(results: list[bool], up: bool) -> None:
    assert after(*results).up is up


@given(st.lists(st.booleans()))
def test_a_node_turns_no_sooner_than_was_promised(results: list[bool]) -> None:
    state = after(*results)
    promised = state.seconds_until_change(CHECKS)
    assert promised > 0
    turned, waited = state, 0.0
    while turned.up is state.up:
        turned, waited = turned.after(not state.up, CHECKS), waited + CHECKS.interval_s
    assert waited == promised


@pytest.mark.parametrize(
    ("nodes", "beliefs", "up", "seconds"),
    [
        # The last living node of a region decides when the region dies.
        ([Node(FR1), Node(FR2)], {FR1: NodeHealth(contrary=1)}, frozenset({Region.FR}), 4.0),
        (
            [Node(FR1), Node(FR2)],
            {FR1: DOWN, FR2: NodeHealth(contrary=1)},
            frozenset({Region.FR}),
            2.0,
        ),
        # The first one to return decides when it lives again.
        ([Node(FR1), Node(FR2)], {FR1: DOWN, FR2: NodeHealth(False, 2)}, NONE, 2.0),
        ([Node(FR1), Node(US1)], {FR1: DOWN}, frozenset({Region.US}), 4.0),
        # A draining node takes nothing new, however healthy it is, and checks do not change that.
        ([Node(FR1, draining=True), Node(US1)], {}, frozenset({Region.US}), 4.0),
        ([Node(FR1, draining=True)], {}, NONE, None),
    ],
)
def test_a_region_lives_while_a_node_of_it_is_up_and_stays(
    nodes: list[Node],
    beliefs: dict[NodeID, NodeHealth],
    up: frozenset[Region],
    seconds: float | None,
) -> None:
    health = Health.of(nodes, beliefs, CHECKS)
    assert (health.up, health.seconds_until_change) == (up, seconds)


def test_of_an_unknown_fleet_every_region_counts_as_up() -> None:
    assert Health.of([], {}, CHECKS) == ALL_UP
    assert ALL_UP.all_up
    assert not Health(frozenset({Region.FR})).all_up


@pytest.mark.parametrize(
    ("seconds", "longest_s", "ttl_s"),
    [
        (None, 300, 300),
        (4.0, 300, 150),
        (4.0, 30, 15),  # gdnsd serves a monitored TTL of 30 as 15
        (200.9, 300, 200),
        (1000.0, 300, 300),
        (0.5, 1, 1),
    ],
)
def test_what_could_change_soon_is_not_promised_for_long(
    seconds: float | None, longest_s: int, ttl_s: int
) -> None:
    assert Health(seconds_until_change=seconds).ttl_s(longest_s) == ttl_s
