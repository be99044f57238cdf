import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from random import Random
from typing import cast

import pytest
from aiohttp import web

from edge.http.doors import HttpDoor, guard
from edge.http.exchange import LANE
from edge.intake import Intake
from edge.lane import Lane, Lent, Ways
from edge.lane_line import Line
from edge.pace import Patience
from edge.pump import Pump
from edge.upload import Upload
from tests.edge.test_pump import Place
from tests.support.http_door import CALM, QUICK, Client, Door
from tests.support.real_loop import real_loop
from tests.support.taking import Node
from tests.support.writing import read_whole
from zentransfer import health
from zentransfer.errors import Code, Error
from zentransfer.limits import (
    LANE_FROM_BYTES,
    LANE_READ_BYTES,
    LANE_SLOW_S,
    LANE_THREADS,
    LANE_TRIAL_BYTES,
    LANE_TRIAL_S,
)
from zentransfer.memory_disk import MemoryDisk

MIB = 1 << 20
EVER = 60.0  # seconds: a machine that does much else is still a fast sender

Test = Callable[[Door, Lane], Awaitable[None]]


class Ways3:
    """The loop lane, and the fast lane under either loop."""

    LOOP = pytest.param(0, False, id="loop lane")
    FAST = pytest.param(LANE_THREADS, False, id="fast lane")
    FAST_UVLOOP = pytest.param(LANE_THREADS, True, id="fast lane, uvloop")


lanes = pytest.mark.parametrize(("threads", "uvloop"), [Ways3.LOOP, Ways3.FAST, Ways3.FAST_UVLOOP])


def content_of(size: int, seed: int = 1) -> bytes:
    return Random(seed).randbytes(size)


def run(
    test: Test,
    threads: int,
    uvloop: bool,
    patience: Patience = CALM,
    slow_s: float = LANE_SLOW_S,
) -> None:
    """Run *test* against a door with a lane of *threads*; none is the loop lane alone."""

    async def main() -> None:
        node = await Node(MemoryDisk(Random(1))).start()
        lane = Lane(max(threads, 1), EVER, slow_s)
        app = web.Application(middlewares=[guard])
        if threads:
            app[LANE] = lane
        app.add_routes(HttpDoor(node.intake, patience, node.clock, Random(1)).routes())
        runner = health.http_runner(app)
        await runner.setup()
        listener = health.listen("127.0.0.1", 0, "test")
        await web.SockSite(runner, listener).start()
        try:
            async with asyncio.timeout(50):
                await test(Door(node, listener.getsockname()[1]), lane)
        finally:
            await runner.cleanup()
            await lane.aclose()

    real_loop(main(), uvloop=uvloop)


async def until_in_flight(intake: Intake) -> None:
    while not intake.in_flight:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def until_lane_took(lane: Lane, threads: int) -> None:
    """Wait until a thread has a line: then one is no longer free, or it has taken something."""
    while threads and lane.taken_bytes == 0 and lane.free == threads:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


@lanes
def test_a_large_body_comes_in_and_its_connection_goes_on(threads: int, uvloop: bool) -> None:
    sizes = (3 * MIB, 10, 2 * MIB + 1, 0)

    async def put(door: Door, client: Client, content: bytes) -> None:
        status, _, body = await client.answer()
        assert status == 201
        page = json.loads(body)
        assert await read_whole(door.node.sink, page["id"], door.node.keys) == content

    async def test(door: Door, lane: Lane) -> None:
        contents = [content_of(size, size) for size in sizes]
        async with door.client() as client:
            for content in contents:
                await client.send(door.put(f"Content-Length: {len(content)}"), content)
                await put(door, client, content)
        async with door.client() as client, asyncio.TaskGroup() as group:  # and in one go
            heads = [door.put(f"Content-Length: {len(each)}").encode() for each in contents]
            flat = b"".join(head + each for head, each in zip(heads, contents, strict=True))
            sending = group.create_task(client.send(flat))
            for content in contents:
                await put(door, client, content)
            await sending
        assert bool(lane.taken_bytes) == bool(threads)

    run(test, threads, uvloop)


