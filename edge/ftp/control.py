"""One control connection: its commands one after another, and its end.

The rules: a command is answered before the next is looked at; during a transfer only ABOR and what
keeps the line open are heard at once, and the rest waits in a queue that is bounded by not reading
on; and silence costs the session, but never while a transfer runs.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import chain
from typing import Final

from aioftp import StreamIO

from edge.ftp.data import DataChannel
from edge.ftp.lines import Command, Lines
from edge.ftp.passive import Reservation, plain_address
from edge.ftp.session import Session
from zentransfer.errors import Code, Error
from zentransfer.limits import FTP_COMMANDS_AHEAD_MAX, FTP_KEEPALIVE_S, FTP_LINE_BYTES_MAX

_AT_ONCE: Final = frozenset(("NOOP", "STAT"))


class Gone(Exception):
    """The client left; nothing more can be said."""


class Control:
    """What the door knows of one connection, beside the pure session."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.session = Session()
        self.stream = StreamIO(reader, writer)
        self.address = _address(writer, "peername")
        self.own_address = _address(writer, "sockname")
        self.begun_s = asyncio.get_running_loop().time()
        self.reserved: Reservation | None = None
        """What the last PASV or EPSV made, until a transfer uses it."""
        self.is_aborted = False
        """Whether ABOR came during the transfer that runs."""
        self.is_over = False
        """Whether the last word was said."""
        self._lines = Lines()
        self._waiting = deque[Command]()
        self._fresh = deque[Command]()  # what came during a transfer and was not looked at
        self._patience: asyncio.Timeout | None = None

    @property
    def is_v4(self) -> bool:
        """Say whether the client came by IPv4."""
        return ":" not in self.own_address

    @property
    def is_alone(self) -> bool:
        """Say whether the client's side is gone, and it did not say QUIT."""
        reader = self.stream.reader
        is_gone = reader.at_eof() or reader.exception() is not None
        ahead = chain(self._waiting, self._fresh)
        return is_gone and not any(command.verb == "QUIT" for command in ahead)

    def take_reserved(self) -> Reservation | None:
        """Return what the last PASV or EPSV made; it is good for one transfer."""
        reserved, self.reserved = self.reserved, None
        return reserved

    def drop_reserved(self) -> None:
        """End what the last PASV or EPSV made, if nothing has used it."""
        if (reserved := self.take_reserved()) is not None:
            reserved.end()

    async def next(self, until_s: float) -> Command:
        """Return the next command; raises ``TimeoutError`` at *until_s* of the loop, ``Gone``."""
        try:
            async with asyncio.timeout_at(until_s) as self._patience:
                while not self._waiting:
                    self._waiting.extend(await self._read())
        finally:
            self._patience = None
        return self._waiting.popleft()

    def hurry(self) -> None:
        """Let :meth:`next` raise ``TimeoutError`` now, if it waits."""
        if self._patience is not None and not self._patience.expired():
            self._patience.reschedule(asyncio.get_running_loop().time())

    async def watch(
        self, data: DataChannel, announced: int | None, answer: Callable[[Command], Awaitable[None]]
    ) -> None:
        """Heed what comes during a transfer over *data*, until cancelled or the client is gone.

        ABOR fails it, and so does the loss of this connection where no size was *announced*; what
        can be said at once goes to *answer*; the rest waits for :meth:`next`.
        """
        self._fresh, self._waiting = self._waiting, self._fresh
        try:
            while True:
                while self._fresh:
                    await self._heed(self._fresh.popleft(), data, answer)
                if len(self._waiting) >= FTP_COMMANDS_AHEAD_MAX:
                    return
                self._fresh.extend(await self._read())
        except Gone:
            if announced is None and self.is_alone:
                data.fail(Error(Code.PEER_GONE, "the control connection was lost"))
        finally:
            self._waiting.extend(self._fresh)
            self._fresh.clear()

    async def _heed(
        self, command: Command, data: DataChannel, answer: Callable[[Command], Awaitable[None]]
    ) -> None:
        if command.verb == "ABOR" and not self.is_aborted:
            self.is_aborted = True
            data.fail(Error(Code.PEER_GONE, "the sender aborted it"))
        elif command.verb in _AT_ONCE and not self._waiting:  # no reply before an earlier one's
            await answer(command)
        else:
            self._waiting.append(command)

    async def _read(self) -> list[Command]:
        data = b""
        with suppress(OSError):
            data = await self.stream.reader.read(FTP_LINE_BYTES_MAX)
        if not data:
            raise Gone
        return self._lines.feed(data)


def prepare(listener: socket.socket) -> None:
    """Set what every connection of *listener* inherits (Linux).

    Urgent data stays in its place: an ABOR that is sent as such would lose its last byte.
    """
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, FTP_KEEPALIVE_S)


def _address(writer: asyncio.StreamWriter, name: str) -> str:
    """Return an end's numeric address; raises ``Gone`` if the connection ended meanwhile."""
    end: tuple[str, int] | None = writer.get_extra_info(name)
    if not end:
        raise Gone
    return plain_address(end[0])
