"""Facts from many outboxes to one ledger, and snapshots back, through whatever may happen."""

import asyncio
import random
from collections.abc import Callable

import pytest
from sqlalchemy import select

from control.facts.apply import Applied
from control.facts.intake import FactIntake
from control.facts.model import Batch, Reason
from control.rpc.fleet import Timing
from control.tables import delivery, receipt
from control.uploads.feed import EventFeed
from tests.support.books import SlowDatabase
from tests.support.fleet import LoopClock
from tests.support.meeting import MakeIntake, Meeting, sound_intake
from tests.support.sim import simulate
from zentransfer import ids
from zentransfer.ids import EpochID, NodeID, ProcessName
from zentransfer.limits import (
    FLEET_OFFER_S,
    LINK_ACK_S,
    LINK_RETRY_MAX_S,
    LINK_SILENCE_S,
    LINK_WELCOME_S,
)
from zentransfer.network import NO_FAULTS, Faults

NAMES = ["fr-1/ingest-0", "fr-1/delivery-0", "sg-1/ingest-0"]

# What gRPC over the world looks like, and what is worse than any stream over TCP.
WORLD = Faults(delay_min_s=0.005, delay_max_s=0.3)
HARSH = Faults(loss=0.1, duplicate=0.1, reorder=0.2, delay_min_s=0.005, delay_max_s=2.0)

# The longest that what was healed may take: a dead stream is noticed, two dials, and what was lost
# on the way before is sent again.
HEALED_S = LINK_SILENCE_S + 2 * (LINK_RETRY_MAX_S + LINK_WELCOME_S) + LINK_ACK_S + FLEET_OFFER_S


def check(meeting: Meeting) -> None:
    """Hold what must hold at every moment."""
    assert all(not task.done() for task in _running(meeting))


async def check_acks(meeting: Meeting) -> None:
    """Hold that no process was told of a commit that is not there; control is down."""
    await asyncio.sleep(0)  # what was cancelled has gone
    for one in meeting.processes.values():
        if one.owner is None:
            continue
        outbox, process = one.owner.outbox, ids.process(one.name.partition("/")[2])
        async with meeting.books.database.read() as uow:
            cursor = await uow.facts.cursor(one.node, outbox.epoch, process)
        assert outbox.durable - outbox.lag <= cursor.sequence, "acked before it was committed"


def _running(meeting: Meeting) -> list[asyncio.Task[None]]:
    tasks = [one._task for one in meeting.processes.values()] + [meeting._control]
    return [task for task in tasks if task is not None]


async def until(holds: Callable[[], bool], within_s: float) -> None:
    for _ in range(round(within_s) + 1):
        if holds():
            return
        await asyncio.sleep(1)
    raise AssertionError(f"not within {within_s} s")


async def audit(meeting: Meeting) -> None:
    """Compare the ledger with what was told: nothing lost, nothing counted twice."""
    told, books = meeting.told, meeting.books
    known = await books.outcomes()
    lost = told.durable - known.keys()
    assert lost == set(), f"{len(lost)} outcomes were durable and are not in the ledger"
    assert known == {upload: told.made[upload].size_bytes for upload in known}
    assert await books.used_bytes() == sum(known.values())
    async with books.database.read() as uow:
        changes = await uow.connection.rows(select(delivery.c.id))
        receipts = await uow.connection.rows(select(receipt.c.upload_id))
    assert told.changes <= {row["id"] for row in changes}
    assert told.receipts <= {row["upload_id"] for row in receipts}
    aside = await books.aside()
    assert {one.reason for one in aside} <= {Reason.UNKNOWN_KIND}
    assert len(aside) >= told.poisoned


# --- chaos: what may happen, one thing at a time ---


def partition(meeting: Meeting, chance: random.Random) -> None:
    meeting.partition(chance.choice(NAMES), one_way=chance.random() < 0.3)


def heal(meeting: Meeting, chance: random.Random) -> None:
    meeting.heal(chance.choice(NAMES))


def cut(meeting: Meeting, chance: random.Random) -> None:
    meeting.cut(chance.choice(NAMES))


def kill(meeting: Meeting, chance: random.Random) -> None:
    meeting.processes[chance.choice(NAMES)].kill(cuts_power=chance.random() < 0.5)


def start(meeting: Meeting, _: random.Random) -> None:
    for one in meeting.processes.values():
        if not one.is_running:
            one.start()


def crash_control(meeting: Meeting, _: random.Random) -> None:
    meeting.crash_control()


def start_control(meeting: Meeting, _: random.Random) -> None:
    if not meeting.is_control_up:
        meeting.start_control()


async def change(meeting: Meeting) -> None:
    if meeting.life is not None:
        await meeting.life.change()


CHAOS = [partition, heal, heal, cut, kill, start, start, crash_control, start_control]
CHAOS += [start_control]


