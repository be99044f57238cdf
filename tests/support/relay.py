"""A TCP relay between a client and a server, whose lines a test can cut, stall or close."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

_BYTES = 65_536


class Relay:
    """Relays 127.0.0.1:``port`` to *target* (a port) until :meth:`running` ends."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.passed = 0
        """Bytes that went to the server."""
        self.connections = 0
        self.cut_after: list[int] = []
        """The next cuts: when so many bytes have passed in all, the first one is done."""
        self.is_open = True
        """Whether a new connection goes through; else it is reset at once."""
        self._flows = asyncio.Event()
        self._flows.set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._waiters: list[tuple[int, asyncio.Event]] = []
        self._lines: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def running(self, port: int = 0) -> AsyncIterator["Relay"]:
        """Relay until the end, at *port* if it is given."""
        server = await asyncio.start_server(self._relay, "127.0.0.1", port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            self._flows.set()
            server.close()
            self.cut()
            await server.wait_closed()
            await self._idle.wait()

    async def until(self, count: int) -> None:
        """Return when *count* bytes have passed in all."""
        event = asyncio.Event()
        self._waiters.append((count, event))
        if self.passed < count:
            await event.wait()

    def cut(self) -> None:
        """Reset every connection."""
        for line in list(self._lines):
            line.transport.abort()

    def stall(self) -> None:
        """Pass nothing on; the connections stay."""
        self._flows.clear()

    def resume(self) -> None:
        """Pass on again."""
        self._flows.set()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if not self.is_open:
            writer.transport.abort()
            return
        self._lines.add(writer)
        self._idle.clear()
        there: asyncio.StreamWriter | None = None
        try:
            back, there = await asyncio.open_connection("127.0.0.1", self.target)
            self._lines.add(there)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pump(reader, there, is_up=True))
                tasks.create_task(self._pump(back, writer, is_up=False))
        except* (OSError, _Over):
            pass
        finally:
            for line in (writer, there):
                if line is not None:
                    line.transport.abort()
                    with suppress(OSError):
                        await line.wait_closed()
                    self._lines.discard(line)
            if not self._lines:
                self._idle.set()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_up: bool
    ) -> None:
        while data := await reader.read(_BYTES):
            await self._flows.wait()
            writer.write(data)
            await writer.drain()
            if is_up:
                self.passed += len(data)
                for count, event in self._waiters:
                    if self.passed >= count:
                        event.set()
                if self.cut_after and self.passed >= self.cut_after[0]:
                    self.cut_after.pop(0)
                    self.cut()
        raise _Over


class _Over(Exception):
    """One side has ended, so the line ends."""
