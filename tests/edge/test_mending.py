import asyncio
import errno
from random import Random

from edge.facts import OutcomeState
from edge.particulars import Fate
from edge.settling import Unsettled
from tests.support.sim import simulate
from tests.support.taking import Node
from zentransfer.errors import Code
from zentransfer.limits import SETTLE_PAUSE_S
from zentransfer.memory_disk import MemoryDisk


def test_an_end_that_the_disk_refuses_is_tried_again_until_it_is_told() -> None:
    async def run() -> None:
        node = await Node(MemoryDisk(Random(1))).start()
        upload = await node.create(9, [b"abc"])
        await node.resumables.unfinished.held.close()
        one = Unsettled(
            upload,
            Fate(OutcomeState.CANCELLED, Code.GONE),
            node.intake.tools.settling.outcome_id(),
            5,
        )
        async with asyncio.TaskGroup() as group:
            mending = group.create_task(node.intake.mend())
            for step in range(1, 20):
                node.disk.fail_at(step, errno.EIO)
            assert await node.intake.settle(one) is None
            assert node.intake.unsettled == 1
            await asyncio.sleep(40 * SETTLE_PAUSE_S)
            assert node.intake.unsettled == 0
            mending.cancel()
        (outcome,) = node.outcomes()
        assert (outcome.id, outcome.ended_ms) == (one.outcome, 5)
        assert node.intake.ended[Code.GONE] == 1
        assert node.intake.committed_bytes == 0

    simulate(run())


def test_what_is_in_hand_is_settled_once() -> None:
    async def run() -> None:
        node = await Node(MemoryDisk(Random(1))).start()
        upload = await node.create(9, [b"abc"])
        one = Unsettled(
            upload,
            Fate(OutcomeState.CANCELLED, Code.GONE),
            node.intake.tools.settling.outcome_id(),
            5,
        )
        async with asyncio.TaskGroup() as group:
            both = [group.create_task(node.intake.settle(one)) for _ in range(2)]
        assert [task.result() is None for task in both].count(True) == 1
        assert len(node.outcomes()) == 1

    simulate(run())
