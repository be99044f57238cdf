"""The fast lane: a few threads that take a fast sender's bytes straight from its socket.

The rules: bytes are received where their ciphertext will stand, and the kernel wakes a thread once
a record (SO_RCVLOWAT), not once a packet; who turns slow goes back to the loop; and a writer is in
one pair of hands at a time, so nobody goes on with it before the lane has let go of it.

The lane knows sockets and writers, and no protocol: a door lends it what is clear TCP.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from edge.lane_line import Hash, Line, Watch
from edge.sinks.base import Writer
from zentransfer.limits import (
    LANE_FROM_BYTES,
    LANE_SLOW_S,
    LANE_THREADS,
    LANE_TRIAL_BYTES,
    LANE_TRIAL_S,
)


class Lane:
    """The threads of one process; a sender that finds all of them busy stays in the loop."""

    def __init__(
        self,
        threads: int = LANE_THREADS,
        trial_s: float = LANE_TRIAL_S,
        slow_s: float = LANE_SLOW_S,
    ) -> None:
        """Take senders that bring LANE_TRIAL_BYTES within *trial_s*, a record within *slow_s*."""
        self.trial_s = trial_s
        self._slow_s = slow_s
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="lane")
        self.free = threads
        self.taken_bytes = 0
        """How many bytes came this way so far."""

    @property
    def has_room(self) -> bool:
        """Whether a thread is free."""
        return self.free > 0

    async def take(self, line: Line, writer: Writer, hashes: Sequence[Hash], most: int) -> int:
        """Run :meth:`edge.lane_line.Line.receive` in a thread, which :attr:`has_room` promised.

        When it is cancelled, it ends when the thread has let go of *writer*: at the next record.
        """
        assert self.free, "ask whether there is room"
        loop = asyncio.get_running_loop()
        bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.free -= 1
        try:
            watch = Watch(self._slow_s, bell)
            running = loop.run_in_executor(self._threads, line.receive, writer, hashes, most, watch)
            try:
                count = await asyncio.shield(running)
            except asyncio.CancelledError:
                os.eventfd_write(bell, 1)
                while not running.done():  # be it cancelled again
                    with suppress(BaseException):
                        await asyncio.shield(running)
                raise
        finally:
            self.free += 1
            os.close(bell)
        self.taken_bytes += count
        return count

    async def aclose(self) -> None:
        """End the threads when they have let go; idempotent."""
        self._threads.shutdown(wait=False)


class Parts(Protocol):
    """Where parts come from while the loop reads, such as :class:`edge.pump.Source`."""

    async def readany(self) -> bytes:
        """Return what has come, at least one byte; nothing at the clean end."""
        ...


@dataclass(frozen=True, slots=True)
class Ways:
    """What a door does to lend a connection.

    ``stop`` lets the transport stop reading, and returns what it has read already and the
    connection's descriptor; ``None`` where that cannot be done.  ``go_on`` gives the connection
    back after its last byte, ``give_up`` before that.
    """

    stop: Callable[[], tuple[bytes, int] | None]
    go_on: Callable[[], None]
    give_up: Callable[[], None]


class Lent:
    """A source of parts whose connection goes to the lane while it is worth that.

    ``left`` counts the bytes still to come, ``None`` where only a FIN tells the end.
    """

    def __init__(self, lane: Lane, parts: Parts, left: int | None, ways: Ways) -> None:
        self._lane = lane
        self._parts = parts
        self._left = left
        self._ways = ways
        self._line: Line | None = None
        self._is_over = False
        self._trial_s: float | None = None  # when the trial of its speed began
        self._trial_bytes = 0

    async def readany(self) -> bytes:
        """Return what has come, nothing at the clean end; raises as its source."""
        if self._line is None:
            part = await self._parts.readany()
        else:
            part = await self._line.readany()
            if self._line.has_ended:
                self._end(self._ways.go_on)
        if self._left is not None:
            self._left -= len(part)
        self._trial_bytes += len(part)
        return part

    def is_worth_it(self, now_s: float) -> bool:
        """Say whether the lane shall take it now: much is to come, fast, and a thread is free."""
        has_much = self._left is None or self._left >= LANE_FROM_BYTES
        if self._is_over or not has_much:
            return False
        if self._trial_s is None:  # what came with the head says nothing about speed
            self._trial_s, self._trial_bytes = now_s, 0
        if self._trial_bytes < LANE_TRIAL_BYTES:
            return False
        took_s, self._trial_s, self._trial_bytes = now_s - self._trial_s, now_s, 0
        return took_s <= self._lane.trial_s and self._lane.has_room

    def begun(self) -> bytes:
        """Take the connection from its transport; returns what that had read already."""
        if self._line is not None:
            return b""
        stopped = self._ways.stop()
        if stopped is None:
            self._is_over = True  # and so for good
            return b""
        read, descriptor = stopped
        if self._left is not None:
            self._left -= len(read)
        self._line = Line(descriptor, self._left)
        return read

    async def take(self, writer: Writer, hashes: Sequence[Hash], most: int) -> int:
        """Let the lane take up to *most* bytes; returns how many; raises as ``Line.receive``."""
        if self._line is None:
            return 0
        self._trial_s = None  # whoever comes back is tried anew
        count = await self._lane.take(self._line, writer, hashes, most)
        if self._left is not None:
            self._left -= count
        return count

    def close(self) -> None:
        """Give the connection back, wherever it stands; idempotent."""
        if self._line is not None:
            self._end(self._ways.give_up)

    def _end(self, give_back: Callable[[], None]) -> None:
        assert self._line is not None
        self._line.close()
        self._line = None
        self._is_over = True
        give_back()
