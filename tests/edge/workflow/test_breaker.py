from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.workflow.breaker import Breaker, Breakers, Gate
from edge.workflow.destinations.base import Fault
from zentransfer.ids import DestinationID
from zentransfer.limits import (
    BREAKER_FAILURES,
    BREAKER_PAUSE_FIRST_S,
    BREAKER_PAUSE_MAX_S,
    BREAKER_PROBE_FIRST_S,
    BREAKER_PROBE_MAX_S,
    BREAKERS_MAX,
)


def breaker() -> Breaker:
    return Breaker(1, Random(3))


def pauses(fault: Fault, count: int) -> list[float]:
    """Return how long the destination is left alone after each of *count* failures."""
    one, now_s, found = breaker(), 100.0, list[float]()
    for _ in range(count):
        one.begun(now_s)
        one.failed(fault, now_s)
        found.append(max(one.until_s - now_s, 0))
        now_s = max(now_s, one.until_s)
    return found


@pytest.mark.reaches("BREAKER_FAILURES", "BREAKER_PAUSE_FIRST_S", "BREAKER_PAUSE_MAX_S")
def test_a_destination_that_fails_in_a_row_gets_longer_and_longer_pauses() -> None:
    one = breaker()
    for _ in range(BREAKER_FAILURES - 1):
        one.failed(Fault.TEMPORARY, 0)
        assert one.gate(0) is Gate.OPEN
    one.failed(Fault.TEMPORARY, 0)
    assert one.gate(0) is Gate.PAUSED
    assert BREAKER_PAUSE_FIRST_S / 2 <= one.until_s <= BREAKER_PAUSE_FIRST_S
    longest = max(pauses(Fault.TEMPORARY, 40))
    assert BREAKER_PAUSE_MAX_S / 2 <= longest <= BREAKER_PAUSE_MAX_S


@pytest.mark.reaches("BREAKER_PROBE_FIRST_S", "BREAKER_PROBE_MAX_S")
def test_a_destination_that_is_closed_is_asked_ever_more_rarely() -> None:
    found = pauses(Fault.DESTINATION, 40)
    assert BREAKER_PROBE_FIRST_S / 2 <= found[0] <= BREAKER_PROBE_FIRST_S
    assert BREAKER_PROBE_MAX_S / 2 <= max(found) <= BREAKER_PROBE_MAX_S


def test_one_at_a_time_finds_out_and_a_success_lets_all_go() -> None:
    one = breaker()
    one.failed(Fault.DESTINATION, 0)
    assert one.gate(1) is Gate.SHUT
    later = one.until_s
    assert one.gate(later) is Gate.PROBE
    one.begun(later)
    assert one.gate(later) is Gate.SHUT
    one.given_up()
    assert one.gate(later) is Gate.PROBE
    one.begun(later)
    one.succeeded()
    assert one.gate(later) is Gate.OPEN


def test_an_object_that_is_refused_says_nothing_against_its_destination() -> None:
    one = breaker()
    for _ in range(10 * BREAKER_FAILURES):
        one.failed(Fault.OBJECT, 0)
    assert one.gate(0) is Gate.OPEN


@given(st.lists(st.sampled_from([*Fault, None]), max_size=60), st.integers(0, 1_000))
def test_it_always_opens_again(faults: list[Fault | None], seed: int) -> None:
    one, now_s = Breaker(1, Random(seed)), 0.0
    for fault in faults:
        one.begun(now_s)
        if fault is None:
            one.succeeded()
        else:
            one.failed(fault, now_s)
        now_s += 1
    now_s += BREAKER_PROBE_MAX_S
    assert one.gate(now_s) in (Gate.OPEN, Gate.PROBE)


@pytest.mark.reaches("BREAKERS_MAX")
def test_of_so_many_destinations_failures_are_remembered_and_no_more() -> None:
    breakers = Breakers(Random(1))
    used, unused = DestinationID("ds_used"), DestinationID("ds_unused")
    for each in (used, unused):
        breakers.of(each, 1).failed(Fault.DESTINATION, 0)
    for number in range(BREAKERS_MAX - 2):
        breakers.of(DestinationID(str(number)), 1)
    breakers.of(used, 1)
    breakers.of(DestinationID("one more"), 1)
    assert len(breakers) == BREAKERS_MAX
    assert breakers.of(used, 1).gate(0) is Gate.SHUT
    assert breakers.of(unused, 1).gate(0) is Gate.OPEN


def test_what_an_owner_changes_or_wants_tried_again_begins_anew() -> None:
    breakers = Breakers(Random(1))
    one = DestinationID("ds_one")
    breakers.of(one, 1).failed(Fault.DESTINATION, 0)
    assert breakers.of(one, 1).gate(0) is Gate.SHUT
    assert breakers.of(one, 2).gate(0) is Gate.OPEN
    breakers.of(one, 2).failed(Fault.DESTINATION, 0)
    breakers.forget(one)
    breakers.forget(one)
    assert breakers.of(one, 2).gate(0) is Gate.OPEN
