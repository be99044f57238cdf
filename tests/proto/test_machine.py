import asyncio
import errno
from random import Random

import pytest

from tests.support.disks import SEEDS, content, errno_of, new_disk, put_durably
from tests.support.sim import simulate
from zentransfer.disk import Disk, make_durable_folder, write_atomic
from zentransfer.limits import DISK_LOCK_WAIT_S
from zentransfer.machine import Crashed
from zentransfer.memory_disk import MemoryDisk
from zentransfer.platter import keep_none

# --- planned faults


async def _replace(disk: Disk) -> None:
    await write_atomic(disk, "a", b"new")


def test_an_atomic_write_is_whole_wherever_the_machine_stops() -> None:
    for seed in range(20):
        for count in range(1, 99):
            disk = new_disk(seed)
            simulate(put_durably(disk, "a", b"old"))
            disk.crash_at(count)
            try:
                simulate(_replace(disk))
            except Crashed:
                assert content(disk.crash(), "a") in (b"old", b"new")
                continue
            assert content(disk.crash(keep_none), "a") == b"new"
            break
        assert count > 5


def test_a_durable_folder_outlives_the_machine() -> None:
    disk = new_disk()
    simulate(make_durable_folder(disk, "f/g/h"))
    assert disk.crash(keep_none).names("f/g") == ["h"]


def test_an_atomic_write_is_whole_whichever_operation_fails() -> None:
    for count in range(1, 99):
        disk = new_disk(count)
        simulate(put_durably(disk, "a", b"old"))
        disk.fail_at(count, errno.ENOSPC)
        failure = simulate(errno_of(_replace(disk)))
        assert content(disk, "a") in (b"old", b"new")
        assert content(disk.crash(), "a") in (b"old", b"new")
        if failure is None:
            break
    assert count > 5


def test_nothing_goes_on_where_the_machine_stopped() -> None:
    async def main(disk: MemoryDisk) -> None:
        file = disk.create("a")
        disk.crash_at(1)
        with pytest.raises(Crashed):
            file.write_at(b"x", 0)
        with pytest.raises(Crashed):
            file.size()
        with pytest.raises(Crashed):
            disk.names(".")
        with pytest.raises(Crashed):
            await file.flush()
        file.close()

    simulate(main(new_disk()))


def test_the_old_life_is_over_after_a_crash() -> None:
    disk = new_disk()
    file = simulate(put_durably(disk, "a", b"x"))
    other = disk.process()
    after = disk.crash()
    for call in (file.size, lambda: disk.names("."), lambda: other.create("b")):
        with pytest.raises(OSError, match="ended"):
            call()
    file.close()
    assert after.names(".") == ["a"]
    with pytest.raises(RuntimeError):
        other.crash()


def test_a_failed_write_leaves_a_prefix() -> None:
    lengths: set[int] = set()
    for seed in SEEDS:
        disk = new_disk(seed)
        file = disk.create("a")
        disk.fail_at(1, errno.EDQUOT)
        with pytest.raises(OSError, match="quota"):
            file.write_at(b"0123456789", 0)
        left = content(disk, "a")
        assert b"0123456789".startswith(left)
        lengths.add(len(left))
    assert lengths == set(range(11))


def test_a_full_disk_takes_what_fits_and_heals() -> None:
    disk = MemoryDisk(Random(7), capacity=2048)
    file = disk.create("a")
    with pytest.raises(OSError, match="No space"):
        file.write_at(b"x" * 3000, 0)
    assert (file.size(), disk.free_bytes()) == (2048, 0)
    file.write_at(b"y" * 100, 0)  # in place
    other = disk.create("b")
    with pytest.raises(OSError, match="No space"):
        other.write_at(b"x", 0)
    disk.unlink("a")
    assert disk.free_bytes() == 0  # still open
    file.close()
    other.write_at(b"x" * 513, 0)
    assert disk.free_bytes() == 1024
    other.allocate(2048)
    assert disk.free_bytes() == 0
    other.truncate(513)
    assert disk.free_bytes() == 1024
    with pytest.raises(OSError, match="No space"):
        other.allocate(2049)
    disk.set_capacity(4096)
    other.allocate(4096)
    assert disk.free_bytes() == 0


def test_room_is_counted_anew_after_a_crash() -> None:
    disk = MemoryDisk(Random(7), capacity=4096)
    file = simulate(put_durably(disk, "a", b"x" * 600))
    file.write_at(b"x" * 2000, 600)
    assert disk.crash(keep_none).free_bytes() == 3072


# --- processes


def test_a_kill_keeps_the_cache_and_a_later_power_loss_does_not() -> None:
    async def main(disk: MemoryDisk) -> None:
        file = await put_durably(disk, "a", b"old")
        file.write_at(b"new", 0)
        other = disk.process()
        disk.kill()
        with pytest.raises(OSError, match="ended"):
            file.write_at(b"late", 0)
        assert disk.held == 0
        assert content(other, "a") == b"new"
        assert content(other.crash(keep_none), "a") == b"old"

    simulate(main(new_disk()))


def test_the_end_of_a_process_frees_its_lock() -> None:
    async def hold(disk: MemoryDisk) -> None:
        async with disk.lock("lock"):
            await asyncio.sleep(3600)

    async def main(disk: MemoryDisk) -> None:
        other = disk.process()
        async with asyncio.TaskGroup() as group:
            holder = group.create_task(hold(disk))
            await asyncio.sleep(1)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1), other.lock("lock"):
                    pass
            disk.kill()
            async with other.lock("lock"):
                holder.cancel()  # what the dead one lets go of is no longer its own
                await asyncio.sleep(1)
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(1), disk.process().lock("lock"):
                        pass
            async with other.crash().lock("lock"):
                pass

    simulate(main(new_disk()))


@pytest.mark.reaches("DISK_LOCK_WAIT_S")
def test_nobody_waits_for_a_lock_for_ever() -> None:
    async def main(disk: MemoryDisk) -> float:
        loop = asyncio.get_running_loop()
        async with disk.lock("lock"):
            start_s = loop.time()
            with pytest.raises(TimeoutError):
                async with disk.lock("lock"):
                    pass
            return loop.time() - start_s

    assert simulate(main(new_disk())) == pytest.approx(DISK_LOCK_WAIT_S)


def test_a_frozen_process_flushes_when_it_is_thawed() -> None:
    async def main(disk: MemoryDisk) -> None:
        file = await put_durably(disk, "a", b"")
        other = disk.process().open("a", write=True)
        file.write_at(b"x", 0)
        disk.freeze()
        async with asyncio.TaskGroup() as group:
            flush = group.create_task(file.flush())
            await asyncio.sleep(3600)
            await other.flush()
            assert not flush.done()
            disk.thaw()

    simulate(main(new_disk()))


def test_a_frozen_process_that_is_killed_learns_it() -> None:
    async def main(disk: MemoryDisk) -> None:
        file = await put_durably(disk, "a", b"")
        disk.freeze()
        async with asyncio.TaskGroup() as group:
            flush = group.create_task(errno_of(file.flush()))
            await asyncio.sleep(1)
            disk.kill()
        assert flush.result() == errno.EBADF

    simulate(main(new_disk()))
