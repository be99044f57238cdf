"""The HTTP doors on a real port, over a simulated disk, and raw bytes to speak to them."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from random import Random
from urllib.parse import urlsplit

from aiohttp import web

from edge.capability import Capabilities
from edge.http.doors import HttpDoor, guard
from edge.http.tus_door import TusDoor
from edge.intake import Intake
from edge.pace import Patience
from tests.support.real_loop import real_loop
from tests.support.snapshots import Customer
from tests.support.taking import Node
from zentransfer import health
from zentransfer.memory_disk import MemoryDisk

QUICK = Patience(idle_s=0.2, window_s=0.4, rate_min=1_024)
CALM = Patience()
PATCH_TYPE = "Content-Type: application/offset+octet-stream"


class Client:
    """Raw bytes over one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, *data: bytes | str) -> None:
        for each in data:
            self.writer.write(each.encode() if isinstance(each, str) else each)
        await self.writer.drain()

    async def answer(self, *, is_head: bool = False) -> tuple[int, dict[str, str], bytes]:
        """Read one response, or an interim one, or one to a HEAD, which has no body."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:])}
        length = 0 if is_head else int(fields.get("content-length", 0))
        body = await self.reader.readexactly(length)
        return int(head[0].split(" ")[1]), fields, body

    async def code(self) -> tuple[int, str]:
        status, _, body = await self.answer()
        return status, json.loads(body)["code"]

    async def is_closed(self) -> bool:
        return await self.reader.read(1) == b""

    def reset(self) -> None:
        """Vanish with an RST."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.close()


class Door:
    """A door on a real port, over a simulated disk."""

    def __init__(self, node: Node, port: int) -> None:
        self.node, self.port = node, port
        self.capabilities = Capabilities(node.keys.public.origin, node.keys.public.region)
        self.authorization = f"Authorization: Bearer {node.customer.token}\r\n"

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[Client, None]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield Client(reader, writer)
        finally:
            writer.close()

    def put(
        self, *lines: str, target: str = "/in/x", token: str | None = None, verb: str = "PUT"
    ) -> str:
        shown = self.authorization if token is None else f"Authorization: Bearer {token}\r\n"
        more = "".join(f"{line}\r\n" for line in lines)
        return f"{verb} {target} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n{shown}{more}\r\n"

    def tus(self, verb: str, target: str, *lines: str, token: str | None = None) -> str:
        """Return the head of a tus request."""
        shown = self.authorization if token is None else f"Authorization: Bearer {token}\r\n"
        more = "".join(f"{line}\r\n" for line in ("Tus-Resumable: 1.0.0", *lines))
        return f"{verb} {target} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n{shown}{more}\r\n"

    async def asked(
        self, verb: str, target: str, *lines: str, body: bytes = b"", token: str | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one tus request over a connection of its own, and return its answer."""
        more = (f"Content-Length: {len(body)}",) if body else ()
        async with self.client() as client:
            await client.send(self.tus(verb, target, *lines, *more, token=token), body)
            return await client.answer(is_head=verb == "HEAD")

    async def created(self, length: int, *lines: str) -> str:
        """Create an upload of *length* bytes; returns its address."""
        status, fields, _ = await self.asked("POST", "/files/", f"Upload-Length: {length}", *lines)
        assert status == 201
        return address_of(fields)

    async def patched(self, address: str, offset: int, body: bytes) -> tuple[int, dict[str, str]]:
        lines = (f"Upload-Offset: {offset}", PATCH_TYPE)
        status, fields, _ = await self.asked("PATCH", address, *lines, body=body)
        return status, fields

    async def offset(self, address: str) -> int:
        """Return what HEAD says of the upload at *address*."""
        status, fields, _ = await self.asked("HEAD", address)
        assert status == 200
        return int(fields["upload-offset"])

    async def until_told(self, count: int = 1) -> None:
        async with asyncio.timeout(10):
            # Polled: the outbox is told by another task, whose event is not ours to clear.
            while len(self.node.outcomes()) < count or self.node.intake.in_flight:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


def run(
    test: Callable[[Door], Awaitable[None]],
    *,
    patience: Patience = CALM,
    customer: Customer | None = None,
    uvloop: bool = False,
    intake_type: type[Intake] = Intake,
) -> None:
    async def main() -> None:
        disk = MemoryDisk(Random(1))
        node = await Node(disk, customer or Customer(), intake_type=intake_type).start()
        door = HttpDoor(node.intake, patience, node.clock, Random(1))
        app = web.Application(middlewares=[guard])
        capabilities = Capabilities(node.keys.public.origin, node.keys.public.region)
        tus = TusDoor(node.resumables, capabilities, patience, node.clock, Random(1))
        app.add_routes([*door.routes(), *tus.routes()])
        runner = health.http_runner(app)
        await runner.setup()
        listener = health.listen("127.0.0.1", 0, "test")
        port: int = listener.getsockname()[1]
        await web.SockSite(runner, listener).start()
        try:
            async with asyncio.timeout(30):
                await test(Door(node, port))
        finally:
            await runner.cleanup()

    real_loop(main(), uvloop=uvloop)


def address_of(fields: Mapping[str, str]) -> str:
    """Return the path of what a creation answered as the upload's address."""
    return urlsplit(fields["location"]).path
