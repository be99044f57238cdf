import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.child import AFTER, CANNOT_START, BackOff, Child, Event, State
from zentransfer.limits import RESTART_FIRST_S, RESTART_MAX_S, RESTART_RESET_S
from zentransfer.service import EXIT_CANNOT_START

BACK_OFF = BackOff()


def test_the_code_that_says_it_is_no_use_is_the_services_own() -> None:
    assert CANNOT_START == EXIT_CANNOT_START


def test_every_state_is_reached_and_only_the_end_is_final() -> None:
    assert {*AFTER.values()} == set(State)
    leads_on = {state for (state, _), after in AFTER.items() if after is not state}
    assert leads_on == set(State) - {State.ENDED}


def test_whatever_state_it_is_in_it_can_be_told_to_stop() -> None:
    assert {state for state, event in AFTER if event is Event.STOP} == set(State)


def after(child: Child, event: Event, now_s: float, code: int) -> Child:
    match event:
        case Event.START:
            return child.started(7, now_s)
        case Event.READY:
            return child.ready()
        case Event.EXIT:
            return child.exited(code, now_s, BACK_OFF)
        case Event.STOP:
            return child.told_to_stop()


histories = st.lists(
    st.tuples(st.sampled_from(Event), st.floats(0, 1000), st.sampled_from((0, 1, 78, -9, -15)))
)


@given(histories)
def test_a_history_goes_by_the_table_and_a_pid_means_that_it_runs(
    history: list[tuple[Event, float, int]],
) -> None:
    child, now_s = Child(), 0.0
    for event, passed_s, code in history:
        now_s += passed_s
        if (child.state, event) not in AFTER:
            with pytest.raises(AssertionError):
                after(child, event, now_s, code)
            continue
        before, child = child, after(child, event, now_s, code)
        assert child.state is AFTER[before.state, event]
        runs = child.state in (State.STARTING, State.SERVING, State.STOPPING)
        assert (child.pid is not None) is runs
        assert child.has_served >= before.has_served
        if child.state is State.SERVING:
            assert child.has_served


@given(histories, st.randoms(use_true_random=False))
def test_a_pause_is_never_longer_than_the_longest(
    history: list[tuple[Event, float, int]], chance: random.Random
) -> None:
    child, now_s = Child(), 0.0
    for event, passed_s, code in history:
        now_s += passed_s
        if (child.state, event) in AFTER:
            child = after(child, event, now_s, code)
            if event is Event.EXIT:
                assert 0 <= child.pause_s(BACK_OFF, chance) <= RESTART_MAX_S


class Highest(random.Random):
    """Chance that always draws the upper end."""

    def uniform(self, a: float, b: float) -> float:
        return b


def died(child: Child, lived_s: float) -> Child:
    return child.started(7, 100.0).exited(1, 100.0 + lived_s, BACK_OFF)


@pytest.mark.reaches("RESTART_FIRST_S")
@pytest.mark.reaches("RESTART_MAX_S")
def test_pauses_double_from_the_first_to_the_longest() -> None:
    child, pauses = Child(), []
    for _ in range(200):
        child = died(child, lived_s=1.0)
        pauses.append(child.pause_s(BACK_OFF, Highest()))
    assert pauses[:3] == [RESTART_FIRST_S, 2 * RESTART_FIRST_S, 4 * RESTART_FIRST_S]
    assert pauses == sorted(pauses)
    assert pauses[-1] == RESTART_MAX_S


def test_full_jitter_draws_from_nothing_on() -> None:
    chance = random.Random(1)
    drawn = [BACK_OFF.pause_s(10, chance) for _ in range(1000)]
    assert min(drawn) < 0.1 * RESTART_MAX_S
    assert max(drawn) > 0.9 * RESTART_MAX_S


@pytest.mark.reaches("RESTART_RESET_S")
def test_who_lived_long_enough_starts_again_as_if_it_never_died() -> None:
    child = Child()
    for _ in range(9):
        child = died(child, lived_s=RESTART_RESET_S - 0.001)
    assert child.failures == 9
    assert died(child, lived_s=RESTART_RESET_S).failures == 1


def test_refusing_to_start_is_hopeless_only_before_it_ever_served() -> None:
    first = Child().started(7, 0.0).exited(CANNOT_START, 1.0, BACK_OFF)
    assert first.is_hopeless
    served = Child().started(7, 0.0).ready().exited(1, 1.0, BACK_OFF)
    later = served.started(8, 2.0).exited(CANNOT_START, 3.0, BACK_OFF)
    assert not later.is_hopeless
    assert later.pause_s(BACK_OFF, random.Random(1)) == RESTART_MAX_S
    assert not later.started(9, 9.0).exited(1, 9.5, BACK_OFF).is_misconfigured
