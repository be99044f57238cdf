"""One control connection: its commands one after another, and its end.

The rules: a command is answered before the next is looked at; during a transfer only ABOR and what
keeps the line open are heard at once, and the rest waits in a queue that is bounded by not reading
on; and silence costs the session, but never while a transfer runs.
"""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from ipaddress import ip_address
from itertools import chain
from typing import Final, Protocol

from aioftp import StreamIO

from edge.ftp.addresses import plain_address
from edge.ftp.data import DataChannel
from edge.ftp.lines import Command, Lines
from edge.ftp.passive import Reservation
from edge.ftp.session import Session
from edge.ftp.tls import CLEAR, Entrance, Rules
from edge.ftp.trace import Ear
from edge.ftp.tunnel import TlsRefused, Trouble, Tunnel
from zentransfer import log
from zentransfer.errors import Code, Error
from zentransfer.limits import (
    FTP_COMMANDS_AHEAD_MAX,
    FTP_FAREWELL_MAX_S,
    FTP_FAREWELL_MIN_S,
    FTP_FAREWELL_S,
    FTP_KEEPALIVE_S,
    FTP_LINE_BYTES_MAX,
    FTP_UNREAD_BYTES_MAX,
)

_TCP_INFO: Final = struct.Struct("=68xII")  # linux/tcp.h: tcpi_rtt and tcpi_rttvar, microseconds
_AT_ONCE: Final = frozenset(("NOOP", "STAT"))


class Gone(Exception):
    """The client left; nothing more can be said."""


class Wire(StreamIO):
    """The two directions of a control connection, in clear or by TLS."""

    tunnel: Tunnel | None = None
    """The TLS on it, from its handshake on."""

    def put(self, data: bytes) -> None:
        """Send *data*; raises :class:`Gone`."""
        if self.tunnel is None:
            self._write(data)
            return
        try:
            self.tunnel.write(data)
        except TlsRefused:
            raise Gone from None
        self.flush()

    def flush(self) -> None:
        """Send what TLS has to say; raises :class:`Gone`."""
        if self.tunnel is not None and (out := self.tunnel.outgoing()):
            self._write(out)

    def _write(self, data: bytes) -> None:
        """Send *data*; who makes us say much and takes nothing of it is as good as gone.

        TLS 1.3 answers each KeyUpdate, however many come (RFC 8446 section 4.6.3).
        """
        self.writer.write(data)
        if self.writer.transport.get_write_buffer_size() > FTP_UNREAD_BYTES_MAX:
            self.writer.transport.abort()
            raise Gone

    async def take(self) -> bytes:
        """Return some bytes as they came; raises :class:`Gone`."""
        data = b""
        with suppress(OSError):
            data = await self.reader.read(FTP_LINE_BYTES_MAX)
        if not data:
            raise Gone
        return data


