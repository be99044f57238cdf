"""Files as the sinks, outboxes and stores see them, and the form that is a real folder.

The rule: **nothing is durable before a flush returns**, neither bytes nor a name.  The second
form, :class:`zentransfer.memory_disk.MemoryDisk`, takes that rule at its word.
"""

import asyncio
import errno
import fcntl
import os
import stat
import weakref
from collections.abc import AsyncGenerator, Coroutine
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    suppress,
)
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

from zentransfer.flushes import Flushes
from zentransfer.limits import DISK_FLUSH_THREADS, DISK_LOCK_WAIT_S
from zentransfer.real_file import RealFile

Data = bytes | bytearray | memoryview
DiskPath = PurePosixPath | str  # relative to the disk's root; "." is the root itself

_NOT_PLAIN: Final = frozenset(("", ".", ".."))
_LOCK_POLL_FIRST_S: Final = 0.001  # doubled at each try
_LOCK_POLL_LAST_S: Final = 0.02  # what a free lock may cost a process that waits for it


class File(Protocol):
    """One open file with positional reads and writes, kept by its holder.

    All but ``flush`` are plain calls, thread-neutral and meant to meet the page cache.  What is
    written is visible to every reader at once and durable after ``flush`` only.

    **A failed flush is final.**  What it should have written is lost, still reads back until the
    cache is dropped, and a flush through another handle says ok (measured on ext4).  So this
    handle refuses every further write and flush with the same error, also when the flush was
    cancelled and nobody saw it fail.  A closed handle raises ``OSError`` EBADF.
    """

    def write_at(self, data: Data, position: int) -> None:
        """Write all of *data* at *position* (bytes); a gap before it reads as zeros.

        Raises ``OSError`` (ENOSPC, EDQUOT, EFBIG, EIO); a prefix may then be there.
        """
        ...

    def read_at(self, into: memoryview, position: int) -> int:
        """Read into *into* from *position*; returns the count of bytes, 0 at the end."""
        ...

    def size(self) -> int:
        """Return the size in bytes."""
        ...

    def allocate(self, size: int) -> None:
        """Reserve room for *size* bytes from the start, without changing the size of the file.

        A hint where the file system cannot; raises ``OSError`` (ENOSPC) where there is no room.
        """
        ...

    def truncate(self, size: int) -> None:
        """Cut the file to *size* bytes, or grow it by zeros; gives back what was allocated."""
        ...

    async def flush(self) -> None:
        """Make durable what was written before this call, and the size; not the file's name.

        Raises ``OSError``; see the class for what that means.  When cancelled, it may or may not
        take effect.
        """
        ...

    def drop_cache(self) -> None:
        """Forget cached pages, so that the next read sees what the disk holds.

        Pages that wait to be written stay: flush first.
        """
        ...

    def close(self) -> None:
        """Close without flushing; idempotent.  A flush under way ends first, behind the scenes."""
        ...


class Disk(Protocol):
    """A tree of files below one root.

    Paths are relative POSIX paths; an absolute one, or one with ``..`` or NUL, raises
    ``ValueError``.  Names change at once for every reader, and durably after ``flush_folder`` of
    the folder that holds them; a rename is then either wholly there or not at all.
    """

    def create(self, path: DiskPath) -> File:
        """Create and open a new file; raises ``FileExistsError``."""
        ...

    def open(self, path: DiskPath, *, write: bool = False) -> File:
        """Open a file that exists; raises ``FileNotFoundError``, ``IsADirectoryError``."""
        ...

    def make_folder(self, path: DiskPath) -> None:
        """Make a folder and those above it; fine if it exists (see ``make_durable_folder``)."""
        ...

    def rename(self, source: DiskPath, target: DiskPath) -> None:
        """Move a file, replacing *target*; raises ``FileNotFoundError``, ``IsADirectoryError``."""
        ...

    def link(self, source: DiskPath, target: DiskPath) -> None:
        """Give a file a second name; raises ``FileExistsError``, ``FileNotFoundError``."""
        ...

    def unlink(self, path: DiskPath) -> None:
        """Remove a file's name; raises ``FileNotFoundError``.  Open handles go on working."""
        ...

    def remove_folder(self, path: DiskPath) -> None:
        """Remove an empty folder; raises ``OSError`` ENOTEMPTY, ``FileNotFoundError``."""
        ...

    def names(self, path: DiskPath) -> list[str]:
        """Return the sorted names in a folder; raises ``FileNotFoundError``."""
        ...

    def exists(self, path: DiskPath) -> bool:
        """Say whether a file or folder has this name."""
        ...

    async def flush_folder(self, path: DiskPath) -> None:
        """Make durable which names the folder holds; not the content of those files."""
        ...

    def lock(self, path: DiskPath) -> AbstractAsyncContextManager[None]:
        """Hold the lock file *path*: one holder among all processes and tasks.

        The end of the process frees it.  Raises ``TimeoutError`` after DISK_LOCK_WAIT_S.  The
        file is made when missing and stays; unlinking it must be the last act of its holder.
        """
        ...

    def free_bytes(self) -> int:
        """Return the bytes that an ordinary user may still write."""
        ...

    def close(self) -> None:
        """End the disk's threads, when the flushes under way are done; idempotent."""
        ...


