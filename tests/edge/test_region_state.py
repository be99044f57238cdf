import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.region_redis import RedisRegionState
from edge.region_state import (
    Event,
    MemoryRegion,
    Notice,
    RegionState,
    Told,
    maybe_notice,
    packed,
)
from tests.support.real_loop import real_loop
from tests.support.redis_server import RedisServer
from tests.support.sim import simulate
from zentransfer.ids import IdMaker, Kind, Region, UploadID
from zentransfer.limits import (
    REGION_BATCH_MAX,
    REGION_DIAL_S,
    REGION_NOTICE_BYTES_MAX,
    REGION_NOTICES_MAX,
    REGION_RETRY_S,
    REGION_SILENCE_S,
)

NEW_ID = IdMaker(Random(1).randbytes).make
LATE_S = 30.0


def notice(fence: int = 1, event: Event = Event.TAKEN) -> Notice:
    return Notice(event, UploadID(NEW_ID(Kind.UPLOAD)), fence)


@pytest.fixture
def server(tmp_path: Path) -> Generator[RedisServer]:
    running = RedisServer(tmp_path).start()
    yield running
    running.kill()


class Ear:
    """What one process heard."""

    def __init__(self, state: RegionState) -> None:
        self.notices: list[Told] = []
        state.listen(self.notices.append)

    async def hears(self, wanted: Notice) -> None:
        await so(lambda: wanted in self.notices)


async def so(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(LATE_S):
        while not is_so():  # noqa: ASYNC110 - Redis sets no event of ours
            await asyncio.sleep(0.01)


@asynccontextmanager
async def running(server: RedisServer, count: int = 2) -> AsyncGenerator[list[RedisRegionState]]:
    states = [RedisRegionState(server.url, Region.FR, Random(n)) for n in range(count)]
    async with asyncio.TaskGroup() as tasks:
        at = [tasks.create_task(state.run()) for state in states]
        await so(lambda: all(state.check()[0] for state in states))
        yield states
        for task in at:
            task.cancel()


@given(
    st.sampled_from(Event),
    st.binary(min_size=16, max_size=16).map(lambda raw: IdMaker(lambda _: raw).make(Kind.UPLOAD)),
    st.integers(0, 2**63 - 1),
)
@pytest.mark.reaches("REGION_NOTICE_BYTES_MAX")
def test_a_notice_is_read_as_it_was_told(event: Event, upload: str, fence: int) -> None:
    told = Notice(event, UploadID(upload), fence)
    assert maybe_notice(packed(told)) == told
    assert len(packed(told)) <= REGION_NOTICE_BYTES_MAX


@given(st.binary(max_size=200))
def test_anything_else_is_no_notice(data: bytes) -> None:
    found = maybe_notice(data)
    assert found is None or packed(found) == data


def test_in_one_loop_the_others_hear() -> None:
    region = MemoryRegion()
    one, other = region.process(), region.process()
    mine, theirs = Ear(one), Ear(other)
    told = notice()
    one.tell(told)
    assert theirs.notices == [told]
    assert not mine.notices
    assert one.check()[0]


def test_in_one_loop_the_first_to_ask_is_told_so_once() -> None:
    async def main() -> None:
        region = MemoryRegion()
        one, other = region.process(), region.process()
        assert await one.is_first(b"n", 5.0)
        assert [await each.is_first(b"n", 5.0) for each in (one, other)] == [False, False]
        assert await other.is_first(b"m", 5.0)
        await asyncio.sleep(6.0)
        assert await other.is_first(b"n", 5.0), "it is remembered for no longer"

    simulate(main())


@pytest.mark.peer
def test_by_redis_the_first_of_a_region_to_ask_is_told_so_once(server: RedisServer) -> None:
    async def main() -> None:
        async with running(server) as (one, other):
            assert await one.is_first(b"n", 60.0)
            assert [await each.is_first(b"n", 60.0) for each in (one, other)] == [False, False]
            assert await other.is_first(b"m", 0.001)
            async with asyncio.timeout(LATE_S):
                while not await one.is_first(b"m", 60.0):  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.01)
            server.kill()
            await so(lambda: not one.check()[0])
            assert await one.is_first(b"o", 60.0) is None, "nobody can tell, and nobody waits"
        assert await RedisRegionState(server.url, Region.FR, Random(1)).is_first(b"o", 1.0) is None

    real_loop(main())


