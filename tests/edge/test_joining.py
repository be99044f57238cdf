import asyncio
import errno
from dataclasses import replace
from random import Random

import pytest

from edge.facts import OutcomeState
from edge.incoming import Incoming
from edge.joining import final_id
from edge.partials import destroy
from tests.support.sim import simulate
from tests.support.taking import Node, resumable
from tests.support.writing import read_whole
from zentransfer.errors import Code, Error
from zentransfer.ids import AccountID, CredentialID, Kind, UploadID, parse
from zentransfer.limits import FINALS_ANEW_MAX
from zentransfer.memory_disk import MemoryDisk

ACCOUNT = AccountID("ac_1")
CREDENTIAL = CredentialID("cr_1")


def node(seed: int = 1) -> Node:
    return Node(MemoryDisk(Random(seed)))


async def part(here: Node, data: bytes) -> UploadID:
    return await here.create(len(data), [data], replace(resumable(len(data)), is_partial=True))


def final(*parts: UploadID) -> Incoming:
    return replace(resumable(None), partials=parts)


async def join(here: Node, *parts: UploadID) -> UploadID:
    """Create a final as a door does; returns it, whole or not."""
    async with here.resumables.create(here.asked()) as taking:
        upload = await taking.begin(final(*parts))
        await (taking.commit() if taking.is_complete else taking.keep())
        return upload


def test_an_id_says_of_what_its_upload_is_made() -> None:
    a, b = UploadID("up_" + "a" * 26), UploadID("up_" + "b" * 25 + "a")
    same = final_id(ACCOUNT, CREDENTIAL, final(a, b), 0)
    assert same == final_id(ACCOUNT, CREDENTIAL, final(a, b), 0)
    assert parse(Kind.UPLOAD, same) == same
    others = {
        final_id(AccountID("ac_2"), CREDENTIAL, final(a, b), 0),
        final_id(ACCOUNT, CredentialID("cr_2"), final(a, b), 0),
        final_id(ACCOUNT, CREDENTIAL, final(b, a), 0),
        final_id(ACCOUNT, CREDENTIAL, final(a, a, b), 0),
        final_id(ACCOUNT, CREDENTIAL, replace(final(a, b), metadata="filename YQ=="), 0),
        final_id(ACCOUNT, CREDENTIAL, final(a, b), 1),
    }
    assert len(others | {same}) == 7


def test_asked_for_again_it_is_the_same_upload_at_another_node_too() -> None:
    async def run() -> None:
        here = await node().start()
        a, b = await part(here, b"abc"), await part(here, b"def")
        upload = await join(here, a, b)
        other = await Node(here.disk.process(), process="ingest-1").start()
        assert await join(here, a, b) == await join(other, a, b) == upload
        assert await read_whole(here.sink, upload, here.keys) == b"abcdef"
        (outcome,) = here.outcomes()
        told_again = other.outcomes()
        assert {one.id for one in told_again} <= {outcome.id}, "told twice it is the same"
        assert (outcome.state, outcome.size_bytes) == (OutcomeState.COMMITTED, 6)

    simulate(run())


def test_asked_for_again_after_it_was_delivered_it_is_still_that_upload() -> None:
    async def run() -> None:
        here = await node().start()
        a = await part(here, b"abc")
        upload = await join(here, a)
        await destroy(here.sink, upload)  # its parts too: nobody could join them any more
        assert await join(here, a) == upload
        assert len(here.outcomes()) == 1
        assert await here.look(upload) == 3

    simulate(run())


def test_what_was_ended_before_it_was_whole_is_begun_anew() -> None:
    async def run() -> None:
        here = await node().start()
        whole, open_ = (
            await part(here, b"abc"),
            await here.create(3, [b"d"], replace(resumable(3), is_partial=True)),
        )
        first = await join(here, whole, open_)
        assert await join(here, whole, open_) == first, "it waits: it is that one"
        await here.terminate(first)
        second = await join(here, whole, open_)
        assert second != first
        await here.append(open_, 1, [b"ef"])
        await here.resumables.join(open_)
        assert await read_whole(here.sink, second, here.keys) == b"abcdef"
        states = [one.state for one in here.outcomes()]
        assert states == [OutcomeState.CANCELLED, OutcomeState.COMMITTED]

    simulate(run())


@pytest.mark.reaches("FINALS_ANEW_MAX")
def test_it_is_begun_anew_so_often_and_no_more() -> None:
    async def run() -> None:
        here = await node().start()
        open_ = await here.create(3, [b"d"], replace(resumable(3), is_partial=True))
        for _ in range(FINALS_ANEW_MAX):
            await here.terminate(await join(here, open_))
        with pytest.raises(Error) as raised:
            await join(here, open_)
        assert raised.value.code is Code.INVALID

    simulate(run())


@pytest.mark.parametrize("is_here", [True, False])
def test_each_failing_operation_of_a_join_leaves_one_that_the_next_request_ends(
    is_here: bool,
) -> None:
    """Whatever the disk refuses once, the same request makes the one upload, with one outcome."""
    for step in range(1, 80):

        async def run(step: int = step) -> bool:
            here = await node(step).start()
            a, b = await part(here, b"abc"), await part(here, b"def")
            other = await Node(here.disk.process(), process="ingest-1").start()
            before = here.disk.operations
            here.disk.fail_at(step, errno.EIO)
            code: Code | None = None
            try:
                await join(here, a, b)
            except Error as failure:
                code = failure.code
            was_hit = here.disk.operations - before >= step
            here.disk._machine.failures.clear()
            assert code in (None, Code.SINK_UNAVAILABLE)
            upload = await join(here if is_here else other, a, b)
            assert await read_whole(here.sink, upload, here.keys) == b"abcdef"
            told = {one.id: one for one in here.outcomes() + other.outcomes()}
            (outcome,) = told.values()
            assert (outcome.upload_id, outcome.state) == (upload, OutcomeState.COMMITTED)
            return was_hit

        if not simulate(run()):
            return
    pytest.fail("never got through")


@pytest.mark.parametrize("chance", range(6))
def test_two_such_requests_at_once_make_one_upload(chance: int) -> None:
    async def run() -> None:
        here = await node(chance).start()
        parts = [await part(here, b"abc"), await part(here, b"def")]
        other = await Node(here.disk.process(), process="ingest-1").start()
        answered, codes = list[UploadID](), list[Code]()

        async def ask(at: Node) -> None:
            await asyncio.sleep(here.random.uniform(0, 0.05))
            try:
                answered.append(await join(at, *parts))
            except Error as failure:  # the other one took it over: come back for the answer
                codes.append(failure.code)

        async with asyncio.TaskGroup() as group:
            for at in (here, here, other):
                group.create_task(ask(at))
        answered.append(await join(here, *parts))
        assert len(set(answered)) == 1
        assert set(codes) <= {Code.LOCKED, Code.SUPERSEDED, Code.FENCED}
        told = {one.id: one for one in here.outcomes() + other.outcomes()}
        assert [one.state for one in told.values()] == [OutcomeState.COMMITTED]
        assert await read_whole(here.sink, answered[0], here.keys) == b"abcdef"

    simulate(run())
