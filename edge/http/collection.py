"""Which dialect a request speaks, where several are spoken at one address.

The rule: a request says so itself, by its headers; an upload is continued only in the dialect that
created it, and ``OPTIONS`` tells of all of them.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, cast

from aiohttp import web

from edge.capability import region_in
from edge.http import cors, plain, rufh, tus
from edge.http.doors import HttpDoor
from edge.http.exchange import response, say_nothing
from edge.http.handed import Nearest
from edge.http.problem import Answer, refusal
from edge.http.rufh_door import RufhDoor
from edge.http.tus_door import TusDoor
from zentransfer.errors import Code, Error
from zentransfer.ids import Region

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_OF_RUFH: Final = ("Upload-Complete", "Upload-Incomplete", rufh.VERSION)
_OF_TUS: Final = (
    "Upload-Checksum",
    "Upload-Concat",
    "Upload-Defer-Length",
    "Upload-Metadata",
    "X-HTTP-Method-Override",
)
_TUS_TYPE: Final = "application/offset+octet-stream"
_CREATES: Final = ("POST", "PUT", "PATCH")
_NAMED_VERBS: Final = ("OPTIONS", "PUT", "POST", "PATCH")
_NAMED: Final = plain.PREFIX + "{name:(?s:.*)}"


def is_tus(method: str, headers: Mapping[str, str]) -> bool:
    """Say whether a request to the collection, or to an upload in it, is one of tus.

    A client that forgot its version, and whose other headers tell, is to hear that from tus.
    """
    if "Tus-Resumable" in headers:
        return True
    if any(name in headers for name in _OF_RUFH):
        return False
    media_type = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    is_created = method == "POST" and "Upload-Length" in headers
    return is_created or media_type == _TUS_TYPE or any(name in headers for name in _OF_TUS)


@dataclass(frozen=True, slots=True)
class Homes:
    """Where uploads of other regions live: ``region`` is this one, ``doors`` all URLs."""

    region: Region
    doors: Mapping[Region, str]

    def maybe_elsewhere(self, shown: str) -> str | None:
        """Return the URL of the upload *shown* if it is one of another region."""
        home = region_in(shown)
        door = None if home in (None, self.region) else self.doors.get(home)
        return None if door is None else f"{door.rstrip('/')}{tus.PREFIX}{shown}"


class Collection:
    """The addresses of one listener that take uploads."""

    def __init__(
        self,
        whole: HttpDoor,
        of_tus: TusDoor,
        of_rufh: RufhDoor,
        homes: Homes,
        nearest: Nearest | None = None,
    ) -> None:
        """Share the addresses of *whole*, which takes whole files, and those of both others.

        Without *nearest* every new upload is taken here.
        """
        self._nearest = nearest
        self._homes = homes
        self._whole = whole
        self._tus = of_tus
        self._rufh = of_rufh

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the collection, of every upload in it, and of whole files."""
        paths = (tus.PREFIX.rstrip("/"), tus.PREFIX + "{capability:.*}")
        return [
            *[web.route("*", path, self.serve, expect_handler=say_nothing) for path in paths],
            *[self._shared(route) for route in self._whole.routes()],
            web.route("*", _NAMED, self.named, expect_handler=say_nothing),
        ]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Let the dialect that is spoken answer, for the collection and the uploads in it."""
        shown = tus.shown_capability(request.raw_path)
        if request.method == "OPTIONS":
            mine = (tus.UPLOAD_VERBS, rufh.UPLOAD_VERBS)
            ours = (tus.COLLECTION_VERBS, rufh.COLLECTION_VERBS)
            first, second = mine if shown else ours
            verbs = tuple(dict.fromkeys((*first, *second)))
            return await self._rufh.options(request, verbs, is_shared=True)
        elsewhere = await self._maybe_elsewhere(request, shown)
        if elsewhere is not None:
            return _sent_on(request, elsewhere)
        if is_tus(request.method, request.headers):
            return await self._tus.serve(request)
        return await (self._rufh.serve(request, shown) if shown else self._rufh.create(request))

    async def named(self, request: web.Request) -> web.StreamResponse:
        """Take a resumable upload by whatever verb, at an address that has the file's name."""
        if request.method == "OPTIONS":
            return await self._rufh.options(request, _NAMED_VERBS, is_shared=False)
        if rufh.is_creation(request.headers):
            elsewhere = await self._maybe_elsewhere(request)
            if elsewhere is not None:
                return _sent_on(request, elsewhere)
            return await self._rufh.create(request)
        more = {"Allow": ", ".join(_NAMED_VERBS), **cors.headers_for(request.headers, _NAMED_VERBS)}
        return response(request, refusal(Error(Code.METHOD_NOT_ALLOWED)), more)

    @web.middleware
    async def anywhere(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Answer ``OPTIONS *``, which asks for the server itself (RFC 9110 section 9.3.7)."""
        if request.method == "OPTIONS" and request.raw_path == "*":
            return await self._rufh.options(request, rufh.COLLECTION_VERBS, is_shared=True)
        return await handler(request)

    async def _maybe_elsewhere(self, request: web.Request, shown: str = "") -> str | None:
        """Return where *request* belongs if not here: to the upload *shown*, or with a new one."""
        if shown:
            return self._homes.maybe_elsewhere(shown)
        if self._nearest is None or request.method not in _CREATES:
            return None
        return await self._nearest.maybe_elsewhere(request)

    def _shared(self, route: web.RouteDef) -> web.RouteDef:
        """Return *route* of whole files, for resumable ones too."""
        take_whole = cast("_Handler", route.handler)

        async def serve(request: web.Request) -> web.StreamResponse:
            elsewhere = await self._maybe_elsewhere(request)
            if elsewhere is not None:
                return _sent_on(request, elsewhere)
            if rufh.is_creation(request.headers):
                return await self._rufh.create(request)
            return await take_whole(request)

        return web.route(route.method, route.path, serve, **route.kwargs)


def _sent_on(request: web.Request, url: str) -> web.Response:
    """Send a client to the node that has its upload or shall, verb and body as they are.

    RFC 9110 section 15.4.8; before the body is asked for, so that it crosses the line once.
    """
    more = cors.headers_for(request.headers, tus.UPLOAD_VERBS)
    if "Tus-Resumable" in request.headers:
        more["Tus-Resumable"] = tus.VERSION
    headers = {"Location": url, "Cache-Control": "no-store"}
    return response(request, Answer(307, headers, b""), more)
