"""What every form of a disk must do: each case gets an empty one.

A form runs them all: ``@pytest.mark.parametrize("case", CASES)`` and the loop that suits it.
"""

import asyncio
import errno
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from zentransfer.disk import Disk, File, make_durable_folder, read_all, write_atomic

Case = Callable[[Disk], Coroutine[Any, Any, None]]

CASES: list[Case] = []


def _case(case: Case) -> Case:
    CASES.append(case)
    return case


@contextmanager
def _refused(code: int) -> Generator[None, None, None]:
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the errno is what is asserted
        yield
    assert caught.value.errno == code


def _put(disk: Disk, path: str, data: bytes) -> None:
    file = disk.create(path)
    file.write_at(data, 0)
    file.close()


def _bytes(file: File) -> bytes:
    into = bytearray(file.size() + 10)
    return bytes(into[: file.read_at(memoryview(into), 0)])


@_case
async def what_is_written_is_seen_at_once_by_every_reader(disk: Disk) -> None:
    writer = disk.create("a")
    reader = disk.open("a")
    assert (writer.size(), _bytes(reader)) == (0, b"")
    writer.write_at(b"hello", 0)
    writer.write_at(bytearray(b"HE"), 0)
    writer.write_at(memoryview(b"..LO..")[2:4], 3)
    writer.write_at(b"", 3)
    assert (reader.size(), _bytes(reader)) == (5, b"HElLO")
    await writer.flush()
    assert read_all(disk, "a", 5) == b"HElLO"
    reader.close()
    writer.close()


@_case
async def a_gap_reads_as_zeros(disk: Disk) -> None:
    file = disk.create("a")
    file.write_at(b"x", 2000)
    await file.flush()
    assert _bytes(file) == bytes(2000) + b"x"
    file.close()


@_case
async def reading_stops_at_the_end(disk: Disk) -> None:
    _put(disk, "a", b"0123456789")
    file = disk.open("a")
    into = bytearray(b"......")
    assert file.read_at(memoryview(into), 7) == 3
    assert into == b"789..."
    assert file.read_at(memoryview(into), 10) == 0
    assert file.read_at(memoryview(into), 99) == 0
    assert file.read_at(memoryview(into)[:2], 1) == 2
    assert into == b"129..."
    file.close()


@_case
async def a_negative_position_is_refused(disk: Disk) -> None:
    file = disk.create("a")
    with _refused(errno.EINVAL):
        file.write_at(b"x", -1)
    with _refused(errno.EINVAL):
        file.read_at(memoryview(bytearray(1)), -1)
    file.close()


@_case
async def a_file_is_created_once(disk: Disk) -> None:
    _put(disk, "a", b"first")
    disk.make_folder("f")
    for taken in ("a", "f", "."):
        with pytest.raises(FileExistsError):
            disk.create(taken)
    with pytest.raises(FileNotFoundError):
        disk.create("missing/a")
    with pytest.raises(NotADirectoryError):
        disk.create("a/b")
    assert read_all(disk, "a", 99) == b"first"


@_case
async def only_a_file_that_exists_is_opened(disk: Disk) -> None:
    _put(disk, "a", b"")
    disk.make_folder("f")
    for write in (False, True):
        with pytest.raises(FileNotFoundError):
            disk.open("b", write=write)
        with pytest.raises(IsADirectoryError):
            disk.open("f", write=write)
        with pytest.raises(NotADirectoryError):
            disk.open("a/b", write=write)


@_case
async def a_reader_does_not_write(disk: Disk) -> None:
    _put(disk, "a", b"abc")
    file = disk.open("a")
    with _refused(errno.EBADF):
        file.write_at(b"x", 0)
    await file.flush()  # a claim flushes what another process wrote
    file.drop_cache()
    assert _bytes(file) == b"abc"
    file.close()


