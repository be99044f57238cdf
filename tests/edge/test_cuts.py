import asyncio
from random import Random

import pytest

from edge.cuts import Cuts
from edge.neighbours import Neighbours
from edge.pace import Patience
from edge.region_state import MemoryRegion
from tests.support.sim import simulate
from tests.support.taking import Node, Sender
from zentransfer.errors import Code, Error
from zentransfer.ids import UploadID
from zentransfer.limits import CUTS_KEPT_MAX, TAKEOVERS_PER_MINUTE_MAX
from zentransfer.memory_disk import MemoryDisk

A, B = UploadID("up_a"), UploadID("up_b")


class Time:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_an_upload_that_goes_to_and_fro_stays_for_the_rest_of_a_minute() -> None:
    time = Time()
    cuts = Cuts(time)
    for fence in range(TAKEOVERS_PER_MINUTE_MAX):
        cuts.must_be_seldom(A)
        cuts.note(A, fence)
        cuts.note(A, fence)  # told by Redis to whoever said it, too
        time.now_s += 1
    cuts.must_be_seldom(B)
    with pytest.raises(Error) as raised:
        cuts.must_be_seldom(A)
    assert raised.value.code is Code.LOCKED
    assert raised.value.retry_after_s == 60 - TAKEOVERS_PER_MINUTE_MAX
    time.now_s = 60
    cuts.must_be_seldom(A)


@pytest.mark.reaches("CUTS_KEPT_MAX")
def test_no_more_uploads_are_counted_than_may_be() -> None:
    cuts = Cuts(Time())
    for fence in range(TAKEOVERS_PER_MINUTE_MAX):
        cuts.note(A, fence)
    for number in range(CUTS_KEPT_MAX):
        cuts.note(UploadID(f"up_{number}"), 1)
    cuts.must_be_seldom(A)  # the one of longest ago is forgotten


def test_two_copies_of_a_client_at_two_processes_do_not_starve_each_other_for_ever() -> None:
    async def run() -> None:
        here = await Node(MemoryDisk(Random(1))).start()
        there = await Node(here.disk.process(), process="ingest-1").start()
        region, nodes = MemoryRegion(), (here, there)
        upload = await here.create(9, [b"abc"])
        codes = list[Code]()

        async def send(at: Node) -> None:
            try:
                await at.append(upload, 3, Sender([], goes_silent=True), Patience(1e9, 1e9))
            except Error as failure:
                codes.append(failure.code)

        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(
                    Neighbours(
                        region.process(), at.resumables.unfinished, at.sink, at.process
                    ).run()
                )
                for at in nodes
            ]
            for turn in range(TAKEOVERS_PER_MINUTE_MAX + 2):
                tasks.append(group.create_task(send(nodes[turn % 2])))
                await asyncio.sleep(0.5)
            assert codes.count(Code.SUPERSEDED) == TAKEOVERS_PER_MINUTE_MAX
            assert codes[-1:] == [Code.LOCKED], "whoever has it may go on"
            await asyncio.sleep(60)
            tasks.append(group.create_task(send(there)))
            await asyncio.sleep(0.5)
            assert codes[-1:] == [Code.SUPERSEDED]
            for task in tasks:
                task.cancel()

    simulate(run())
