import asyncio
import hashlib
from collections.abc import Awaitable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.pace import Patience
from edge.pump import Pump
from edge.record import UploadRecord
from edge.sinks.log_writer import LogWriter
from edge.sinks.memory import MEMORY_RECORD_BYTES, MemorySink
from edge.upload import State, Upload
from tests.support.region_keys import SeededKeys
from tests.support.sim import simulate
from tests.support.taking import Sender
from tests.support.writing import read_whole
from zentransfer.errors import Code, Error
from zentransfer.ids import AccountID, IdMaker, Kind, UploadID
from zentransfer.limits import UNLISTED_BYTES_MAX
from zentransfer.memory_disk import MemoryDisk

PATIENCE = Patience(idle_s=30, window_s=60, rate_min=1_024)


class Place:
    """A sink with one upload in it."""

    def __init__(self, seed: int = 1) -> None:
        random = Random(seed)
        self.keys = SeededKeys()
        self.disk = MemoryDisk(random)
        self.sink = MemorySink(self.disk, self.keys.public, random)
        make = IdMaker(random.randbytes).make
        self.record = UploadRecord(
            UploadID(make(Kind.UPLOAD)), AccountID(make(Kind.ACCOUNT)), self.keys.region, 1
        )

    async def writer(self) -> LogWriter:
        return await (await self.sink.create(self.record, lazily=True)).writer()

    async def whole(self) -> bytes:
        return await read_whole(self.sink, self.record.upload, self.keys)


async def refusal(awaitable: Awaitable[object]) -> Code:
    with pytest.raises(Error) as raised:
        await awaitable
    return raised.value.code


@given(st.lists(st.integers(1, 3 * MEMORY_RECORD_BYTES), max_size=8), st.integers(0, 99))
def test_what_was_sent_is_what_is_read(sizes: list[int], seed: int) -> None:
    parts = [Random(seed).randbytes(size) for size in sizes]
    content = b"".join(parts)

    async def send() -> None:
        place = Place(seed)
        pump = Pump(await place.writer(), Upload(1 << 30, len(content)), hashlib.sha256())
        await pump.run(Sender(parts), PATIENCE)
        assert await pump.finish() == len(content)
        assert pump.upload.state is State.COMMITTED
        assert pump.upload.offset == len(content)
        assert pump.digest() == hashlib.sha256(content).digest()
        assert await place.whole() == content

    simulate(send())


@pytest.mark.parametrize(
    ("upload", "code"),
    [(Upload(100, 50), Code.SIZE_EXCEEDED), (Upload(50), Code.TOO_LARGE)],
    ids=["more than announced", "more than allowed"],
)
def test_too_much_is_not_even_copied(upload: Upload, code: Code) -> None:
    async def send() -> None:
        writer = await Place().writer()
        pump = Pump(writer, upload)
        assert await refusal(pump.run(Sender([b"x" * 50, b"y"]), PATIENCE)) is code
        assert writer.written == 50

    simulate(send())


def test_less_than_announced_is_not_committed() -> None:
    async def send() -> None:
        place = Place()
        pump = Pump(await place.writer(), Upload(100, 51))
        await pump.run(Sender([b"x" * 50]), PATIENCE)
        assert await refusal(pump.finish()) is Code.PEER_GONE
        assert place.disk.operations > 0
        await pump.close()
        assert pump.upload.state is State.OPEN

    simulate(send())


def test_a_silent_sender_is_cut_when_its_time_is_over() -> None:
    async def send() -> None:
        pump = Pump(await Place().writer(), Upload(1 << 30))
        began_s = asyncio.get_running_loop().time()
        sender = Sender([b"x"] * 3, pause_s=10, goes_silent=True)
        assert await refusal(pump.run(sender, PATIENCE)) is Code.TIMEOUT
        assert asyncio.get_running_loop().time() - began_s == pytest.approx(60)

    simulate(send())


