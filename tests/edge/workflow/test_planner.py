import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import Random

import pytest

from edge.facts import DeletionReason
from edge.particulars import seal_particulars
from edge.record import State, UploadRecord
from edge.sinks.base import SinkError
from edge.workflow.deliver import Deliverer
from edge.workflow.planner import Planner
from tests.support.delivery_site import (
    Region,
    SharedPlaces,
    Worker,
    destination_id,
    start,
)
from tests.support.sim import simulate
from zentransfer.ids import IdMaker, Kind, UploadID
from zentransfer.limits import (
    DELIVERY_LOOK_BATCH,
    DELIVERY_LOOK_PAUSE_S,
    DELIVERY_OVER_KEPT,
    DELIVERY_PLANNERS,
    FTP_RENAME_S,
)
from zentransfer.memory_disk import MemoryDisk


def play(act: Callable[[Region, MemoryDisk, Worker], Awaitable[None]]) -> None:
    async def main() -> None:
        random = Random(5)
        region = Region(random, {destination_id(0): "/a"})
        disk = MemoryDisk(random)
        worker = await start(region, disk, SharedPlaces(region))
        await act(region, disk, worker)
        worker.close()

    simulate(main())


def planner_of(worker: Worker) -> Planner:
    return worker.deliverer.planner


def test_a_whole_upload_gets_one_run_however_often_it_is_planned() -> None:
    async def act(region: Region, disk: MemoryDisk, worker: Worker) -> None:
        sent = await region.commit(disk, b"content")
        other = Deliverer(worker.site)
        async with asyncio.TaskGroup() as group:
            for planner in (planner_of(worker), other.planner, other.planner):
                group.create_task(planner.plan(sent.upload))
        assert [one async for one in worker.site.runs.uploads()] == [sent.upload]
        assert worker.deliverer.index.maybe(sent.upload) == other.index.maybe(sent.upload)

    play(act)


def test_what_is_gone_gets_no_run_and_is_not_looked_at_again() -> None:
    async def act(region: Region, disk: MemoryDisk, worker: Worker) -> None:
        sent = await region.commit(disk, b"content")
        await region.sink(disk).destroy(sent.upload)
        assert not await planner_of(worker).plan(sent.upload)
        assert [one async for one in worker.site.runs.uploads()] == []
        assert sent.upload in planner_of(worker)._over

    play(act)


def test_a_run_that_was_made_too_late_is_taken_away_again() -> None:
    """Another process did all of it between the look at the record and the making of the run."""

    async def act(region: Region, disk: MemoryDisk, worker: Worker) -> None:
        sent = await region.commit(disk, b"content")
        record = (await region.sink(disk).record(sent.upload)).value
        await region.sink(disk).destroy(sent.upload)
        assert not await planner_of(worker)._create(record)
        assert [one async for one in worker.site.runs.uploads()] == []
        assert len(worker.deliverer.index) == 0

    play(act)


def test_an_upload_whose_names_cannot_be_read_still_ends_by_policy() -> None:
    async def act(region: Region, disk: MemoryDisk, worker: Worker) -> None:
        sent = await region.commit(disk, b"content")
        sink = region.sink(disk)
        found = await sink.record(sent.upload)
        await sink.change(sent.upload, found.version, replace(found.value, names_kid="lost"))
        assert await planner_of(worker).plan(sent.upload)

    play(act)


def test_a_damaged_record_holds_up_nobody() -> None:
    async def act(region: Region, disk: MemoryDisk, worker: Worker) -> None:
        broken = await region.commit(disk, b"broken")
        sound = await region.commit(disk, b"sound")
        planner = planner_of(worker)
        assert await planner.plan(broken.upload)
        worker.deliverer.index.forget(broken.upload)
        file = disk.open(f"runs/{broken.upload[3:5]}/{broken.upload}", write=True)
        file.write_at(b"x", 30)
        file.close()
        await planner._look()
        assert broken.upload in planner._over
        with pytest.raises(SinkError):
            await planner.plan(broken.upload)
        assert await planner.plan(sound.upload)

    play(act)


