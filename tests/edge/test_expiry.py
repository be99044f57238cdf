import asyncio
from random import Random

import pytest

from edge.expiry import Expiry
from edge.facts import OutcomeState
from edge.record import State
from tests.support.sim import simulate
from tests.support.taking import RESUMABLE, Node, Sender
from zentransfer.errors import Code, Error
from zentransfer.ids import UploadID
from zentransfer.limits import EXPIRY_PAUSE_S, UNFINISHED_S
from zentransfer.memory_disk import MemoryDisk

DAY_MS = int(UNFINISHED_S * 1000)


async def started() -> Node:
    return await Node(MemoryDisk(Random(1))).start()


async def states(node: Node) -> list[OutcomeState]:
    return [one.state for one in node.outcomes()]


@pytest.mark.reaches("UNFINISHED_S")
def test_an_upload_expires_when_no_byte_came_for_long() -> None:
    async def run() -> None:
        node = await started()
        upload = await node.create(9, [b"abc"])
        node.clock.advance(DAY_MS - 1)
        await node.look_after()
        assert await states(node) == []
        assert await node.append(upload, 3, [b"def"]) == 6
        node.clock.advance(DAY_MS - 1)
        await node.look_after()
        assert await states(node) == [], "a byte begins the wait anew"
        node.clock.advance(1)
        await node.look_after()
        assert await states(node) == [OutcomeState.EXPIRED]
        assert (await node.sink.record(upload)).value.state is State.DESTROYED
        assert node.resumables.unfinished.uploads == []
        with pytest.raises(Error) as raised:
            await node.look(upload)
        assert raised.value.code is Code.GONE

    simulate(run())


def test_a_running_request_keeps_its_upload() -> None:
    async def run() -> None:
        node = await started()
        upload = await node.create(6)
        async with asyncio.TaskGroup() as group:
            sender = Sender([b"abc", b"def"], pause_s=10)
            running = group.create_task(node.append(upload, 0, sender))
            await asyncio.sleep(15)
            node.clock.advance(DAY_MS)
            await node.look_after()
        assert running.result() == 6
        assert await states(node) == [OutcomeState.COMMITTED]

    simulate(run())


@pytest.mark.parametrize("is_at_start", [True, False])
def test_what_is_whole_is_committed_and_does_not_expire(is_at_start: bool) -> None:
    async def run() -> None:
        node = await started()
        upload = await node.create(6, [b"abc"])
        async with node.attach(upload, adds=True) as taking:
            await node.finish(taking, [])
            taking._pump.take(b"def")  # type: ignore[union-attr]
        again = await Node(node.disk.crash()).start()
        await again.sweep()
        assert again.resumables.unfinished.uploads == [upload]
        if not is_at_start:
            await again.look_after()
            assert await states(again) == []
            again.clock.advance(2 * DAY_MS)
        await again.look_after(finishes=is_at_start)
        assert await states(again) == [OutcomeState.COMMITTED]

    simulate(run())


def test_uploads_of_a_living_process_are_its_own() -> None:
    async def run() -> None:
        node = await started()
        upload = await node.create(6, [b"abc"])
        other = await Node(node.disk.process(), process="ingest-1").start()
        await other.sweep("ingest-0")
        assert other.resumables.unfinished.uploads == []
        node.disk.kill()
        heir = await Node(other.disk.process(), process="ingest-2").start()
        await heir.sweep("ingest-1")
        assert heir.resumables.unfinished.uploads == [upload]

    simulate(run())


def test_what_others_ended_or_never_was_is_forgotten() -> None:
    async def run() -> None:
        node = await started()
        upload = await node.create(6, [b"abc"])
        other = await Node(node.disk.process(), process="ingest-1").start()
        await other.terminate(upload)
        node.resumables.unfinished.began(UploadID("up_" + "a" * 26), node.customer.account_id)
        await node.look_after()
        assert node.resumables.unfinished.uploads == []

    simulate(run())


@pytest.mark.reaches("EXPIRY_PAUSE_S")
def test_it_looks_at_once_and_again_and_again() -> None:
    async def run() -> None:
        node = await started()
        expiry = Expiry(node.resumables, frozenset({RESUMABLE}))
        async with asyncio.TaskGroup() as group:
            looking = group.create_task(expiry.run())
            await asyncio.sleep(1)
            await node.create(6, [b"abc"])
            node.clock.advance(DAY_MS)
            await asyncio.sleep(EXPIRY_PAUSE_S - 2)
            assert await states(node) == []
            await asyncio.sleep(2)
            assert await states(node) == [OutcomeState.EXPIRED]
            looking.cancel()

    simulate(run())


def test_a_disk_that_fails_is_asked_again() -> None:
    async def run() -> None:
        node = await started()
        await node.create(6, [b"abc"])
        node.clock.advance(DAY_MS)
        node.disk.fail_flush(1)
        await node.look_after()
        async with asyncio.TaskGroup() as group:
            mending = group.create_task(node.intake.mend())
            await asyncio.sleep(20)
            mending.cancel()
        assert await states(node) == [OutcomeState.EXPIRED]

    simulate(run())
