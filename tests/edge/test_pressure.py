import asyncio
import time
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.outbox import open_outbox
from edge.pressure import LoopLag
from tests.support.real_loop import real_loop
from tests.support.sim import simulate
from zentransfer.disk import DiskPath
from zentransfer.ids import EpochID
from zentransfer.limits import LOOP_LAG_LOOK_S, LOOP_LAG_LOOKS, LOOP_LAG_MAX_S
from zentransfer.memory_disk import MemoryDisk

seconds = st.floats(0, 10)


def test_nothing_is_known_before_the_first_look() -> None:
    assert LoopLag().p99_s() == 0.0


@pytest.mark.reaches("LOOP_LAG_LOOKS")
@given(st.lists(seconds, min_size=LOOP_LAG_LOOKS, max_size=3 * LOOP_LAG_LOOKS))
def test_the_second_worst_of_the_last_looks_counts(lags: list[float]) -> None:
    lag = LoopLag()
    for each in lags:
        lag.looked(each, 10.0)
    assert lag.p99_s() == sorted(lags[-LOOP_LAG_LOOKS:])[-2]
    assert lag.p99_s() == lag.p99_s()


@given(seconds, seconds)
def test_what_other_programs_take_of_the_machine_does_not_count(late: float, worked: float) -> None:
    lag = LoopLag()
    lag.looked(late, worked)
    assert lag.p99_s() == min(late, worked)
    assert lag.p99_s() >= 0


def test_a_look_that_comes_early_is_no_lag() -> None:
    lag = LoopLag()
    lag.looked(-0.001, 0.01)
    assert lag.p99_s() == 0.0


@pytest.mark.reaches("LOOP_LAG_LOOK_S")
def test_work_that_holds_up_the_loop_is_seen_and_sleep_is_not() -> None:
    async def main() -> tuple[float, float]:
        lag = LoopLag()
        looking = asyncio.get_running_loop().create_task(lag.run())
        for _ in range(3):
            await asyncio.sleep(LOOP_LAG_LOOK_S / 2)
            time.sleep(2 * LOOP_LAG_MAX_S)  # noqa: ASYNC251 - as a machine that others keep busy
        idle = lag.p99_s()
        for _ in range(3):
            await asyncio.sleep(LOOP_LAG_LOOK_S / 2)
            until = time.thread_time() + 3 * LOOP_LAG_MAX_S
            while time.thread_time() < until:
                pass
        await asyncio.sleep(2 * LOOP_LAG_LOOK_S)
        looking.cancel()
        return idle, lag.p99_s()

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
