"""A destination that is a folder of the region's own machines, local or mounted.

The rule: written under a temporary name, flushed, read back, and only then linked to its name,
which an exclusive link never overwrites.  Every step goes by open folders, one name at a time and
never through a symbolic link, so that nothing leads outside whatever else changes there.
"""

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Final, Self, TypeVar

from edge.snapshot import Clash
from edge.workflow.destinations import folder_files as files
from edge.workflow.destinations.base import (
    Abilities,
    DestinationError,
    Fault,
    RemoteName,
    RemoteRef,
)
from edge.workflow.destinations.folder_files import Part
from edge.workflow.destinations.naming import checked_name, part_name
from zentransfer.errors import Code, Error
from zentransfer.limits import DELIVERY_STALE_PARTS_MAX, FOLDER_FORGET_S, FOLDER_THREADS
from zentransfer.real_file import run_released

T = TypeVar("T")

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_CLOSED: Final = (errno.EACCES, errno.EPERM, errno.EROFS)
_GONE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.ELOOP)
_UNNAMEABLE: Final = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)


class FolderDestination:
    """A :class:`edge.workflow.destinations.base.Destination` that is a folder."""

    abilities = Abilities(resume=False, remote_digest=True, create_only=True, atomic=True)

    def __init__(self, address: str, roots: Sequence[Path], clash: Clash = Clash.KEEP_BOTH) -> None:
        """Stand on the folder *address*, an absolute path at or below one of *roots*.

        The roots are the operator's; nothing below them is followed if it is a symbolic link.
        """
        self._address = Path(address)
        self._roots = [root.absolute() for root in roots]
        self._clash = clash
        self._threads: ThreadPoolExecutor | None = None
        self._puts = 0
        self._is_closed = False

    async def put(
        self,
        name: RemoteName,
        content: AsyncIterator[memoryview],
        *,
        size: int,
        digest: bytes | None,
        resume_ref: str,
    ) -> RemoteRef:
        """Let the object be there; see ``Destination``.

        Codes: NOT_FOUND and FORBIDDEN when the folder is missing or may not be written,
        INSUFFICIENT_STORAGE when it is full, INVALID for a name that it cannot hold.
        """
        del resume_ref  # a part is begun anew: whoever else shares the folder may have touched it
        _check(name)
        with self._used(), _errors(), _Slot() as folder:
            await self._open_folder(folder, name.folder)
            return await self._put(folder.descriptor, name, content, size, digest)

    def close(self) -> None:
        """End the threads when what they do is done, and what is being put; idempotent."""
        self._is_closed = True
        self._end_threads()

    @contextmanager
    def _used(self) -> Generator[None, None, None]:
        """Keep the threads for as long as something is put, also by who came late to a closed one.

        A destination is closed when others are used more; what is long under way goes on.
        """
        self._puts += 1
        try:
            yield
        finally:
            self._puts -= 1
            if self._is_closed:
                self._end_threads()

    def _end_threads(self) -> None:
        if self._threads is not None and not self._puts:
            self._threads.shutdown(wait=False)
            self._threads = None

    async def _put(
        self,
        folder: int,
        name: RemoteName,
        content: AsyncIterator[memoryview],
        size: int,
        digest: bytes | None,
    ) -> RemoteRef:
        await self._in_thread(folder, lambda own: _clear_stale(own, name))
        if digest is not None:
            found = await self._in_thread(
                folder, lambda own: files.find(own, name.name, size, digest, self._clash)
            )
            if found:
                return RemoteRef(str(found), size, digest)
        part = part_name(name, name.fence)
        try:
            whole = await self._written(folder, part, content, size, digest)
            number = await self._in_thread(
                folder, lambda own: files.place(own, part, name.name, whole, self._clash)
            )
        except BaseException:
            await self._forgotten(folder, part)
            raise
        return RemoteRef(str(number), size, whole.digest)

    async def _forgotten(self, folder: int, part: str) -> None:
        """Remove a part of ours; of a folder that hangs it is removed when it hangs no more.

        Never on the loop: a folder holds up its own deliveries only.
        """
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(FOLDER_FORGET_S):
                await self._in_thread(folder, lambda own: files.forget(own, part))

    async def _written(
        self,
        folder: int,
        name: str,
        content: AsyncIterator[memoryview],
        size: int,
        digest: bytes | None,
    ) -> Part:
        """Write and flush the part *name* and read it back; returns what is there."""
        with _Slot() as part:
            await self._in_thread(folder, lambda own: part.fill(files.create(own, name)))
            intake = files.Intake(digest)
            async for view in content:
                if intake.size + len(view) > size:
                    raise _mismatch("the content is longer than was announced")
                await self._in_thread(part.descriptor, partial(intake.write, data=view))
            if intake.size != size:
                raise _mismatch("the content is shorter than was announced")
            stored = await self._in_thread(part.descriptor, files.flushed_digest)
        if stored != intake.sent:
            raise _mismatch("the destination holds other bytes than were sent")
        return stored

    async def _open_folder(self, slot: "_Slot", names: tuple[str, ...]) -> None:
        """Open the virtual folder into *slot*, made where it is missing; durable."""
        root = self._root()
        below = self._address.relative_to(root).parts
        with _Slot() as anchor:
            anchor.fill(os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            await self._in_thread(
                anchor.descriptor, lambda own: slot.fill(files.open_folder(own, below, names))
            )

    def _root(self) -> Path:
        for root in self._roots:
            if self._address.is_relative_to(root) and ".." not in self._address.parts:
                return root
        raise DestinationError(
            Code.FORBIDDEN,
            "the folder is outside those that this node delivers to",
            Fault.DESTINATION,
        )

    async def _in_thread(self, descriptor: int, work: Callable[[int], T]) -> T:
        """Run *work* in a thread of ours with a descriptor of its own.

        So a thread that outlives a cancelled attempt never meets a number that was closed and
        given to another file.
        """
        if self._threads is None:
            self._threads = ThreadPoolExecutor(FOLDER_THREADS, thread_name_prefix="folder")
        own = os.dup(descriptor)
        found: list[T] = []
        await run_released(self._threads, lambda: found.append(work(own)), lambda: os.close(own))
        return found[0]


class _Slot:
    """Where a thread leaves a descriptor; one that nobody waits for any more is closed."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._closed = False
        self.descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._guard:
            self._closed = True
            if self.descriptor >= 0:
                os.close(self.descriptor)

    def fill(self, descriptor: int) -> None:
        """Keep *descriptor* until the end of the ``with``."""
        with self._guard:
            if self._closed:
                os.close(descriptor)
            else:
                self.descriptor = descriptor


def _check(name: RemoteName) -> None:
    """Refuse what is no name once more, whoever planned it."""
    try:
        for each in (*name.folder, name.name):
            checked_name(each)
    except Error as wrong:
        raise DestinationError(wrong.code, wrong.detail, Fault.OBJECT) from wrong


def _clear_stale(folder: int, name: RemoteName) -> None:
    """Remove the parts of this delivery's earlier attempts, which have lost their leases."""
    first = max(1, name.fence - DELIVERY_STALE_PARTS_MAX)
    for fence in range(first, name.fence + 1):
        files.forget(folder, part_name(name, fence))


def _mismatch(detail: str) -> DestinationError:
    return DestinationError(Code.CHECKSUM_MISMATCH, detail, Fault.TEMPORARY)


@contextmanager
def _errors() -> Generator[None, None, None]:
    """Turn what the file system says into what is to be done about it."""
    try:
        yield
    except files.Blocked as blocked:
        detail = "a folder of this name cannot be made: something else has the name"
        raise DestinationError(Code.FORBIDDEN, detail, Fault.OBJECT) from blocked
    except files.Taken as taken:
        detail = "another file has the name, and all its numbers"
        raise DestinationError(Code.CONFLICT, detail, Fault.OBJECT) from taken
    except files.Cleared as cleared:
        raise DestinationError(Code.FENCED, "the part is gone", Fault.TEMPORARY) from cleared
    except files.NoLinks as lacking:
        detail = "the folder's file system has no exclusive link"
        raise DestinationError(Code.FORBIDDEN, detail, Fault.DESTINATION) from lacking
    except OSError as failure:
        raise _error(failure) from failure


def _error(failure: OSError) -> DestinationError:
    code = failure.errno
    if code in _GONE:
        return DestinationError(Code.NOT_FOUND, "the folder is not there", Fault.DESTINATION)
    if code in _CLOSED:
        return DestinationError(Code.FORBIDDEN, "the folder may not be written", Fault.DESTINATION)
    if code in _FULL:
        return DestinationError(
            Code.INSUFFICIENT_STORAGE, "the destination is full", Fault.TEMPORARY
        )
    if code in _UNNAMEABLE:
        return DestinationError(Code.INVALID, "the folder cannot hold this name", Fault.OBJECT)
    if code == errno.EFBIG:
        return DestinationError(
            Code.TOO_LARGE, "the folder cannot hold a file of this size", Fault.OBJECT
        )
    return DestinationError(Code.UNAVAILABLE, "the folder failed", Fault.TEMPORARY)
