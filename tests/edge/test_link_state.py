from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edge.link_state import ClockOffset, CommandEnd, Commands, Echo, Offset, Pace, is_for_long
from zentransfer.errors import Code
from zentransfer.ids import CommandID
from zentransfer.limits import (
    LINK_COMMANDS_KEPT,
    LINK_ECHOES_KEPT,
    LINK_LONG_WAIT_S,
    LINK_RESET_S,
    LINK_RETRY_FIRST_S,
    LINK_RETRY_MAX_S,
)

SEEDS = st.integers(0, 2**32)
MS = st.integers(0, 10_000)


# --- the pause after a stream ---


def pauses(pace: Pace, count: int, lived_s: float = 0) -> list[float]:
    return [pace.next_wait_s(None, lived_s, None) for _ in range(count)]


@pytest.mark.reaches("LINK_RETRY_FIRST_S", "LINK_RETRY_MAX_S")
@given(SEEDS)
def test_pauses_are_drawn_from_ranges_that_double_up_to_the_limit(seed: int) -> None:
    ceiling_s = LINK_RETRY_FIRST_S
    for wait_s in pauses(Pace(Random(seed)), 20):
        assert 0 <= wait_s <= ceiling_s
        ceiling_s = min(2 * ceiling_s, LINK_RETRY_MAX_S)


def test_pauses_use_their_whole_range() -> None:
    waits_s = [pauses(Pace(Random(seed)), 12)[-1] for seed in range(1000)]
    assert min(waits_s) < 1
    assert max(waits_s) > LINK_RETRY_MAX_S - 1
    assert 0.9 < sum(waits_s) / len(waits_s) / (LINK_RETRY_MAX_S / 2) < 1.1


@pytest.mark.reaches("LINK_RESET_S")
@given(SEEDS)
def test_only_a_stream_that_lived_makes_the_next_pause_a_first_one(seed: int) -> None:
    pace = Pace(Random(seed))
    pauses(pace, 20)
    assert pauses(pace, 1, LINK_RESET_S)[0] <= LINK_RETRY_FIRST_S
    pauses(pace, 20)
    random = Random(seed)
    assert any(
        wait_s > LINK_RETRY_FIRST_S for wait_s in pauses(pace, 20, LINK_RESET_S - random.random())
    )


@pytest.mark.reaches("LINK_LONG_WAIT_S")
@given(SEEDS, st.sampled_from([Code.SUPERSEDED, Code.VERSION_MISMATCH, Code.FORBIDDEN]))
def test_what_a_person_must_cure_is_not_tried_again_soon(seed: int, code: Code) -> None:
    assert is_for_long(code)
    assert is_for_long(str(code))  # as it comes from the wire
    wait_s = Pace(Random(seed)).next_wait_s(str(code), 1000, None)
    assert LINK_LONG_WAIT_S / 2 <= wait_s <= LINK_LONG_WAIT_S


@pytest.mark.parametrize("code", [None, "unavailable", "timeout", "overloaded", "of_the_future"])
def test_what_heals_is_tried_again_soon(code: str | None) -> None:
    assert Pace(Random(1)).next_wait_s(code, 0, None) <= LINK_RETRY_FIRST_S


@given(SEEDS, st.floats(0, 1e9))
def test_control_may_ask_for_more_time_up_to_the_limit(seed: int, asked_s: float) -> None:
    wait_s = Pace(Random(seed)).next_wait_s("overloaded", 0, asked_s)
    least_s = min(asked_s, LINK_LONG_WAIT_S)
    assert least_s <= wait_s <= least_s + LINK_RETRY_FIRST_S


# --- the clock ---


@given(st.integers(-(10**9), 10**9), MS, MS, MS, st.integers(0, 10**12))
def test_the_true_offset_is_within_half_of_the_round_trip(
    offset_ms: int, there_ms: int, work_ms: int, back_ms: int, t0_ms: int
) -> None:
    clock = ClockOffset()
    t1_ms = t0_ms + there_ms + offset_ms
    t2_ms = t1_ms + work_ms
    clock.echoed(Echo(t0_ms, t1_ms, t2_ms), t2_ms - offset_ms + back_ms)
    best = clock.best()
    assert best is not None
    assert best.round_trip_ms == there_ms + back_ms
    assert abs(best.offset_ms - offset_ms) <= (best.round_trip_ms + 1) // 2


def echo(clock: ClockOffset, round_trip_ms: int, offset_ms: int = 0) -> None:
    """Let an echo with an equal way there and back come."""
    half_ms = round_trip_ms // 2
    at_ms = half_ms + offset_ms
    clock.echoed(Echo(0, at_ms, at_ms), round_trip_ms)


@pytest.mark.reaches("LINK_ECHOES_KEPT")
@given(st.lists(st.integers(0, 1000), min_size=1, max_size=30))
def test_the_best_of_the_last_echoes_counts(halves_ms: list[int]) -> None:
    clock = ClockOffset()
    for half_ms in halves_ms:
        echo(clock, 2 * half_ms)
    best = clock.best()
    assert best is not None
    assert best.round_trip_ms == 2 * min(halves_ms[-LINK_ECHOES_KEPT:])


def test_of_equal_echoes_the_newest_counts() -> None:
    clock = ClockOffset()
    for offset_ms in (10, 20, 30):
        echo(clock, 100, offset_ms)
    assert clock.best() == Offset(30, 100)


@given(st.tuples(MS, MS, MS, MS))
def test_an_echo_that_saw_a_clock_being_set_is_dropped(times: tuple[int, int, int, int]) -> None:
    t0_ms, t1_ms, t2_ms, t3_ms = times
    assume(t3_ms - t0_ms < t2_ms - t1_ms or t2_ms < t1_ms)
    clock = ClockOffset()
    clock.echoed(Echo(t0_ms, t1_ms, t2_ms), t3_ms)
    assert clock.best() is None


# --- commands ---


def test_a_command_that_failed_may_be_tried_again() -> None:
    commands = Commands()
    commands.ended(CommandID("a"), CommandEnd.FAILED)
    assert commands.end_of(CommandID("a")) is None
    commands.ended(CommandID("a"), CommandEnd.DONE)
    assert commands.end_of(CommandID("a")) is CommandEnd.DONE


@pytest.mark.reaches("LINK_COMMANDS_KEPT")
@given(st.integers(0, 3 * LINK_COMMANDS_KEPT))
def test_the_last_commands_are_remembered_and_no_more(count: int) -> None:
    commands = Commands()
    names = [CommandID(str(number)) for number in range(count)]
    for name in names:
        commands.ended(name, CommandEnd.DONE)
    known = [name for name in names if commands.end_of(name)]
    assert known == names[-LINK_COMMANDS_KEPT:]
