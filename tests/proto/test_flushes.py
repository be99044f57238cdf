import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.real_loop import real_loop
from zentransfer.disk import RealDisk
from zentransfer.flushes import Flushes
from zentransfer.limits import (
    DISK_FLUSH_GROUPS_MAX,
    DISK_FLUSH_THREADS,
    DISK_FLUSH_TOGETHER_BYTES,
    DISK_FLUSH_WAIT_S,
)


def nothing() -> None:
    """Release nothing."""


class Gate:
    """Work that begins and waits to be let go."""

    def __init__(self) -> None:
        self.began: list[int] = []
        self.open = threading.Event()

    def work(self, number: int) -> Callable[[], None]:
        def run() -> None:
            self.began.append(threading.get_ident())
            self.open.wait(20)

        return run


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - threads set no event of ours
            await asyncio.sleep(0.002)


@pytest.mark.reaches("DISK_FLUSH_GROUPS_MAX")
def test_what_comes_while_groups_run_goes_together() -> None:
    async def main() -> None:
        flushes, gate = Flushes(DISK_FLUSH_THREADS), Gate()
        threads: set[int] = set()
        async with asyncio.TaskGroup() as group:
            for _ in range(DISK_FLUSH_GROUPS_MAX):
                group.create_task(flushes.together(0, gate.work(1), nothing))
                await until(lambda: True)
                await asyncio.sleep(0)
            await until(lambda: len(gate.began) == DISK_FLUSH_GROUPS_MAX)
            for _ in range(9):
                work = lambda: threads.add(threading.get_ident())  # noqa: E731
                group.create_task(flushes.together(0, work, nothing))
            await asyncio.sleep(10 * DISK_FLUSH_WAIT_S)
            assert len(threads) == 1, "those before it are slow, so it went, and in one thread"
            gate.open.set()
        flushes.close()

    real_loop(main())


def test_each_hears_of_its_own_failure_and_all_are_released() -> None:
    released: list[int] = []

    def fails() -> None:
        raise OSError(5, "this one")

    async def main() -> None:
        flushes = Flushes(2)
        results: dict[int, str] = {}

        async def one(number: int) -> None:
            work = fails if number % 2 else nothing
            try:
                await flushes.together(0, work, lambda: released.append(number))
                results[number] = "ok"
            except OSError as failure:
                results[number] = str(failure.strerror)

        async with asyncio.TaskGroup() as group:
            for number in range(6):
                group.create_task(one(number))
        assert results == {n: "this one" if n % 2 else "ok" for n in range(6)}
        flushes.close()
        with pytest.raises(OSError, match="closed"):
            await flushes.together(0, nothing, lambda: released.append(6))
        with pytest.raises(OSError, match="closed"):
            await flushes.alone(0, nothing, lambda: released.append(7))

    real_loop(main())
    assert sorted(released) == list(range(8))


@pytest.mark.reaches("DISK_FLUSH_TOGETHER_BYTES")
def test_a_large_flush_does_not_hold_up_the_small_ones(tmp_path: Path) -> None:
    async def main() -> None:
        disk = RealDisk(tmp_path)
        large, small = disk.create("a"), disk.create("b")
        large.write_at(bytes(DISK_FLUSH_TOGETHER_BYTES + 1), 0)
        small.write_at(b"x", 0)
        async with asyncio.TaskGroup() as group:
            with large._flushing:  # as if its disk were slow
                waiting = group.create_task(large.flush())
                async with asyncio.timeout(20):
                    await small.flush()
                assert not waiting.done()
        large.close()
        small.close()
        disk.close()

    real_loop(main())
