"""A region and control in one small server in memory, with faults that a test orders.

It keeps to tus 1.0 and to what our node promises: HEAD takes an upload over, and an upload whose
last byte came is whole.
"""

import asyncio
import base64
import hashlib
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

TOKEN = "a-token"


class Cut(Exception):
    """The connection ends now, without an answer."""


@dataclass
class Kept:
    """An upload: what came, of how many bytes, and whether it was ended."""

    id: str
    name: str
    size: int | None
    data: bytearray = field(default_factory=bytearray)
    is_ended: bool = False

    @property
    def is_whole(self) -> bool:
        return self.size is not None and len(self.data) == self.size and not self.is_ended


@dataclass
class Fault:
    """What goes wrong with one request.

    ``status``: it is answered by that; ``take``: so many bytes of its body are kept, then the
    connection is cut; ``is_lost``: it is done and its answer is lost; ``forget``: its upload is
    gone; ``stall_s``: nothing is read for so long before anything else.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    take: int | None = None
    is_lost: bool = False
    forget: bool = False
    stall_s: float = 0.0


class World:
    """What control knows: every upload of every region."""

    def __init__(self) -> None:
        self.uploads: dict[str, Kept] = {}
        self.hears = True
        self.states: dict[str, dict[str, Any]] = {}
        self.labels: dict[str, str] = {}
        self.regions: list[TusServer] = []

    def whole(self) -> list[Kept]:
        """Return the uploads that will be delivered."""
        return [one for one in self.uploads.values() if one.is_whole]

    def document(self, kept: Kept) -> dict[str, Any]:
        """Return what the API shows of an upload."""
        delivery = {"destination": "desk", "state": "delivered", "attempts": 1, "error": None}
        shown = {
            "id": kept.id,
            "state": "destroyed" if kept.is_whole else "cancelled",
            "committed_at": "2026-01-01T00:00:00Z" if kept.is_whole else None,
            "digest": f"sha256:{hashlib.sha256(kept.data).hexdigest()}",
            "deliveries": [delivery] if kept.is_whole else [],
        }
        return {**shown, **self.states.get(kept.name, {})}


class TusServer:
    """One region's door; made by :meth:`running`."""

    def __init__(self, world: World, region: str) -> None:
        self.world = world
        self.region = region
        self.url = ""
        self.faults: dict[str, deque[Fault]] = defaultdict(deque)
        self.asked: list[str] = []
        self.mine: dict[str, Kept] = {}
        self.route_status = 200
        self.lab_clients: list[str | None] = []
        self.reason = "geoip"
        self.on_bytes: Callable[[Kept], Awaitable[None]] | None = None
        self._runner: web.AppRunner | None = None
        self._port = 0

    def order(self, method: str, *faults: Fault) -> None:
        """Let the next requests of *method* go wrong."""
        self.faults[method].extend(faults)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["TusServer"]:
        """Serve until the end."""
        await self.start()
        self.world.regions.append(self)
        try:
            yield self
        finally:
            await self.stop()

    async def start(self) -> None:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_get("/route", self._route)
        app.router.add_get("/api/v1/uploads/{id}", self._shown)
        app.router.add_get("/api/v1/destinations", self._destinations)
        app.router.add_route("*", "/files/{name:.*}", self._files)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self._port}"

    async def stop(self) -> None:
        """Refuse connections from now on."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
            # aiohttp forgets a connection that was cut just when it began to wait for a request.
            for task in asyncio.all_tasks():
                if getattr(task.get_coro(), "__qualname__", "") == "RequestHandler.start":
                    task.cancel()

    async def _route(self, request: web.Request) -> web.Response:
        self.asked.append("ROUTE")
        self.lab_clients.append(request.headers.get("ZT-Lab-Client"))
        if self.route_status != 200:
            return web.Response(status=self.route_status)
        regions = [
            {"region": one.region, "http": one.url, "ftp": None} for one in self.world.regions
        ]
        answer = {"version": 1, "ttl_s": 60, "reason": self.reason, "marks": [], "steps": []}
        return web.json_response({**answer, "attribution": ["Data by X"], "regions": regions})

    async def _destinations(self, _: web.Request) -> web.Response:
        items = [{"id": one, "label": label} for one, label in self.world.labels.items()]
        return web.json_response({"items": items, "next": None})

    async def _shown(self, request: web.Request) -> web.Response:
        kept = self.world.uploads.get(request.match_info["id"])
        is_heard = kept is not None and self.world.hears and (kept.is_whole or kept.is_ended)
        if kept is None or not is_heard:
            return web.json_response({"title": "nothing here"}, status=404)
        return web.json_response(self.world.document(kept))

    async def _files(self, request: web.Request) -> web.StreamResponse:
        method = request.method
        self.asked.append(method)
        waiting = self.faults[method]
        fault = waiting.popleft() if waiting else Fault()
        kept = self.mine.get(request.match_info["name"])
        try:
            await asyncio.sleep(fault.stall_s)
            if fault.forget and kept is not None:
                kept.is_ended = True
            if fault.status:
                await request.read()
                return web.json_response(
                    {"title": "ordered"}, status=fault.status, headers=fault.headers
                )
            answer = await self._answered(request, kept, fault)
        except (Cut, ConnectionError):
            assert request.transport is not None
            request.transport.abort()
            raise ConnectionResetError from None
        answer.headers["Tus-Resumable"] = "1.0.0"
        return answer

    async def _answered(
        self, request: web.Request, kept: Kept | None, fault: Fault
    ) -> web.Response:
        answer = _refused(request) or await self._done(request, kept, fault.take)
        if fault.is_lost:
            raise Cut
        return answer

    async def _done(
        self, request: web.Request, kept: Kept | None, take: int | None
    ) -> web.Response:
        if request.method == "POST":
            return self._created(request)
        if kept is None or kept.is_ended:
            return web.Response(status=404)
        match request.method:
            case "HEAD":
                return web.Response(headers=_standing(kept))
            case "PATCH":
                return await self._appended(request, kept, take)
            case _:
                if kept.is_whole:
                    return web.json_response({"title": "it is whole"}, status=403)
                kept.is_ended = True
                return web.Response(status=204)

    def _created(self, request: web.Request) -> web.Response:
        number = len(self.world.uploads)
        letters = "abcdefghijklmnopqrstuvwxyz234567"
        tail = letters[number // 32 % 32] + letters[number % 32]
        key, _, value = request.headers["Upload-Metadata"].partition(" ")
        assert key == "filename"
        length = request.headers.get("Upload-Length")
        assert (length is None) == (request.headers.get("Upload-Defer-Length") == "1")
        name = base64.b64decode(value).decode()
        kept = Kept(f"up_{tail:a>26}", name, None if length is None else int(length))
        self.world.uploads[kept.id] = self.mine[f"c{number}"] = kept
        headers = {"Location": f"/files/c{number}", "ZT-Upload-Id": kept.id}
        return web.Response(status=201, headers=headers)

    async def _appended(self, request: web.Request, kept: Kept, take: int | None) -> web.Response:
        if int(request.headers["Upload-Offset"]) != len(kept.data):
            return web.Response(status=409)
        if kept.size is None:
            kept.size = int(request.headers["Upload-Length"])
        left = take
        async for piece in request.content.iter_any():
            taken = piece if left is None else piece[:left]
            kept.data += taken
            if self.on_bytes is not None:
                await self.on_bytes(kept)
            if left is not None:
                left -= len(taken)
                if not left:
                    raise Cut
        if take is not None:
            raise Cut
        return web.Response(status=204, headers={"Upload-Offset": str(len(kept.data))})


def _standing(kept: Kept) -> dict[str, str]:
    headers = {"Upload-Offset": str(len(kept.data)), "Cache-Control": "no-store"}
    if kept.size is None:
        return {**headers, "Upload-Defer-Length": "1"}
    return {**headers, "Upload-Length": str(kept.size)}


def _refused(request: web.Request) -> web.Response | None:
    if request.headers.get("Authorization") != f"Bearer {TOKEN}":
        return web.json_response({"title": "Sign-in failed"}, status=401)
    return None if request.headers.get("Tus-Resumable") == "1.0.0" else web.Response(status=412)
