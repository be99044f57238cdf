"""Random histories of a region's delivery processes: faults everywhere, and promises kept."""

import asyncio
import errno
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Final

from edge.audit import stored_lines
from edge.audit_chain import verify
from edge.facts import DeletionReason, Fact
from edge.outbox import open_outbox
from edge.workflow.destinations.base import Fault
from edge.workflow.site import Rules, Timing
from tests.support.delivery_site import (
    Region,
    SharedPlaces,
    Violation,
    Worker,
    check_facts,
    check_gone,
    check_objects,
    destination_id,
    facts_of,
    start,
    until_quiet,
)
from zentransfer.errors import Error
from zentransfer.ids import EpochID, Kind
from zentransfer.machine import Crashed
from zentransfer.memory_disk import MemoryDisk
from zentransfer.platter import Choose

NAMES: Final = ("delivery-0", "delivery-1")
SIZES: Final = (0, 1, 500, 9_000, 40_000)

_FROZEN_S: Final = 20  # seconds


@dataclass
class Living:
    """A process that runs: its view of the disk, and its task."""

    disk: MemoryDisk
    worker: Worker
    task: asyncio.Task[None]


class History:
    """One seed, one history; ``faults`` plants one fault by name, for a series over each n."""

    def __init__(
        self, seed: int, rules: Rules | None = None, names: tuple[str, ...] = NAMES
    ) -> None:
        self.random = Random(seed)
        addresses = {destination_id(n): f"/{n}" for n in range(2)}
        self.region = Region(self.random, addresses)
        self.places = SharedPlaces(self.region)
        self.disk = MemoryDisk(self.random)
        self.names = names
        self.living: dict[str, Living] = {}
        self.log: list[str] = []
        self._rules = rules

    async def run(self, steps: int) -> None:
        """Play *steps* steps, then heal everything and hold it to its promises."""
        await self.commit()
        await self._start_all()
        weighted = self._steps()
        for _ in range(steps):
            (step,) = self.random.choices(
                [step for step, _ in weighted], [weight for _, weight in weighted]
            )
            self.log.append(step.__name__)
            await self._safely(step)
            await asyncio.sleep(self.random.choice((0, 0.01, 0.1, 1, 20)))
        await self.to_the_end()

    async def until_quiet_or_crashed(self) -> None:
        """Let the processes live, started again when they end, until all is done or dark."""
        try:
            async with asyncio.TaskGroup() as group:
                supervising = group.create_task(self._supervise())
                await until_quiet(self.region, self.disk)
                supervising.cancel()
        except* Crashed:
            pass

    async def zombie(self) -> None:
        """Let a process lose its leases while its objects are at the destination already.

        It is so slow that it never renews one; another takes over; and then it reports.
        """
        self.places.tail_s = 40
        for _ in range(4):
            await self.commit()
        await self._start(self.names[0], Timing(renew_s=100_000))
        await asyncio.sleep(1)
        await self._start(self.names[1])
        await asyncio.sleep(120)
        await self.to_the_end()

    async def to_the_end(self) -> None:
        """Heal everything; then all is delivered once, told once, and gone."""
        await self.heal()
        await until_quiet(self.region, self.disk, within_s=40_000)
        for name in list(self.living):
            await self._stop(name)
        check_objects(self.region, self.places)
        check_facts(self.region, self.places, await self.facts())
        await check_gone(self.region, self.disk)
        for name in self.names:
            if self.disk.exists(f"audit/{name}"):
                verify(stored_lines(self.disk, f"audit/{name}"))

    async def heal(self) -> None:
        """Let nothing fail any more, and every process live."""
        if self.disk._machine.crashed:
            await self._crash()
        self._forget_plans()
        self.places.faults.clear()
        self.places.tail_s = 0
        for each in self.living.values():
            each.disk.thaw()
        self._clear_dead()
        await self._start_all()

    async def facts(self) -> list[Fact]:
        """Return what all processes told, from what is durable."""
        found: list[Fact] = []
        for name in self.names:
            outbox = await open_outbox(self.disk, f"outbox/{name}", self._epoch)
            found += facts_of(outbox)
            outbox.close()
        return found

    async def commit(self) -> None:
        """Let another upload be whole; of some, the name is the same."""
        plans = self._forget_plans()
        content = self.random.randbytes(self.random.choice(SIZES))
        content += len(self.region.sent).to_bytes(2)  # no two are the same
        name = self.random.choice(("IMG_1.JPG", "IMG_2.JPG"))
        digest = self.random.random() < 0.5
        sent = await self.region.commit(self.disk, content, name, digest=digest)
        for each in self.living.values():
            if self.random.random() < 0.5:
                each.worker.deliverer.wake(sent.upload)
        self.disk._machine.failures.update(plans)

    def _steps(self) -> list[tuple[Callable[[], Awaitable[None]], int]]:
        return [
            (self.commit, 6),
            (self._wait, 10),
            (self._kill, 4),
            (self._start_all, 8),
            (self._freeze, 5),
            (self._thaw, 6),
            (self._plan_fault, 6),
            (self._spoil_destination, 4),
            (self._mend_destination, 5),
            (self._cancel, 1),
            (self._crash, 3),
            (self._crash_inside, 3),
        ]

    async def _safely(self, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except Crashed:
            await self._crash()
        if any(each.task.done() for each in self.living.values()) or self.disk._machine.crashed:
            self._clear_dead()
            if self.disk._machine.crashed:
                await self._crash()

    async def _wait(self) -> None:
        wait_s = self.random.choice((1, 5, 16, 60))
        if any(not each.disk._process._thawed.is_set() for each in self.living.values()):
            # Longer than a lease is long enough; whoever wants its locks asks all the time.
            await asyncio.sleep(min(wait_s, _FROZEN_S))
            await self._thaw()
        else:
            await asyncio.sleep(wait_s)

    async def supervise_for(self, seconds: float) -> None:
        """Let the processes live, started again when they end, for *seconds*."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._supervise()

    async def _supervise(self) -> None:
        while True:
            self._clear_dead()
            await self._start_all()
            await asyncio.sleep(1)

    async def _start_all(self) -> None:
        for name in self.names:
            if name not in self.living:
                await self._start(name)

    async def _start(self, name: str, timing: Timing | None = None) -> None:
        disk = self.disk.process()
        try:
            worker = await start(
                self.region, disk, self.places, name, rules=self._rules, timing=timing
            )
        except (OSError, Error):
            disk.kill()
            return
        task = asyncio.get_running_loop().create_task(_work(worker))
        self.living[name] = Living(disk, worker, task)

    async def _stop(self, name: str) -> None:
        """End a process by a signal: it drains, and gives back what it does not finish."""
        living = self.living.pop(name)
        living.disk.thaw()  # one that stands still hears no signal, and may hold a lock
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                await living.worker.deliverer.drain()
        await living.worker.deliverer.give_back()
        await living.task
        living.worker.close()

    async def _kill(self) -> None:
        """End a process as kill -9 does: the page cache stays, nothing is given back."""
        if not self.living:
            return
        name = self.random.choice(sorted(self.living))
        if self.random.random() < 0.2:
            await self._stop(name)
            return
        living = self.living.pop(name)
        living.disk.kill()
        await _ended(living.task)

    async def _freeze(self) -> None:
        """Let a process stand still at its disk, so that it loses its leases."""
        self.places.tail_s = self.random.choice((0, 30))
        running = [n for n, each in self.living.items() if each.disk._process._thawed.is_set()]
        if running:
            self.living[self.random.choice(sorted(running))].disk.freeze()

    async def _thaw(self) -> None:
        for each in self.living.values():
            each.disk.thaw()

    async def _plan_fault(self) -> None:
        count = self.random.randint(1, 40)
        if self.random.random() < 0.5:
            self.disk.fail_flush(count)
        else:
            self.disk.fail_at(count, self.random.choice((errno.ENOSPC, errno.EIO)))

    async def _spoil_destination(self) -> None:
        which = self.random.choice(sorted(self.region.addresses))
        self.places.faults[which] = self.random.choice((Fault.TEMPORARY, Fault.DESTINATION))

    async def _mend_destination(self) -> None:
        self.places.faults.clear()

    async def _cancel(self) -> None:
        if not self.living or not self.region.sent:
            return
        sent = self.random.choice(self.region.sent)
        living = self.living[self.random.choice(sorted(self.living))]
        self.region.cancelled.add(sent.upload)
        with suppress(Error, OSError, TimeoutError):
            async with asyncio.timeout(5):
                await living.worker.deliverer.stop(sent.upload, DeletionReason.CANCELLED)

    async def _crash(self, keep: Choose | None = None) -> None:
        """Cut the power; nothing runs until somebody starts it."""
        for each in self.living.values():
            each.disk.kill()
        dead, self.living = list(self.living.values()), {}
        after = self.disk.crash(keep)
        for each in dead:
            await _ended(each.task)
        self.disk = after

    async def _crash_inside(self) -> None:
        """Cut the power in the middle of one of the next operations."""
        self.disk.crash_at(self.random.randint(1, 60))

    def _clear_dead(self) -> None:
        for name, each in list(self.living.items()):
            if each.task.done():
                each.disk.kill()
                del self.living[name]

    def _forget_plans(self) -> dict[int, int]:
        machine = self.disk._machine
        plans = dict(machine.failures)
        machine.failures.clear()
        machine.flush_failures.clear()
        machine.crash_at = 0
        return plans

    def _epoch(self) -> EpochID:
        return EpochID(self.region.ids.make(Kind.EPOCH))


async def _work(worker: Worker) -> None:
    """Work until the end of the process or of its machine, which is no error of ours."""
    try:
        await worker.deliverer.run()
    except* Crashed:
        pass


async def _ended(task: asyncio.Task[None]) -> None:
    """Let a process that is over be over; what it still says is nobody's concern."""
    task.cancel()
    with suppress(asyncio.CancelledError, OSError, Error):
        await task


__all__ = ["History", "Violation"]