@_case
async def a_closed_handle_is_of_no_use_and_harms_no_other(disk: Disk) -> None:
    file = disk.create("a")
    other = disk.open("a", write=True)
    file.close()
    file.close()
    with _refused(errno.EBADF):
        file.write_at(b"x", 0)
    with _refused(errno.EBADF):
        file.read_at(memoryview(bytearray(1)), 0)
    with _refused(errno.EBADF):
        file.size()
    with _refused(errno.EBADF):
        file.drop_cache()
    with _refused(errno.EBADF):
        await file.flush()
    other.write_at(b"y", 0)
    assert _bytes(other) == b"y"
    other.close()


@_case
async def allocating_keeps_the_size(disk: Disk) -> None:
    file = disk.create("a")
    file.write_at(b"abc", 0)
    file.allocate(100_000)
    file.allocate(0)
    assert file.size() == 3
    file.write_at(b"d", 3)
    file.truncate(4)
    await file.flush()
    assert _bytes(file) == b"abcd"
    file.close()


@_case
async def truncating_cuts_and_grows_by_zeros(disk: Disk) -> None:
    file = disk.create("a")
    file.write_at(b"x" * 3000, 0)
    await file.flush()
    file.truncate(700)
    assert (file.size(), _bytes(file)) == (700, b"x" * 700)
    file.truncate(2000)
    assert _bytes(file) == b"x" * 700 + bytes(1300)
    await file.flush()
    file.drop_cache()
    assert _bytes(file) == b"x" * 700 + bytes(1300)
    file.close()


@_case
async def a_rename_replaces_and_open_handles_go_on(disk: Disk) -> None:
    disk.make_folder("f")
    _put(disk, "old", b"old")
    _put(disk, "f/new", b"new")
    old = disk.open("old")
    disk.rename("f/new", "old")
    assert (disk.names("f"), disk.names(".")) == ([], ["f", "old"])
    assert read_all(disk, "old", 9) == b"new"
    assert _bytes(old) == b"old"
    old.close()


@_case
async def a_rename_refuses_folders_and_what_is_missing(disk: Disk) -> None:
    disk.make_folder("f/g")
    _put(disk, "a", b"")
    with pytest.raises(FileNotFoundError):
        disk.rename("b", "c")
    with pytest.raises(FileNotFoundError):
        disk.rename("a", "missing/a")
    for source, target in (("f", "h"), ("a", "f"), ("a", ".")):
        with pytest.raises(IsADirectoryError):
            disk.rename(source, target)
    assert disk.names(".") == ["a", "f"]


@_case
async def a_rename_of_a_file_to_its_other_name_leaves_both(disk: Disk) -> None:
    _put(disk, "a", b"")
    disk.link("a", "b")
    disk.rename("a", "b")
    disk.rename("a", "a")
    assert disk.names(".") == ["a", "b"]


@_case
async def two_names_are_one_file(disk: Disk) -> None:
    _put(disk, "a", b"abc")
    disk.link("a", "b")
    file = disk.open("a", write=True)
    file.write_at(b"X", 0)
    file.close()
    disk.unlink("a")
    assert read_all(disk, "b", 9) == b"Xbc"


@_case
async def a_link_never_replaces(disk: Disk) -> None:
    disk.make_folder("f")
    _put(disk, "a", b"a")
    _put(disk, "b", b"b")
    for taken in ("b", "f", "a", "."):
        with pytest.raises(FileExistsError):
            disk.link("a", taken)
    with pytest.raises(FileNotFoundError):
        disk.link("c", "d")
    with pytest.raises(PermissionError):
        disk.link("f", "g")
    assert read_all(disk, "b", 9) == b"b"


@_case
async def an_unlinked_file_lives_on_in_its_handles(disk: Disk) -> None:
    file = disk.create("a")
    disk.unlink("a")
    file.write_at(b"still", 0)
    await file.flush()
    assert _bytes(file) == b"still"
    _put(disk, "a", b"another")
    assert (_bytes(file), read_all(disk, "a", 9)) == (b"still", b"another")
    file.close()


@_case
async def only_files_are_unlinked(disk: Disk) -> None:
    disk.make_folder("f")
    with pytest.raises(FileNotFoundError):
        disk.unlink("a")
    for folder in ("f", "."):
        with pytest.raises(IsADirectoryError):
            disk.unlink(folder)


