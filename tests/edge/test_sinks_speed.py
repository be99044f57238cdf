from random import Random

import pytest

from edge.record import State, UploadRecord
from edge.sinks.base import SinkError, UnknownUpload
from edge.sinks.memory import MemorySink
from tests.support.region_keys import SeededKeys
from tests.support.sim import simulate
from tests.support.writing import fill, read_whole
from zentransfer.ids import AccountID, IdMaker, Kind, UploadID
from zentransfer.machine import Crashed
from zentransfer.memory_disk import MemoryDisk

CONTENT = b"a small file"


class Place:
    """A sink that takes one upload that announced its length."""

    def __init__(self, seed: int, length: int = len(CONTENT)) -> None:
        random = Random(seed)
        self.keys = SeededKeys()
        self.disk = MemoryDisk(random)
        self.random = random
        self.sink = MemorySink(self.disk, self.keys.public, random)
        make = IdMaker(random.randbytes).make
        self.upload = UploadID(make(Kind.UPLOAD))
        account = AccountID(make(Kind.ACCOUNT))
        self.record = UploadRecord(self.upload, account, self.keys.region, 1, length=length)

    async def send(self) -> None:
        writer = await (await self.sink.create(self.record, lazily=True)).writer()
        fill(writer, CONTENT)
        await writer.finish(None)

    async def after(self, disk: MemoryDisk) -> bool:
        """Return whether the upload is there; then it must be whole."""
        sink = MemorySink(disk, self.keys.public, self.random)
        try:
            found = (await sink.record(self.upload)).value
        except UnknownUpload:
            return False
        assert found.state is State.COMMITTED
        assert await read_whole(sink, self.upload, self.keys) == CONTENT
        return True


def test_a_small_upload_is_born_whole_at_every_crash() -> None:
    async def crash(count: int, seed: int) -> bool:
        place = Place(seed)
        place.disk.crash_at(count)
        told = False
        try:
            await place.send()
            told = True
        except Crashed:
            pass
        is_there = await place.after(place.disk.crash())
        assert is_there or not told, "what was told is there"
        return told

    for seed in range(12):
        count = 1
        while not simulate(crash(count, seed)):
            count += 1
        assert count > 8, "it has that many steps"


def test_a_small_upload_whose_flush_fails_is_nobodys() -> None:
    async def fail(count: int) -> bool:
        place = Place(count)
        place.disk.fail_flush(count)
        try:
            await place.send()
        except (SinkError, OSError):
            assert not await place.after(place.disk.process())
            return False
        return True

    failures = [simulate(fail(count)) for count in range(1, 12)]
    assert not all(failures)


def test_a_small_upload_costs_few_operations() -> None:
    async def count(length: int | None) -> int:
        place = Place(1)
        if length is None:
            place.record = UploadRecord(place.upload, place.record.account, place.record.region, 1)
        await place.send()
        return place.disk.operations

    assert simulate(count(len(CONTENT))) <= simulate(count(None))


@pytest.mark.parametrize("length", [0, 1, 3_000])
def test_what_is_flushed_before_its_end_is_resumable(length: int) -> None:
    async def run() -> None:
        place = Place(3, length)
        writer = await (await place.sink.create(place.record, lazily=True)).writer()
        assert await writer.flush() == 0
        fill(writer, bytes(length))
        assert await writer.flush() == length
        await writer.close()
        claim = await place.sink.claim(place.upload)
        assert claim.offset == length

    simulate(run())


def test_an_upload_that_is_given_up_leaves_nothing() -> None:
    async def run() -> None:
        place = Place(4)
        writer = await (await place.sink.create(place.record, lazily=True)).writer()
        fill(writer, CONTENT)
        before = place.disk.operations
        await writer.close()
        assert place.disk.operations == before
        assert not [each async for each in place.sink.uploads()]

    simulate(run())
