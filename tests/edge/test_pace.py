import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.pace import Pace, Patience
from zentransfer.limits import BODY_IDLE_S, BODY_RATE_MIN_BYTES_S, BODY_RATE_WINDOW_S

DEFAULT = Patience()


@pytest.mark.reaches("BODY_IDLE_S")
def test_silence_ends_the_wait() -> None:
    assert Pace(DEFAULT, 100.0).deadline_s == 100.0 + BODY_IDLE_S


def test_progress_re_arms_the_wait() -> None:
    pace = Pace(DEFAULT, 0.0)
    for second in range(1, 600):
        assert second < pace.deadline_s
        pace.progressed(second, 2 * BODY_RATE_MIN_BYTES_S)
    assert pace.deadline_s == 599 + BODY_IDLE_S


@pytest.mark.reaches("BODY_RATE_MIN_BYTES_S", "BODY_RATE_WINDOW_S")
def test_a_trickle_is_cut_after_its_window_and_not_before() -> None:
    pace, now_s = Pace(DEFAULT, 0.0), 0.0
    while now_s < pace.deadline_s:
        now_s += 1
        pace.progressed(now_s, BODY_RATE_MIN_BYTES_S // 4)
    assert BODY_RATE_WINDOW_S <= now_s <= 2 * BODY_RATE_WINDOW_S


def test_a_fast_start_buys_no_more_than_one_window() -> None:
    pace = Pace(DEFAULT, 0.0)
    pace.progressed(1.0, 1 << 40)
    now_s = 1.0
    while now_s < pace.deadline_s:
        now_s += 10
        pace.progressed(now_s, 1)
    assert now_s <= 1 + BODY_RATE_WINDOW_S + 10


def test_the_time_of_our_own_disk_is_not_the_senders() -> None:
    pace = Pace(DEFAULT, 0.0)
    pace.excused(500.0, 500.0)
    assert pace.deadline_s == 500.0 + BODY_IDLE_S


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 10_000)), max_size=50))
def test_a_sender_above_the_lowest_rate_is_never_cut(steps: list[tuple[float, int]]) -> None:
    pace, now_s = Pace(DEFAULT, 0.0), 0.0
    for wait_s, extra in steps:
        now_s += wait_s
        assert now_s < pace.deadline_s
        pace.progressed(now_s, int(wait_s * BODY_RATE_MIN_BYTES_S) + 1 + extra)
