"""Simulated disks for tests, and what is on them."""

from collections.abc import Awaitable
from random import Random

from zentransfer.disk import Disk, File, read_all
from zentransfer.memory_disk import MemoryDisk

SEEDS = range(100)


def new_disk(seed: int = 7) -> MemoryDisk:
    return MemoryDisk(Random(seed))


def content(disk: Disk, path: str) -> bytes:
    return read_all(disk, path, 1 << 30)


def contents(disk: Disk) -> dict[str, bytes]:
    return {name: content(disk, name) for name in disk.names(".")}


async def put_durably(disk: Disk, path: str, data: bytes) -> File:
    """Make a file that a crash leaves whole; the caller closes it."""
    file = disk.create(path)
    file.write_at(data, 0)
    await file.flush()
    await disk.flush_folder(".")
    return file


async def errno_of(work: Awaitable[None]) -> int | None:
    try:
        await work
    except OSError as failure:
        return failure.errno
    return None