@lanes
@pytest.mark.reaches("LANE_SLOW_S")
@pytest.mark.reaches("LANE_READ_BYTES")
def test_a_sender_that_turns_slow_and_fast_again_is_served(threads: int, uvloop: bool) -> None:
    content = content_of(6 * MIB)

    async def test(door: Door, lane: Lane) -> None:
        async with door.client() as client:
            await client.send(door.put(f"Content-Length: {len(content)}"), content[: 2 * MIB])
            await until_lane_took(lane, threads)
            await asyncio.sleep(3 * LANE_SLOW_S)
            assert lane.free == max(threads, 1), "nobody waits for a slow one in a thread"
            for at in range(2 * MIB, 2 * MIB + 3 * LANE_READ_BYTES, LANE_READ_BYTES):
                await client.send(content[at : at + LANE_READ_BYTES])
                await asyncio.sleep(0.02)
            await client.send(content[2 * MIB + 3 * LANE_READ_BYTES :])
            status, _, body = await client.answer()
            assert status == 201
            page = json.loads(body)
            assert await read_whole(door.node.sink, page["id"], door.node.keys) == content

    run(test, threads, uvloop)


@lanes
def test_a_sender_that_falls_silent_is_cut(threads: int, uvloop: bool) -> None:
    async def test(door: Door, lane: Lane) -> None:
        async with door.client() as client:
            await client.send(door.put(f"Content-Length: {9 * MIB}"), bytes(3 * MIB))
            assert await client.code() == (408, "timeout")
            assert await client.is_closed()
        await door.until_told()
        assert [each.error for each in door.node.outcomes()] == [Code.TIMEOUT]

    run(test, threads, uvloop, QUICK)


@lanes
@pytest.mark.parametrize("resets", [True, False], ids=["reset", "end"])
def test_a_sender_that_leaves_never_looks_whole(threads: int, uvloop: bool, resets: bool) -> None:
    async def test(door: Door, lane: Lane) -> None:
        async with door.client() as client:
            await client.send(door.put(f"Content-Length: {9 * MIB}"), bytes(3 * MIB))
            await until_lane_took(lane, threads)
            client.reset() if resets else client.writer.close()
        await door.until_told()
        assert [each.error for each in door.node.outcomes()] == [Code.PEER_GONE]

    run(test, threads, uvloop)


@lanes
def test_a_cut_reaches_a_thread_at_once(threads: int, uvloop: bool) -> None:
    async def test(door: Door, lane: Lane) -> None:
        async with door.client() as client:
            await client.send(door.put(f"Content-Length: {9 * MIB}"), bytes(3 * MIB))
            await until_in_flight(door.node.intake)
            await until_lane_took(lane, threads)
            began_s = asyncio.get_running_loop().time()
            door.node.intake.cut(Code.DRAINING)
            await door.node.intake.until_idle()
            assert asyncio.get_running_loop().time() - began_s < EVER / 4
            assert (await client.code())[1] == "draining"
        assert lane.free == max(threads, 1)

    run(test, threads, uvloop, slow_s=EVER)


@pytest.mark.parametrize("uvloop", [False, True])
def test_whoever_finds_all_threads_busy_is_served_by_the_loop(uvloop: bool) -> None:
    async def test(door: Door, lane: Lane) -> None:
        async with door.client() as first, door.client() as second:
            await first.send(door.put(f"Content-Length: {9 * MIB}"), bytes(3 * MIB))
            await until_lane_took(lane, 1)
            assert not lane.has_room
            await second.send(door.put(f"Content-Length: {3 * MIB}"), bytes(3 * MIB))
            assert (await second.answer())[0] == 201
            assert not lane.has_room
            await first.send(bytes(6 * MIB))
            assert (await first.answer())[0] == 201

    run(test, 1, uvloop, slow_s=EVER)


class Site:
    """Two ends of a connection, one of them lent to a lane as a door would."""

    def __init__(self, lane: Lane, left: int | None, trial: bytes) -> None:
        self.lane, self.left, self.trial = lane, left, trial
        self.log: list[str] = []

    async def __aenter__(self) -> "Site":
        came: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
        self.server = await asyncio.start_server(lambda _, w: came.put(w), "127.0.0.1", 0)
        where = self.server.sockets[0].getsockname()
        self.reader, self.writer = await asyncio.open_connection(*where)
        self.ours = await came.get()
        transport = cast("asyncio.Transport", self.ours.transport)
        transport.pause_reading()

        def stop() -> tuple[bytes, int]:
            return b"", transport.get_extra_info("socket").fileno()

        ways = Ways(stop, lambda: self.log.append("on"), lambda: self.log.append("up"))
        self.source = Lent(self.lane, self, self.left, ways)
        return self

    async def readany(self) -> bytes:
        """What the transport would have read."""
        part, self.trial = self.trial[:LANE_TRIAL_BYTES], self.trial[LANE_TRIAL_BYTES:]
        return part

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        self.ours.close()
        self.server.close()
        await self.server.wait_closed()
        await self.lane.aclose()


