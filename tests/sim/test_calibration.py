# Calibrate before believing: the simulated disk must lose nothing of a right writer and must
# catch each wrong one.  A disk that passes the writers without flush is blind.

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest

from tests.support.sim import simulate
from zentransfer.disk import Disk, read_all
from zentransfer.memory_disk import MemoryDisk
from zentransfer.platter import Choose, keep_none

RUNS = 200
WRONG_RUNS = 60  # enough to see what is wrong nearly always
WRITERS = 3  # at once, so that one's flush falls into another's write

Put = Callable[[Disk, str, bytes], Coroutine[Any, Any, None]]


def _write(disk: Disk, name: str, data: bytes) -> None:
    file = disk.create(f"{name}.new")
    for start in range(0, len(data), 700):
        file.write_at(data[start : start + 700], start)
    file.close()


async def _flush(disk: Disk, name: str) -> None:
    file = disk.open(name, write=True)
    try:
        await file.flush()
    finally:
        file.close()


async def right(disk: Disk, name: str, data: bytes) -> None:
    _write(disk, name, data)
    await _flush(disk, f"{name}.new")
    disk.rename(f"{name}.new", name)
    await disk.flush_folder(".")


async def without_folder_flush(disk: Disk, name: str, data: bytes) -> None:
    _write(disk, name, data)
    await _flush(disk, f"{name}.new")
    disk.rename(f"{name}.new", name)


async def without_file_flush(disk: Disk, name: str, data: bytes) -> None:
    _write(disk, name, data)
    disk.rename(f"{name}.new", name)
    await disk.flush_folder(".")


async def without_flush(disk: Disk, name: str, data: bytes) -> None:
    _write(disk, name, data)
    disk.rename(f"{name}.new", name)


@dataclass
class Tally:
    """What a crash left of the files whose writer had been told that they are safe."""

    told: int = 0
    lost: int = 0
    corrupt: int = 0


async def _run(put: Put, random: Random, keep: Choose | None) -> Tally:
    asyncio.get_running_loop().set_debug(False)  # it costs these many short waits a factor of ten
    disk = MemoryDisk(random)
    told: dict[str, bytes] = {}

    async def work(writer: int) -> None:
        with suppress(OSError):  # the power is gone
            for number in range(1_000_000):
                name, data = f"{writer}-{number}", random.randbytes(random.randrange(1, 5000))
                await put(disk, name, data)
                told[name] = data
                await asyncio.sleep(random.uniform(0, 0.005))

    async with asyncio.TaskGroup() as group:
        for writer in range(WRITERS):
            group.create_task(work(writer))
        await asyncio.sleep(random.uniform(0.02, 0.1))
        after = disk.crash(keep)
    tally = Tally(len(told))
    for name, data in told.items():
        if not after.exists(name):
            tally.lost += 1
        elif read_all(after, name, 5000) != data:
            tally.corrupt += 1
    return tally


def _runs(put: Put, keep: Choose | None = None, runs: int = RUNS) -> list[Tally]:
    tallies = [simulate(_run(put, Random(seed), keep)) for seed in range(runs)]
    assert sum(tally.told for tally in tallies) > 5 * runs  # else nothing is shown
    return [tally for tally in tallies if tally.told]


@pytest.mark.parametrize("keep", [None, keep_none])
def test_a_right_writer_loses_nothing(keep: Choose | None) -> None:
    for tally in _runs(right, keep):
        assert (tally.lost, tally.corrupt) == (0, 0)


def test_a_writer_without_folder_flush_loses_files_and_corrupts_none() -> None:
    tallies = _runs(without_folder_flush, runs=WRONG_RUNS)
    assert sum(tally.lost > 0 for tally in tallies) > 0.7 * len(tallies)
    assert not any(tally.corrupt for tally in tallies)


def test_a_writer_without_file_flush_corrupts_files_and_loses_none() -> None:
    tallies = _runs(without_file_flush, runs=WRONG_RUNS)
    assert sum(tally.corrupt for tally in tallies) > 0.8 * sum(tally.told for tally in tallies)
    assert not any(tally.lost for tally in tallies)


def test_a_writer_without_flush_keeps_next_to_nothing() -> None:
    tallies = _runs(without_flush, runs=WRONG_RUNS)
    bad = sum(tally.lost + tally.corrupt for tally in tallies)
    assert bad > 0.9 * sum(tally.told for tally in tallies)


@pytest.mark.parametrize(
    ("put", "lost", "corrupt"),
    [(without_folder_flush, 1, 0), (without_file_flush, 0, 1), (without_flush, 1, 0)],
)
def test_at_worst_a_wrong_writer_keeps_nothing(put: Put, lost: int, corrupt: int) -> None:
    for tally in _runs(put, keep_none, runs=20):
        assert (tally.lost, tally.corrupt) == (lost * tally.told, corrupt * tally.told)


# --- a claim: another process goes on where one died


async def _claimed(random: Random, *, failed: bool, flush: bool, drop: bool) -> tuple[bool, bool]:
    """Claim what a killed writer left; returns whether an offset above 0 was told, and lost."""
    disk = MemoryDisk(random)
    file = disk.create("a")
    await disk.flush_folder(".")
    file.write_at(b"x" * 2000, 0)
    if failed:
        disk.fail_flush()
        with suppress(OSError):
            await file.flush()
    heir = disk.process()
    disk.kill()
    log = heir.open("a", write=True)
    if flush:
        await log.flush()
    if drop:
        log.drop_cache()
    told = len(read_all(heir, "a", 2000).rstrip(b"\0"))
    left = read_all(heir.crash(), "a", 2000)
    return told > 0, left[:told] != b"x" * told


@pytest.mark.parametrize("failed", [False, True])
@pytest.mark.parametrize("flush", [False, True])
@pytest.mark.parametrize("drop", [False, True])
def test_a_claim_must_flush_and_drop_before_it_tells(failed: bool, flush: bool, drop: bool) -> None:
    claims = [
        simulate(_claimed(Random(seed), failed=failed, flush=flush, drop=drop))
        for seed in range(RUNS)
    ]
    lost = sum(lost for _, lost in claims)
    if failed and drop:
        assert not any(told for told, _ in claims)  # the truth: nothing is there
    elif failed or not flush:
        assert lost > 0.5 * RUNS
    else:
        assert lost == 0
        assert all(told for told, _ in claims)
