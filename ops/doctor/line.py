"""One connection to a server, as the doctor holds it: bounded, patient, and never raising.

The rule: whatever a server does is an answer or a ``Lost``; what it says is cleaned before anybody
sees it, and never holds the password that was sent.
"""

import asyncio
import re
import ssl
from collections.abc import Awaitable
from contextlib import suppress
from typing import Final, TypeVar

from ops.doctor.seen import Dial, Heard, Lost, Said
from ops.send.names import shown
from zentransfer.limits import DOCTOR_LINE_BYTES_MAX, DOCTOR_LINES_MAX, DOCTOR_LIST_BYTES_MAX

T = TypeVar("T")

_REPLY: Final = re.compile(r"([1-5][0-9]{2})([ -])(.*)")
_CLOSING_S: Final = 1.0


class Line:
    """A stream, and how long each of its answers may take, in seconds."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, patience_s: float
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._patience_s = patience_s
        self._secret = ""

    @property
    def peer(self) -> str:
        """Return the numeric address of the server."""
        peer: tuple[str, int] | None = self._writer.get_extra_info("peername")
        return peer[0].partition("%")[0] if peer else ""

    @property
    def tls(self) -> ssl.SSLObject | None:
        """Return the TLS of this connection, if it has it."""
        found: ssl.SSLObject | None = self._writer.get_extra_info("ssl_object")
        return found

    def hide(self, secret: str) -> None:
        """Let *secret* be in nothing that is heard from now on."""
        self._secret = secret

    async def ask(self, command: str) -> Heard:
        """Send one *command* and return its answer."""
        if "\n" in command or "\r" in command:
            return Lost.GARBLED  # a name or password with an end of line would be two commands
        try:
            self._writer.write(command.encode() + b"\r\n")
            async with asyncio.timeout(self._patience_s):
                await self._writer.drain()
        except TimeoutError:
            return Lost.SILENT
        except (OSError, ssl.SSLError):
            return Lost.CLOSED
        return await self.heard()

    async def heard(self) -> Heard:
        """Return the next reply, of several lines too (RFC 959, 4.2)."""
        return await answered(self._reply(), self._patience_s)

    async def secure(self, context: ssl.SSLContext, name: str) -> None:
        """Begin TLS; raises ``OSError``, ``ssl.SSLError``."""
        async with asyncio.timeout(self._patience_s):
            await self._writer.start_tls(context, server_hostname=name)

    async def read_all(self) -> Lost | None:
        """Read to the end, but no more than DOCTOR_LIST_BYTES_MAX; returns why there is none."""
        return await answered(self._drained(), self._patience_s)

    async def exchanged(self, request: bytes, count: int) -> bytes | Lost:
        """Send *request*; returns up to *count* bytes of what comes until the stream ends."""
        return await answered(self._exchange(request, count), self._patience_s)

    async def send_all(self, content: bytes) -> Lost | None:
        """Send *content* and end the stream as a camera does."""
        return await answered(self._sent(content), self._patience_s)

    async def close(self) -> None:
        """Close it; idempotent."""
        self._writer.close()
        with suppress(OSError, ssl.SSLError):
            async with asyncio.timeout(_CLOSING_S):
                await self._writer.wait_closed()
        self._writer.transport.abort()

    async def _reply(self) -> Heard:
        first = _REPLY.fullmatch(await self._text())
        if first is None:
            return Lost.GARBLED
        lines, is_last = [first[3]], first[2] == " "
        while not is_last and len(lines) < DOCTOR_LINES_MAX:
            text = await self._text()
            is_last = text.startswith(f"{first[1]} ")
            lines.append(text[4:] if is_last else text)
        return Said(int(first[1]), self._clean(" ".join(lines))) if is_last else Lost.GARBLED

    async def _text(self) -> str:
        return (await self._reader.readuntil(b"\n")).decode(errors="replace").rstrip("\r\n")

    def _clean(self, text: str) -> str:
        return shown(text.replace(self._secret, "****") if self._secret else text)

    async def _drained(self) -> None:
        left = DOCTOR_LIST_BYTES_MAX
        while left > 0 and (part := await self._reader.read(left)):
            left -= len(part)

    async def _exchange(self, request: bytes, count: int) -> bytes:
        self._writer.write(request)
        await self._writer.drain()
        got = b""
        while len(got) < count and (part := await self._reader.read(count - len(got))):
            got += part
        return got

    async def _sent(self, content: bytes) -> None:
        self._writer.write(content)
        await self._writer.drain()
        if self._writer.can_write_eof():
            self._writer.write_eof()
        self._writer.close()
        await self._writer.wait_closed()


async def answered(work: Awaitable[T], patience_s: float) -> T | Lost:
    """Return what *work* does, or what came in its place within *patience_s* seconds."""
    try:
        async with asyncio.timeout(patience_s):
            return await work
    except TimeoutError:
        return Lost.SILENT
    except (asyncio.LimitOverrunError, UnicodeError):
        return Lost.GARBLED
    except ConnectionRefusedError:
        return Lost.REFUSED
    except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
        return Lost.CLOSED
    except OSError:
        return Lost.UNREACHABLE


async def dialled(address: str, port: int, patience_s: float) -> tuple[Dial, Line | None]:
    """Connect to the numeric *address*; returns how it went, and the line if it stands."""
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    opening = asyncio.open_connection(address, port, limit=DOCTOR_LINE_BYTES_MAX)
    found = await answered(opening, patience_s)
    took_s = loop.time() - begun_s
    if isinstance(found, Lost):
        return Dial(address, port, found, took_s), None
    return Dial(address, port, None, took_s), Line(*found, patience_s)
