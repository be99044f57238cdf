import asyncio
from dataclasses import replace
from random import Random

import pytest

from edge.handover import Flaw, Ticket, TicketRefused
from edge.region_state import MemoryRegion, RegionState
from edge.spent import SpentTickets
from tests.edge.test_handover import ticket
from tests.support.sim import simulate
from zentransfer.clock import ManualClock
from zentransfer.errors import Code, Error
from zentransfer.limits import (
    HANDOVER_SKEW_S,
    HANDOVERS_FORGOTTEN_AT_ONCE,
    HANDOVERS_KEPT_MAX,
    HANDOVERS_PER_ACCOUNT_MAX,
)
from zentransfer.memory_disk import MemoryDisk

NOW_MS = 1_000_000
FOLDER = "spent"
SKEW_MS = int(HANDOVER_SKEW_S * 1000)


def disk_of_a_node() -> MemoryDisk:
    disk = MemoryDisk(Random(1))
    disk.make_folder(FOLDER)
    return disk


def numbered(number: int, expires_ms: int = NOW_MS + 60_000) -> Ticket:
    return replace(ticket(), nonce=number.to_bytes(16, "big"), expires_ms=expires_ms)


def process(
    disk: MemoryDisk, clock: ManualClock | None = None, region: RegionState | None = None
) -> SpentTickets:
    return SpentTickets(disk, FOLDER, region, clock or ManualClock(NOW_MS))


async def is_taken(by: SpentTickets, shown: Ticket) -> bool:
    try:
        await by.spend(shown)
    except TicketRefused as refused:
        return refused.flaw is not Flaw.SPENT
    return True


def test_a_ticket_is_spent_once_by_whichever_worker_of_a_node_and_after_a_restart() -> None:
    async def test() -> None:
        disk = disk_of_a_node()
        one, other = process(disk), process(disk)
        assert await is_taken(one, numbered(1))
        assert [await is_taken(each, numbered(1)) for each in (one, other)] == [False, False]
        assert await is_taken(other, numbered(2))
        assert not await is_taken(process(disk), numbered(2))

    simulate(test())


def test_a_ticket_is_spent_once_in_a_region_of_several_nodes() -> None:
    async def test() -> None:
        region = MemoryRegion()
        one, other = (process(disk_of_a_node(), region=region.process()) for _ in range(2))
        assert await is_taken(one, numbered(1))
        assert not await is_taken(other, numbered(1))

    simulate(test())


def test_of_many_who_show_one_ticket_at_once_one_is_taken() -> None:
    async def test() -> None:
        disk, region = disk_of_a_node(), MemoryRegion()
        processes = [process(disk, region=region.process()) for _ in range(8)]
        async with asyncio.TaskGroup() as tasks:
            shown = [tasks.create_task(is_taken(each, numbered(1))) for each in processes]
        assert sum(task.result() for task in shown) == 1

    simulate(test())


def test_while_nobody_in_the_region_can_tell_the_node_goes_by_itself() -> None:
    class Away(type(MemoryRegion().process())):  # type: ignore[misc]  # as Redis when it is killed
        async def is_first(self, nonce: bytes, for_s: float) -> bool | None:
            return None

    async def test() -> None:
        alone = process(disk_of_a_node(), region=Away([], set()))
        assert await is_taken(alone, numbered(1))
        assert not await is_taken(alone, numbered(1))

    simulate(test())


@pytest.mark.reaches("HANDOVERS_KEPT_MAX")
@pytest.mark.reaches("HANDOVERS_FORGOTTEN_AT_ONCE")
def test_a_memory_that_is_full_spends_nothing_until_it_has_forgotten() -> None:
    async def test() -> None:
        disk, clock = disk_of_a_node(), ManualClock(NOW_MS)
        for number in range(HANDOVERS_KEPT_MAX):
            disk.create(f"{FOLDER}/{NOW_MS + 60_000:016x}-{number:032x}").close()
        full = process(disk, clock)
        with pytest.raises(Error) as refused:
            await full.spend(numbered(HANDOVERS_KEPT_MAX))
        assert refused.value.code is Code.OVERLOADED
        assert refused.value.retry_after_s
        clock.advance(60_000 + SKEW_MS)
        with pytest.raises(Error):
            await full.spend(numbered(1, clock.now_ms() + 1))
        clock.advance(1)
        assert await is_taken(full, numbered(1, clock.now_ms() + 1))
        left = HANDOVERS_KEPT_MAX - HANDOVERS_FORGOTTEN_AT_ONCE + 1
        assert len(disk.names(FOLDER)) == left, "a few at a time"
        assert await is_taken(full, numbered(2, clock.now_ms() + 1))
        assert len(disk.names(FOLDER)) == left - HANDOVERS_FORGOTTEN_AT_ONCE + 1

    simulate(test())


def test_two_workers_forget_what_is_over_without_disturbing_each_other() -> None:
    async def test() -> None:
        disk, clock = disk_of_a_node(), ManualClock(NOW_MS)
        disk.create(f"{FOLDER}/{NOW_MS - SKEW_MS:016x}-{1:032x}").close()
        one, other = process(disk, clock), process(disk, clock)
        clock.advance(1)
        for number, worker in ((2, one), (3, other)):
            assert await is_taken(worker, numbered(number))
        assert len(disk.names(FOLDER)) == 2

    simulate(test())


def test_a_disk_that_takes_no_name_spends_nothing() -> None:
    async def test() -> None:
        disk = disk_of_a_node()
        broken = process(disk)
        disk.remove_folder(FOLDER)
        with pytest.raises(Error) as refused:
            await broken.spend(numbered(1))
        assert refused.value.code is Code.UNAVAILABLE

    simulate(test())


def test_a_ticket_is_spent_once_where_two_clocks_differ() -> None:
    async def test() -> None:
        region, clock = MemoryRegion(), ManualClock(NOW_MS)
        ahead = process(disk_of_a_node(), clock, region.process())
        behind = process(disk_of_a_node(), ManualClock(NOW_MS - SKEW_MS), region.process())
        shown = numbered(1, NOW_MS + 1_000)
        assert await is_taken(ahead, shown)
        await asyncio.sleep(HANDOVER_SKEW_S)  # by the clock that is behind it is good for 1 s more
        assert not await is_taken(behind, shown)
        clock.advance(1_000 + SKEW_MS)
        assert not await is_taken(ahead, shown), "nor has the node forgotten it"

    simulate(test())


@pytest.mark.reaches("HANDOVERS_PER_ACCOUNT_MAX")
def test_one_account_does_not_fill_the_memory_of_all() -> None:
    async def test() -> None:
        clock = ManualClock(NOW_MS)
        spent = process(disk_of_a_node(), clock)
        for number in range(HANDOVERS_PER_ACCOUNT_MAX):
            await spent.spend(numbered(number))
        with pytest.raises(Error) as refused:
            await spent.spend(numbered(HANDOVERS_PER_ACCOUNT_MAX))
        assert (refused.value.code, bool(refused.value.retry_after_s)) == (Code.RATE_LIMITED, True)
        other = replace(numbered(HANDOVERS_PER_ACCOUNT_MAX), account=ticket(2).account)
        assert await is_taken(spent, other)
        clock.advance(60_001 + SKEW_MS)
        assert await is_taken(spent, numbered(1, clock.now_ms() + 1)), "it has room again"

    simulate(test())
