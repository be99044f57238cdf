"""The FTP door on a real port over a simulated disk, and a client that says what it likes."""

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random
from typing import TypedDict, Unpack

from edge.facts import Outcome, OutcomeState
from edge.ftp.addresses import Nat
from edge.ftp.bounds import Bounds
from edge.ftp.doors import FtpDoor
from edge.ftp.passive import PassivePorts
from edge.ftp.security import Policy
from edge.ftp.tls import CLEAR, Entrance
from edge.intake import Intake
from edge.snapshot import CredentialKind
from tests.support.ports import DATA, free_port
from tests.support.real_loop import real_loop
from tests.support.snapshots import Customer
from tests.support.taking import Node
from tests.support.tls_client import Secure
from tests.support.writing import read_whole
from zentransfer import health
from zentransfer.ids import UploadID
from zentransfer.memory_disk import MemoryDisk
from zentransfer.sealed_name import FileName

QUICK = Bounds(login_pause_s=0.02)
"""The real bounds, but for the second that a wrong password costs."""

Said = tuple[int, str]


class Client:
    """One control connection, spoken by hand."""

    def __init__(
        self, door: "Door", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.door = door
        self.tls: Secure | None = None
        self.reader: asyncio.StreamReader | Secure = reader
        self.writer: asyncio.StreamWriter | Secure = writer
        self._ends = reader, writer

    async def secure(
        self,
        context: ssl.SSLContext,
        *,
        session: ssl.SSLSession | None = None,
        name: str | None = "localhost",
    ) -> "Secure":
        """Begin TLS on the control connection."""
        made = Secure(*self._ends, context, session=session, name=name)
        self.reader = self.writer = self.tls = await made.handshake()
        return made

    def in_clear(self) -> None:
        """Speak in clear again."""
        self.tls = None
        self.reader, self.writer = self._ends

    async def private(self, context: ssl.SSLContext) -> "Secure":
        """Ask for TLS on this connection and on those of data."""
        assert await self.say("AUTH TLS") == 234
        made = await self.secure(context)
        assert await self.say("PBSZ 0") == 200
        assert await self.say("PROT P") == 200
        return made

    async def send(self, line: str | bytes, end: bytes = b"\r\n") -> None:
        self.writer.write((line.encode() if isinstance(line, str) else line) + end)
        await self.writer.drain()

    async def heard(self) -> Said:
        """Read one reply: its code, and its lines joined."""
        lines = [(await self.reader.readuntil(b"\n")).decode(errors="surrogateescape")]
        code = lines[0][:3]
        if lines[0][3] == "-":
            while not lines[-1].startswith(f"{code} "):
                lines.append((await self.reader.readuntil(b"\n")).decode())
        return int(code), "".join(lines)[4:].rstrip("\r\n")

    async def say(self, line: str | bytes) -> int:
        """Send one command; return the code of its reply."""
        await self.send(line)
        return (await self.heard())[0]

    async def sign_in(self, secret: str = "") -> int:
        shown = self.door.node.customer.shown
        assert await self.say(f"USER {shown.name}") == 331
        return await self.say(f"PASS {secret or shown.secret}")

    async def passive(self) -> int:
        """Send PASV; return the port."""
        await self.send("PASV")
        code, text = await self.heard()
        assert code == 227
        match = re.search(r"\((\d+,\d+,\d+,\d+),(\d+),(\d+)\)", text)
        assert match is not None
        assert match[1] == "127,0,0,1"
        return int(match[2]) * 256 + int(match[3])

    @asynccontextmanager
    async def data(self, source: str = "127.0.0.1") -> AsyncGenerator[asyncio.StreamWriter, None]:
        """Open a data connection from *source*."""
        _, writer = await dialled(await self.passive(), source)
        try:
            yield writer
        finally:
            writer.close()

    async def store(self, name: str | bytes, content: bytes = b"abc") -> int:
        """Store *content*; return the code of the last reply."""
        async with self.data() as data:
            code = await self.say(b"STOR " + (name.encode() if isinstance(name, str) else name))
            if code != 150:
                return code
            data.write(content)
            data.write_eof()
            return (await self.heard())[0]

    async def store_by_tls(
        self,
        name: str,
        content: bytes,
        context: ssl.SSLContext,
        *,
        session: ssl.SSLSession | None = None,
        ends: bool = True,
    ) -> tuple[int, Secure]:
        """Store *content*; returns the code of the last reply, and the data connection.

        Without *ends* it ends with a FIN alone.
        """
        reader, writer = await dialled(await self.passive())
        try:
            assert await self.say(f"STOR {name}") == 150
            data = Secure(reader, writer, context, session=session, name="localhost")
            await data.handshake()
            data.write(content)
            await data.drain()
            if ends:
                data.write_eof()
            else:
                data.cut()
            return (await self.heard())[0], data
        finally:
            writer.close()

    async def is_closed(self) -> bool:
        try:
            return await self.reader.read(1) == b""
        except ConnectionError:
            return True


class Door:
    """A door on a real port, over a simulated disk."""

    def __init__(self, node: Node, door: FtpDoor, *listeners: socket.socket) -> None:
        self.node, self.door = node, door
        self.host, self.port = listeners[0].getsockname()[:2]
        self.ports: list[int] = [listener.getsockname()[1] for listener in listeners]
        """The port of each entrance."""

    @asynccontextmanager
    async def stranger(self, source: str = "", entrance: int = 0) -> AsyncGenerator[Client, None]:
        """Connect from *source*, by default from the door's own address."""
        reader, writer = await dialled(self.ports[entrance], source or self.host)
        try:
            yield Client(self, reader, writer)
        finally:
            writer.close()

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[Client, None]:
        """Connect and sign in."""
        async with self.stranger() as client:
            assert (await client.heard())[0] == 220
            assert await client.sign_in() == 230
            yield client

    async def until_told(self, count: int = 1) -> list[Outcome]:
        """Wait until *count* uploads have ended; return their outcomes."""
        async with asyncio.timeout(10):
            while len(self.node.outcomes()) < count or self.node.intake.in_flight:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return self.node.outcomes()

    async def content(self, upload: UploadID) -> bytes:
        return await read_whole(self.node.sink, upload, self.node.keys)

    async def name(self, upload: UploadID) -> FileName:
        record = (await self.node.sink.record(upload)).value
        return self.node.intake.tools.settling.open(record).name

    async def committed(self) -> list[tuple[FileName, bytes]]:
        """Return the name and content of each whole upload, in the order of their ends."""
        whole = [one for one in self.node.outcomes() if one.state is OutcomeState.COMMITTED]
        return [
            (await self.name(one.upload_id), await self.content(one.upload_id)) for one in whole
        ]


def one_port() -> range:
    """Give a range of one free port."""
    port = free_port()
    return range(port, port + 1)


async def dialled(
    port: int, source: str = "127.0.0.1"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host = "::1" if ":" in source else "127.0.0.1"
    return await asyncio.open_connection(host, port, local_addr=(source, 0))


def reset(writer: asyncio.StreamWriter) -> None:
    """Vanish with an RST."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()


class Setup(TypedDict, total=False):
    """What a test wants otherwise of its door."""

    bounds: Bounds
    customer: Customer
    ports: range
    host: str
    public_host: str
    nat: Nat
    entrances: tuple[Entrance, ...]
    policy: Policy
    limit_s: float
    intake_type: type[Intake]


def run(
    test: Callable[[Door], Awaitable[None]], *, uvloop: bool = False, **setup: Unpack[Setup]
) -> None:
    """Run *test* against a new door."""

    async def main() -> None:
        customer = replace(setup.get("customer", Customer()), kind=CredentialKind.FTP)
        intake_type = setup.get("intake_type", Intake)
        node = await Node(MemoryDisk(Random(1)), customer, intake_type=intake_type).start()
        host = setup.get("host", "127.0.0.1")
        ports = setup.get("ports", DATA)
        nat = setup.get("nat") or Nat(setup.get("public_host"))
        passive = PassivePorts(host, ports, Random(), nat)
        door = FtpDoor(
            node.resumables, passive, node.clock, setup.get("bounds", QUICK), setup.get("policy")
        )
        entrances = setup.get("entrances", (CLEAR,))
        listeners = [health.listen(host, 0, "test") for _ in entrances]
        for listener, entrance in zip(listeners, entrances, strict=True):
            await door.serve(listener, entrance)
        try:
            async with asyncio.timeout(setup.get("limit_s", 40)):
                await test(Door(node, door, *listeners))
        finally:
            await door.close()

    real_loop(main(), uvloop=uvloop)