@pytest.mark.reaches("DELIVERY_LOOK_BATCH", "DELIVERY_LOOK_PAUSE_S")
def test_a_look_through_very_many_lets_others_work() -> None:
    async def act(region: Region, disk: MemoryDisk, worker: Worker) -> None:
        maker = IdMaker(Random(1).randbytes)
        for _ in range(3 * DELIVERY_LOOK_BATCH):
            upload = UploadID(maker.make(Kind.UPLOAD))
            disk.make_folder(f"uploads/{upload[3:5]}/{upload}")
            planner_of(worker).remember_over(upload)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await planner_of(worker)._look()
        assert loop.time() - begun >= 2 * DELIVERY_LOOK_PAUSE_S

    play(act)


@pytest.mark.reaches("DELIVERY_OVER_KEPT")
def test_what_is_over_is_remembered_up_to_a_limit() -> None:
    async def act(region: Region, disk: MemoryDisk, worker: Worker) -> None:
        planner = planner_of(worker)
        for number in range(DELIVERY_OVER_KEPT + 3):
            planner.remember_over(UploadID(str(number)))
        assert len(planner._over) == DELIVERY_OVER_KEPT
        assert "2" not in planner._over
        assert "3" in planner._over

    play(act)


@pytest.mark.reaches("DELIVERY_PLANNERS")
def test_so_many_runs_are_planned_at_once() -> None:
    async def act(region: Region, disk: MemoryDisk, worker: Worker) -> None:
        sent = [await region.commit(disk, bytes([n])) for n in range(3 * DELIVERY_PLANNERS)]
        view = disk.process()
        site = (await start(region, view, SharedPlaces(region), "delivery-1")).site
        other = Deliverer(site)
        for each in sent:
            other.planner.wake(each.upload)
        view.freeze()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(other.planner.run())
            await asyncio.sleep(1)
            # Each stands at its disk; the others are still in the queue.
            assert other.planner._woken.qsize() >= len(sent) - DELIVERY_PLANNERS
            assert len(other.index) == 0
            view.thaw()
            await asyncio.sleep(3)
            assert len(other.index) == len(sent)
            task.cancel()

    play(act)


def test_who_leaves_plans_nothing_more() -> None:
    async def act(region: Region, disk: MemoryDisk, worker: Worker) -> None:
        sent = await region.commit(disk, b"content")
        planner = planner_of(worker)
        planner.leave()
        planner.wake(sent.upload)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(planner.run())
            await asyncio.sleep(20)
            task.cancel()
        assert [one async for one in worker.site.runs.uploads()] == []
        assert (await region.sink(disk).record(sent.upload)).value.state is State.COMMITTED

    play(act)


def held(worker: Worker, record: UploadRecord, *, is_back: bool = False) -> UploadRecord:
    """Return *record* as of a file under a temporary name, which FTP brought."""
    public = worker.site.region
    known = worker.site.particulars(record)
    known = replace(known, is_held=not is_back, is_withdrawn=is_back)
    key = public.metadata[public.metadata_kid]
    sealed = seal_particulars(key, record.upload, known, b"n" * 12)
    return record.named(sealed, public.metadata_kid)


def test_a_file_under_a_temporary_name_waits_for_its_last_one_or_for_some_minutes() -> None:
    async def act(region: Region, disk: MemoryDisk, worker: Worker) -> None:
        sent = await region.commit(disk, b"content")
        found = await worker.site.sink.record(sent.upload)
        await worker.site.sink.change(sent.upload, found.version, held(worker, found.value))
        await asyncio.sleep(FTP_RENAME_S - 1)
        assert not await planner_of(worker).plan(sent.upload)
        assert worker.deliverer.index.maybe(sent.upload) is None
        await asyncio.sleep(1.001)
        assert await planner_of(worker).plan(sent.upload)
        run = worker.deliverer.index.maybe(sent.upload)
        assert run is not None
        assert run.pending == 1

    play(act)


def test_a_file_that_was_taken_back_is_delivered_nowhere_and_goes() -> None:
    async def act(region: Region, disk: MemoryDisk, worker: Worker) -> None:
        sent = await region.commit(disk, b"content")
        found = await worker.site.sink.record(sent.upload)
        back = held(worker, found.value, is_back=True)
        await worker.site.sink.change(sent.upload, found.version, back)
        assert await planner_of(worker).plan(sent.upload)
        run = worker.deliverer.index.maybe(sent.upload)
        assert run is not None
        assert run.reason is DeletionReason.CANCELLED
        assert run.pending == 0

    play(act)
