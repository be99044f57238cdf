from datetime import UTC, datetime

import pytest

from zentransfer.clock import Clock, ManualClock, SystemClock


@pytest.mark.parametrize("clock", [SystemClock(), ManualClock(1_800_000_000_000)])
def test_a_clock_tells_milliseconds_since_1970(clock: Clock) -> None:
    assert isinstance(clock.now_ms(), int)
    assert clock.now_ms() > 1_700_000_000_000


def test_the_systems_clock_tells_the_time_of_the_system() -> None:
    before = datetime.now(UTC)
    now = SystemClock().now_ms() / 1000
    assert before.timestamp() - 0.01 <= now <= datetime.now(UTC).timestamp()


def test_a_manual_clock_moves_only_when_it_is_turned() -> None:
    clock = ManualClock(5)
    assert (clock.now_ms(), clock.now_ms()) == (5, 5)
    clock.advance(1_000)
    assert clock.now_ms() == 1_005


def test_a_manual_clock_can_be_set_back() -> None:
    clock = ManualClock(5)
    clock.advance(-10)
    assert clock.now_ms() == -5
