"""A client of the IETF's resumable uploads that keeps every interim response, and a door for it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

from aiohttp import web

from edge.capability import Capabilities
from edge.http.collection import Collection, Homes
from edge.http.doors import HttpDoor, guard
from edge.http.exchange import LANE
from edge.http.rufh import NEWEST, VERSIONS
from edge.http.rufh_door import RufhDoor
from edge.http.tus_door import TusDoor
from edge.lane import Lane
from edge.pace import Patience
from tests.support.http_door import CALM, Client, Door, address_of
from tests.support.real_loop import real_loop
from tests.support.snapshots import Customer
from tests.support.taking import Node
from tests.support.writing import read_whole
from zentransfer import health
from zentransfer.ids import Region, UploadID
from zentransfer.memory_disk import MemoryDisk

HOMES = {region: f"http://{region}.upload.example:8100/" for region in Region}

IN_USE = (3, 5, 6, 8, 9, 10, None)
"""The interop versions that clients send, and none."""


@dataclass
class Reply:
    """A final response, and the interim ones before it: their status and headers."""

    status: int
    fields: dict[str, str]
    body: bytes = b""
    interim: list[tuple[int, dict[str, str]]] = field(default_factory=list)

    @property
    def supported(self) -> list[dict[str, str]]:
        """The headers of each 104."""
        return [fields for status, fields in self.interim if status == 104]


@dataclass
class Spoken:
    """How a client of one interop version writes its requests; ``None`` names no version."""

    version: int | None = 8

    def complete(self, is_complete: bool) -> str:
        if self.version == 3:
            return f"Upload-Incomplete: ?{int(not is_complete)}"
        return f"Upload-Complete: ?{int(is_complete)}"

    def is_complete(self, fields: dict[str, str]) -> bool | None:
        name, yes = ("upload-incomplete", "?0") if self.version == 3 else ("upload-complete", "?1")
        return fields[name] == yes if name in fields else None

    @property
    def lines(self) -> tuple[str, ...]:
        named = self.version is not None
        return (f"Upload-Draft-Interop-Version: {self.version}",) if named else ()

    @property
    def type_lines(self) -> tuple[str, ...]:
        has_type = VERSIONS.get(self.version or 0, NEWEST).has_type
        return ("Content-Type: application/partial-upload",) if has_type else ()


class RufhClient(Client):
    """Raw bytes over one connection."""

    async def reply(self, *, is_head: bool = False) -> Reply:
        """Read up to the final response."""
        interim: list[tuple[int, dict[str, str]]] = []
        while True:
            status, fields, body = await self.answer(is_head=is_head)
            if status >= 200:
                return Reply(status, fields, body, interim)
            interim.append((status, fields))


class UploadDoor(Door):
    """Every HTTP dialect on one real port, over a simulated disk."""

    def __init__(self, node: Node, port: int, lane: Lane) -> None:
        super().__init__(node, port)
        self.lane = lane

    @asynccontextmanager
    async def rufh(self) -> AsyncGenerator[RufhClient, None]:
        async with self.client() as client:
            yield RufhClient(client.reader, client.writer)

    def head(self, verb: str, target: str, *lines: str, token: str | None = None) -> str:
        """Return the head of a request with *lines*."""
        shown = self.authorization if token is None else f"Authorization: Bearer {token}\r\n"
        more = "".join(f"{line}\r\n" for line in lines)
        return f"{verb} {target} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n{shown}{more}\r\n"

    async def said(
        self,
        verb: str,
        target: str,
        *lines: str,
        body: bytes | None = None,
        token: str | None = None,
    ) -> Reply:
        """Send one request over a connection of its own, and return its reply."""
        more = () if body is None else (f"Content-Length: {len(body)}",)
        async with self.rufh() as client:
            await client.send(self.head(verb, target, *lines, *more, token=token), body or b"")
            return await client.reply(is_head=verb == "HEAD")

    async def begun(self, spoken: Spoken, *lines: str, body: bytes = b"") -> str:
        """Create an upload that more follows; returns its address."""
        reply = await self.said(
            "POST", "/files/", *spoken.lines, spoken.complete(False), *lines, body=body
        )
        assert reply.status == 201, reply
        return address_of(reply.fields)

    async def added(
        self,
        spoken: Spoken,
        address: str,
        offset: int,
        body: bytes,
        *lines: str,
        is_last: bool = False,
    ) -> Reply:
        """Append *body*; more lines may follow."""
        return await self.said(
            "PATCH", address, *self.append_lines(spoken, offset, is_last), *lines, body=body
        )

    def append_lines(self, spoken: Spoken, offset: int, is_last: bool) -> tuple[str, ...]:
        said = (f"Upload-Offset: {offset}", spoken.complete(is_last))
        return (*spoken.lines, *spoken.type_lines, *said)

    async def stands(self, spoken: Spoken, address: str, verb: str = "HEAD") -> Reply:
        """Retrieve the offset."""
        return await self.said(verb, address, *spoken.lines)

    async def at(self, address: str) -> int:
        """Return the offset of an upload that is there."""
        reply = await self.stands(Spoken(), address)
        assert reply.status == 204, reply
        return int(reply.fields["upload-offset"])

    async def content(self, reply: Reply | None = None) -> bytes:
        """Return what is in the one upload that was committed, or in the one of *reply*."""
        if reply is not None:
            upload = UploadID(reply.fields["zt-upload-id"])
        else:
            (upload,) = [one.upload_id for one in self.node.outcomes()]
        return await read_whole(self.node.sink, upload, self.node.keys)


def run(
    test: Callable[[UploadDoor], Awaitable[None]],
    *,
    patience: Patience = CALM,
    customer: Customer | None = None,
    uvloop: bool = False,
    has_interim: bool = True,
    has_lane: bool = False,
) -> None:
    """Run *test* at a door that speaks every dialect, as the ingest process puts it together.

    With *has_lane* whoever brings much at once goes through the fast lane, on any machine.
    """

    async def main() -> None:
        node = await Node(MemoryDisk(Random(1)), customer or Customer()).start()
        capabilities = Capabilities(node.keys.public.origin, node.keys.public.region)
        whole = HttpDoor(node.intake, patience, node.clock, Random(1))
        tus = TusDoor(node.resumables, capabilities, patience, node.clock, Random(1))
        rufh = RufhDoor(
            node.resumables, capabilities, patience, node.clock, Random(1), has_interim=has_interim
        )
        takers = Collection(whole, tus, rufh, Homes(Region.FR, HOMES))
        app = web.Application(middlewares=[guard, takers.anywhere])
        lane = Lane(trial_s=60.0)
        if has_lane:
            app[LANE] = lane
        app.add_routes(takers.routes())
        runner = health.http_runner(app)
        await runner.setup()
        listener = health.listen("127.0.0.1", 0, "test")
        port: int = listener.getsockname()[1]
        await web.SockSite(runner, listener).start()
        try:
            async with asyncio.timeout(40):
                await test(UploadDoor(node, port, lane))
        finally:
            await runner.cleanup()
            await lane.aclose()

    real_loop(main(), uvloop=uvloop)
