"""The loop of a delivery process in quiet scenes; under faults it is played in tests/sim."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from hashlib import sha256
from random import Random
from typing import Any

import pytest

from edge.facts import DeletionReason, DeletionReceipt, DeliveryChange, DeliveryState, Fact
from edge.record import State
from edge.snapshot import (
    AccountEntry,
    AccountState,
    Clash,
    Condition,
    ConditionKind,
    Rule,
    WorkflowEntry,
    snapshot_of,
)
from edge.workflow.breaker import Gate
from edge.workflow.deliver import Deliverer
from edge.workflow.destinations.base import Fault
from edge.workflow.index import Index
from edge.workflow.run import Holder, Run, RunState
from edge.workflow.site import Timing
from tests.support.delivery_site import (
    ACCOUNT,
    BEGUN_MS,
    WORKFLOW,
    LoopClock,
    Region,
    SharedPlaces,
    Worker,
    check_facts,
    check_gone,
    check_objects,
    destination_id,
    facts_of,
    snapshot,
    start,
    until_quiet,
    work,
)
from tests.support.sim import simulate
from zentransfer.errors import Code, Error
from zentransfer.ids import DeliveryID, UploadID
from zentransfer.limits import (
    BREAKER_PROBE_MAX_S,
    DELIVERIES_RUNNING_MAX,
    DELIVERIES_RUNNING_PER_DESTINATION_MAX,
    DELIVERY_WAKES_MAX,
)
from zentransfer.memory_disk import MemoryDisk

A, B = destination_id(0), destination_id(1)


class Scene:
    """A region with one delivery process at work."""

    def __init__(
        self, disk: MemoryDisk, region: Region, worker: Worker, places: SharedPlaces
    ) -> None:
        self.disk = disk
        self.region = region
        self.worker = worker
        self.places = places

    @property
    def deliverer(self) -> Deliverer:
        return self.worker.deliverer

    def run_of(self, upload: UploadID) -> Run:
        run = self.deliverer.index.maybe(upload)
        assert run is not None
        return run

    def changes(self, kind: DeliveryState | None = None) -> list[DeliveryChange]:
        bodies = [fact.body for fact in self.facts()]
        found = [body for body in bodies if isinstance(body, DeliveryChange)]
        return [body for body in found if kind is None or body.state is kind]

    def receipts(self) -> list[DeletionReceipt]:
        bodies = [fact.body for fact in self.facts()]
        return [body for body in bodies if isinstance(body, DeletionReceipt)]

    def facts(self) -> list[Fact]:
        return facts_of(self.worker.outbox)

    async def until(self, is_so: Callable[[], bool], within_s: float = 1_000) -> None:
        async with asyncio.timeout(within_s):
            while not is_so():  # noqa: ASYNC110 - the simulated clock jumps
                await asyncio.sleep(0.05)


def play(
    act: Callable[[Scene], Awaitable[None]],
    *,
    addresses: int = 1,
    timing: Timing | None = None,
    prepare: Callable[[Region], None] | None = None,
) -> None:
    async def main() -> None:
        random = Random(5)
        region = Region(random, {destination_id(n): f"/{n}" for n in range(addresses)})
        if prepare is not None:
            prepare(region)
        disk, places = MemoryDisk(random), SharedPlaces(region)
        worker = await start(region, disk.process(), places, timing=timing)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work(worker))
            await act(Scene(disk, region, worker, places))
            task.cancel()
        worker.close()
        assert region.violations == []

    simulate(main())


def test_what_is_whole_is_delivered_destroyed_and_told() -> None:
    async def act(scene: Scene) -> None:
        for number in range(3):
            await scene.region.commit(scene.disk, bytes(30_000) + bytes([number]), folder="cup")
        await until_quiet(scene.region, scene.disk, within_s=30)
        check_objects(scene.region, scene.places)
        check_facts(scene.region, scene.places, scene.facts())
        await check_gone(scene.region, scene.disk)
        assert set(scene.places.places[A].objects) == {
            "cup/IMG_0001.JPG",
            "cup/IMG_0001 (2).JPG",
            "cup/IMG_0001 (3).JPG",
        }
        assert len(scene.deliverer.index) == 0
        assert all(one.reason is DeletionReason.DELIVERED for one in scene.receipts())

    play(act, addresses=2)


def test_what_nobody_has_hashed_is_hashed_on_its_way_and_told() -> None:
    async def act(scene: Scene) -> None:
        hashed = await scene.region.commit(scene.disk, b"hashed", digest=True)
        plain = await scene.region.commit(scene.disk, b"plain", digest=False)
        await until_quiet(scene.region, scene.disk, within_s=60)
        done = scene.changes(DeliveryState.DELIVERED)
        told = {(one.upload_id, one.digest) for one in done}
        assert told == {(hashed.upload, None), (plain.upload, sha256(b"plain").digest())}
        assert len(done) == 4
        others = (one for one in scene.changes() if one.state is not DeliveryState.DELIVERED)
        assert {one.digest for one in others} == {None}

    play(act, addresses=2)


def test_a_knock_is_followed_at_once_and_a_lost_one_within_the_sweep() -> None:
    async def act(scene: Scene) -> None:
        await asyncio.sleep(1)  # the look at the start is over
        loop = asyncio.get_running_loop()
        knocked = await scene.region.commit(scene.disk, b"one")
        scene.deliverer.wake(knocked.upload)
        begun = loop.time()
        await until_quiet(scene.region, scene.disk)
        assert loop.time() - begun < 1
        begun = loop.time()
        await scene.region.commit(scene.disk, b"two")
        await until_quiet(scene.region, scene.disk)
        assert 1 < loop.time() - begun < 7

    play(act)


def test_what_is_still_coming_is_left_alone() -> None:
    async def act(scene: Scene) -> None:
        sent = await scene.region.commit(scene.disk, b"whole")
        sink = scene.region.sink(scene.disk)
        record = (await sink.record(sent.upload)).value
        other = UploadID("up_" + "b" * 25 + "a")
        await sink.create(replace(record, upload=other, state=State.RECEIVING, segments=()))
        scene.deliverer.wake(other)
        await asyncio.sleep(30)
        assert (await sink.record(other)).value.state is State.RECEIVING

    play(act)


def test_a_temporary_fault_is_tried_again_with_growing_jitter() -> None:
    async def act(scene: Scene) -> None:
        scene.places.faults[A] = Fault.TEMPORARY
        sent = await scene.region.commit(scene.disk, b"content")
        await scene.until(lambda: len(scene.changes(DeliveryState.WAIT)) >= 4)
        waits = scene.changes(DeliveryState.WAIT)
        assert {one.error for one in waits} == {Code.UNAVAILABLE}
        assert [one.attempt for one in waits] == sorted({one.attempt for one in waits})
        assert all(one.due_ms > BEGUN_MS for one in waits)
        scene.places.faults.clear()
        await until_quiet(scene.region, scene.disk)
        (done,) = scene.changes(DeliveryState.DELIVERED)
        assert (done.upload_id, done.size_bytes) == (sent.upload, 7)

    play(act)


def test_an_object_that_is_refused_fails_and_its_content_stays_for_its_owner() -> None:
    async def act(scene: Scene) -> None:
        scene.places.faults[A] = Fault.OBJECT
        sent = await scene.region.commit(scene.disk, b"content")
        await scene.until(lambda: scene.changes(DeliveryState.FAILED) != [])
        await asyncio.sleep(3_600)
        run = scene.run_of(sent.upload)
        assert run.state is RunState.OPEN
        assert len(scene.changes()) == 2
        scene.places.faults.clear()
        await scene.deliverer.retry(run.deliveries[0].id)
        await until_quiet(scene.region, scene.disk, within_s=10)
        check_objects(scene.region, scene.places)

    play(act)


def test_a_closed_destination_parks_its_deliveries_and_one_success_lets_all_go() -> None:
    async def act(scene: Scene) -> None:
        scene.places.faults[A] = Fault.DESTINATION
        for number in range(12):
            await scene.region.commit(scene.disk, bytes([number]))
        await scene.until(
            lambda: (
                all(
                    {d.state for d in run.deliveries}
                    == {DeliveryState.PARKED, DeliveryState.DELIVERED}
                    for run in scene.deliverer.index.runs()
                )
                and len(scene.deliverer.index) == 12
            ),
            within_s=4_000,
        )
        tried = scene.worker.audit.head.sequence
        await asyncio.sleep(3_600)
        # A closed destination is asked ever more rarely, by one delivery at a time.
        assert scene.worker.audit.head.sequence - tried < 40
        scene.places.faults.clear()
        await until_quiet(scene.region, scene.disk, within_s=2 * BREAKER_PROBE_MAX_S)
        check_objects(scene.region, scene.places)
        check_facts(scene.region, scene.places, scene.facts())

    play(act, addresses=2)


def test_a_destination_that_its_owner_changes_is_tried_at_once() -> None:
    async def act(scene: Scene) -> None:
        scene.places.faults[A] = Fault.DESTINATION
        await scene.region.commit(scene.disk, b"content")
        await scene.until(lambda: scene.changes(DeliveryState.PARKED) != [])
        await asyncio.sleep(2_000)
        scene.places.faults.clear()
        scene.region.snapshot = snapshot(
            scene.region.addresses,
            version=2,
            workflow=WorkflowEntry(WORKFLOW, 1, ACCOUNT, (), (A,)),
        )
        await until_quiet(scene.region, scene.disk, within_s=12)

    play(act)


def test_a_destination_that_nobody_knows_is_parked_until_it_is_known() -> None:
    def unknown(region: Region) -> None:
        region.snapshot = snapshot({}, workflow=WorkflowEntry(WORKFLOW, 1, ACCOUNT, (), (A,)))

    async def act(scene: Scene) -> None:
        await scene.region.commit(scene.disk, b"content")
        await scene.until(lambda: scene.changes(DeliveryState.PARKED) != [])
        assert scene.changes(DeliveryState.PARKED)[0].error is Code.NOT_FOUND
        scene.region.snapshot = snapshot(scene.region.addresses, version=2)
        scene.region.snapshot = replace(
            scene.region.snapshot, past=(WorkflowEntry(WORKFLOW, 1, ACCOUNT, (), (A,)),)
        )
        await until_quiet(scene.region, scene.disk, within_s=12)

    play(act, prepare=unknown)


def test_an_upload_waits_for_the_version_that_was_stamped_into_it() -> None:
    def older(region: Region) -> None:
        region.snapshot = snapshot(
            region.addresses, workflow=WorkflowEntry(WORKFLOW, 2, ACCOUNT, (), (A,))
        )

    async def act(scene: Scene) -> None:
        await scene.region.commit(scene.disk, b"content")
        await asyncio.sleep(600)
        assert len(scene.deliverer.index) == 0
        assert scene.places.places[A].objects == {}
        scene.region.snapshot = snapshot(scene.region.addresses)
        await until_quiet(scene.region, scene.disk, within_s=12)

    play(act, prepare=older)


def test_without_a_snapshot_everything_waits() -> None:
    def none(region: Region) -> None:
        region.snapshot = None

    async def act(scene: Scene) -> None:
        await scene.region.commit(scene.disk, b"content")
        await asyncio.sleep(600)
        assert scene.places.places[A].objects == {}
        scene.region.snapshot = snapshot(scene.region.addresses)
        await until_quiet(scene.region, scene.disk, within_s=12)

    play(act, prepare=none)


def test_policy_ends_a_run_that_cannot_be_delivered() -> None:
    def brief(region: Region) -> None:
        region.snapshot = snapshot(region.addresses, keep_ms=3_600_000)

    async def act(scene: Scene) -> None:
        scene.places.faults[A] = Fault.DESTINATION
        await scene.region.commit(scene.disk, b"content")
        await asyncio.sleep(3_000)
        assert scene.receipts() == []
        await until_quiet(scene.region, scene.disk, within_s=700)
        (receipt,) = scene.receipts()
        assert (receipt.reason, receipt.undelivered) == (DeletionReason.EXPIRED, (A,))
        (failed,) = scene.changes(DeliveryState.FAILED)
        assert failed.error is Code.TIMEOUT
        await check_gone(scene.region, scene.disk)

    play(act, prepare=brief)


def test_what_no_rule_sends_anywhere_is_kept_and_what_a_rule_sends_nowhere_goes() -> None:
    def ruled(region: Region) -> None:
        nowhere = Rule((Condition(ConditionKind.NAME, "*.tmp"),), ())
        some = Rule((Condition(ConditionKind.NAME, "*.jpg"),), (A,))
        region.snapshot = snapshot(
            region.addresses,
            keep_ms=60_000,
            workflow=WorkflowEntry(WORKFLOW, 1, ACCOUNT, (nowhere, some), (A,)),
        )

    async def act(scene: Scene) -> None:
        await scene.region.commit(scene.disk, b"one", "a.tmp")
        kept = await scene.region.commit(scene.disk, b"two", "b.raw")
        await scene.until(lambda: len(scene.receipts()) == 1, within_s=20)
        assert scene.run_of(kept.upload).state is RunState.OPEN
        await until_quiet(scene.region, scene.disk, within_s=70)
        assert {one.reason for one in scene.receipts()} == {
            DeletionReason.DELIVERED,
            DeletionReason.EXPIRED,
        }
        assert scene.places.places[A].objects == {}

    play(act, prepare=ruled)


def test_an_owner_may_stop_it_before_and_while_it_is_delivered() -> None:
    async def act(scene: Scene) -> None:
        scene.places.tail_s = 60
        one = await scene.region.commit(scene.disk, b"one")
        await scene.deliverer.stop(one.upload, DeletionReason.CANCELLED)
        other = await scene.region.commit(scene.disk, b"other")
        scene.deliverer.wake(other.upload)
        await scene.until(lambda: scene.changes(DeliveryState.RUN) != [])
        await scene.deliverer.stop(other.upload, DeletionReason.CANCELLED)
        await scene.deliverer.stop(other.upload, DeletionReason.CANCELLED)
        await until_quiet(scene.region, scene.disk)
        assert {one.reason for one in scene.receipts()} == {DeletionReason.CANCELLED}
        assert scene.changes(DeliveryState.DELIVERED) == []
        assert len(scene.changes(DeliveryState.CANCELLED)) == 2

    play(act)


def test_what_is_not_known_can_neither_be_stopped_nor_retried() -> None:
    async def act(scene: Scene) -> None:
        nobody = UploadID("up_" + "c" * 25 + "a")
        with pytest.raises(Error) as stopped:
            await scene.deliverer.stop(nobody, DeletionReason.CANCELLED)
        with pytest.raises(Error) as retried:
            await scene.deliverer.retry(DeliveryID("de_" + "c" * 25 + "a"))
        assert (stopped.value.code, retried.value.code) == (Code.NOT_FOUND, Code.NOT_FOUND)

    play(act)


def test_content_that_is_not_what_its_sender_announced_never_shows() -> None:
    async def act(scene: Scene) -> None:
        sent = await scene.region.commit(
            scene.disk, b"content", digest=False, expected={"md5": bytes(16), "odd": b"x"}
        )
        await scene.until(lambda: scene.changes(DeliveryState.FAILED) != [])
        assert scene.changes(DeliveryState.FAILED)[0].error is Code.CHECKSUM_MISMATCH
        assert scene.places.places[A].objects == {}
        assert scene.run_of(sent.upload).state is RunState.OPEN

    play(act)


def test_content_that_is_damaged_fails_and_names_why() -> None:
    async def act(scene: Scene) -> None:
        sent = await scene.region.commit(scene.disk, bytes(30_000))
        folder = f"uploads/{sent.upload[3:5]}/{sent.upload}"
        (name,) = (name for name in scene.disk.names(folder) if name.endswith(".seg"))
        file = scene.disk.open(f"{folder}/{name}", write=True)
        file.write_at(b"xx", 9_000)
        file.close()
        await scene.until(lambda: scene.changes(DeliveryState.FAILED) != [])
        assert scene.changes(DeliveryState.FAILED)[0].error is Code.DAMAGED
        assert scene.places.places[A].objects == {}

    play(act)


def test_a_destination_that_hangs_is_given_up_and_tried_again() -> None:
    async def act(scene: Scene) -> None:
        scene.places.tail_s = 100_000
        await scene.region.commit(scene.disk, b"content")
        await scene.until(lambda: scene.changes(DeliveryState.WAIT) != [])
        assert scene.changes(DeliveryState.WAIT)[0].error is Code.TIMEOUT
        scene.places.tail_s = 0
        await until_quiet(scene.region, scene.disk, within_s=10_000)
        check_objects(scene.region, scene.places)

    play(act)


@pytest.mark.reaches("DELIVERIES_RUNNING_MAX", "DELIVERIES_RUNNING_PER_DESTINATION_MAX")
def test_so_many_attempts_run_and_no_more() -> None:
    many = 9

    async def act(scene: Scene) -> None:
        scene.places.tail_s = 20
        for number in range(8):
            await scene.region.commit(scene.disk, bytes([number]))
        most, at_one = 0, 0
        loop = asyncio.get_running_loop()
        ends = loop.time() + 15
        while loop.time() < ends:
            await asyncio.sleep(0.05)
            most = max(most, scene.deliverer.under_way)
            running = [
                delivery.destination
                for run in scene.deliverer.index.runs()
                for delivery in run.deliveries
                if delivery.state is DeliveryState.RUN
            ]
            at_one = max(at_one, *(running.count(each) for each in scene.region.addresses))
        assert most == DELIVERIES_RUNNING_MAX
        assert at_one == DELIVERIES_RUNNING_PER_DESTINATION_MAX
        await until_quiet(scene.region, scene.disk, within_s=4_000)
        check_objects(scene.region, scene.places)

    assert many * DELIVERIES_RUNNING_PER_DESTINATION_MAX > DELIVERIES_RUNNING_MAX
    play(act, addresses=many - 1)


def test_draining_lets_what_runs_end_and_begins_nothing() -> None:
    async def act(scene: Scene) -> None:
        scene.places.tail_s = 5
        first = await scene.region.commit(scene.disk, b"first")
        scene.deliverer.wake(first.upload)
        await scene.until(lambda: scene.changes(DeliveryState.RUN) != [])
        await scene.deliverer.drain()
        assert scene.deliverer.under_way == 0
        assert len(scene.changes(DeliveryState.DELIVERED)) == 1
        second = await scene.region.commit(scene.disk, b"second")
        scene.deliverer.wake(second.upload)
        await asyncio.sleep(60)
        assert len(scene.changes()) == 2

    play(act)


def test_what_is_given_back_is_taken_by_another_at_once() -> None:
    async def act(scene: Scene) -> None:
        scene.places.tail_s = 10_000
        sent = await scene.region.commit(scene.disk, b"content")
        scene.deliverer.wake(sent.upload)
        await scene.until(lambda: scene.changes(DeliveryState.RUN) != [])
        await asyncio.sleep(1)
        await scene.deliverer.give_back()
        run = (await scene.worker.site.runs.read(sent.upload)).value
        (delivery,) = run.deliveries
        assert (delivery.state, delivery.attempt, delivery.fence) == (DeliveryState.WAIT, 0, 1)
        scene.places.tail_s = 0
        other = await start(scene.region, scene.disk.process(), scene.places, "delivery-1")
        begun = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work(other))
            await until_quiet(scene.region, scene.disk)
            task.cancel()
        assert asyncio.get_running_loop().time() - begun < 2
        other.close()

    play(act)


def test_a_process_that_is_started_again_takes_its_leases_back_at_once() -> None:
    async def main() -> None:
        random = Random(5)
        region = Region(random, {A: "/a"})
        disk, places = MemoryDisk(random), SharedPlaces(region)
        view = disk.process()
        first = await start(region, view, places)
        places.tail_s = 10_000
        await region.commit(disk, b"content")
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work(first))
            while not places.places[A].objects:  # noqa: ASYNC110 - the simulated clock jumps
                await asyncio.sleep(0.1)
            view.kill()
            task.cancel()
        places.tail_s = 0
        begun = loop.time()
        second = await start(region, disk.process(), places)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work(second))
            await until_quiet(region, disk)
            task.cancel()
        assert loop.time() - begun < 2, "a lease of 15 s was waited for"
        check_objects(region, places)
        second.close()

    simulate(main())


def test_an_outbox_that_is_full_holds_up_the_receipt_and_nothing_is_lost() -> None:
    async def act(scene: Scene) -> None:
        spool: Any = scene.worker.outbox
        bound = spool._bytes_max
        spool._bytes_max = 0
        sent = await scene.region.commit(scene.disk, b"content")
        await asyncio.sleep(120)
        assert scene.places.places[A].objects == {sent.name: b"content"}
        record = (await scene.region.sink(scene.disk).record(sent.upload)).value
        assert record.state is State.COMMITTED, "nothing goes before its end can be told"
        spool._bytes_max = bound
        await until_quiet(scene.region, scene.disk)
        check_facts(scene.region, scene.places, scene.facts())

    play(act)


@pytest.mark.reaches("DELIVERY_INDEX_RUNS_MAX")
def test_an_index_that_is_full_delivers_all_the_same() -> None:
    async def main() -> None:
        random = Random(5)
        region = Region(random, {A: "/a"})
        disk, places = MemoryDisk(random), SharedPlaces(region)
        for number in range(9):
            await region.commit(disk, bytes([number]))
        worker = await start(region, disk.process(), places)
        small = Deliverer(worker.site, runs_max=2)
        most = 0
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work(replace(worker, deliverer=small)))
            async with asyncio.timeout(400):
                while len(places.whole) < 9:
                    await asyncio.sleep(0.01)
                    most = max(most, len(small.index))
            await until_quiet(region, disk)
            task.cancel()
        # A few are planned at once, so a few more than the limit may be there for a moment.
        assert most <= 2 + 4
        check_objects(region, places)
        worker.close()

    simulate(main())


@pytest.mark.reaches("DELIVERY_WAKES_MAX")
def test_knocks_that_do_not_fit_are_found_by_looking() -> None:
    async def act(scene: Scene) -> None:
        planner = scene.deliverer.planner
        await asyncio.sleep(2)
        for _ in range(DELIVERY_WAKES_MAX + 5):
            planner.wake(UploadID("up_" + "d" * 25 + "a"))
        assert planner._woken.full()
        await scene.region.commit(scene.disk, b"content")
        await until_quiet(scene.region, scene.disk, within_s=100)

    play(act)


def test_the_owners_rule_for_clashes_reaches_the_destination() -> None:
    def replacing(region: Region) -> None:
        region.snapshot = snapshot(region.addresses, clash=Clash.REPLACE)

    async def act(scene: Scene) -> None:
        entry = scene.worker.site.maybe_destination(A)
        assert entry is not None
        assert entry.clash is Clash.REPLACE

    play(act, prepare=replacing)


def test_two_changes_of_one_run_at_once_are_both_there() -> None:
    async def act(scene: Scene) -> None:
        scene.places.faults[A] = scene.places.faults[B] = Fault.OBJECT
        sent = await scene.region.commit(scene.disk, b"content")
        await scene.until(lambda: len(scene.changes(DeliveryState.FAILED)) == 2)
        index: Index = scene.deliverer.index
        run = scene.run_of(sent.upload)

        async def retry(which: DeliveryID) -> None:
            await index.change(sent.upload, lambda now: now.retried(which, BEGUN_MS * 2))

        async with asyncio.TaskGroup() as group:
            for delivery in run.deliveries:
                group.create_task(retry(delivery.id))
        stored = (await scene.worker.site.runs.read(sent.upload)).value
        assert {d.state for d in stored.deliveries} == {DeliveryState.WAIT}

    play(act, addresses=2)


class SteppedClock(LoopClock):
    """A clock that somebody sets."""

    stepped_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.stepped_ms


def test_a_clock_that_is_set_back_holds_up_nothing() -> None:
    clock = SteppedClock()

    def stepped(region: Region) -> None:
        region.clock = clock

    async def act(scene: Scene) -> None:
        scene.places.faults[A] = Fault.TEMPORARY
        await scene.region.commit(scene.disk, b"content")
        await scene.until(lambda: scene.changes(DeliveryState.WAIT) != [])
        scene.places.faults.clear()
        clock.stepped_ms = -7_200_000
        await until_quiet(scene.region, scene.disk, within_s=60)
        check_objects(scene.region, scene.places)
        check_facts(scene.region, scene.places, scene.facts())

    play(act, prepare=stepped)


def test_what_was_never_tried_is_tried_once_before_policy_ends_it() -> None:
    """The whole node was down for longer than content is kept."""

    async def main() -> None:
        random = Random(5)
        region = Region(random, {A: "/a", B: "/b"})
        region.snapshot = snapshot(region.addresses, keep_ms=60_000)
        disk, places = MemoryDisk(random), SharedPlaces(region)
        places.faults[B] = Fault.OBJECT
        sent = await region.commit(disk, b"content")
        await asyncio.sleep(86_400)
        worker = await start(region, disk.process(), places)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work(worker))
            await until_quiet(region, disk, within_s=120)
            task.cancel()
        assert places.places[A].objects == {sent.name: b"content"}
        bodies = [fact.body for fact in worker.facts()]
        (receipt,) = (body for body in bodies if isinstance(body, DeletionReceipt))
        assert receipt.reason in (DeletionReason.EXPIRED, DeletionReason.DELIVERED)
        worker.close()

    simulate(main())


def test_an_attempt_that_lost_its_lease_says_nothing_about_its_destination() -> None:
    async def act(scene: Scene) -> None:
        scene.places.tail_s = 4  # less than a renewal: nobody has noticed yet
        sent = await scene.region.commit(scene.disk, b"content")
        await scene.until(lambda: scene.places.places[A].objects != {})
        which = scene.run_of(sent.upload).deliveries[0].id
        other = Holder("fr-1/delivery-9", "ep")
        runs = scene.worker.site.runs
        at = await runs.read(sent.upload)
        late_ms = scene.worker.site.clock.now_ms() + 20_000
        await runs.change(at, at.value.claimed(which, other, late_ms, 15_000))
        scene.places.faults[A] = Fault.DESTINATION
        scene.places.random = Random(3)
        await scene.until(lambda: scene.deliverer.under_way == 0)
        breaker = scene.deliverer._breakers.of(A, 1)
        assert breaker.gate(asyncio.get_running_loop().time()) is Gate.OPEN
        scene.places.faults.clear()
        scene.places.tail_s = 0
        await until_quiet(scene.region, scene.disk)
        check_objects(scene.region, scene.places)

    play(act)


def test_an_account_that_is_suspended_still_gets_what_it_sent() -> None:
    def suspended(region: Region) -> None:
        now = snapshot(region.addresses)
        entries = [
            replace(entry, state=AccountState.SUSPENDED)
            if isinstance(entry, AccountEntry)
            else entry
            for entry in now.content.values()
        ]
        region.snapshot = snapshot_of(now.region, 2, now.created_ms, entries)

    async def act(scene: Scene) -> None:
        await scene.region.commit(scene.disk, b"content")
        await until_quiet(scene.region, scene.disk, within_s=30)
        check_objects(scene.region, scene.places)

    play(act, prepare=suspended)


def test_nothing_begins_while_it_may_not_and_what_waits_is_counted() -> None:
    async def main() -> None:
        random = Random(5)
        region = Region(random, {A: "/a"})
        disk, places = MemoryDisk(random), SharedPlaces(region)
        await region.commit(disk, b"content")
        worker = await start(region, disk.process(), places)
        may_begin = False
        waiting = Deliverer(worker.site, lambda: may_begin)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work(replace(worker, deliverer=waiting)))
            await asyncio.sleep(60)
            assert (waiting.under_way, waiting.due) == (0, 1)
            assert places.places[A].objects == {}
            may_begin = True
            await until_quiet(region, disk, within_s=10)
            task.cancel()
        assert waiting.due == 0
        worker.close()

    simulate(main())


def test_one_content_under_two_names_is_two_files() -> None:
    async def act(scene: Scene) -> None:
        await scene.region.commit(scene.disk, b"content", "a.jpg")
        await scene.region.commit(scene.disk, b"content", "b.jpg")
        await scene.region.commit(scene.disk, b"content", "b.jpg")  # sent once more
        await until_quiet(scene.region, scene.disk, within_s=30)
        assert scene.places.places[A].objects == {"a.jpg": b"content", "b.jpg": b"content"}
        assert len(scene.receipts()) == 3

    play(act)
