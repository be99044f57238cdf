"""A clear TCP connection that its transport does not read any more, read by the loop or a thread.

The rules: it has a descriptor of its own, so that whatever becomes of the transport meanwhile, no
number is read that names another socket by then; and it takes its own bytes and not one more, so
that its connection can go on with the next request.
"""

import asyncio
import os
import select
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from edge.sinks.base import Writer
from zentransfer.errors import Code, Error
from zentransfer.limits import LANE_READ_BYTES


class Hash(Protocol):
    """A running hash, as of ``hashlib``."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Add *data*."""
        ...


@dataclass(frozen=True, slots=True)
class Watch:
    """When a thread lets go of a line early.

    That is after *slow_s* seconds without a record, or when the eventfd *bell* is rung.
    """

    slow_s: float
    bell: int


class Line:
    """One connection's bytes to come: *left* of them, or if that is ``None`` all up to its FIN."""

    def __init__(self, descriptor: int, left: int | None) -> None:
        """Read from a duplicate of *descriptor*, whose transport has stopped reading."""
        self._socket = socket.socket(fileno=os.dup(descriptor))
        self._socket.setblocking(False)
        self._left = left
        self._has_ended = left == 0

    @property
    def has_ended(self) -> bool:
        """Whether the last byte was taken."""
        return self._has_ended

    async def readany(self) -> bytes:
        """Return what has come, nothing at the clean end; raises ``Error(PEER_GONE)``."""
        if self._has_ended:
            return b""
        loop = asyncio.get_running_loop()
        try:
            part = await loop.sock_recv(self._socket, self._wanted(LANE_READ_BYTES))
        except OSError as gone:
            raise Error(Code.PEER_GONE) from gone
        self._count(len(part))
        return part

    def receive(self, writer: Writer, hashes: Sequence[Hash], most: int, watch: Watch) -> int:
        """Take at most *most* bytes into *writer*, in a thread; returns how many came.

        Returns when all is in, when the writer wants a flush, and as *watch* says.  Raises
        ``Error(PEER_GONE)``, and what the writer raises.
        """
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(watch.bell, select.POLLIN)
        taken = low_water = 0
        try:
            while taken < most and not self._has_ended and not writer.is_due:
                room = writer.room()
                want = self._wanted(min(len(room), most - taken))
                if want != low_water:  # the kernel caps it by what its buffer can hold
                    self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, want)
                    low_water = want
                ready = poll.poll(watch.slow_s * 1000)
                if any(descriptor == watch.bell for descriptor, _ in ready):
                    break
                count = self._received(room[:want])
                for each in hashes:
                    each.update(room[:count])
                if count:
                    writer.filled(count)
                    taken += count
                if not ready:
                    break
        finally:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        return taken

    def close(self) -> None:
        """Close this descriptor; the connection is its transport's still.  Idempotent."""
        self._socket.close()

    def _received(self, into: memoryview) -> int:
        """Take what is there, which of a slow sender may be nothing."""
        try:
            count = self._socket.recv_into(into)
        except BlockingIOError:
            return 0
        except OSError as gone:
            raise Error(Code.PEER_GONE) from gone
        self._count(count)
        return count

    def _wanted(self, most: int) -> int:
        return most if self._left is None else min(most, self._left)

    def _count(self, count: int) -> None:
        if not count and self._left is not None:
            raise Error(Code.PEER_GONE)
        if self._left is not None:
            self._left -= count
        self._has_ended = not count if self._left is None else not self._left