class Control:
    """What the door knows of one connection, beside the pure session."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        entrance: Entrance = CLEAR,
        rules: Rules | None = None,
    ) -> None:
        """Begin with who came in at *entrance*, of which *rules* says what is asked."""
        self.session = Session()
        self.ear: Ear | None = None
        """What hears this session, if its owner asks to see it."""
        self.security = entrance.security()
        self.session.features = self.security.features()
        self.stream = Wire(reader, writer)
        self.address = _address(writer, "peername")
        self.own_address = _address(writer, "sockname")
        self.begun_s = asyncio.get_running_loop().time()
        self._reserved: Reservation | None = None
        self.is_aborted = False
        """Whether ABOR came during the transfer that runs."""
        self.is_over = False
        """Whether the last word was said."""
        self._entrance = entrance
        self._rules = rules or Rules()
        self._has_private_data = False
        self._ending: Tunnel | None = None
        """The TLS that we ended with REIN, until the client has ended it too."""
        self._lines = Lines()
        self._waiting = deque[Command]()
        self._fresh = deque[Command]()  # what came during a transfer and was not looked at
        self._patience: asyncio.Timeout | None = None

    @property
    def is_v4(self) -> bool:
        """Say whether the client came by IPv4."""
        return ":" not in self.own_address

    @property
    def is_implicit(self) -> bool:
        """Say whether TLS comes before the first word."""
        return self._entrance.is_implicit

    @property
    def is_alone(self) -> bool:
        """Say whether the client's side is gone, and it did not say QUIT."""
        reader = self.stream.reader
        tunnel = self.stream.tunnel
        has_ended = tunnel is not None and tunnel.has_ended
        is_gone = has_ended or reader.at_eof() or reader.exception() is not None
        ahead = chain(self._waiting, self._fresh)
        return is_gone and not any(command.verb == "QUIT" for command in ahead)

    def farewell_s(self) -> float:
        """Return how long this connection's end may come after that of a data connection, seconds.

        When a client is killed both end at once, each on its own way: so by the time that answers
        take on this one (RFC 6298 section 2 has the same sum).
        """
        if self.address == self.own_address or ip_address(self.address).is_loopback:
            return FTP_FAREWELL_S
        raw: Known | None = self.stream.writer.get_extra_info("socket")
        return FTP_FAREWELL_MIN_S if raw is None else farewell_s(raw)

    @property
    def reserved(self) -> Reservation | None:
        """What the last PASV or EPSV made, until a transfer uses it."""
        return self._reserved

    @reserved.setter
    def reserved(self, made: Reservation) -> None:
        """Keep *made*; TLS may begin on it before its transfer, as aioftp's client has it."""
        self._reserved = made
        self._protect(made)

    def take_reserved(self) -> Reservation | None:
        """Return what the last PASV or EPSV made; it is good for one transfer."""
        reserved, self._reserved = self._reserved, None
        if reserved is not None:
            self._protect(reserved)
            reserved.data.whole_bytes = self.session.announced
        return reserved

    def _protect(self, reserved: Reservation) -> None:
        """Let the connection of *reserved* be as the last PROT has it."""
        data, shown = reserved.data, self.session.shown
        if self.security.is_private and not data.is_private:
            name = "" if shown is None else shown.name
            is_first, self._has_private_data = not self._has_private_data, True
            entrance, address = self._entrance, self.address
            data.protect(self._rules.privacy(entrance, name, address, is_first=is_first))
        elif data.is_private and not self.security.is_private:
            data.expose()

    def drop_reserved(self) -> None:
        """End what the last PASV or EPSV made, if nothing has used it."""
        reserved, self._reserved = self._reserved, None
        if reserved is not None:
            reserved.end()

    async def is_quiet(self) -> bool:
        """Say whether nothing has come beyond the command that is answered now."""
        if self._waiting or self._lines.has_begun:
            return False
        tunnel = self.stream.tunnel
        if tunnel is not None and tunnel.waiting:
            return False
        try:
            async with asyncio.timeout(0):  # what is there is returned without a wait
                await self.stream.take()
        except TimeoutError:
            return True
        return False

    def renew(self) -> None:
        """Forget who signed in and where it was; wrong passwords stay counted."""
        self.drop_reserved()
        if self.session.is_signed_in:
            self.begun_s = asyncio.get_running_loop().time()
        self.session.rein("")

    async def secure(self) -> None:
        """Let TLS begin; returns when it has, and raises :class:`Gone` if it never does."""
        rules = self._rules
        if rules.is_full:
            raise Gone
        self.stream.tunnel = tunnel = rules.tunnel(self._entrance)
        rules.handshakes += 1
        try:
            async with asyncio.timeout(rules.policy.handshake_s):
                await self._shaken(tunnel)
        except TlsRefused as refused:
            log.fact("ftp.tls_refused", reason=refused.trouble.value, is_data=False)
            raise Gone from None
        except TimeoutError:
            log.fact("ftp.tls_refused", reason=Trouble.LATE.value, is_data=False)
            raise Gone from None
        finally:
            rules.handshakes -= 1
        self.security.began()

    def end_tls(self) -> None:
        """Speak in clear from here on; at an implicit listener the connection ends with TLS."""
        tunnel = self.stream.tunnel
        if tunnel is None:
            return
        tunnel.close()
        self.stream.flush()
        self.stream.tunnel, self._ending = None, tunnel
        self._has_private_data = False
        self.security.ended()

    def close(self) -> None:
        """End the connection, and TLS before it."""
        if self.stream.tunnel is not None and not self.stream.writer.is_closing():
            self.stream.tunnel.close()
            with suppress(Gone):
                self.stream.flush()
        self.stream.writer.close()

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
        return self._lines.feed(await self._plain())

    async def _plain(self) -> bytes:
        """Return some bytes in clear; raises :class:`Gone`."""
        if self._ending is not None:
            return await self._clear_again(self._ending)
        tunnel = self.stream.tunnel
        if tunnel is None:
            return await self.stream.take()
        try:
            while not (plain := tunnel.read()):
                self.stream.flush()
                if tunnel.has_ended:
                    raise Gone
                tunnel.feed(await self.stream.take())
        except TlsRefused:
            raise Gone from None
        return plain

    async def _clear_again(self, tunnel: Tunnel) -> bytes:
        """Return what comes after the client has ended TLS too."""
        try:
            while not tunnel.has_ended:
                tunnel.feed(await self.stream.take())
                tunnel.read()  # what it still said in TLS was said before it heard us
        except TlsRefused:
            raise Gone from None
        self._ending = None
        if self._entrance.is_implicit:
            raise Gone
        return tunnel.rest() or await self.stream.take()

    async def _shaken(self, tunnel: Tunnel) -> None:
        try:
            while not tunnel.shake():
                self.stream.flush()
                tunnel.feed(await self.stream.take())
        except Gone:
            raise TlsRefused(Trouble.HUNG_UP) from None
        finally:
            if not self.stream.writer.is_closing():
                with suppress(Gone):
                    self.stream.flush()


class Known(Protocol):
    """A socket, or what a loop gives for it."""

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
        """Return what the kernel knows of it; raises ``OSError``."""
        ...


def farewell_s(raw: Known) -> float:
    """Return as of :meth:`Control.farewell_s` what the kernel knows of *raw* (Linux)."""
    info = b""
    with suppress(OSError):
        info = raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    if len(info) < _TCP_INFO.size:
        return FTP_FAREWELL_MIN_S
    rtt_us, variation_us = _TCP_INFO.unpack(info)
    wait_s = (int(rtt_us) + 4 * int(variation_us)) / 1_000_000
    return min(FTP_FAREWELL_MAX_S, max(FTP_FAREWELL_MIN_S, wait_s))


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
