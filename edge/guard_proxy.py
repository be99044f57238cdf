"""A forward proxy on loopback, for libraries that dial by themselves: they dial us, and we dial.

The rule: whoever uses it can reach **one server only**, the one that its password is for; and how
that is reached is for the guard alone.  So a redirect to another place is a refusal, and nobody
else on the machine has a use for the port.
"""

import asyncio
import hmac
import re
from base64 import b64decode
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Final
from urllib.parse import urlsplit

from edge.guard import Blocked, Connection, Guard, Unreachable
from zentransfer.ids import RandomBytes
from zentransfer.limits import (
    GUARD_CONNECTIONS_MAX,
    GUARD_HEAD_BYTES_MAX,
    GUARD_HEAD_S,
    GUARD_IDLE_S,
    GUARD_READ_BYTES,
)

_USER: Final = "zt"
_CLEAR_PORT: Final = 80
_HOP: Final = re.compile(rb"(?im)^(proxy-[a-z-]+|connection|keep-alive):[^\n]*\n")


@dataclass(frozen=True, slots=True)
class _Request:
    """What a client asks: a tunnel, or one request in clear with its ``head`` to be passed on."""

    host: str
    port: int
    password: str
    head: bytes = b""


class _Refusal(Exception):
    """The status line that a client is answered with."""


class Proxy:
    """The proxy of one process; it serves while :meth:`run` runs."""

    def __init__(self, guard: Guard, random_bytes: RandomBytes) -> None:
        """Dial through *guard*; passwords are made from a key that dies with the process."""
        self._guard = guard
        self._key = random_bytes(32)
        self._port = 0
        self._connections = 0
        self._is_open = asyncio.Event()

    async def run(self) -> None:
        """Serve until cancelled; raises ``OSError`` when no port can be had."""
        async with asyncio.TaskGroup() as group:

            def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                group.create_task(self._serve(reader, writer))

            server = await asyncio.start_server(begin, "127.0.0.1", 0, limit=GUARD_READ_BYTES)
            try:
                self._port = server.sockets[0].getsockname()[1]
                self._is_open.set()
                await asyncio.Event().wait()
            finally:
                server.close()

    async def url(self, host: str, port: int) -> str:
        """Return the proxy's address for clients of that one server; waits until it serves."""
        await self._is_open.wait()
        return f"http://{_USER}:{self._password(host, port)}@127.0.0.1:{self._port}"

    async def check(self, host: str, port: int) -> None:
        """Say before a client dials whether it may; raises ``Blocked``, ``Unreachable``."""
        await self._guard.addresses(host, port)

    def _password(self, host: str, port: int) -> str:
        return hmac.new(self._key, f"{host.lower()}\0{port}".encode(), sha256).hexdigest()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end; never raises but for a cancellation."""
        self._connections += 1
        try:
            await self._served(reader, writer)
        except (OSError, _Refusal):
            pass  # the client or the server is gone, or was told
        finally:
            self._connections -= 1
            writer.close()

    async def _served(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await self._admitted(reader)
            far = await self._dialled(request)
        except _Refusal as refusal:
            writer.write(f"HTTP/1.1 {refusal}\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()
            raise
        try:
            if request.head:
                far[1].write(request.head)
            else:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await _joined((reader, writer), far)
        finally:
            far[1].close()

    async def _admitted(self, reader: asyncio.StreamReader) -> _Request:
        """Return what is asked by who may ask it; raises :class:`_Refusal`, ``OSError``."""
        if self._connections > GUARD_CONNECTIONS_MAX:
            raise _Refusal("503 Service Unavailable")
        request = await _asked(reader)
        wanted = self._password(request.host, request.port)
        if not hmac.compare_digest(request.password.encode(), wanted.encode()):
            raise _Refusal("403 Forbidden")
        return request

    async def _dialled(self, request: _Request) -> Connection:
        try:
            return await self._guard.dial(request.host, request.port)
        except Blocked as blocked:
            raise _Refusal("403 Forbidden") from blocked
        except Unreachable as unreachable:
            raise _Refusal("502 Bad Gateway") from unreachable


async def _asked(reader: asyncio.StreamReader) -> _Request:
    """Read a request's head; raises :class:`_Refusal`, ``OSError`` when it does not come."""
    try:
        async with asyncio.timeout(GUARD_HEAD_S):
            head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as gone:
        raise ConnectionResetError from gone
    except asyncio.LimitOverrunError as overrun:
        raise _Refusal("431 Request Header Fields Too Large") from overrun
    if len(head) > GUARD_HEAD_BYTES_MAX:
        raise _Refusal("431 Request Header Fields Too Large")
    try:
        return _parsed(head)
    except (ValueError, IndexError) as malformed:
        raise _Refusal("400 Bad Request") from malformed


def _parsed(head: bytes) -> _Request:
    """Return what *head* asks; raises ``ValueError``, ``IndexError`` for what is no request."""
    line, _, fields = head.partition(b"\r\n")
    verb, target, version = line.decode("ascii").split(" ")
    is_tunnel = verb == "CONNECT"
    parts = urlsplit(f"//{target}" if is_tunnel else target)
    if not parts.hostname or (parts.port is None and is_tunnel):
        raise ValueError("a proxy is asked for a server")
    if not is_tunnel and parts.scheme != "http":
        raise ValueError("what is not in clear comes through a tunnel")
    password = _password(fields)
    if is_tunnel:
        return _Request(parts.hostname, parts.port or 0, password)
    # One request a connection: the next one would bring its password along.
    place = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    kept = _HOP.sub(b"", fields)
    passed = f"{verb} {place} {version}\r\nConnection: close\r\n".encode() + kept
    return _Request(parts.hostname, parts.port or _CLEAR_PORT, password, passed)


def _password(fields: bytes) -> str:
    """Return the password of the Basic scheme (RFC 7617), empty if there is none."""
    found = re.search(
        rb"(?im)^proxy-authorization:[ \t]*basic[ \t]+([a-z0-9+/=]+)[ \t]*\r$", fields
    )
    if found is None:
        return ""
    user, _, password = b64decode(found[1], validate=True).decode("ascii").partition(":")
    return password if user == _USER else ""


async def _joined(near: Connection, far: Connection) -> None:
    """Move bytes both ways, at the pace of the slower side, until both have ended.

    Raises ``OSError`` when one is gone, and when neither says a word for too long.
    """
    loop = asyncio.get_running_loop()
    with suppress(TimeoutError, ExceptionGroup):
        async with asyncio.timeout(GUARD_IDLE_S) as patience, asyncio.TaskGroup() as group:

            def moved() -> None:
                if not patience.expired():
                    patience.reschedule(loop.time() + GUARD_IDLE_S)

            async def move(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                while part := await reader.read(GUARD_READ_BYTES):
                    moved()
                    writer.write(part)
                    await writer.drain()
                    moved()
                if writer.can_write_eof():
                    writer.write_eof()

            group.create_task(move(near[0], far[1]))
            group.create_task(move(far[0], near[1]))