TRIAL = content_of(2 * LANE_TRIAL_BYTES, 7)  # what came with the head proves nothing


@pytest.mark.parametrize("uvloop", [False, True])
def test_a_fin_ends_what_announced_no_length(uvloop: bool) -> None:
    content = content_of(3 * MIB)

    async def main() -> None:
        place = Place()
        async with Site(Lane(trial_s=EVER), None, TRIAL) as site, asyncio.TaskGroup() as group:
            pump = Pump(await place.writer(), Upload(1 << 30), hashlib.sha256())
            running = group.create_task(pump.run(site.source, Patience()))
            site.writer.write(content)
            site.writer.write_eof()
            await running
            assert site.log == ["on"]
            assert site.lane.taken_bytes > 0
        assert await pump.finish() == len(TRIAL + content)
        assert pump.digest() == hashlib.sha256(TRIAL + content).digest()
        assert await place.whole() == TRIAL + content

    real_loop(main(), uvloop=uvloop)


@pytest.mark.parametrize(
    ("upload", "code"),
    [
        (Upload(1 << 40, len(TRIAL) + 5), Code.SIZE_EXCEEDED),
        (Upload(len(TRIAL) + 5), Code.TOO_LARGE),
    ],
    ids=["more than announced", "more than allowed"],
)
def test_a_thread_takes_no_more_than_the_upload_may_be(upload: Upload, code: Code) -> None:
    async def main() -> None:
        async with Site(Lane(trial_s=EVER), 4 * MIB, TRIAL) as site:
            writer = await Place().writer()
            site.writer.write(bytes(2 * MIB))
            with pytest.raises(Error) as raised:
                await Pump(writer, upload).run(site.source, Patience())
            assert raised.value.code is code
            assert writer.written == len(TRIAL) + 5
            assert site.log == ["up"]

    real_loop(main())


def test_a_cancelled_sender_leaves_the_writer_alone_and_what_came_counts() -> None:
    async def main() -> None:
        place = Place()
        async with Site(Lane(trial_s=EVER, slow_s=EVER), 9 * MIB, TRIAL) as site:
            pump = Pump(await place.writer(), Upload(1 << 30, 9 * MIB))
            running = asyncio.ensure_future(pump.run(site.source, Patience()))  # noqa: TID251
            await until_lane_took(site.lane, LANE_THREADS)
            for _ in range(3):
                running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert site.lane.free == LANE_THREADS
            assert site.log == ["up"]
            await pump.flush()
            assert pump.upload.offset == len(TRIAL)

    real_loop(main())


@pytest.mark.reaches("LANE_THREADS")
@pytest.mark.reaches("LANE_FROM_BYTES")
@pytest.mark.reaches("LANE_TRIAL_BYTES")
@pytest.mark.reaches("LANE_TRIAL_S")
def test_only_what_is_worth_it_is_lent() -> None:
    async def worth(lane: Lane, left: int | None, gap_s: float = 0.0) -> bool:
        async with Site(lane, left, TRIAL) as site:
            await site.source.readany()
            assert not site.source.is_worth_it(100.0)
            await site.source.readany()
            return site.source.is_worth_it(100.0 + gap_s)

    async def main() -> None:
        enough = LANE_FROM_BYTES + len(TRIAL)
        assert await worth(Lane(), enough)
        assert await worth(Lane(), None)
        assert not await worth(Lane(), enough - 1)
        assert await worth(Lane(), enough, LANE_TRIAL_S * 0.9)
        assert not await worth(Lane(), enough, LANE_TRIAL_S * 1.1)
        busy = Lane()
        busy.free = 0
        assert not await worth(busy, enough)
        assert Lane().free == LANE_THREADS

    real_loop(main())


def test_a_line_that_has_ended_reads_nothing() -> None:
    async def main() -> None:
        async with Site(Lane(), 3, b"") as site:
            line = Line(site.ours.transport.get_extra_info("socket").fileno(), 3)
            site.writer.write(b"abcdef")
            assert await line.readany() == b"abc"
            assert line.has_ended
            assert await line.readany() == b""
            line.close()
            line.close()

    real_loop(main())
