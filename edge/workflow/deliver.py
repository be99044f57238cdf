"""The work of a delivery process: what is whole is planned, delivered, destroyed, accounted for.

The rule: **the records decide**.  Everything here is a memory of them and a timer: wake-ups may be
lost, processes may die anywhere and race, and the next sweep goes on from what is durable.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from edge.facts import DeletionReason, DeliveryState
from edge.sinks.base import Conflict, SinkError
from edge.workflow.attempt import Attempt, How, Verdict
from edge.workflow.breaker import Breaker, Breakers, Gate
from edge.workflow.ending import end
from edge.workflow.index import Index
from edge.workflow.planner import Planner
from edge.workflow.queue import Item, Queue
from edge.workflow.run import Delivery, LeaseLost, NotDue, Run, RunState, Transition
from edge.workflow.site import Rules, Site
from edge.workflow.store import UnknownRun
from zentransfer import log
from zentransfer.errors import Code, Error
from zentransfer.ids import DeliveryID, DestinationID, UploadID
from zentransfer.limits import (
    DELIVERIES_RUNNING_MAX,
    DELIVERIES_RUNNING_PER_DESTINATION_MAX,
    DELIVERY_INDEX_RUNS_MAX,
    DELIVERY_LOOK_BATCH,
)

_DOUBLINGS_MAX: Final = 30  # beyond every maximum, and no number grows without end


class Deliverer:
    """One delivery process's work in one region."""

    def __init__(
        self,
        site: Site,
        may_begin: Callable[[], bool] = lambda: True,
        runs_max: int = DELIVERY_INDEX_RUNS_MAX,
    ) -> None:
        """Stand on *site*; nothing new is begun while *may_begin* says no."""
        self._site = site
        self._may_begin = may_begin
        self.index = Index(site, runs_max)
        self.planner = Planner(site, self.index, self._stir)
        self._queue = Queue(DELIVERIES_RUNNING_MAX, DELIVERIES_RUNNING_PER_DESTINATION_MAX)
        self._breakers = Breakers(site.random)
        self._now_ms = 0
        self._probe_at_s = 0.0
        self._stirred = asyncio.Event()
        self._is_leaving = False
        self._is_over = False
        self._running: dict[Item, asyncio.Task[None]] = {}
        self._unfinished: dict[Item, int] = {}  # fences of attempts that were cancelled

    @property
    def under_way(self) -> int:
        """How many attempts and endings run now."""
        return len(self._running)

    @property
    def due(self) -> int:
        """How many attempts and endings run or wait for their turn: what a drain waits for."""
        return len(self._queue)

    def wake(self, upload: UploadID) -> None:
        """Look at *upload* soon; it may have been committed.  A lost call costs time only."""
        self.planner.wake(upload)

    async def run(self) -> None:
        """Work until halted or cancelled; attempts under way are cancelled with it."""
        async with asyncio.TaskGroup() as group:
            planning = group.create_task(self.planner.run())
            while not self._is_over:
                self._stirred.clear()
                await self._sweep()
                self._begin(group)
                await self._pause()
            planning.cancel()

    async def drain(self) -> None:
        """Begin nothing more, and return when what is under way has ended."""
        self._is_leaving = True
        self.planner.leave()
        while self._running:
            self._stirred.clear()
            await self._stirred.wait()

    async def give_back(self) -> None:
        """End what is under way, and let others have it at once."""
        await self.halt()
        for item, fence in list(self._unfinished.items()):
            if item.delivery is not None:
                with suppress(LeaseLost, UnknownRun, SinkError):
                    await self._released(item.upload, item.delivery, fence)
        self._unfinished.clear()

    async def halt(self) -> None:
        """End what is under way, and the work itself; idempotent."""
        self._is_leaving = self._is_over = True
        self.planner.leave()
        for task in list(self._running.values()):
            task.cancel()
        self._stir()
        while self._running:
            self._stirred.clear()
            await self._stirred.wait()
        self._stir()

    async def stop(self, upload: UploadID, reason: DeletionReason) -> None:
        """End the run of a whole upload for its owner: what is not delivered yet never is.

        Its content is destroyed then.  Idempotent.  Raises ``Error(NOT_FOUND)`` when there is no
        run and nothing to plan one from, and ``SinkError``.
        """
        if upload not in self.index and not await self.planner.plan(upload):
            raise Error(Code.NOT_FOUND)
        with suppress(UnknownRun):  # it ended a moment ago
            await self._change(upload, lambda run: run.stopped(reason, self._site.clock.now_ms()))
        self._stir()

    async def retry(self, which: DeliveryID) -> None:
        """Try a delivery at once that waits, is parked or failed.

        Raises ``Error``: NOT_FOUND for one that is not known here, FAILED_PRECONDITION for one
        that ended or runs; ``SinkError``.
        """
        runs = (run for run in self.index.runs() if any(d.id == which for d in run.deliveries))
        run = next(runs, None)
        if run is None:
            raise Error(Code.NOT_FOUND)
        self._breakers.forget(run.delivery(which).destination)
        try:
            await self._change(
                run.upload, lambda now: now.retried(which, self._site.clock.now_ms())
            )
        except (NotDue, UnknownRun) as late:
            raise Error(Code.FAILED_PRECONDITION) from late
        self._stir()

    # -- what is due

    async def _sweep(self) -> None:
        now_ms = self._site.clock.now_ms()
        if now_ms < self._now_ms:
            self.index.retime()
        self._now_ms = now_ms
        for upload in self.index.due(now_ms):
            run = self.index.maybe(upload)
            if run is not None:
                self._enqueue(run, now_ms)
        for upload in self.index.untold():
            if not await self.index.tell(upload):
                break  # the outbox is full, or its disk fails
        self._probe()

    def _enqueue(self, run: Run, now_ms: int) -> None:
        """Let what is due of *run* wait for its turn."""
        is_over = now_ms >= run.keep_until_ms and not run.is_untried
        if run.state is not RunState.OPEN or is_over:
            self._queue.push(Item(run.upload))
            return
        for delivery in run.deliveries:
            if delivery.is_claimable(self._site.me, now_ms):
                item = Item(run.upload, delivery.destination, delivery.id)
                self._queue.push(item, is_urgent=run.is_urgent)
        # What another process runs is looked at again when its lease ends.
        next_ms = run.next_ms(self._site.me, now_ms)
        if next_ms > now_ms:
            self.index.wake(run.upload, next_ms)

    def _probe(self) -> None:
        """Let one parked delivery find out whether its destination works again, or all that may."""
        now_s = asyncio.get_running_loop().time()
        if now_s < self._probe_at_s:
            return
        self._probe_at_s = now_s + self._site.timing.sweep_s
        for destination in self.index.parked_at():
            gate = self._breaker(destination).gate(now_s)
            count = {Gate.PROBE: 1, Gate.OPEN: DELIVERY_LOOK_BATCH}.get(gate, 0)
            for upload, delivery in self.index.parked(destination, count):
                self._queue.push(Item(upload, destination, delivery))

    def _begin(self, group: asyncio.TaskGroup) -> None:
        if self._is_leaving or not self._may_begin():
            return
        while (item := self._queue.maybe_pop(self._is_allowed)) is not None:
            self._running[item] = group.create_task(self._work(item, group))

    def _is_allowed(self, destination: DestinationID | None) -> bool:
        """Say whether items of *destination* may leave the queue: to be tried, or to be parked."""
        if destination is None:
            return True
        now_s = asyncio.get_running_loop().time()
        return self._breaker(destination).gate(now_s) is not Gate.PAUSED

    def _breaker(self, destination: DestinationID) -> Breaker:
        """Return the breaker of *destination* as its owner has it now; an edit makes a new one."""
        entry = self._site.maybe_destination(destination)
        return self._breakers.of(destination, 0 if entry is None else entry.version)

    async def _pause(self) -> None:
        """Wait until something is due, ended or woke us; a sweep's length at most."""
        wait_s = self._site.timing.sweep_s
        next_ms = self.index.next_ms()
        if next_ms is not None:
            wait_s = min(wait_s, max((next_ms - self._site.clock.now_ms()) / 1_000, 0.001))
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._stirred.wait()

    def _stir(self) -> None:
        self._stirred.set()

    # -- one thing of a run

    async def _work(self, item: Item, group: asyncio.TaskGroup) -> None:
        """Do *item*; what fails is tried again, and what nobody foresaw is logged."""
        try:
            if item.delivery is None or item.destination is None:
                await self._end(item.upload)
            else:
                await self._deliver(item, item.destination, item.delivery, group)
        except (NotDue, LeaseLost, Conflict, UnknownRun):
            await self._refresh(item.upload)
        except Error as failure:
            log.fact("delivery.hindered", reason=failure.code)
            self._again(item.upload)
        except Exception as exc:  # noqa: BLE001 - the rim of a task: the others go on
            log.error("delivery.fault", exc)
            self._again(item.upload)
        finally:
            self._queue.done(item)
            del self._running[item]
            self._stir()

    def _again(self, upload: UploadID) -> None:
        """Look at a run again in a while: its disk or its outbox failed."""
        pause_s = self._site.random.uniform(0, self._site.timing.retry_first_s)
        self.index.wake(upload, self._site.clock.now_ms() + int(pause_s * 1_000))

    async def _refresh(self, upload: UploadID) -> None:
        """See what another process made of a run."""
        try:
            run = await self.index.load(upload)
        except UnknownRun:
            return
        except SinkError:
            self._again(upload)
            return
        now_ms = self._site.clock.now_ms()
        self.index.wake(upload, max(run.next_ms(self._site.me, now_ms), now_ms + 1))

    async def _end(self, upload: UploadID) -> None:
        run = await self.index.change(
            upload, lambda run: run.expired(self._site.me, self._site.clock.now_ms())
        )
        if run.state is RunState.OPEN:  # an attempt is under way
            self._again(upload)
        elif await end(self._site, self.index, upload):
            self.planner.remember_over(upload)
        else:
            self._again(upload)

    async def _deliver(
        self,
        item: Item,
        destination: DestinationID,
        which: DeliveryID,
        group: asyncio.TaskGroup,
    ) -> None:
        breaker = self._breaker(destination)
        now_s = asyncio.get_running_loop().time()
        gate = breaker.gate(now_s)
        if gate is Gate.SHUT:
            await self._park_unasked(item.upload, which)
            return
        if gate is Gate.PAUSED:
            self._again(item.upload)
            return
        breaker.begun(now_s)
        try:
            lease_ms = int(self._site.timing.lease_s * 1_000)
            run = await self.index.change(
                item.upload,
                lambda now: now.claimed(which, self._site.me, self._site.clock.now_ms(), lease_ms),
            )
            held = run.delivery(which)
            self._unfinished[item] = held.fence
            group.create_task(self.index.tell(item.upload))
            verdict = await Attempt(self._site, self.index, run, held).run()
            del self._unfinished[item]
            await self._settle(item.upload, held, verdict)
            self._judge(breaker, verdict)  # one that lost its lease says nothing
        finally:
            breaker.given_up()

    def _judge(self, breaker: Breaker, verdict: Verdict) -> None:
        """Let the destination's breaker know what the attempt says about it."""
        now_s = asyncio.get_running_loop().time()
        if verdict.fault is not None:
            breaker.failed(verdict.fault, now_s)
        elif verdict.how is How.DONE:
            breaker.succeeded()
            self._probe_at_s = 0.0  # the parked ones may go, too

    async def _settle(self, upload: UploadID, held: Delivery, verdict: Verdict) -> None:
        """Write down how an attempt ended; raises ``LeaseLost``: then it does not count."""
        now_ms = self._site.clock.now_ms()
        due_ms = now_ms + self._back_off_ms(held.attempt)
        rules = self._site.rules
        try:
            await self.index.change(
                upload, lambda run: _settled(run, held, verdict, now_ms, due_ms, rules)
            )
        except LeaseLost:
            log.fact("delivery.lost", upload=upload, delivery=held.id, attempt=held.attempt)
            raise
        _log(upload, held, verdict)
        await self.index.tell(upload)

    def _back_off_ms(self, attempt: int) -> int:
        """Return how long to wait after so many attempts: full jitter, so that none keep step."""
        timing = self._site.timing
        doublings = min(attempt - 1, _DOUBLINGS_MAX)
        ceiling_s = min(timing.retry_first_s * 2**doublings, timing.retry_max_s)
        return int(self._site.random.uniform(0, ceiling_s) * 1_000)

    async def _park_unasked(self, upload: UploadID, which: DeliveryID) -> None:
        """Park a delivery whose destination has told another one that it takes nothing."""
        run = self.index.maybe(upload)
        if run is None or run.delivery(which).state is not DeliveryState.WAIT:
            return
        fence = run.delivery(which).fence
        await self._change(
            upload,
            lambda now: now.parked(which, fence, self._site.clock.now_ms(), Code.UNAVAILABLE),
        )

    async def _released(self, upload: UploadID, which: DeliveryID, fence: int) -> None:
        await self.index.change(
            upload, lambda run: run.released(which, fence, self._site.clock.now_ms())
        )

    async def _change(self, upload: UploadID, transition: Transition) -> None:
        """Change a run, and tell what is news."""
        await self.index.change(upload, transition)
        await self.index.tell(upload)


