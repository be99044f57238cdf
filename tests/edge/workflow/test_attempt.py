"""One attempt by itself; with everything around it, it is played in test_deliver and tests/sim."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from random import Random

import pytest

from edge.sinks.base import SinkError
from edge.workflow.attempt import Attempt, How, Verdict
from edge.workflow.destinations.base import Fault, RemoteName, RemoteRef
from edge.workflow.destinations.memory import MemoryDestination
from edge.workflow.index import Index
from edge.workflow.run import Holder, Run
from edge.workflow.site import Site, Timing
from tests.support.delivery_site import Region, SharedPlaces, destination_id, start
from tests.support.sim import simulate
from zentransfer.errors import Code
from zentransfer.limits import DELIVERY_VERIFY_BYTES_PER_S
from zentransfer.memory_disk import MemoryDisk

A = destination_id(0)


class Stage:
    """One upload with a run, and an attempt that was begun."""

    def __init__(
        self, site: Site, places: SharedPlaces, disk: MemoryDisk, index: Index, run: Run
    ) -> None:
        self.site = site
        self.places = places
        self.disk = disk
        self.index = index
        self.run = run

    async def attempt(self) -> Attempt:
        timing = self.site.timing
        self.run = await self.index.change(
            self.run.upload,
            lambda now: now.claimed(
                now.deliveries[0].id,
                self.site.me,
                self.site.clock.now_ms(),
                int(timing.lease_s * 1_000),
            ),
        )
        return Attempt(self.site, self.index, self.run, self.run.deliveries[0])


def play(
    act: Callable[[Stage], Awaitable[None]],
    content: bytes = b"content",
    timing: Timing | None = None,
) -> None:
    async def main() -> None:
        random = Random(5)
        region = Region(random, {A: "/a"})
        disk, places = MemoryDisk(random), SharedPlaces(region)
        sent = await region.commit(disk, content)
        worker = await start(region, disk.process(), places, timing=timing)
        assert await worker.deliverer.planner.plan(sent.upload)
        run = worker.deliverer.index.maybe(sent.upload)
        assert run is not None
        await act(Stage(worker.site, places, disk, worker.deliverer.index, run))
        worker.close()

    simulate(main())


def test_an_attempt_delivers_and_writes_nothing_down_itself() -> None:
    async def act(stage: Stage) -> None:
        verdict = await (await stage.attempt()).run()
        assert verdict == Verdict(How.DONE, "1")
        assert stage.places.places[A].objects == {"IMG_0001.JPG": b"content"}
        assert (await stage.index.load(stage.run.upload)).deliveries[0].state == "run"

    play(act)


def test_a_lease_is_renewed_for_as_long_as_it_takes() -> None:
    async def act(stage: Stage) -> None:
        stage.places.tail_s = 100
        attempt = await stage.attempt()
        first = stage.run.deliveries[0].lease.until_ms
        verdict = await attempt.run()
        assert verdict.how is How.DONE
        assert (await stage.index.load(stage.run.upload)).deliveries[0].lease.until_ms > first

    play(act, timing=Timing(stall_s=1_000))


def test_an_attempt_ends_as_soon_as_its_lease_is_seen_to_be_lost() -> None:
    async def act(stage: Stage) -> None:
        stage.places.tail_s = 100_000
        attempt = await stage.attempt()
        other = Holder("fr-1/delivery-9", "ep")
        async with asyncio.TaskGroup() as group:
            running = group.create_task(attempt.run())
            await asyncio.sleep(1)
            await stage.index.change(
                stage.run.upload,
                lambda now: now.claimed(
                    now.deliveries[0].id, other, stage.site.clock.now_ms() + 20_000, 15_000
                ),
            )
            async with asyncio.timeout(stage.site.timing.renew_s + 1):
                assert (await running).how is How.LOST

    play(act)


def test_without_a_disk_a_lease_runs_out_and_the_attempt_with_it() -> None:
    async def act(stage: Stage) -> None:
        stage.places.tail_s = 100_000
        attempt = await stage.attempt()
        for count in range(1, 200):
            stage.disk.fail_at(count, 5)
        begun = asyncio.get_running_loop().time()
        verdict = await attempt.run()
        assert verdict.how in (How.LOST, How.LATER)
        assert asyncio.get_running_loop().time() - begun <= 2 * stage.site.timing.lease_s

    play(act)


def test_content_that_somebody_else_ended_is_gone() -> None:
    async def act(stage: Stage) -> None:
        attempt = await stage.attempt()
        await stage.site.sink.destroy(stage.run.upload)
        assert (await attempt.run()).how is How.GONE
        assert stage.places.places[A].objects == {}

    play(act)


@pytest.mark.parametrize(
    ("fault", "how"),
    [(Fault.TEMPORARY, How.LATER), (Fault.OBJECT, How.NEVER), (Fault.DESTINATION, How.SHUT)],
)
def test_what_a_destination_says_decides_what_becomes_of_it(fault: Fault, how: How) -> None:
    async def act(stage: Stage) -> None:
        stage.places.faults[A] = fault
        found = {(await (await stage.attempt()).run()).how for _ in range(1)}
        assert found <= {how, How.DONE}

    play(act)


def test_what_nobody_foresaw_is_tried_again() -> None:
    class Broken:
        def get(self, entry: object) -> object:
            raise ZeroDivisionError

    async def act(stage: Stage) -> None:
        stage.site = replace(stage.site, destinations=Broken())  # type: ignore[arg-type]
        assert await (await stage.attempt()).run() == Verdict(How.LATER, error=Code.INTERNAL)

    play(act)


def test_an_error_of_our_own_disk_says_nothing_about_the_destination() -> None:
    class Sick:
        def get(self, entry: object) -> object:
            raise SinkError("sick", temporary=True)

    async def act(stage: Stage) -> None:
        stage.site = replace(stage.site, destinations=Sick())  # type: ignore[arg-type]
        verdict = await (await stage.attempt()).run()
        assert (verdict.how, verdict.fault) == (How.LATER, None)

    play(act)


class Checking(MemoryDestination):
    """A destination that looks at all of it after the last byte, for a while."""

    takes_s = 0.0
    looks_s = 0.0  # before the first one, at what lies there already

    async def put(
        self,
        name: RemoteName,
        content: AsyncIterator[memoryview],
        *,
        size: int,
        digest: bytes | None,
        resume_ref: str,
    ) -> RemoteRef:
        await asyncio.sleep(self.looks_s)
        async for _ in content:
            pass
        await asyncio.sleep(self.takes_s)
        return RemoteRef("1", size)


@pytest.mark.reaches("DELIVERY_VERIFY_BYTES_PER_S")
def test_a_large_object_has_time_to_be_checked_at_its_destination() -> None:
    content = bytes(2_000_000)
    stall_s = 0.05
    may_take_s = stall_s + len(content) / DELIVERY_VERIFY_BYTES_PER_S
    checking = Checking(Random(1))

    class Only:
        def get(self, entry: object) -> Checking:
            return checking

    async def act(stage: Stage) -> None:
        stage.site = replace(stage.site, destinations=Only())
        checking.takes_s = may_take_s - 0.01
        assert (await (await stage.attempt()).run()).how is How.DONE
        await asyncio.sleep(stage.site.timing.lease_s)
        checking.takes_s = may_take_s + 0.01
        assert (await (await stage.attempt()).run()).error is Code.TIMEOUT
        await asyncio.sleep(stage.site.timing.lease_s)
        # An earlier attempt may have put it there and died: then all of it is read first.
        checking.takes_s, checking.looks_s = 0, may_take_s - 0.01
        assert (await (await stage.attempt()).run()).how is How.DONE

    play(act, content, Timing(stall_s=stall_s))
