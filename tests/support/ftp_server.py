"""A small FTP server that does what it is told, wrong things too, and never more."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from types import MappingProxyType

GOOD = MappingProxyType(
    {
        "AUTH": "502 no",
        "USER": "331 password",
        "PASS": "230 in",
        "PBSZ": "200 ok",
        "PROT": "200 ok",
        "SIZE": "550 no",
        "MDTM": "550 no",
        "NOOP": "200 here",
        "QUIT": "221 bye",
    }
)


@dataclass
class FtpServer:
    """What it answers by verb, ``{port}`` being its data port; what it was told stays in *told*."""

    answers: Mapping[str, str] = field(default_factory=lambda: GOOD)
    greeting: str | None = "220 ready"
    tls: ssl.SSLContext | None = None
    is_implicit: bool = False
    host: str = "127.0.0.1"
    data_port: int = 0
    port: int = 0
    told: list[str] = field(default_factory=list)
    stored: list[bytes] = field(default_factory=list)
    _data: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(
        default_factory=asyncio.Queue
    )

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator["FtpServer", None]:
        """Serve at free ports of *host*."""
        first = self.tls if self.is_implicit else None
        control = await asyncio.start_server(self._control, self.host, 0, ssl=first)
        data = await asyncio.start_server(self._arrived, self.host, 0)
        self.port = control.sockets[0].getsockname()[1]
        self.data_port = self.data_port or data.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            control.close()
            data.close()
            while not self._data.empty():
                self._data.get_nowait()[1].close()

    async def _arrived(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._data.put_nowait((reader, writer))

    async def _control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            if self.greeting is not None:
                await _say(writer, self.greeting)
                while await self._turn(reader, writer):
                    pass
        writer.close()

    async def _turn(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        line = (await reader.readline()).decode().rstrip("\r\n")
        self.told.append(line)
        verb = line.partition(" ")[0]
        if not verb:
            return False
        answer = self.answers.get(verb, "")
        if verb in ("LIST", "STOR") and not answer:
            await self._transfer(writer, is_sent=verb == "STOR")
            return True
        await _say(writer, answer.format(port=self.data_port, high=self.data_port >> 8,
                                         low=self.data_port & 255) or "502 what?")  # fmt: skip
        if verb == "AUTH" and answer.startswith("234"):
            assert self.tls is not None
            await writer.start_tls(self.tls)
        return verb != "QUIT" and not answer.startswith("421")

    async def _transfer(self, writer: asyncio.StreamWriter, *, is_sent: bool) -> None:
        await _say(writer, "150 go")
        reader, data = await self._data.get()
        if self.tls is not None:
            await data.start_tls(self.tls)
        if is_sent:
            self.stored.append(await reader.read())
        else:
            data.write(b"-rw-r--r-- 1 a b 3 Jan 1 00:00 a.jpg\r\n")
        data.close()
        await _say(writer, "226 done")


async def _say(writer: asyncio.StreamWriter, text: str) -> None:
    writer.write(text.encode() + b"\r\n")
    await writer.drain()


@asynccontextmanager
async def talking(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncGenerator[int, None]:
    """Serve *talk* to everybody; gives the port."""
    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
