"""Each step that the promises stand on, left out once: the whole system's histories must notice.

Every mutation is real code with one step changed, put in by the seams that tests have; nothing is
patched.  Beside each stands the promise that gives it away.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import pytest

from control.facts.apply import Applied
from control.facts.intake import FactIntake
from control.facts.model import Batch
from control.uploads.feed import EventFeed
from edge.audit import Attempted, AuditedOpenKey, AuditLog
from edge.facts import Outcome
from edge.keys import OpenKey, RegionPublicKeys
from edge.record import UploadRecord
from edge.seal.header import Header
from edge.settling import Settling
from edge.sinks import log_parts
from edge.sinks.memory import MemorySink
from edge.workflow import site
from edge.workflow.run import Run
from tests.support.books import SlowDatabase
from tests.support.fleet import LoopClock
from tests.support.sim import simulate
from tests.support.whole import SOUND, Mutation
from tests.support.whole_history import EVERYDAY, History
from tests.support.whole_model import Violation
from tests.support.whole_node import Seams
from zentransfer.clock import Clock
from zentransfer.disk import DiskPath, File
from zentransfer.ids import DeliveryID
from zentransfer.memory_disk import MemoryDisk, MemoryFile

STEPS = 40


class WithoutFlushAtClaim(MemorySink):
    class _Rules(log_parts.Rules):
        async def flush_found(self, file: File) -> None:
            pass

    rules: ClassVar[log_parts.Rules] = _Rules()


class WithoutFenceBeforeReply(MemorySink):
    class _Rules(log_parts.Rules):
        def may_reply(self, record: UploadRecord, fence: int) -> bool:
            return True

    rules: ClassVar[log_parts.Rules] = _Rules()


class WithoutFenceAtCommit(MemorySink):
    class _Rules(log_parts.Rules):
        def may_commit(self, record: UploadRecord, fence: int) -> bool:
            return True

    rules: ClassVar[log_parts.Rules] = _Rules()


class HastyIntake(FactIntake):
    """Acks what it has read, and commits when it comes to it."""

    def __init__(self, database: SlowDatabase, tasks: asyncio.TaskGroup) -> None:
        super().__init__(database, LoopClock(), EventFeed())
        self._tasks = tasks
        self._turn = asyncio.Lock()

    async def take(self, batch: Batch) -> Applied:
        self._tasks.create_task(self._later(batch))
        return Applied(batch.last_sequence)

    async def _later(self, batch: Batch) -> None:
        async with self._turn:
            await super().take(batch)


class KeyFirst(site.Rules):
    """The key is used, and the audit record follows."""

    def open_key(
        self,
        keys: OpenKey,
        log: AuditLog,
        region: RegionPublicKeys,
        clock: Clock,
        attempt: Attempted,
    ) -> OpenKey:
        audited = AuditedOpenKey(keys, log, region, clock, attempt)

        class Hasty:
            async def open(self, header: Header) -> bytes:
                found = await keys.open(header)
                await audited._write(header)
                return found

        return Hasty()


class WithoutFenceOfDelivery(site.Rules):
    """How an attempt ended is written down, whoever has the lease by then."""

    def delivered(self, run: Run, which: DeliveryID, fence: int, now_ms: int, ref: str) -> Run:
        return run.delivered(which, max(fence, run.delivery(which).fence), now_ms, ref)

    def still_holds(self, run: Run, which: DeliveryID, fence: int) -> bool:
        return True


class _Unflushed(MemoryFile):
    async def flush(self) -> None:
        await asyncio.sleep(0)


class UnflushedDisk(MemoryDisk):
    """The same process's view of the same disk, on which no flush of a new file does anything."""

    def __init__(self, disk: MemoryDisk) -> None:
        super().__init__(disk._random, machine=disk._machine)
        self._process = disk._process

    def create(self, path: DiskPath) -> MemoryFile:
        made = super().create(path)
        made.close()
        return _Unflushed(self._process, made._content, write=True)


class DestroysFirst(Settling):
    """What is told to be whole is taken for done with."""

    async def tell(self, outcome: Outcome) -> None:
        await super().tell(outcome)
        await self._sink.destroy(outcome.upload_id)


@dataclass(frozen=True)
class Case:
    """A mutation, the promise that gives it away, and the mood in which it is seen."""

    mutation: Mutation
    promise: str
    mood: str = EVERYDAY


CASES = {
    "no flush at the claim": Case(
        Mutation(Seams(sink=WithoutFlushAtClaim)), "an acknowledged byte is lost", "coming back"
    ),
    "no fence before the reply": Case(
        Mutation(Seams(sink=WithoutFenceBeforeReply)), "shut out told an offset", "coming back"
    ),
    "no fence at the commit": Case(
        Mutation(Seams(sink=WithoutFenceAtCommit)), "shut out committed", "coming back"
    ),
    "the ack before the commit": Case(
        Mutation(make_intake=HastyIntake), "acked before it was committed", "out of touch"
    ),
    "the key before its audit record": Case(
        Mutation(Seams(rules=KeyFirst())), "used before its audit record"
    ),
    "no fence of the delivery": Case(
        Mutation(Seams(rules=WithoutFenceOfDelivery())), "had not succeeded", "standing still"
    ),
    "no flush of the outbox": Case(
        Mutation(Seams(outbox_disk=UnflushedDisk)), "without a receipt", "out of touch"
    ),
    "destroyed before delivered": Case(
        Mutation(Seams(settling=DestroysFirst)), "gone without a receipt"
    ),
}
SEEDS = 24  # in which each mutation must be seen; every second or third of its mood shows it
SOUND_SEEDS = range(5, 10)  # beside those of every run; a soak plays thousands


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", CASES)
def test_a_system_without_one_of_its_steps_is_caught(name: str) -> None:
    case, found = CASES[name], list[str]()
    for seed in range(SEEDS):
        try:
            simulate(History(seed, case.mood, case.mutation).run(STEPS))
        except* Violation as violations:
            found += [str(one) for one in leaves(violations)]
        if any(case.promise in one for one in found):
            return
    pytest.fail(f"{name} is not seen in {SEEDS} histories: {found}")


def leaves(group: BaseExceptionGroup[Violation]) -> Iterator[BaseException]:
    for one in group.exceptions:
        if isinstance(one, BaseExceptionGroup):
            yield from leaves(one)
        else:
            yield one


@pytest.mark.timeout(180)
@pytest.mark.parametrize("mood", sorted({case.mood for case in CASES.values()}))
def test_the_sound_system_passes_where_the_mutations_are_caught(mood: str) -> None:
    for seed in SOUND_SEEDS:
        simulate(History(seed, mood, SOUND).run(STEPS))
