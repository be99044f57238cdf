"""The machine around a simulated disk: its power, its processes and the faults planned for it.

The rule: each operation that changes or flushes something is counted, so that a test can make
the n-th fail, or be the last, for every n.
"""

import asyncio
import errno
import os
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

from zentransfer.platter import Choose, Platter

_FLUSH_S: Final = (0.0002, 0.01)  # seconds: an SSD's, and a disk's that others use too


class Crashed(BaseException):
    """The machine stopped here, as ``crash_at`` asked; nothing of the process goes on.

    Not an ``Exception``: no handler of errors may take it for one.
    """


class Closable(Protocol):
    """What a process holds and loses with its life."""

    def close(self) -> None:
        """Let go; idempotent."""
        ...


@dataclass
class Machine:
    """What all processes on one disk share."""

    platter: Platter
    guard: threading.RLock = field(default_factory=threading.RLock)  # calls are thread-neutral
    powered: bool = True
    crashed: bool = False
    operations: int = 0
    flushes: int = 0
    crash_at: int = 0  # operation number; 0 is never
    failures: dict[int, int] = field(default_factory=dict[int, int])  # operation number -> errno
    flush_failures: dict[int, int] = field(default_factory=dict[int, int])  # flush number -> errno

    def count(self) -> int:
        """Count an operation; returns the errno it shall fail with, or 0; raises ``Crashed``."""
        self.operations += 1
        if self.operations == self.crash_at:
            self.crashed = True
            raise Crashed
        return self.failures.pop(self.operations, 0)

    def count_flush(self) -> int:
        """Count a flush, which is an operation too; returns and raises as ``count`` does."""
        self.flushes += 1
        planned = self.flush_failures.pop(self.flushes, 0)
        return self.count() or planned

    def cut_power(self, choose: Choose | None) -> "Machine":
        """End all processes; returns the machine as it is found when the power is back."""
        with self.guard:
            if not self.powered:
                raise RuntimeError("a machine loses its power once; go on with the next")
            self.powered = False
            return Machine(self.platter.after_crash(choose))


class Process:
    """One process: what it has open, and whether it runs, stands still or is over."""

    def __init__(self, machine: Machine) -> None:
        """Start on *machine*."""
        self.machine = machine
        self.held: dict[Closable, None] = {}
        self._killed = False
        self._thawed = asyncio.Event()
        self._thawed.set()

    @property
    def alive(self) -> bool:
        """Say whether it runs: neither killed nor without power."""
        return self.machine.powered and not self._killed and not self.machine.crashed

    @contextmanager
    def looking(self) -> Generator[Platter, None, None]:
        """Read the platter; raises ``OSError`` EBADF, ``Crashed`` if this process is over."""
        with self.machine.guard:
            if self._killed or not self.machine.powered:
                raise OSError(errno.EBADF, "the process or its machine has ended")
            if self.machine.crashed:
                raise Crashed
            yield self.machine.platter

    @contextmanager
    def changing(self) -> Generator[Platter, None, None]:
        """Do one operation on the platter; raises what is planned for it."""
        with self.looking() as platter:
            fail_if(self.machine.count())
            yield platter

    async def flush(self, succeed: Callable[[], None], fail: Callable[[int], None]) -> None:
        """Take a flush's time, then let it succeed or fail; a crash may fall inside.

        When cancelled, what was to be flushed goes on waiting, but a planned failure happens:
        the real flush goes on in a thread and fails with nobody to hear it.
        """
        with self.looking() as platter:
            code = self.machine.count_flush()
            pace_s = platter.random.uniform(*_FLUSH_S)
        try:
            await self._thawed.wait()
            await asyncio.sleep(pace_s)
        except BaseException:
            if code and self.alive:
                fail(code)
            raise
        with self.looking():
            if code:
                fail(code)
            else:
                succeed()
        await self._thawed.wait()
        with self.looking():
            fail_if(code)

    def freeze(self) -> None:
        """Let no flush return until ``thaw``; again, the same."""
        self._thawed.clear()  # not another event: whoever waits already would wait for ever

    def thaw(self) -> None:
        """Let the flushes return."""
        self._thawed.set()

    def kill(self) -> None:
        """End it: what it holds is closed, what it wrote stays in the page cache."""
        self._killed = True
        self.thaw()  # what waits in it learns that it is over
        for thing in list(self.held):
            thing.close()


def fail_if(code: int) -> None:
    """Raise ``OSError`` for an errno that is not 0."""
    if code:
        raise OSError(code, os.strerror(code))