@_case
async def folders_are_made_with_those_above_them(disk: Disk) -> None:
    disk.make_folder("f/g/h")
    disk.make_folder("f/g")
    disk.make_folder(".")
    _put(disk, "f/b", b"")
    _put(disk, "f/a", b"")
    assert (disk.names("."), disk.names("f")) == (["f"], ["a", "b", "g"])
    assert disk.exists("f/g/h")
    for in_the_way in ("f/a", "f/a/x"):
        with pytest.raises(FileExistsError):
            disk.make_folder(in_the_way)


@_case
async def only_empty_folders_are_removed_and_never_the_root(disk: Disk) -> None:
    disk.make_folder("f")
    _put(disk, "f/a", b"")
    with _refused(errno.ENOTEMPTY):
        disk.remove_folder("f")
    with pytest.raises(NotADirectoryError):
        disk.remove_folder("f/a")
    with pytest.raises(FileNotFoundError):
        disk.remove_folder("g")
    disk.unlink("f/a")
    disk.remove_folder("f")
    with _refused(errno.EBUSY):
        disk.remove_folder(".")
    assert disk.names(".") == []


@_case
async def names_are_those_of_a_folder(disk: Disk) -> None:
    _put(disk, "a", b"")
    with pytest.raises(NotADirectoryError):
        disk.names("a")
    with pytest.raises(FileNotFoundError):
        disk.names("f")
    assert [disk.exists(path) for path in ("a", ".", "b", "a/b", "f/b")] == [True, True] + [
        False
    ] * 3


@_case
async def a_path_cannot_leave_the_disk(disk: Disk) -> None:
    _put(disk, "a", b"")
    for path in ("/etc/passwd", "..", "f/../../a", "../a", "a\0b"):
        for verb in (disk.create, disk.open, disk.make_folder, disk.unlink):
            with pytest.raises(ValueError, match="relative"):
                verb(path)
        for look in (disk.remove_folder, disk.names, disk.exists):
            with pytest.raises(ValueError, match="relative"):
                look(path)
        for move in (disk.rename, disk.link):
            with pytest.raises(ValueError, match="relative"):
                move("a", path)
            with pytest.raises(ValueError, match="relative"):
                move(path, "b")
        with pytest.raises(ValueError, match="relative"):
            await disk.flush_folder(path)
        with pytest.raises(ValueError, match="relative"):
            async with disk.lock(path):
                pass
    assert disk.names(".") == ["a"]


@_case
async def only_a_folder_is_flushed_as_a_folder(disk: Disk) -> None:
    _put(disk, "a", b"")
    disk.make_folder("f")
    await disk.flush_folder(".")
    await disk.flush_folder("f")
    with pytest.raises(NotADirectoryError):
        await disk.flush_folder("a")
    with pytest.raises(FileNotFoundError):
        await disk.flush_folder("g")


@_case
async def many_flushes_at_once_all_return(disk: Disk) -> None:
    files = [disk.create(str(number)) for number in range(40)]
    async with asyncio.TaskGroup() as group:
        for file in files:
            file.write_at(b"x", 0)
            group.create_task(file.flush())
            group.create_task(file.flush())
            group.create_task(disk.flush_folder("."))
    for file in files:
        file.close()


@_case
async def a_cancelled_flush_leaves_the_file_usable(disk: Disk) -> None:
    file = disk.create("a")
    for turns in range(4):
        file.write_at(b"x" * 1000, 0)
        async with asyncio.TaskGroup() as group:
            flush = group.create_task(file.flush())
            for _ in range(turns):
                await asyncio.sleep(0)
            flush.cancel()
    file.write_at(b"y", 0)
    await file.flush()
    assert _bytes(file) == b"y" + b"x" * 999
    file.close()


@_case
async def a_file_may_be_closed_while_it_is_flushed(disk: Disk) -> None:
    file = disk.create("a")
    file.write_at(b"x", 0)
    async with asyncio.TaskGroup() as group:
        flush = group.create_task(_outcome(file.flush()))
        await asyncio.sleep(0)
        file.close()
    assert flush.result() == "flushed"
    assert read_all(disk, "a", 1) == b"x"