def _settled(
    run: Run, held: Delivery, verdict: Verdict, now_ms: int, due_ms: int, rules: Rules
) -> Run:
    """Return *run* after an attempt; raises ``LeaseLost``."""
    which, fence, error = held.id, held.fence, verdict.error
    match verdict.how:
        case How.DONE:
            done = rules.delivered(run, which, fence, now_ms, verdict.ref)
            return done.measured(which, verdict.digest)
        case How.LOST:
            raise LeaseLost
        case How.GONE:
            return run.stopped(DeletionReason.ERASED, now_ms)
        case How.LATER:
            return run.postponed(which, fence, now_ms, error, due_ms)
        case How.NEVER:
            return run.failed(which, fence, now_ms, error)
        case How.SHUT:
            return run.parked(which, fence, now_ms, error)


def _log(upload: UploadID, held: Delivery, verdict: Verdict) -> None:
    delivery, attempt, reason = held.id, held.attempt, verdict.error
    match verdict.how:
        case How.DONE:
            log.fact("delivery.done", upload=upload, delivery=delivery, attempt=attempt)
        case How.LOST | How.GONE:  # said where it is noticed, and where the content goes
            pass
        case How.LATER:
            log.fact("delivery.postponed", delivery=delivery, attempt=attempt, reason=reason)
        case How.NEVER:
            log.fact("delivery.failed", delivery=delivery, attempt=attempt, reason=reason)
        case How.SHUT:
            log.fact("delivery.parked", delivery=delivery, attempt=attempt, reason=reason)
