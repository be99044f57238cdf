from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import Random

import pytest

from edge.facts import DeletionReason, DeliveryState
from edge.sinks.base import Conflict, SinkError, Versioned
from edge.workflow.index import Index
from edge.workflow.run import Run
from edge.workflow.store import DiskRunStore, UnknownRun
from tests.edge.workflow.test_store import make
from tests.support.delivery_site import Region, SharedPlaces, Worker, destination_id, start
from tests.support.sim import simulate
from zentransfer.errors import Code
from zentransfer.limits import RUN_CHANGE_TRIES
from zentransfer.memory_disk import MemoryDisk


def play(act: Callable[[Worker, Index], Awaitable[None]]) -> None:
    async def main() -> None:
        random = Random(5)
        region = Region(random, {destination_id(0): "/a"})
        worker = await start(region, MemoryDisk(random), SharedPlaces(region))
        await act(worker, Index(worker.site))
        worker.close()

    simulate(main())


def test_a_change_starts_from_what_another_process_made_of_it() -> None:
    async def act(worker: Worker, index: Index) -> None:
        run = await index.create(make(0))
        other = Index(worker.site)
        await other.change(run.upload, lambda now: replace(now, keep_until_ms=9))
        changed = await index.change(run.upload, lambda now: replace(now, created_ms=7))
        assert (changed.keep_until_ms, changed.created_ms) == (9, 7)
        assert index.maybe(run.upload) == changed

    play(act)


def test_a_transition_that_changes_nothing_writes_nothing() -> None:
    async def act(worker: Worker, index: Index) -> None:
        run = await index.create(make(0))
        before = await worker.site.runs.read(run.upload)
        assert await index.change(run.upload, lambda now: now) is run
        assert await worker.site.runs.read(run.upload) == before

    play(act)


def test_what_is_removed_elsewhere_is_forgotten() -> None:
    async def act(worker: Worker, index: Index) -> None:
        run = await index.create(make(0))
        other = Index(worker.site)
        await other.load(run.upload)
        await other.remove(run.upload)
        with pytest.raises(UnknownRun):
            await index.change(run.upload, lambda now: replace(now, created_ms=7))
        assert run.upload not in index
        assert (len(index), len(other)) == (0, 0)

    play(act)


def test_what_is_due_is_said_once_until_it_changes() -> None:
    async def act(worker: Worker, index: Index) -> None:
        run = await index.create(make(0))
        assert list(index.due(0)) == [run.upload]
        assert list(index.due(10**9)) == []
        index.wake(run.upload, 50)
        assert index.next_ms() == 50
        assert list(index.due(49)) == []
        index.wake(run.upload, 80)  # the later word counts
        assert list(index.due(79)) == []
        assert list(index.due(80)) == [run.upload]
        index.wake(run.upload, 90)
        index.forget(run.upload)
        assert index.next_ms() is None
        assert list(index.due(10**9)) == []

    play(act)


def test_what_is_parked_is_known_by_its_destination() -> None:
    async def act(worker: Worker, index: Index) -> None:
        run = await index.create(make(0))
        one, two = run.deliveries
        await index.change(run.upload, lambda now: now.parked(one.id, 0, 1, Code.NOT_FOUND))
        await index.change(run.upload, lambda now: now.parked(two.id, 0, 1, Code.NOT_FOUND))
        assert index.parked_at() == [one.destination, two.destination]
        assert index.parked(one.destination, 5) == [(run.upload, one.id)]
        assert index.parked(one.destination, 0) == []
        await index.change(run.upload, lambda now: now.retried(one.id, 1))
        assert index.parked_at() == [two.destination]
        await index.change(run.upload, lambda now: now.stopped(DeletionReason.CANCELLED, 1))
        assert index.parked_at() == []

    play(act)


def test_news_are_told_once_and_told_again_after_a_failure() -> None:
    async def act(worker: Worker, index: Index) -> None:
        run = await index.create(make(0))
        one, two = (delivery.id for delivery in run.deliveries)
        await index.change(run.upload, lambda now: now.parked(one, 0, 1, Code.NOT_FOUND))
        await index.change(run.upload, lambda now: now.parked(two, 0, 1, Code.NOT_FOUND))
        bound = worker.outbox._bytes_max
        worker.outbox._bytes_max = 0
        assert not await index.tell(run.upload)
        assert index.untold() == [run.upload]
        worker.outbox._bytes_max = bound
        assert await index.tell(run.upload)
        assert await index.tell(run.upload)
        assert index.untold() == []
        assert len(worker.facts()) == 2
        # The next write, whatever it is for, writes down that they were told.
        changed = await index.change(run.upload, lambda now: replace(now, created_ms=3))
        assert not any(delivery.has_news for delivery in changed.deliveries)
        assert {d.state for d in changed.deliveries} == {DeliveryState.PARKED}

    play(act)


class Restless(DiskRunStore):
    """Run records that somebody else changes just before every change of ours."""

    changes = 0

    async def change(self, at: Versioned[Run], to: Run) -> Versioned[Run]:
        """Come second, always."""
        self.changes += 1
        raise Conflict


@pytest.mark.reaches("RUN_CHANGE_TRIES")
def test_a_run_that_changes_all_the_time_is_given_up_for_now() -> None:
    async def act(worker: Worker, index: Index) -> None:
        run = await index.create(make(0))
        store = Restless(worker.site.sink._parts.disk)  # type: ignore[attr-defined]
        restless = Index(replace(worker.site, runs=store))
        with pytest.raises(SinkError) as given_up:
            await restless.change(run.upload, lambda now: replace(now, created_ms=3))
        assert given_up.value.temporary
        assert store.changes == RUN_CHANGE_TRIES

    play(act)
