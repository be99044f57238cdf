import asyncio
from random import Random

import pytest

from edge.adoption import Adoption
from edge.outbox import Outbox, open_outbox
from edge.place import FOLDERS, Left, Place
from tests.support.sim import simulate
from zentransfer.errors import Code, Error
from zentransfer.ids import EpochID, ProcessName
from zentransfer.limits import ADOPT_PAUSE_S, OUTBOX_BATCH_FACTS_MAX
from zentransfer.memory_disk import MemoryDisk

ONE, OTHER, THIRD = (ProcessName(f"ingest-{index}") for index in range(3))


def epoch() -> EpochID:
    return EpochID("ep_a")


class Node:
    """A living process of a node, and how it was asked to look after what others left."""

    def __init__(self, disk: MemoryDisk) -> None:
        self.disk = disk
        self.left: list[Left] = []
        for name in FOLDERS:
            disk.make_folder(name)

    async def start(self, bytes_max: int = 1_000_000) -> "Node":
        place = Place(self.disk, ONE)
        left = await place.take()
        self.outbox = await open_outbox(self.disk, place.outbox, epoch, bytes_max)
        self.adoption = Adoption(self.disk, place, self.outbox, epoch, left.living)
        return self

    async def see_to(self, left: Left) -> None:
        self.left.append(left)

    def facts(self) -> list[bytes]:
        return self.outbox.read(0, 10_000)[1]

    def places(self) -> list[str]:
        return sorted(name for name in self.disk.names("run") if name.startswith("ingest"))


async def left_by(disk: MemoryDisk, name: ProcessName, *facts: bytes, lives: bool = False) -> Place:
    """Live as *name* on the same disk, tell *facts*, and be killed; returns its place."""
    process = disk.process()
    place = Place(process, name)
    await place.take()
    outbox: Outbox = await open_outbox(process, place.outbox, epoch)
    for fact in facts:
        await outbox.add(fact)
    if not lives:
        outbox.close()
        process.kill()
    return place


@pytest.mark.reaches("ADOPT_PAUSE_S")
def test_what_a_process_that_nobody_runs_any_more_had_to_tell_is_told_and_its_place_is_gone() -> (
    None
):
    async def run() -> None:
        node = await Node(MemoryDisk(Random(1))).start()
        facts = [b"fact %d" % number for number in range(OUTBOX_BATCH_FACTS_MAX + 3)]
        await left_by(node.disk, OTHER, *facts)
        third = await left_by(node.disk, THIRD, b"its own", lives=True)
        looking = asyncio.get_running_loop().create_task(node.adoption.run(node.see_to))
        await asyncio.sleep(1.5 * ADOPT_PAUSE_S)
        assert node.facts() == [], "it may be about to start again"
        assert node.adoption.living == {THIRD}
        await asyncio.sleep(2 * ADOPT_PAUSE_S)
        assert sorted(node.facts()) == sorted(facts)
        assert [left.living for left in node.left] == [{ONE, THIRD}], "we live too"
        assert node.places() == ["ingest-0.lock", "ingest-2.lock"]
        assert node.disk.names("outbox/ingest-1") == []
        looking.cancel()
        await third.aclose()

    simulate(run())


def test_who_is_there_again_is_left_alone_and_begins_anew_after_an_adoption() -> None:
    async def run() -> None:
        node = await Node(MemoryDisk(Random(1))).start()
        other = await left_by(node.disk, OTHER, b"fact", lives=True)
        await node.adoption.adopt(OTHER, node.see_to)
        assert (node.facts(), node.left) == ([], [])
        await other.aclose()
        await left_by(node.disk, THIRD, b"fact")
        await node.adoption.adopt(THIRD, node.see_to)
        assert node.facts() == [b"fact"]
        place = Place(node.disk.process(), THIRD)
        await place.take()
        assert (await open_outbox(node.disk, place.outbox, epoch)).durable == 0

    simulate(run())


def test_what_does_not_fit_stays_where_it_is_until_there_is_room() -> None:
    async def run() -> None:
        node = await Node(MemoryDisk(Random(1))).start(bytes_max=200)
        await left_by(node.disk, OTHER, *(b"%0100d" % number for number in range(4)))
        with pytest.raises(Error) as raised:
            await node.adoption.adopt(OTHER, node.see_to)
        assert raised.value.code is Code.OUTBOX_FULL
        assert "ingest-1.lock" in node.places()
        left = await open_outbox(node.disk, "outbox/ingest-1", epoch)
        assert left.lag == 4
        left.close()
        node.outbox._bytes_max = 10_000
        await node.adoption.adopt(OTHER, node.see_to)
        assert {bytes(fact) for fact in node.facts()} == {b"%0100d" % n for n in range(4)}

    simulate(run())


def test_a_failure_is_told_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        node = await Node(MemoryDisk(Random(1))).start(bytes_max=10)
        await left_by(node.disk, OTHER, b"fact")
        looking = asyncio.get_running_loop().create_task(node.adoption.run(node.see_to))
        await asyncio.sleep(3.5 * ADOPT_PAUSE_S)
        node.outbox._bytes_max = 10_000
        await asyncio.sleep(2 * ADOPT_PAUSE_S)
        assert node.facts() == [b"fact"]
        looking.cancel()

    simulate(run())
