"""One open file of a real folder: positional I/O, and a descriptor that outlives its flushes.

The rule: a descriptor is closed when its last user is done with it.  A number closed under a
thread that still flushes would name whatever is opened next.
"""

import asyncio
import ctypes
import errno
import os
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

from zentransfer.flushes import Flushes
from zentransfer.limits import DISK_FLUSH_TOGETHER_BYTES

_KEEP_SIZE: Final = 1  # FALLOC_FL_KEEP_SIZE of linux/falloc.h
_ALLOCATE_UNSUPPORTED: Final = (errno.EOPNOTSUPP, errno.ENOSYS)


class RealFile:
    """An open file of a :class:`zentransfer.disk.RealDisk`."""

    def __init__(self, descriptor: int, flushes: Flushes) -> None:
        """Take over *descriptor*; it is flushed by *flushes*."""
        self._descriptor = descriptor
        self._flushes = flushes
        self._unflushed = 0  # bytes, about
        self._flushing = threading.Lock()  # the kernel tells a failure to one of two flushes only
        self._guard = threading.Lock()  # over the two below, and never held while the disk works
        self._users = 0
        self._closed = False
        self._failed: OSError | None = None

    def write_at(self, data: bytes | bytearray | memoryview, position: int) -> None:
        """Write all of *data* at *position*; see ``disk.File``."""
        with self._change() as descriptor, memoryview(data) as view:
            self._unflushed += len(view)
            done = os.pwrite(descriptor, view, position)
            while done < len(view):  # a short write is no error yet: the next one says why
                done += os.pwrite(descriptor, view[done:], position + done)

    def read_at(self, into: memoryview, position: int) -> int:
        """Read into *into* from *position*; see ``disk.File``."""
        if position < 0:  # preadv2(2) would take -1 for the descriptor's own position
            raise OSError(errno.EINVAL, "a position is not negative")
        with self._use() as descriptor:
            return os.preadv(descriptor, [into], position)

    def size(self) -> int:
        """Return the size in bytes."""
        with self._use() as descriptor:
            return os.fstat(descriptor).st_size

    def allocate(self, size: int) -> None:
        """Reserve room without changing the size; see ``disk.File``."""
        with self._change() as descriptor:
            _allocate(descriptor, size)

    def truncate(self, size: int) -> None:
        """Cut or grow the file; see ``disk.File``."""
        with self._change() as descriptor:
            os.ftruncate(descriptor, size)

    async def flush(self) -> None:
        """Make durable what was written before this call; see ``disk.File``."""
        descriptor = self._enter(change=True)
        is_small, self._unflushed = self._unflushed <= DISK_FLUSH_TOGETHER_BYTES, 0
        flush = self._flushes.together if is_small else self._flushes.alone
        await flush(descriptor, lambda: self._flush(descriptor), self._leave)

    def drop_cache(self) -> None:
        """Forget cached pages, but those that wait to be written; see ``disk.File``."""
        with self._use() as descriptor:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        """Close without flushing; idempotent."""
        with self._guard:
            last = not self._closed and self._users == 0
            self._closed = True
        if last:
            os.close(self._descriptor)

    def _flush(self, descriptor: int) -> None:
        with self._flushing:
            if self._failed is not None:
                raise OSError(self._failed.errno, "an earlier flush of this file failed")
            try:
                os.fdatasync(descriptor)
            except OSError as failure:
                self._failed = failure
                raise

    def _enter(self, *, change: bool) -> int:
        with self._guard:
            if self._closed:
                raise OSError(errno.EBADF, "the file is closed")
            if change and self._failed is not None:
                raise OSError(self._failed.errno, "an earlier flush of this file failed")
            self._users += 1
            return self._descriptor

    def _leave(self) -> None:
        with self._guard:
            self._users -= 1
            last = self._closed and self._users == 0
        if last:
            os.close(self._descriptor)

    @contextmanager
    def _use(self) -> Generator[int, None, None]:
        descriptor = self._enter(change=False)
        try:
            yield descriptor
        finally:
            self._leave()

    @contextmanager
    def _change(self) -> Generator[int, None, None]:
        descriptor = self._enter(change=True)
        try:
            yield descriptor
        finally:
            self._leave()


async def run_released(
    threads: ThreadPoolExecutor, work: Callable[[], None], release: Callable[[], None]
) -> None:
    """Run *work* in a thread and *release* once after it, also when cancelled or never started."""
    try:
        future = threads.submit(work)
    except RuntimeError as ended:
        release()
        raise OSError(errno.EBADF, "the disk is closed") from ended
    future.add_done_callback(lambda _: release())
    await asyncio.wrap_future(future)


def _allocate(descriptor: int, size: int) -> None:
    while _FALLOCATE is not None and size > 0 and _FALLOCATE(descriptor, _KEEP_SIZE, 0, size) != 0:
        code = ctypes.get_errno()
        if code in _ALLOCATE_UNSUPPORTED:
            return
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))


def _find_fallocate() -> Callable[[int, int, int, int], int] | None:
    """Return fallocate(2) of the C library: ``os.posix_fallocate`` would change the size."""
    try:
        call = ctypes.CDLL(None, use_errno=True).fallocate
    except AttributeError:
        return None
    call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    call.restype = ctypes.c_int
    return call


_FALLOCATE: Final = _find_fallocate()