async def _outcome(flush: Awaitable[None]) -> str:
    await flush
    return "flushed"


@_case
async def threads_write_side_by_side(disk: Disk) -> None:
    file = disk.create("a")
    with ThreadPoolExecutor(4) as threads:
        for number in range(64):
            threads.submit(file.write_at, bytes([number]) * 700, number * 700)
    await file.flush()
    assert _bytes(file) == b"".join(bytes([number]) * 700 for number in range(64))
    file.close()


@asynccontextmanager
async def _waiter(disk: Disk, path: str) -> AsyncGenerator[asyncio.Event, None]:
    """Run a task that wants the lock; the event says that it has had it."""
    had = asyncio.Event()

    async def want() -> None:
        async with disk.lock(path):
            had.set()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(want())
        await asyncio.sleep(0.01)
        yield had
        task.cancel()


@_case
async def a_lock_has_one_holder(disk: Disk) -> None:
    holders = 0
    turns = 0

    async def work() -> None:
        nonlocal holders, turns
        async with disk.lock("lock"):
            holders += 1
            assert holders == 1
            await asyncio.sleep(0.001)
            holders -= 1
            turns += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(work())
    assert turns == 8
    assert disk.names(".") == ["lock"]


@_case
async def locks_of_different_names_do_not_meet(disk: Disk) -> None:
    async with disk.lock("one"), disk.lock("two"), _waiter(disk, "three") as had:
        assert had.is_set()


@_case
async def an_error_or_a_cancellation_lets_go_of_a_lock(disk: Disk) -> None:
    async def hold() -> None:
        async with disk.lock("lock"):
            await asyncio.sleep(3600)

    with pytest.raises(LookupError):
        async with disk.lock("lock"):
            raise LookupError
    async with asyncio.TaskGroup() as group:
        holder = group.create_task(hold())
        await asyncio.sleep(0.01)
        async with _waiter(disk, "lock") as had:
            assert not had.is_set()
            holder.cancel()
            async with asyncio.timeout(5):
                await had.wait()


@_case
async def a_waiter_that_gives_up_takes_no_lock_with_it(disk: Disk) -> None:
    async with disk.lock("lock"), _waiter(disk, "lock") as had:
        assert not had.is_set()
    async with disk.lock("lock"):
        pass


@_case
async def the_last_holder_may_unlink_the_lock(disk: Disk) -> None:
    async with disk.lock("lock"), _waiter(disk, "lock"):
        disk.unlink("lock")
    async with disk.lock("lock"):
        async with _waiter(disk, "lock") as had:
            assert not had.is_set()
        disk.unlink("lock")
    with pytest.raises(FileNotFoundError):
        async with disk.lock("missing/lock"):
            pass


@_case
async def an_atomic_write_replaces_the_whole(disk: Disk) -> None:
    disk.make_folder("f")
    _put(disk, "f/a.new", b"left by a crash, and longer")
    await write_atomic(disk, "f/a", b"first, longer")
    await write_atomic(disk, "f/a", memoryview(b"second"))
    assert (disk.names("f"), read_all(disk, "f/a", 6)) == (["a"], b"second")
    with pytest.raises(FileNotFoundError):
        await write_atomic(disk, "g/a", b"")
    with pytest.raises(IsADirectoryError):
        await write_atomic(disk, "f", b"a folder is in the way")
    assert disk.names(".") == ["f"]


@_case
async def reading_all_has_a_limit(disk: Disk) -> None:
    _put(disk, "a", b"12345")
    assert read_all(disk, "a", 5) == b"12345"
    with _refused(errno.EFBIG):
        read_all(disk, "a", 4)


@_case
async def a_durable_folder_is_made_below_the_root(disk: Disk) -> None:
    await make_durable_folder(disk, "f/g")
    await make_durable_folder(disk, "f/g")
    assert disk.names("f") == ["g"]


@_case
async def there_is_room(disk: Disk) -> None:
    assert disk.free_bytes() > 0
