import asyncio
import errno

import pytest

from tests.support.disk_suite import CASES, Case
from tests.support.disks import SEEDS, content, errno_of, new_disk, put_durably
from tests.support.sim import simulate
from zentransfer.memory_disk import MemoryDisk
from zentransfer.platter import keep_all, keep_none


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_memory_disk_conforms(case: Case) -> None:
    disk = new_disk()
    simulate(case(disk))
    assert disk.held == 0


# --- a failed flush


def test_after_a_failed_flush_the_bytes_read_back_until_the_cache_is_dropped() -> None:
    async def main(disk: MemoryDisk) -> None:
        file = await put_durably(disk, "a", b"o" * 600)
        file.write_at(b"n" * 1000, 100)
        disk.fail_flush()
        assert await errno_of(file.flush()) == errno.EIO
        other = disk.process().open("a", write=True)
        await other.flush()  # says ok, as ext4 does
        assert content(disk, "a") == b"o" * 100 + b"n" * 1000
        other.drop_cache()
        assert content(disk, "a") == b"o" * 600 + bytes(500)
        assert content(disk.crash(keep_none), "a") == b"o" * 600 + bytes(500)

    simulate(main(new_disk()))


def test_a_failed_flush_is_final_for_its_handle() -> None:
    async def main(disk: MemoryDisk) -> None:
        file = await put_durably(disk, "a", b"abc")
        disk.fail_flush()
        assert await errno_of(file.flush()) == errno.EIO
        assert await errno_of(file.flush()) == errno.EIO
        with pytest.raises(OSError, match="Input/output"):
            file.write_at(b"x", 0)
        with pytest.raises(OSError, match="Input/output"):
            file.truncate(0)
        assert content(disk, "a") == b"abc"

    simulate(main(new_disk()))


def test_a_failure_that_a_cancelled_flush_did_not_see_is_told_later() -> None:
    async def main(disk: MemoryDisk) -> None:
        file = await put_durably(disk, "a", b"")
        file.write_at(b"x", 0)
        disk.fail_flush()
        async with asyncio.TaskGroup() as group:
            flush = group.create_task(file.flush())
            await asyncio.sleep(0)
            flush.cancel()
        assert await errno_of(file.flush()) == errno.EIO

    simulate(main(new_disk()))


def test_of_two_flushes_of_a_handle_none_says_ok_behind_a_failure() -> None:
    async def main(disk: MemoryDisk) -> None:
        file = await put_durably(disk, "a", b"")
        file.write_at(b"x", 0)
        disk.fail_flush()
        async with asyncio.TaskGroup() as group:
            flushes = [group.create_task(errno_of(file.flush())) for _ in range(2)]
        failed_at = [flush.result() for flush in flushes]
        ok = failed_at.count(None)
        # The second may end first, and then its bytes are durable.
        assert failed_at[0] == errno.EIO
        assert ok == 0 or content(disk.crash(keep_none), "a") == b"x"

    for seed in SEEDS:
        simulate(main(new_disk(seed)))


def test_a_failed_flush_of_a_folder_loses_its_names() -> None:
    async def main(disk: MemoryDisk) -> None:
        disk.create("a")
        disk.fail_flush()
        assert await errno_of(disk.flush_folder(".")) == errno.EIO
        await disk.flush_folder(".")
        assert disk.names(".") == ["a"]
        assert disk.crash(keep_all).names(".") == []

    simulate(main(new_disk()))


def test_what_is_written_again_after_a_failed_flush_is_flushed_by_another_handle() -> None:
    async def main(disk: MemoryDisk) -> None:
        file = await put_durably(disk, "a", bytes(1024))
        file.write_at(b"n" * 1024, 0)
        disk.fail_flush()
        assert await errno_of(file.flush()) == errno.EIO
        other = disk.open("a", write=True)
        other.write_at(b"m", 512)  # the page is whole in the cache, so it goes whole
        await other.flush()
        other.drop_cache()
        assert content(disk, "a") == bytes(512) + b"m" + b"n" * 511

    simulate(main(new_disk()))
