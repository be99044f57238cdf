import asyncio
import time
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edge.outbox import open_outbox
from edge.pressure import LoopLag
from tests.support.real_loop import real_loop
from tests.support.sim import simulate
from zentransfer.disk import DiskPath
from zentransfer.ids import EpochID
from zentransfer.limits import LOOP_LAG_LOOK_S, LOOP_LAG_MAX_S, LOOP_LAG_STANDS_S
from zentransfer.memory_disk import MemoryDisk

seconds = st.floats(0, 10)


def test_nothing_is_known_before_the_first_looks() -> None:
    lag = LoopLag()
    assert lag.standing_s() == 0.0
    lag.looked(LOOP_LAG_STANDS_S / 2, 10.0)
    assert lag.standing_s() == 0.0


@pytest.mark.reaches("LOOP_LAG_STANDS_S")
@given(st.lists(seconds, min_size=1, max_size=200))
def test_the_lag_counts_that_no_look_of_the_last_seconds_was_below(lags: list[float]) -> None:
    lag = LoopLag()
    for each in lags:
        lag.looked(each, 10.0)
    last, span_s = list[float](), 0.0
    for each in reversed(lags):
        if span_s < LOOP_LAG_STANDS_S:
            last.append(each)
            span_s += LOOP_LAG_LOOK_S + each
    assume(abs(span_s - LOOP_LAG_STANDS_S) > 1e-6)
    assert lag.standing_s() == (min(last) if span_s > LOOP_LAG_STANDS_S else 0.0)


def test_a_burst_that_is_worked_off_is_forgotten_at_once() -> None:
    lag = LoopLag()
    for _ in range(10):
        lag.looked(4 * LOOP_LAG_MAX_S, 10.0)
    assert lag.standing_s() > LOOP_LAG_MAX_S
    lag.looked(0.0, 0.0)
    assert lag.standing_s() == 0.0


@given(seconds, seconds)
def test_what_other_programs_take_of_the_machine_does_not_count(late: float, worked: float) -> None:
    lag = LoopLag()
    for _ in range(1 + int(LOOP_LAG_STANDS_S / LOOP_LAG_LOOK_S)):
        lag.looked(late, worked)
    assert lag.standing_s() == min(late, worked)


def test_a_look_that_comes_early_is_no_lag() -> None:
    lag = LoopLag()
    for _ in range(1 + int(LOOP_LAG_STANDS_S / LOOP_LAG_LOOK_S)):
        lag.looked(-0.001, 0.01)
    assert lag.standing_s() == 0.0


@pytest.mark.reaches("LOOP_LAG_LOOK_S")
def test_work_that_holds_up_the_loop_is_seen_and_sleep_is_not() -> None:
    async def main() -> tuple[float, float]:
        lag = LoopLag()
        looking = asyncio.get_running_loop().create_task(lag.run())
        for _ in range(12):
            await asyncio.sleep(LOOP_LAG_LOOK_S / 2)
            time.sleep(2 * LOOP_LAG_MAX_S)  # noqa: ASYNC251 - as a machine that others keep busy
        idle = lag.standing_s()
        for _ in range(9):
            await asyncio.sleep(LOOP_LAG_LOOK_S / 2)
            until = time.thread_time() + 3 * LOOP_LAG_MAX_S
            while time.thread_time() < until:
                pass
        looking.cancel()
        return idle, lag.standing_s()

    idle, busy = real_loop(main())
    assert idle < LOOP_LAG_MAX_S < busy


def test_how_long_a_fact_waits_for_the_disk_is_known() -> None:
    class Stuck(MemoryDisk):
        async def flush_folder(self, path: DiskPath) -> None:
            await asyncio.sleep(5)
            await super().flush_folder(path)

    async def main() -> None:
        disk = Stuck(Random(1))
        outbox = await open_outbox(disk, "outbox", lambda: EpochID("ep_a"))
        assert outbox.waiting_s == 0.0
        adding = asyncio.get_running_loop().create_task(outbox.add(b"fact"))
        await asyncio.sleep(2)
        assert outbox.waiting_s == pytest.approx(2)
        await adding
        assert outbox.waiting_s == 0.0
        outbox.close()

    simulate(main())
