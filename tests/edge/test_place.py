import asyncio
from pathlib import Path
from random import Random

import pytest

from edge.place import FOLDERS, RUN_FOLDER, Place
from edge.sinks.memory import MemorySink
from tests.support.real_loop import real_loop
from tests.support.region_keys import SeededKeys
from tests.support.sim import simulate
from zentransfer.disk import RealDisk
from zentransfer.ids import IdMaker, Kind, ProcessName, UploadID
from zentransfer.limits import DISK_LOCK_WAIT_S, PEER_LOCK_S
from zentransfer.memory_disk import MemoryDisk
from zentransfer.service import CannotStart

ONE, OTHER = ProcessName("ingest-0"), ProcessName("ingest-1")


def data_folder() -> MemoryDisk:
    disk = MemoryDisk(Random(1))
    for name in FOLDERS:
        disk.make_folder(name)
    return disk


def test_a_process_alone_has_its_place_and_nobody_beside_it() -> None:
    place = Place(data_folder(), ONE)
    left = simulate(place.take())
    assert left.living == frozenset()
    assert left.uploads == ()
    assert (place.outbox, place.snapshot) == ("outbox/ingest-0", "snapshot/ingest-0")


def test_a_place_has_one_living_process() -> None:
    async def run() -> None:
        disk = data_folder()
        first = Place(disk, ONE)
        await first.take()
        with pytest.raises(CannotStart, match="ingest-0") as raised:
            await Place(disk.process(), ONE).take()
        assert raised.value.temporary
        await first.aclose()
        await first.aclose()
        await Place(disk.process(), ONE).take()

    simulate(run())


def test_a_killed_process_gives_its_place_back() -> None:
    async def run() -> None:
        disk = data_folder()
        dead = disk.process()
        await Place(dead, ONE).take()
        dead.kill()
        await Place(disk, ONE).take()

    simulate(run())


@pytest.mark.reaches("PEER_LOCK_S")
def test_who_lives_beside_us_is_known_at_once() -> None:
    async def run() -> None:
        disk = data_folder()
        living, dead = disk.process(), disk.process()
        places = [Place(living, OTHER), Place(dead, ProcessName("delivery-0"))]
        for place in places:
            await place.take()
        dead.kill()
        before_s = asyncio.get_running_loop().time()
        left = await Place(disk, ONE).take()
        assert left.living == {OTHER}
        assert asyncio.get_running_loop().time() - before_s < 2 * PEER_LOCK_S < DISK_LOCK_WAIT_S

    simulate(run())


def test_what_is_in_the_sink_is_listed_before_another_may_add_to_it() -> None:
    async def run() -> None:
        disk = data_folder()
        random = Random(1)
        sink = MemorySink(disk, SeededKeys().public, random)
        upload = UploadID(IdMaker(random.randbytes).make(Kind.UPLOAD))
        await sink._records.prepare(upload)
        assert (await Place(disk, ONE).take(sink)).uploads == (upload,)
        # Whoever starts now waits for the lock that a starting process holds.
        async with disk.lock(f"{RUN_FOLDER}/starting.lock"):
            with pytest.raises(CannotStart):
                await Place(disk.process(), OTHER).take(sink)

    simulate(run())


def test_it_holds_between_real_handles(tmp_path: Path) -> None:
    async def run() -> None:
        for name in FOLDERS:
            (tmp_path / name).mkdir()
        disk, other = RealDisk(tmp_path), RealDisk(tmp_path)
        place = Place(disk, ONE)
        await place.take()
        assert (await Place(other, OTHER).take()).living == {ONE}
        await place.aclose()
        disk.close()
        other.close()

    real_loop(run())
