"""The bytes of one file between its writes and the pump, as a source of parts.

The rule: what came and was not taken yet is bounded; then a write is not answered until there is
room, the client's window stays shut, and so it is held to the sink's pace (law 8).
"""

import asyncio
from collections import deque
from collections.abc import Iterable

from zentransfer.errors import Error
from zentransfer.limits import SFTP_INFLOW_BYTES_MAX


class Inflow:
    """Parts in order, until :meth:`end` or :meth:`fail`."""

    def __init__(self) -> None:
        self._parts = deque[bytes]()
        self._held = 0
        self._has_ended = False
        self._failure: Error | None = None
        self._filled = asyncio.Event()
        self._taken = asyncio.Event()

    async def put(self, parts: Iterable[bytes]) -> None:
        """Add *parts*; returns when there is room for more.  Raises what :meth:`fail` was given."""
        for part in parts:
            self._parts.append(part)
            self._held += len(part)
        self._filled.set()
        while self._held >= SFTP_INFLOW_BYTES_MAX and self._failure is None:
            self._taken.clear()
            await self._taken.wait()
        if self._failure is not None:
            raise self._failure

    def end(self) -> None:
        """Take what was added for all."""
        self._has_ended = True
        self._filled.set()

    def fail(self, error: Error) -> None:
        """End it with *error* for both sides, whatever waits; the first one counts."""
        if self._failure is None:
            self._failure = error
        self._parts.clear()
        self._held = 0
        self._filled.set()
        self._taken.set()

    async def readany(self) -> bytes:
        """Return what has come, nothing at the clean end; raises what :meth:`fail` was given."""
        while self._failure is None:
            if self._parts:
                whole = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
                self._parts.clear()
                self._held = 0
                self._taken.set()
                return whole
            if self._has_ended:
                return b""
            self._filled.clear()
            await self._filled.wait()
        raise self._failure
