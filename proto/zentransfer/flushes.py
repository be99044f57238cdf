"""The flushes of one disk, grouped: what is asked for while others run goes to one thread together.

The rule: grouping changes when a flush begins and nothing else.  Each returns after its own call
of the kernel said yes, and hears of its own failure only.

A file system commits its journal once for all that was written out before.  So a thread first
starts the writing of every file of its group, and then flushes one after the other: the first
commit serves them all.
"""

import asyncio
import ctypes
import errno
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from zentransfer.limits import DISK_FLUSH_GROUPS_MAX, DISK_FLUSH_WAIT_S

_WRITE: Final = 2  # SYNC_FILE_RANGE_WRITE of linux/fs.h


@dataclass(slots=True, eq=False)
class _Wish:
    """One flush that somebody waits for."""

    descriptor: int
    work: Callable[[], None]
    release: Callable[[], None]
    done: asyncio.Future[None]
    failure: BaseException | None = None


class _Group:
    """Flushes of one loop that go to a thread together."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.wishes = deque[_Wish]()
        self.timer: asyncio.TimerHandle | None = None
        self._over: list[_Wish] = []

    def run(self) -> None:
        """Do all of it, in a thread."""
        if len(self.wishes) > 1:
            for wish in tuple(self.wishes):
                _start_writing(wish.descriptor)
        with suppress(IndexError):
            while True:
                self._do(self.wishes.popleft())

    async def outcome(self, wish: _Wish) -> None:
        """Wait until *wish* is done; what nobody waits for any more does not begin."""
        try:
            await wish.done
        except asyncio.CancelledError:
            with suppress(ValueError):  # then it has begun, and is released by who does it
                self.wishes.remove(wish)
                wish.release()
            raise

    def _do(self, wish: _Wish) -> None:
        try:
            wish.work()
        except BaseException as failure:  # noqa: BLE001 - it is raised where it is waited for
            wish.failure = failure
        finally:
            wish.release()
        self._over.append(wish)

    def refuse(self) -> None:
        """Tell all of them that the disk is closed."""
        while self.wishes:
            wish = self.wishes.popleft()
            wish.failure = OSError(errno.EBADF, "the disk is closed")
            wish.release()
            self._over.append(wish)

    def tell(self) -> None:
        """Tell those who still wait, in their loop."""
        for wish in self._over:
            if wish.done.done():
                continue
            if wish.failure is None:
                wish.done.set_result(None)
            else:
                wish.done.set_exception(wish.failure)


class Flushes:
    """The threads in which one disk flushes; at most DISK_FLUSH_GROUPS_MAX groups at once.

    A group that waits longer than DISK_FLUSH_WAIT_S goes all the same: those before it are slow.
    """

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="disk-flush")
        self._waiting: _Group | None = None
        self._running = 0

    async def together(
        self, descriptor: int, work: Callable[[], None], release: Callable[[], None]
    ) -> None:
        """Run *work*, which flushes *descriptor*, with what else is asked for now.

        *release* is run once after it, also when this is cancelled or it never began.  Raises what
        *work* raises, and ``OSError`` EBADF when the disk is closed.
        """
        loop = asyncio.get_running_loop()
        group = self._waiting
        if group is None or group.loop is not loop:
            group = self._waiting = _Group(loop)
            loop.call_soon(self._consider, group)
        wish = _Wish(descriptor, work, release, loop.create_future())
        group.wishes.append(wish)
        await group.outcome(wish)

    async def alone(
        self, descriptor: int, work: Callable[[], None], release: Callable[[], None]
    ) -> None:
        """Run *work* as ``together``, but by itself: it may take long."""
        loop = asyncio.get_running_loop()
        group = _Group(loop)
        group.wishes.append(wish := _Wish(descriptor, work, release, loop.create_future()))
        self._submit(group, lambda: None)
        await group.outcome(wish)

    def close(self) -> None:
        """End the threads, when what runs is done; idempotent."""
        self._threads.shutdown()

    def _consider(self, group: _Group) -> None:
        """Begin *group* unless enough others run; then it grows until one of those is done."""
        if self._waiting is not group:
            self._begin(group)
        elif self._running < DISK_FLUSH_GROUPS_MAX:
            self._waiting = None
            self._begin(group)
        elif group.timer is None:
            group.timer = group.loop.call_later(DISK_FLUSH_WAIT_S, self._hurry, group)

    def _hurry(self, group: _Group) -> None:
        if self._waiting is group:
            self._waiting = None
            self._begin(group)

    def _begin(self, group: _Group) -> None:
        if group.timer is not None:
            group.timer.cancel()
        self._running += 1
        self._submit(group, self._ended)

    def _ended(self) -> None:
        self._running -= 1
        if self._waiting is not None:
            self._consider(self._waiting)

    def _submit(self, group: _Group, after: Callable[[], None]) -> None:
        def tell() -> None:
            group.tell()
            after()

        def run() -> None:
            group.run()
            with suppress(RuntimeError):  # its loop has been closed: nobody waits any more
                group.loop.call_soon_threadsafe(tell)

        try:
            self._threads.submit(run)
        except RuntimeError:
            group.refuse()
            tell()


def _find_start() -> Callable[[int, int, int, int], int] | None:
    """Return sync_file_range(2) of the C library, where it has one."""
    try:
        call = ctypes.CDLL(None).sync_file_range
    except AttributeError:
        return None
    call.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    call.restype = ctypes.c_int
    return call


_START: Final = _find_start()


def _start_writing(descriptor: int) -> None:
    """Let the kernel begin to write the file out; a folder has nothing to write, and says so.

    A failure is told by the flush that follows: this call takes no note of it (fs/sync.c).
    """
    if _START is not None:
        _START(descriptor, 0, 0, _WRITE)
