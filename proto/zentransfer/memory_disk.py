"""The simulated form of a disk: in memory, under a seed, and as treacherous as a real one.

The rule: a writer that is right here is right on a real file system.  What was not flushed is
lost, torn and reordered by :meth:`MemoryDisk.crash` (rules in :mod:`zentransfer.platter`), and
each operation can be made to fail or to be the last (:mod:`zentransfer.machine`).
"""

import asyncio
import errno
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from random import Random
from typing import Final

from zentransfer.disk import Data, DiskPath, parts
from zentransfer.limits import DISK_LOCK_WAIT_S
from zentransfer.machine import Machine, Process, fail_if
from zentransfer.platter import SECTOR_BYTES, Choose, Content, Folder, Move, Platter

CAPACITY_BYTES: Final = 1 << 40  # a disk that is full only when a test says so
_LOCK_POLL_S: Final = (0.001, 0.02)  # seconds: drawn, so that any of several waiters may be next


class MemoryDisk:
    """One process's view of a simulated disk; see :class:`zentransfer.disk.Disk`.

    ``process()`` gives another process on the same disk, ``kill()`` ends one and leaves the page
    cache, ``crash()`` ends all of them and gives the disk as the power loss leaves it.  What an
    ended process still calls raises ``OSError`` EBADF, or ``Crashed`` behind ``crash_at``.
    """

    def __init__(
        self,
        random: Random,
        *,
        capacity: int = CAPACITY_BYTES,
        sector: int = SECTOR_BYTES,
        machine: Machine | None = None,
    ) -> None:
        """Start with an empty disk of *capacity* bytes; *random* decides all that is uncertain.

        With *machine*, stand on that one's disk instead.
        """
        self._random = random
        self._machine = machine or Machine(Platter(random, sector, capacity))
        self._process = Process(self._machine)

    # --- the contract

    def create(self, path: DiskPath) -> "MemoryFile":
        """Create and open a new file; see :class:`zentransfer.disk.Disk`."""
        with self._process.changing() as platter:
            return MemoryFile(self._process, _create(platter, path), write=True)

    def open(self, path: DiskPath, *, write: bool = False) -> "MemoryFile":
        """Open a file that exists; see :class:`zentransfer.disk.Disk`."""
        with self._process.looking() as platter:
            return MemoryFile(self._process, platter.file(parts(path)), write=write)

    def make_folder(self, path: DiskPath) -> None:
        """Make a folder and those above it; raises ``FileExistsError`` if a file is in the way."""
        with self._process.changing() as platter:
            folder = platter.root
            for name in parts(path):
                node = folder.seen.get(name)
                if isinstance(node, Content):
                    raise FileExistsError(errno.EEXIST, "a file has this name")
                if node is None:
                    node = Folder()
                    platter.change(Move(folder, name, None, node))
                folder = node

    def rename(self, source: DiskPath, target: DiskPath) -> None:
        """Move a file, replacing *target*; see :class:`zentransfer.disk.Disk`."""
        with self._process.changing() as platter:
            content = platter.file(parts(source))
            folder, name = _place(platter, target)
            replaced = folder.seen.get(name)
            if isinstance(replaced, Folder):
                raise IsADirectoryError(errno.EISDIR, "a folder has this name")
            if replaced is not content:  # rename(2): two names of one file both stay
                platter.change(
                    Move(*_place(platter, source), content, None),
                    Move(folder, name, replaced, content),
                )

    def link(self, source: DiskPath, target: DiskPath) -> None:
        """Give a file a second name; see :class:`zentransfer.disk.Disk`."""
        with self._process.changing() as platter:
            content = platter.find(parts(source))
            folder, name = _vacant(platter, target)
            if isinstance(content, Folder):
                raise PermissionError(errno.EPERM, "a folder has one name only")
            platter.change(Move(folder, name, None, content))

    def unlink(self, path: DiskPath) -> None:
        """Remove a file's name; see :class:`zentransfer.disk.Disk`."""
        with self._process.changing() as platter:
            content = platter.file(parts(path))
            platter.change(Move(*_place(platter, path), content, None))

    def remove_folder(self, path: DiskPath) -> None:
        """Remove an empty folder, but never the root; see :class:`zentransfer.disk.Disk`."""
        with self._process.changing() as platter:
            folder = platter.folder(parts(path))
            if folder is platter.root:
                raise OSError(errno.EBUSY, "the root of a disk stays")
            if folder.seen:
                raise OSError(errno.ENOTEMPTY, "the folder is not empty")
            platter.change(Move(*_place(platter, path), folder, None), emptied=folder)

    def names(self, path: DiskPath) -> list[str]:
        """Return the sorted names in a folder; see :class:`zentransfer.disk.Disk`."""
        with self._process.looking() as platter:
            return sorted(platter.folder(parts(path)).seen)

    def exists(self, path: DiskPath) -> bool:
        """Say whether a file or folder has this name."""
        with self._process.looking() as platter:
            try:
                platter.find(parts(path))
            except (FileNotFoundError, NotADirectoryError):
                return False
            return True

    async def flush_folder(self, path: DiskPath) -> None:
        """Make durable which names the folder holds; see :class:`zentransfer.disk.Disk`."""
        with self._process.looking() as platter:
            folder, until = platter.folder(parts(path)), platter.moment
        await self._process.flush(
            lambda: platter.flushed(folder, until), lambda _: platter.failed(folder, until)
        )

    @asynccontextmanager
    async def lock(self, path: DiskPath) -> AsyncGenerator[None, None]:
        """Hold the lock file *path*; see :class:`zentransfer.disk.Disk`."""
        with self._process.changing():
            pass  # one operation, however long it waits
        async with asyncio.timeout(DISK_LOCK_WAIT_S):
            # Polled as on a real disk: the holder is another process and tells nobody.
            while not (hold := self._try_lock(path)):  # noqa: ASYNC110
                await asyncio.sleep(self._random.uniform(*_LOCK_POLL_S))
        try:
            yield
        finally:
            hold.close()

    def free_bytes(self) -> int:
        """Return the bytes that may still be written."""
        with self._process.looking() as platter:
            return max(0, platter.capacity - platter.used)

    def close(self) -> None:
        """Do nothing: this form has no threads."""

    # --- what only the simulated form can do

    @property
    def operations(self) -> int:
        """Return the count of operations so far that change or flush something."""
        return self._machine.operations

    @property
    def held(self) -> int:
        """Return the count of files and locks that this process holds."""
        return len(self._process.held)

    def process(self) -> "MemoryDisk":
        """Return another process's view of the same disk: own handles, own locks, same files."""
        return MemoryDisk(self._random, machine=self._machine)

    def kill(self) -> None:
        """End this process as kill -9 does: handles and locks go, the page cache stays."""
        self._process.kill()

    def crash(self, keep: Choose | None = None) -> "MemoryDisk":
        """Cut the power; returns the disk as it is found after it, for a new process.

        *keep* decides what survives of all that was not flushed (``keep_none``, ``keep_all``);
        without it a seeded mixture does.
        """
        after = MemoryDisk(self._random, machine=self._machine.cut_power(keep))
        self._process.thaw()  # what waits in it learns that it is over
        return after

    def crash_at(self, count: int) -> None:
        """Let the *count*-th operation from now (1 is the next) raise ``Crashed``."""
        self._machine.crash_at = self._machine.operations + count

    def fail_at(self, count: int, code: int) -> None:
        """Let the *count*-th operation from now fail with the errno *code*, once.

        A write that fails so leaves a prefix, a flush does what ``fail_flush`` says.
        """
        self._machine.failures[self._machine.operations + count] = code

    def fail_flush(self, count: int = 1, code: int = errno.EIO) -> None:
        """Let the *count*-th flush from now, of a file or a folder, fail with *code*, once.

        What it should have made durable is lost, and the next flush says ok.
        """
        self._machine.flush_failures[self._machine.flushes + count] = code

    def set_capacity(self, size: int) -> None:
        """Make the disk *size* bytes large; what is there stays."""
        self._machine.platter.capacity = size

    def freeze(self) -> None:
        """Let no flush of this process return until ``thaw``, those under way included."""
        self._process.freeze()

    def thaw(self) -> None:
        """Let the flushes return."""
        self._process.thaw()

    def _try_lock(self, path: DiskPath) -> "_Hold | None":
        with self._process.looking() as platter:
            try:
                content = platter.file(parts(path))
            except FileNotFoundError:
                content = _create(platter, path)
            if content.holder is not None:
                return None
            return _Hold(self._process, content)