def parts(path: DiskPath) -> tuple[str, ...]:
    """Split *path* into names, none for the root; raises ``ValueError`` if it could leave it."""
    if isinstance(path, str) and (names := _plain(path)):
        return names
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\0" in str(pure):
        raise ValueError("a path on a disk is relative, without '..' and NUL")
    return pure.parts


def _plain(path: str) -> tuple[str, ...]:
    """Split a *path* of plain names, nearly every one; nothing where that takes a closer look."""
    names = tuple(path.split("/"))
    is_plain = "\0" not in path and not any(name in _NOT_PLAIN for name in names)
    return names if is_plain else ()


async def at_once(*flushes: Coroutine[None, None, None]) -> None:
    """Run *flushes* at once; when all have ended, raises the first error of one."""
    try:
        async with asyncio.TaskGroup() as group:
            for each in flushes:
                group.create_task(each)
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from failed


async def write_atomic(disk: Disk, path: DiskPath, data: Data) -> None:
    """Replace the file *path* by *data*; durable when it returns.

    After an error or a crash the old content or the new is there, never a mixture.  One writer
    of a path at a time: the temporary name (*path* and ``.new``) is always the same, so that a
    crash leaves at most one.  Raises ``OSError``.
    """
    new = f"{PurePosixPath(path)}.new"
    try:
        file = disk.create(new)
    except FileExistsError:
        disk.unlink(new)
        file = disk.create(new)
    try:
        file.write_at(data, 0)
        await file.flush()
        disk.rename(new, path)
    except BaseException:
        with suppress(OSError):  # a full disk gets its room back
            disk.unlink(new)
        raise
    finally:
        file.close()
    await disk.flush_folder(PurePosixPath(path).parent)


def read_all(disk: Disk, path: DiskPath, limit: int) -> bytes:
    """Return the content of a file of at most *limit* bytes; raises ``OSError`` EFBIG above it."""
    file = disk.open(path)
    try:
        size = file.size()
        if size > limit:
            raise OSError(errno.EFBIG, "the file is larger than its reader allows")
        content = bytearray(size)
        filled = 0
        while count := file.read_at(memoryview(content)[filled:], filled):
            filled += count
        return bytes(content[:filled])
    finally:
        file.close()


async def make_durable_folder(disk: Disk, path: DiskPath) -> None:
    """Make a folder and those above it, and make their names durable; raises ``OSError``."""
    disk.make_folder(path)
    for folder in reversed(PurePosixPath(path).parents):
        await disk.flush_folder(folder)