def test_a_trickle_is_cut_and_a_slow_line_is_served() -> None:
    async def send() -> None:
        trickle = Sender([b"x"] * 1_000, pause_s=10)
        pump = Pump(await Place().writer(), Upload(1 << 30))
        assert await refusal(pump.run(trickle, PATIENCE)) is Code.TIMEOUT
        slow = Sender([b"x" * 10_240] * 50, pause_s=9.9)
        pump = Pump(await Place().writer(), Upload(1 << 30))
        await pump.run(slow, PATIENCE)
        assert await pump.finish() == 50 * 10_240

    simulate(send())


def test_the_time_of_a_slow_disk_is_not_the_senders() -> None:
    async def send() -> None:
        place = Place()
        pump = Pump(await place.writer(), Upload(1 << 30))
        parts = [bytes(1 << 20)] * (UNLISTED_BYTES_MAX // (1 << 20) + 1)
        place.disk.freeze()
        async with asyncio.TaskGroup() as group:
            running = group.create_task(pump.run(Sender(parts), PATIENCE))
            await asyncio.sleep(1_000)
            assert not running.done(), "it waits for the disk, not for the sender"
            place.disk.thaw()
        assert pump.upload.offset >= UNLISTED_BYTES_MAX

    simulate(send())


@pytest.mark.parametrize("early", [True, False])
def test_a_cut_ends_it_with_its_own_code(early: bool) -> None:
    async def send() -> None:
        pump = Pump(await Place().writer(), Upload(1 << 30))
        if early:
            pump.cut(Code.DRAINING)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(
                refusal(pump.run(Sender([b"x"], goes_silent=True), PATIENCE))
            )
            await asyncio.sleep(5)
            pump.cut(Code.DRAINING)
        assert running.result() is Code.DRAINING
        pump.cut(Code.DRAINING)

    simulate(send())


def test_a_timeout_of_somebody_else_is_not_taken_for_ours() -> None:
    async def send() -> None:
        pump = Pump(await Place().writer(), Upload(1 << 30))
        with pytest.raises(TimeoutError):
            await pump.run(Sender([], TimeoutError("a socket's own")), PATIENCE)

    simulate(send())


def test_the_peer_is_held_to_the_sinks_pace() -> None:
    """The next part is asked for only when this one is in: at most one is ever in hand."""

    class Counting(Sender):
        asked = 0

        def __init__(self, writer: LogWriter) -> None:
            super().__init__([bytes(1_000)] * 99)
            self.writer = writer

        async def readany(self) -> bytes:
            assert self.writer.written == self.asked * 1_000
            self.asked += 1
            return await super().readany()

    async def send() -> None:
        writer = await Place().writer()
        await Pump(writer, Upload(1 << 30)).run(Counting(writer), PATIENCE)
        assert writer.written == 99_000

    simulate(send())


def test_a_length_that_comes_later_binds_what_is_still_to_come() -> None:
    async def run() -> None:
        place = Place()
        pump = Pump(await place.writer(), Upload(100))
        await pump.run(Sender([b"abc"]), PATIENCE)
        assert (pump.has_unflushed, pump.is_complete) == (True, False)
        pump.announced(5)
        assert await refusal(pump.run(Sender([b"def"]), PATIENCE)) is Code.SIZE_EXCEEDED
        await pump.run(Sender([b"de"]), PATIENCE)
        assert pump.is_complete
        await pump.flush(mark=True, now_ms=7)
        assert (pump.has_unflushed, pump.upload.offset) == (False, 5)
        assert (await place.sink.record(place.record.upload)).value.heard_ms == 7
        assert await pump.finish() == 5
        assert await place.whole() == b"abcde"

    simulate(run())


def test_a_cut_is_for_one_request() -> None:
    async def run() -> None:
        place = Place()
        pump = Pump(await place.writer(), Upload(100))
        pump.cut(Code.SUPERSEDED)
        assert await refusal(pump.run(Sender([b"abc"]), PATIENCE)) is Code.SUPERSEDED
        pump.renewed()
        await pump.run(Sender([b"abc"]), PATIENCE)
        assert await pump.finish() == 3

    simulate(run())