class MemoryFile:
    """An open file of a :class:`MemoryDisk`; see :class:`zentransfer.disk.File`."""

    def __init__(self, process: Process, content: Content, *, write: bool) -> None:
        """Open *content* for *process*."""
        self._process = process
        self._content = content
        self._write = write
        self._closed = False
        self._failed = 0  # the errno of the first failed flush
        content.opens += 1
        process.held[self] = None

    def write_at(self, data: Data, position: int) -> None:
        """Write all of *data* at *position*; see :class:`zentransfer.disk.File`."""
        with self._changing() as platter:
            code = self._process.machine.count()
            _check(position)
            count = platter.random.randrange(len(data) + 1) if code else len(data)
            room = platter.capacity - platter.used + self._content.charged
            if position + count > max(room, len(self._content.seen)):
                code, count = code or errno.ENOSPC, max(0, room - position)
            with memoryview(data) as view:
                self._content.write(view[:count], position, platter.tick())
            platter.charge(self._content)
            fail_if(code)

    def read_at(self, into: memoryview, position: int) -> int:
        """Read into *into* from *position*; see :class:`zentransfer.disk.File`."""
        with self._looking():
            _check(position)
            found = self._content.seen[position : position + len(into)]
            into[: len(found)] = found
            return len(found)

    def size(self) -> int:
        """Return the size in bytes."""
        with self._looking():
            return len(self._content.seen)

    def allocate(self, size: int) -> None:
        """Reserve room without changing the size; see :class:`zentransfer.disk.File`."""
        with self._changing() as platter:
            fail_if(self._process.machine.count())
            if size > platter.capacity - platter.used + self._content.charged:
                fail_if(errno.ENOSPC)
            self._content.allocated = max(size, self._content.allocated)
            platter.charge(self._content)

    def truncate(self, size: int) -> None:
        """Cut or grow the file; see :class:`zentransfer.disk.File`."""
        with self._changing() as platter:
            fail_if(self._process.machine.count())
            self._content.truncate(size, platter.tick())
            platter.charge(self._content)

    async def flush(self) -> None:
        """Make durable what was written before this call; see :class:`zentransfer.disk.File`."""
        with self._looking() as platter:
            fail_if(self._failed)
            until = platter.moment
        await self._process.flush(
            lambda: self._flushed(until), lambda code: self._fail(code, until)
        )

    def drop_cache(self) -> None:
        """Forget cached pages, but those that wait to be written."""
        with self._looking():
            self._content.drop_cache()

    def close(self) -> None:
        """Close without flushing; idempotent."""
        with self._process.machine.guard:
            if not self._closed:
                self._closed = True
                self._content.opens -= 1
                self._process.machine.platter.charge(self._content)
                del self._process.held[self]

    def _flushed(self, until: int) -> None:
        fail_if(self._failed)  # by another flush under way: the kernel tells only one of them
        self._content.flushed(until)

    def _fail(self, code: int, until: int) -> None:
        self._failed = code
        self._content.failed(until)

    @contextmanager
    def _looking(self) -> Generator[Platter, None, None]:
        with self._process.looking() as platter:
            if self._closed:
                fail_if(errno.EBADF)
            yield platter

    @contextmanager
    def _changing(self) -> Generator[Platter, None, None]:
        with self._looking() as platter:
            if not self._write:
                fail_if(errno.EBADF)
            fail_if(self._failed)
            yield platter


class _Hold:
    """A lock that is held; the end of its process frees it."""

    def __init__(self, process: Process, content: Content) -> None:
        self._process = process
        self._content = content
        content.holder = self
        process.held[self] = None

    def close(self) -> None:
        if self._content.holder is self:
            self._content.holder = None
        self._process.held.pop(self, None)


def _check(position: int) -> None:
    if position < 0:
        fail_if(errno.EINVAL)


def _place(platter: Platter, path: DiskPath) -> tuple[Folder, str]:
    """Return the folder of *path* and its name in it; raises if there is no such folder."""
    names = parts(path)
    if not names:
        raise IsADirectoryError(errno.EISDIR, "the root has no name")
    return platter.folder(names[:-1]), names[-1]


def _vacant(platter: Platter, path: DiskPath) -> tuple[Folder, str]:
    """Return the folder of *path* and its name there, which is free; or ``FileExistsError``."""
    names = parts(path)
    folder = platter.folder(names[:-1])
    if not names or names[-1] in folder.seen:
        raise FileExistsError(errno.EEXIST, "the name is taken")
    return folder, names[-1]


def _create(platter: Platter, path: DiskPath) -> Content:
    content = Content(platter.sector)
    platter.change(Move(*_vacant(platter, path), None, content))
    return content
