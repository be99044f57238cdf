"""Deliveries under every fault that there is: each effect once, each receipt once, nothing left.

A mutation leaves out one step that the promises stand on; the histories must notice.
"""

import asyncio
import errno
from collections.abc import Callable

import pytest

from edge.audit import Attempted, AuditedOpenKey, AuditLog
from edge.keys import OpenKey, RegionPublicKeys
from edge.seal.header import Header
from edge.workflow.run import Run
from edge.workflow.site import Rules
from tests.support.delivery_history import NAMES, History, Violation
from tests.support.sim import simulate
from zentransfer.clock import Clock
from zentransfer.ids import DeliveryID
from zentransfer.memory_disk import MemoryDisk

STEPS = 30
SHARDS = 5
ONE = NAMES[:1]


@pytest.mark.timeout(180)
def test_a_random_history_keeps_every_promise(seed: int) -> None:
    simulate(History(seed).run(STEPS))


def test_an_attempt_that_lost_its_lease_changes_nothing(seed: int) -> None:
    simulate(History(seed).zombie())


async def stopped_while_it_stands_still() -> None:
    history = History(4)
    await history.commit()
    await history._start_all()
    await asyncio.sleep(0.01)
    for living in history.living.values():
        living.disk.freeze()
    for name in list(history.living):
        await history._stop(name)
    await history.to_the_end()


def test_a_process_is_stopped_while_it_stands_still() -> None:
    simulate(stopped_while_it_stands_still())


def test_ciphertext_whose_removal_could_not_be_flushed_is_removed_again() -> None:
    """A power loss brought it back beside the tombstone, in this history."""
    simulate(History(1_001).run(60))


@pytest.mark.soak
@pytest.mark.parametrize("more", range(1_000, 2_000))
def test_a_thousand_longer_histories(more: int) -> None:
    simulate(History(more).run(60))


Plant = Callable[[MemoryDisk, int], None]

FAULTS: dict[str, Plant] = {
    "the power goes": lambda disk, n: disk.crash_at(n),
    "the disk is full": lambda disk, n: disk.fail_at(n, errno.ENOSPC),
    "the disk fails": lambda disk, n: disk.fail_at(n, errno.EIO),
    "a flush fails": lambda disk, n: disk.fail_flush(n),
}


async def one_life(n: int, plant: Plant) -> int:
    """Deliver one upload to two places with a fault at *n*; returns the operations it took."""
    history = History(n, names=ONE)
    await history.commit()
    before = history.disk.operations
    plant(history.disk, n)
    await history.until_quiet_or_crashed()
    operations = history.disk.operations - before
    await history.to_the_end()
    return operations


def a_series(fault: str, shard: int) -> None:
    """Plant *fault* at one operation after the other, until it lies beyond the end."""
    n = 1 + shard
    while simulate(one_life(n, FAULTS[fault])) >= n:
        n += SHARDS
    assert n > 50


@pytest.mark.timeout(180)
@pytest.mark.parametrize("shard", range(2))
def test_the_power_may_go_at_any_operation(shard: int) -> None:
    a_series("the power goes", shard)


@pytest.mark.soak
@pytest.mark.parametrize("shard", range(2, SHARDS))
def test_the_power_may_go_at_every_operation(shard: int) -> None:
    a_series("the power goes", shard)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("fault", list(FAULTS)[1:])
def test_a_disk_that_fails_at_any_operation_costs_time_and_nothing_else(fault: str) -> None:
    a_series(fault, 0)


@pytest.mark.soak
@pytest.mark.parametrize("shard", range(1, SHARDS))
@pytest.mark.parametrize("fault", list(FAULTS)[1:])
def test_a_disk_that_fails_at_every_operation_costs_no_more(fault: str, shard: int) -> None:
    a_series(fault, shard)


async def full_disk() -> None:
    history = History(3, names=ONE)
    await history.commit()
    await history.commit()
    history.disk.set_capacity(0)  # what is there stays, and nothing can be added
    await history.supervise_for(600)
    assert len(history.places.whole) == 0
    assert len(history.region.sent) == 2
    history.disk.set_capacity(1 << 30)
    await history.to_the_end()


def test_a_full_disk_stops_everything_and_loses_nothing() -> None:
    simulate(full_disk())


class KeyFirst(Rules):
    """A mutation: the key is used, and the audit record follows."""

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


class NoFence(Rules):
    """A mutation: how an attempt ended is written down, whoever has the lease by then."""

    def delivered(self, run: Run, which: DeliveryID, fence: int, now_ms: int, ref: str) -> Run:
        return run.delivered(which, max(fence, run.delivery(which).fence), now_ms, ref)

    def still_holds(self, run: Run, which: DeliveryID, fence: int) -> bool:
        return True


def test_a_key_used_before_its_audit_record_is_caught() -> None:
    with pytest.raises(Violation, match="audit record"):
        simulate(History(1, KeyFirst()).run(3))


def test_a_result_without_its_fence_is_caught() -> None:
    caught = 0
    for seed in range(4):
        try:
            simulate(History(seed, NoFence()).zombie())
        except Violation as violation:
            caught += "had not succeeded" in str(violation)
    assert caught > 1