class RealDisk:
    """A folder of the machine: the :class:`Disk` of production.

    Files are 0600 and folders 0700; a symbolic link at the end of a path is refused.  Flushes
    run in this disk's own threads; those that wait are as many as there are open files at most.
    """

    def __init__(self, root: Path, threads: int = DISK_FLUSH_THREADS) -> None:
        """Stand on the folder *root*, which must exist; raises ``NotADirectoryError``."""
        if not root.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "the disk's root is not a folder")
        self._root = str(root.absolute())
        self._flushes = Flushes(threads)
        # Tasks of this process queue in memory, so that only one of them polls the kernel.
        self._turns = weakref.WeakValueDictionary[str, asyncio.Lock]()

    def create(self, path: DiskPath) -> RealFile:
        """Create and open a new file; see :class:`Disk`."""
        return self._open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)

    def open(self, path: DiskPath, *, write: bool = False) -> RealFile:
        """Open a file that exists; see :class:`Disk`."""
        return self._open(path, os.O_RDWR if write else os.O_RDONLY)

    def make_folder(self, path: DiskPath) -> None:
        """Make a folder and those above it; raises ``FileExistsError`` if a file is in the way."""
        where = self._root
        names = parts(path)
        with suppress(OSError):  # nearly always those above it are there
            os.mkdir("/".join((where, *names)), 0o700)
            return
        for name in names:
            where = f"{where}/{name}"
            try:
                os.mkdir(where, 0o700)
            except FileExistsError:
                if not os.path.isdir(where):
                    raise

    def rename(self, source: DiskPath, target: DiskPath) -> None:
        """Move a file, replacing *target*; see :class:`Disk`."""
        if stat.S_ISDIR(os.lstat(self._at(source)).st_mode):
            raise IsADirectoryError(errno.EISDIR, "only files are renamed")
        try:
            os.rename(self._at(source), self._at(target))
        except OSError as refused:
            if refused.errno == errno.ENOTEMPTY:  # what rename(2) says of a folder above the file
                raise IsADirectoryError(errno.EISDIR, "a folder has this name") from refused
            raise

    def link(self, source: DiskPath, target: DiskPath) -> None:
        """Give a file a second name; see :class:`Disk`."""
        os.link(self._at(source), self._at(target))

    def unlink(self, path: DiskPath) -> None:
        """Remove a file's name; see :class:`Disk`."""
        os.unlink(self._at(path))

    def remove_folder(self, path: DiskPath) -> None:
        """Remove an empty folder, but never the root; see :class:`Disk`."""
        if not parts(path):
            raise OSError(errno.EBUSY, "the root of a disk stays")
        os.rmdir(self._at(path))

    def names(self, path: DiskPath) -> list[str]:
        """Return the sorted names in a folder; see :class:`Disk`."""
        return sorted(os.listdir(self._at(path)))

    def exists(self, path: DiskPath) -> bool:
        """Say whether a file or folder has this name."""
        return os.path.lexists(self._at(path))

    async def flush_folder(self, path: DiskPath) -> None:
        """Make durable which names the folder holds; see :class:`Disk`."""
        descriptor = os.open(self._at(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        await self._flushes.together(
            descriptor, lambda: os.fsync(descriptor), lambda: os.close(descriptor)
        )

    @asynccontextmanager
    async def lock(self, path: DiskPath) -> AsyncGenerator[None, None]:
        """Hold the lock file *path*; see :class:`Disk`."""
        where = self._at(path)
        turn = self._turns.setdefault(where, asyncio.Lock())
        async with AsyncExitStack() as held:
            async with asyncio.timeout(DISK_LOCK_WAIT_S):  # bounds the wait, not the holding
                await held.enter_async_context(turn)
                held.callback(os.close, await _locked(where))
            yield

    def free_bytes(self) -> int:
        """Return the bytes that an ordinary user may still write (statvfs: f_bavail)."""
        figures = os.statvfs(self._root)
        return figures.f_bavail * figures.f_frsize

    def close(self) -> None:
        """End the threads, when the flushes under way are done; idempotent."""
        self._flushes.close()

    def _at(self, path: DiskPath) -> str:
        return "/".join((self._root, *parts(path)))

    def _open(self, path: DiskPath, flags: int) -> RealFile:
        descriptor = os.open(self._at(path), flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise IsADirectoryError(errno.EISDIR, "a folder is not opened as a file")
        return RealFile(descriptor, self._flushes)


async def _locked(where: str) -> int:
    """Return a descriptor that holds the lock file *where*; the caller closes it."""
    pause = _LOCK_POLL_FIRST_S
    while True:
        descriptor = os.open(where, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_named(descriptor, where):  # else its holder unlinked it before letting go
                return descriptor
        except BlockingIOError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LOCK_POLL_LAST_S)


def _is_named(descriptor: int, where: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(where))
    except FileNotFoundError:
        return False
