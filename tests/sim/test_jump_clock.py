import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.sim import SimLoop, simulate


def test_an_hour_of_waiting_takes_no_time() -> None:
    async def main() -> float:
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    before_s = time.perf_counter()
    assert simulate(main()) == 3600
    assert time.perf_counter() - before_s < 5


@given(st.lists(st.integers(0, 10_000), max_size=20))
def test_sleepers_wake_in_the_order_of_their_times(delays_s: list[int]) -> None:
    async def main() -> list[float]:
        woken: list[float] = []

        async def sleeper(delay_s: int) -> None:
            await asyncio.sleep(delay_s)
            assert asyncio.get_running_loop().time() == delay_s
            woken.append(delay_s)

        async with asyncio.TaskGroup() as group:
            for delay_s in delays_s:
                group.create_task(sleeper(delay_s))
        return woken

    assert simulate(main()) == sorted(delays_s)


def test_time_stands_still_while_a_task_can_run() -> None:
    async def main() -> float:
        for _ in range(1000):
            await asyncio.sleep(0)
        return asyncio.get_running_loop().time()

    assert simulate(main()) == 0


def test_a_timeout_ends_what_would_wait_for_ever() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(86_400):
                await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    assert simulate(main()) == 86_400


def test_a_deadlock_is_an_error() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="deadlock"):
        simulate(main())


def test_each_simulation_starts_at_zero() -> None:
    async def main() -> tuple[float, type[asyncio.AbstractEventLoop]]:
        loop = asyncio.get_running_loop()
        return loop.time(), type(loop)

    assert simulate(main()) == simulate(main()) == (0, SimLoop)