async def play(meeting: Meeting, chance: random.Random, steps: int = 20) -> None:
    """Let *steps* things happen, end all of them, and let what was told arrive."""
    for name in NAMES:
        meeting.add(name, facts_per_s=0.5)
    await asyncio.sleep(5)
    for _ in range(steps):
        chance.choice(CHAOS)(meeting, chance)
        if chance.random() < 0.3:
            await change(meeting)
        if not meeting.is_control_up:
            await check_acks(meeting)
        for _ in range(chance.randint(0, 4)):
            await asyncio.sleep(1)
            check(meeting)
    meeting.calm()
    meeting.is_quiet = True
    start(meeting, chance)
    start_control(meeting, chance)
    await until(meeting.is_settled, HEALED_S)


@pytest.mark.parametrize("faults", [WORLD, HARSH], ids=["world", "harsh"])
def test_every_durable_fact_is_in_the_ledger_once_and_every_node_has_the_snapshot(
    seed: int, faults: Faults
) -> None:
    async def main() -> None:
        async with Meeting(seed, faults).live() as meeting:
            await play(meeting, random.Random(seed + 3))
            await audit(meeting)
            assert len(meeting.told.durable) > 10

    simulate(main())


def test_the_same_seed_has_the_same_history() -> None:
    async def main() -> tuple[str, list[str]]:
        async with Meeting(0, WORLD).live() as meeting:
            await play(meeting, random.Random(3), steps=5)
            return meeting.network.history_digest, sorted(meeting.told.durable)

    assert simulate(main()) == simulate(main())


# --- the rule that holds it up, broken on purpose ---


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


async def crash_often(number: int, make: MakeIntake) -> None:
    """Let control die again and again while facts come in, and then compare."""
    async with Meeting(number, make_intake=make, commit_s=1.0).live() as meeting:
        one = meeting.add("fr-1/ingest-0", facts_per_s=4)
        for _ in range(5):
            await until(lambda: one.link is not None and one.link.state()[0], HEALED_S)
            await asyncio.sleep(meeting.chance.uniform(1, 4))
            meeting.crash_control()
            await check_acks(meeting)
            meeting.start_control()
        meeting.is_quiet = True
        await until(meeting.is_settled, HEALED_S)
        await audit(meeting)


@pytest.mark.parametrize("number", range(2))
def test_an_ack_behind_the_commit_is_never_too_early(number: int) -> None:
    simulate(crash_often(number, sound_intake))


@pytest.mark.parametrize("number", range(2))
def test_an_ack_before_the_commit_is_caught(number: int) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        simulate(crash_often(number, HastyIntake))
    assert caught.group_contains(AssertionError, match="acked before it was committed")


# --- control away ---


def test_control_away_for_a_day_costs_no_fact() -> None:
    async def main() -> None:
        async with Meeting(0, WORLD, Timing(tick_s=10)).live() as meeting:
            one = meeting.add("fr-1/ingest-0", facts_per_s=1 / 200)
            await until(meeting.is_current, LINK_WELCOME_S)
            meeting.crash_control()
            await asyncio.sleep(86_400)
            assert one.owner is not None
            assert one.owner.outbox.lag > 400
            assert one.file.version > 0, "it serves by what it knew"
            one.kill(cuts_power=True)
            one.start()
            meeting.start_control()
            await asyncio.sleep(LINK_RETRY_MAX_S)
            meeting.is_quiet = True
            await until(meeting.is_settled, HEALED_S)
            await audit(meeting)

    simulate(main())


def test_a_change_reaches_every_linked_process_within_a_second() -> None:
    async def main() -> None:
        around_europe = Faults(delay_min_s=0.005, delay_max_s=0.05)
        async with Meeting(1, around_europe, commit_s=0.03).live() as meeting:
            for name in NAMES:
                meeting.add(name)
            await until(meeting.is_current, LINK_WELCOME_S)
            for _ in range(5):
                assert meeting.life is not None
                before = [one.file.version for one in meeting.processes.values()]
                await meeting.life.change()
                await asyncio.sleep(1)
                after = [one.file.version for one in meeting.processes.values()]
                assert after == [version + 1 for version in before]

    simulate(main())


def test_without_faults_nothing_is_sent_twice() -> None:
    async def main() -> None:
        async with Meeting(0, NO_FAULTS).live() as meeting:
            meeting.add("fr-1/ingest-0", facts_per_s=10)
            await asyncio.sleep(15)
            meeting.is_quiet = True
            await until(meeting.is_settled, 10)
            await audit(meeting)
            async with meeting.books.database.read() as uow:
                node, process = NodeID("fr-1"), ProcessName("ingest-0")
                (one,) = meeting.processes.values()
                assert one.owner is not None
                epoch = EpochID(one.owner.outbox.epoch)
                cursor = await uow.facts.cursor(node, epoch, process)
            assert cursor.sequence == one.owner.outbox.durable > 100

    simulate(main())