@pytest.mark.peer
@pytest.mark.reaches("REGION_BATCH_MAX")
def test_processes_hear_of_each_other_by_redis(server: RedisServer) -> None:
    async def main() -> None:
        async with running(server) as (one, other):
            heard = Ear(other)
            told = [notice(fence) for fence in range(REGION_BATCH_MAX + 1)]
            for each in told:
                one.tell(each)
            await heard.hears(told[-1])
            assert heard.notices == told

    real_loop(main())


@pytest.mark.peer
def test_regions_on_one_server_do_not_hear_each_other(server: RedisServer) -> None:
    async def main() -> None:
        async with running(server) as (one, other):
            far = RedisRegionState(server.url, Region.SG, Random(9))
            heard, last = Ear(other), notice()
            async with asyncio.TaskGroup() as tasks:
                at = tasks.create_task(far.run())
                far.tell(notice())
                await so(lambda: far.check()[0])
                one.tell(last)
                await heard.hears(last)
                assert heard.notices == [last]
                at.cancel()

    real_loop(main())


@pytest.mark.peer
@pytest.mark.reaches("REGION_RETRY_S")
def test_a_server_that_was_killed_and_comes_back_empty_is_found_again(server: RedisServer) -> None:
    async def main() -> None:
        async with running(server) as (one, other):
            heard = Ear(other)
            server.kill()
            one.tell(notice())
            await so(lambda: not one.check()[0] and not other.check()[0])
            assert "away" in one.check()[1]
            server.start()
            loop = asyncio.get_running_loop()
            began_s = loop.time()
            while not heard.notices:
                assert loop.time() - began_s < LATE_S + REGION_RETRY_S
                one.tell(notice())
                await asyncio.sleep(0.1)
            await so(lambda: one.check()[0])
        server.kill()

    real_loop(main())


@pytest.mark.peer
@pytest.mark.reaches("REGION_SILENCE_S")
@pytest.mark.reaches("REGION_DIAL_S")
def test_a_server_that_hangs_is_found_out_and_holds_up_nobody(server: RedisServer) -> None:
    async def main() -> None:
        async with running(server) as (one, other):
            server.hang(8)
            loop = asyncio.get_running_loop()
            began_s = loop.time()
            one.tell(notice())
            await so(lambda: not other.check()[0])
            assert loop.time() - began_s < 2 * REGION_SILENCE_S + REGION_DIAL_S + LATE_S
            heard = Ear(other)
            await so(lambda: one.check()[0] and other.check()[0])
            last = notice()
            one.tell(last)
            await heard.hears(last)

    real_loop(main())


@pytest.mark.peer
def test_what_others_write_into_the_channel_harms_nobody(server: RedisServer) -> None:
    async def main() -> None:
        async with running(server) as (one, other):
            heard, last = Ear(other), notice()
            for word in ("", "x" * 100_000, "\u00e9", "*3"):
                server.say("PUBLISH", "zentransfer:fr", word)
            one.tell(last)
            await heard.hears(last)
            assert heard.notices == [last]

    real_loop(main())


@pytest.mark.reaches("REGION_NOTICES_MAX")
def test_what_cannot_be_told_is_dropped_the_oldest_first(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)  # not running yet

    async def main() -> None:
        state = RedisRegionState(server.url, Region.FR, Random(1))
        told = [notice(fence) for fence in range(REGION_NOTICES_MAX + 10)]
        for each in told:
            state.tell(each)
        heard = Ear(state)
        server.start()
        async with asyncio.TaskGroup() as tasks:
            listening = RedisRegionState(server.url, Region.FR, Random(2))
            at = [tasks.create_task(listening.run())]
            await so(lambda: listening.check()[0] or not at)
            other = Ear(listening)
            at.append(tasks.create_task(state.run()))
            await other.hears(told[-1])
            assert other.notices == told[10:]
            assert set(heard.notices) <= set(told[10:])
            for task in at:
                task.cancel()
        server.kill()

    try:
        real_loop(main())
    finally:
        server.kill()


def test_an_address_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="URL"):
        RedisRegionState("http://127.0.0.1", Region.FR, Random(1))
