import asyncio
from random import Random

import pytest

from edge.held import Held, HeldUploads
from edge.intake import Taking
from tests.support.sim import simulate
from tests.support.taking import Node
from zentransfer.errors import Code, Error
from zentransfer.ids import UploadID
from zentransfer.limits import TAKEOVER_S, TAKEOVERS_PER_MINUTE_MAX, UPLOADS_HELD_MAX
from zentransfer.memory_disk import MemoryDisk


async def started() -> Node:
    return await Node(MemoryDisk(Random(1))).start()


def request(node: Node) -> Taking:
    return node.intake.take(node.asked())


async def refused(held: Held, user: Taking) -> Code:
    with pytest.raises(Error) as raised:
        await held.take(user)
    return raised.value.code


def test_the_newest_request_has_it_and_those_before_are_told() -> None:
    async def run() -> None:
        node, held = await started(), Held()
        first, second, third = (request(node) for _ in range(3))
        await held.take(first)
        async with asyncio.TaskGroup() as group:
            older = group.create_task(refused(held, second))
            await asyncio.sleep(1)
            newest = group.create_task(held.take(third))
            await asyncio.sleep(1)
            assert first._cut is Code.SUPERSEDED
            assert held.user is first, "it is waited for"
            held.release()
        assert older.result() is Code.SUPERSEDED
        assert newest.done()
        assert held.user is third
        assert third._cut is None
        held.release()
        assert held.is_idle

    simulate(run())


@pytest.mark.reaches("TAKEOVER_S")
def test_who_does_not_let_go_is_not_waited_for_without_end() -> None:
    async def run() -> None:
        node, held = await started(), Held()
        first = request(node)
        await held.take(first)
        begun_s = asyncio.get_running_loop().time()
        assert await refused(held, request(node)) is Code.LOCKED
        assert asyncio.get_running_loop().time() - begun_s == TAKEOVER_S
        assert held.user is first

    simulate(run())


@pytest.mark.reaches("TAKEOVERS_PER_MINUTE_MAX")
def test_two_clients_do_not_starve_each_other_for_ever() -> None:
    async def run() -> None:
        node, held = await started(), Held()
        await held.take(request(node))
        for _ in range(TAKEOVERS_PER_MINUTE_MAX):
            async with asyncio.TaskGroup() as group:
                group.create_task(held.take(request(node)))
                await asyncio.sleep(1)
                held.release()
        with pytest.raises(Error) as raised:
            await held.take(request(node))
        assert raised.value.code is Code.LOCKED
        assert raised.value.retry_after_s == 60.0 - TAKEOVERS_PER_MINUTE_MAX
        await asyncio.sleep(raised.value.retry_after_s)
        assert await refused(held, request(node)) is Code.LOCKED, "it waited in vain, this time"
        assert held.user is not None
        assert held.user._cut is Code.SUPERSEDED

    simulate(run())


def test_who_ended_by_itself_was_not_taken_over_from() -> None:
    async def run() -> None:
        node, held = await started(), Held()
        await held.take(request(node))
        for _ in range(TAKEOVERS_PER_MINUTE_MAX + 9):
            async with asyncio.TaskGroup() as group:
                group.create_task(held.take(request(node)))
                await asyncio.sleep(0.1)
                held.release(was_cut=False)

    simulate(run())


@pytest.mark.reaches("UPLOADS_HELD_MAX")
def test_the_longest_idle_are_closed_and_go_on_all_the_same() -> None:
    async def run() -> None:
        node = await started()
        made = [await node.create(9, [b"abc"]) for _ in range(UPLOADS_HELD_MAX + 1)]
        held = node.resumables.unfinished.held
        assert held.of(made[0]).segment is None
        assert held.of(made[1]).segment is not None
        assert held.of(made[-1]).segment is not None
        for upload in (made[0], made[1]):
            assert await node.append(upload, 3, [b"defghi"]) == 9
        await held.close()
        assert node.disk.held == 1, "only the outbox has a file open"
        assert await node.append(made[2], 3, [b"defghi"]) == 9

    simulate(run())


def test_what_nobody_has_and_has_no_segment_is_forgotten() -> None:
    async def run() -> None:
        node, uploads = await started(), HeldUploads()
        upload = UploadID("up_a")
        await uploads.of(upload).take(request(node))
        assert not uploads.is_idle(upload)
        assert uploads.user(upload) is not None
        await uploads.released(upload)
        assert uploads.is_idle(upload)
        assert uploads.user(upload) is None
        await uploads.forget(upload)

    simulate(run())
