import errno
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from edge.sinks.base import Conflict, SinkError
from edge.workflow.run import Run
from edge.workflow.store import DiskRunStore, UnknownRun
from tests.edge.workflow.test_run import new_run
from tests.support.real_loop import real_loop
from tests.support.run_store_suite import CASES, Case
from tests.support.sim import simulate
from zentransfer.disk import RealDisk
from zentransfer.ids import IdMaker, Kind, UploadID
from zentransfer.machine import Crashed
from zentransfer.memory_disk import MemoryDisk
from zentransfer.platter import keep_none


def make(number: int) -> Run:
    maker = IdMaker(Random(number).randbytes)
    return replace(new_run(2), upload=UploadID(maker.make(Kind.UPLOAD)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_simulated_disk_keeps_the_contract(case: Case) -> None:
    simulate(case(DiskRunStore(MemoryDisk(Random(1))), make))  # type: ignore[arg-type]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_real_disk_keeps_the_contract(case: Case, tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    real_loop(case(DiskRunStore(disk), make))  # type: ignore[arg-type]
    disk.close()


def run(life: Callable[[MemoryDisk], Awaitable[None]], seed: int = 1) -> None:
    async def main() -> None:
        await life(MemoryDisk(Random(seed)))

    simulate(main())


def test_what_was_told_survives_a_power_loss() -> None:
    async def life(disk: MemoryDisk) -> None:
        store = DiskRunStore(disk)
        at = await store.create(make(0))
        at = await store.change(at, replace(at.value, fence=1))
        gone = await store.create(make(1))
        await store.remove(gone)
        after = DiskRunStore(disk.crash(keep_none))
        assert await after.read(at.value.upload) == at
        assert [one async for one in after.uploads()] == [at.value.upload]
        assert (await after.change(at, replace(at.value, fence=2))).version == 3

    run(life)


def test_every_operation_may_be_the_last() -> None:
    """A record is the old one or the new one, whatever the power does, and listing goes on."""
    count = 1
    while _crashed(count):
        count += 1
    assert count > 12


def _crashed(count: int) -> bool:
    reached: list[str] = []

    async def life(disk: MemoryDisk) -> None:
        disk.crash_at(count)
        store = DiskRunStore(disk)
        try:
            at = await store.create(make(0))
            reached.append("made")
            await store.change(at, replace(at.value, fence=1))
            reached.append("changed")
        except Crashed:
            reached.append("crashed")
        after = DiskRunStore(disk.crash())
        upload = make(0).upload
        try:
            found = (await after.read(upload)).value
        except UnknownRun:
            assert "made" not in reached
            await after.create(make(0))
        else:
            assert found.fence in ((1,) if "changed" in reached else (0, 1))
        assert [one async for one in after.uploads()] == [upload]

    run(life, seed=count)
    return "crashed" in reached


@pytest.mark.parametrize("flush", [1, 2])
def test_a_change_whose_flush_failed_is_taken_back(flush: int) -> None:
    async def life(disk: MemoryDisk) -> None:
        store = DiskRunStore(disk)
        at = await store.create(make(0))
        disk.fail_flush(flush)
        try:
            at = await store.change(at, replace(at.value, fence=1))
        except SinkError as failure:
            if not failure.temporary:
                raise
        assert (await store.read(at.value.upload)).value == at.value
        assert (await store.change(at, replace(at.value, fence=2))).value.fence == 2

    run(life)


def test_a_full_disk_is_a_sink_error_and_changes_nothing() -> None:
    async def life(disk: MemoryDisk) -> None:
        store = DiskRunStore(disk)
        at = await store.create(make(0))
        disk.fail_at(3, errno.ENOSPC)
        with pytest.raises(SinkError) as full:
            await store.change(at, replace(at.value, fence=1))
        assert full.value.temporary
        assert await store.read(at.value.upload) == at
        await store.change(at, replace(at.value, fence=1))
        with pytest.raises(Conflict):
            await store.change(at, replace(at.value, fence=1))

    run(life)


def test_a_damaged_record_is_refused_for_good() -> None:
    async def life(disk: MemoryDisk) -> None:
        store = DiskRunStore(disk)
        upload = (await store.create(make(0))).value.upload
        file = disk.open(f"runs/{upload[3:5]}/{upload}", write=True)
        file.write_at(b"x", 20)
        file.close()
        with pytest.raises(SinkError) as refused:
            await store.read(upload)
        assert not refused.value.temporary

    run(life)


def test_the_record_of_another_upload_is_refused() -> None:
    async def life(disk: MemoryDisk) -> None:
        store = DiskRunStore(disk)
        one, other = make(0).upload, make(1).upload
        await store.create(make(0))
        await store.create(make(1))
        disk.rename(f"runs/{one[3:5]}/{one}", f"runs/{other[3:5]}/{other}")
        with pytest.raises(SinkError):
            await store.read(other)

    run(life)
