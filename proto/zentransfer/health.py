"""Is this process alive, and should it get work: /livez and /readyz of every HTTP listener.

The rule: a check looks at what the process already knows and asks nobody, so that a remote
trouble can never make the answer late. The listeners themselves are set up here too, once and for
all doors: limits that hold against slow peers, and error pages that repeat nothing of the request.
"""

import asyncio
import errno
import json
import resource
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, TypedDict, cast

from aiohttp import http_parser, web

from zentransfer import log
from zentransfer.errors import bare_problem
from zentransfer.limits import (
    FULL_RETRY_AFTER_S,
    HEALTH_DETAIL_CHARS_MAX,
    HTTP_CONNECTIONS_MAX,
    HTTP_KEEPALIVE_S,
    HTTP_LINGER_S,
    HTTP_READ_BUFFER_BYTES,
    LISTEN_BACKLOG,
)
from zentransfer.service import CannotStart

Check = Callable[[], tuple[bool, str]]
"""Say whether it is good, and a detail without address, name or credential."""

DRAINING: Final = "draining"
SERVER: Final = "ZenTransfer"

_FULL: Final = (
    "HTTP/1.1 503 Service Unavailable\r\n"
    f"Server: {SERVER}\r\nRetry-After: {FULL_RETRY_AFTER_S}\r\n"
    "Content-Length: 0\r\nConnection: close\r\n\r\n"
).encode("ascii")


class CheckReport(TypedDict):
    """One check: is it good, does readiness hang on it, and a few words."""

    ok: bool
    required: bool
    detail: str


class Report(TypedDict):
    """What /readyz answers: the verdict and each check by its name."""

    ready: bool
    checks: dict[str, CheckReport]


@dataclass(frozen=True)
class _Entry:
    check: Check
    required: bool


class Health:
    """The named checks of one process."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._is_draining = False

    def add(self, name: str, check: Check, *, required: bool = True) -> None:
        """Add *check* as *name*; one that is not *required* is shown and decides nothing."""
        assert name not in self._entries, f"two checks are called {name}"
        assert name != DRAINING, "this name is taken by drain()"
        self._entries[name] = _Entry(check, required)

    async def drain(self) -> None:
        """Be not ready from now on; the action to register for the first stage of leaving."""
        self._is_draining = True

    def report(self) -> Report:
        """Ask every check once and return the verdict."""
        checks = {name: _asked(entry) for name, entry in self._entries.items()}
        if self._is_draining:
            checks[DRAINING] = CheckReport(ok=False, required=True, detail="the process leaves")
        ready = all(check["ok"] for check in checks.values() if check["required"])
        return Report(ready=ready, checks=checks)


def _asked(entry: _Entry) -> CheckReport:
    ok, detail = entry.check()
    return CheckReport(ok=ok, required=entry.required, detail=detail[:HEALTH_DETAIL_CHARS_MAX])


def routes(health: Health) -> list[web.RouteDef]:
    """Return /livez (200 while the loop turns) and /readyz (200 or 503, the report as JSON)."""

    async def livez(_: web.Request) -> web.Response:
        return _json(HTTPStatus.OK, {"live": True})

    async def readyz(_: web.Request) -> web.Response:
        report = health.report()
        status = HTTPStatus.OK if report["ready"] else HTTPStatus.SERVICE_UNAVAILABLE
        return _json(status, report)

    return [web.get("/livez", livez), web.get("/readyz", readyz)]


def _json(status: HTTPStatus, document: object) -> web.Response:
    return web.Response(
        status=status,
        text=json.dumps(document) + "\n",
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def _problem(status: int) -> web.Response:
    """Return problem details (RFC 9457) that hold the status' own words and nothing else."""
    document = bare_problem(status, HTTPStatus(status).phrase)
    return web.Response(
        status=status,
        text=json.dumps(document) + "\n",
        content_type="application/problem+json",
        headers={"Server": SERVER},
    )


async def _sign(_: web.Request, response: web.StreamResponse) -> None:
    """Name the product and no version: those tell which holes to try."""
    response.headers["Server"] = SERVER


@web.middleware
async def _plain_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer errors of aiohttp's own (404, 405, ...) as problem details."""
    try:
        return await handler(request)
    except web.HTTPException as exc:
        if exc.status < HTTPStatus.BAD_REQUEST or exc.content_type != "text/plain":
            raise  # a redirect, or a page that a handler of ours wrote itself
        answer = _problem(exc.status)
        if "Allow" in exc.headers:  # RFC 9110 section 15.5.6: a 405 must carry it
            answer.headers["Allow"] = exc.headers["Allow"]
        return answer


class PlainHandler(web.RequestHandler):
    """A connection that neither logs its peer nor sends it back what it sent."""

    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Refuse at once, in words, what is more than this listener may have open."""
        server = self._manager
        if isinstance(server, _PlainServer) and server.is_full:
            self._force_close = True  # nothing that it sends is looked at
            given = cast("asyncio.Transport", transport)  # uvloop's is no subclass
            given.write(_FULL)
            given.close()
            return
        super().connection_made(transport)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what the parser refused or a handler let fall; *message* quotes the peer."""
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR and exc is not None:
            log.error("http.failed", exc)
        if request.writer.output_size > 0:
            raise ConnectionError("the reply has begun; only a cut tells the peer")
        answer = _problem(status)
        answer.force_close()
        return answer

    def log_exception(self, *args: object, **kw: object) -> None:
        """Log the error alone: the text that aiohttp gives may name the peer."""
        exc = kw.get("exc_info")
        log.error("http.failed", exc if isinstance(exc, BaseException) else RuntimeError("http"))


class _PlainServer(web.Server):
    """Makes a handler of our kind per connection."""

    kind: type[PlainHandler] = PlainHandler
    connections_max: int = HTTP_CONNECTIONS_MAX

    @property
    def is_full(self) -> bool:
        """Whether no further connection may be open."""
        return len(self._connections) >= self.connections_max

    def __call__(self) -> web.RequestHandler:
        return self.kind(self, loop=self._loop, **self._kwargs)


class _PlainRunner(web.AppRunner):
    """An AppRunner whose server is a :class:`_PlainServer`."""

    kind: type[PlainHandler] = PlainHandler
    connections_max: int = HTTP_CONNECTIONS_MAX

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        made = _PlainServer(
            server.request_handler, request_factory=server.request_factory, **self._kwargs
        )
        made.kind, made.connections_max = self.kind, self.connections_max
        return made


def http_runner(
    app: web.Application,
    kind: type[PlainHandler] = PlainHandler,
    connections_max: int = HTTP_CONNECTIONS_MAX,
) -> web.AppRunner:
    """Return the runner for *app* with the settings that every listener of ours has.

    *kind* handles its connections, of which *connections_max* may be open, and no more than half of
    this process's descriptors: the other half is for what these connections are at.
    """
    assert http_parser.HttpRequestParser is not http_parser.HttpRequestParserPy, (
        "aiohttp runs without its C parser"  # slower by far, and less tried against smuggling
    )
    app.middlewares.insert(0, _plain_errors)
    app.on_response_prepare.append(_sign)
    runner = _PlainRunner(
        app,
        handle_signals=False,
        access_log=None,  # it would write addresses and names
        keepalive_timeout=HTTP_KEEPALIVE_S,
        read_bufsize=HTTP_READ_BUFFER_BYTES,
        auto_decompress=False,  # 306 kB of gzip would become 300 MiB
        lingering_time=HTTP_LINGER_S,
    )
    runner.kind = kind
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    runner.connections_max = min(connections_max, files // 2)
    return runner


def listen(host: str, port: int, role: str) -> socket.socket:
    """Return a TCP socket that listens at *host*, a numeric address, and *port* (0: a free one).

    Raises :class:`CannotStart` that names the port, its *role* ("control HTTP") and the cure.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(LISTEN_BACKLOG)
        listener.setblocking(False)
    except OSError as exc:
        listener.close()
        raise _cannot_listen(exc, host, port, role) from exc
    return listener


def _cannot_listen(exc: OSError, host: str, port: int, role: str) -> CannotStart:
    where = f"port {port} of {host} ({role})"
    match exc.errno:
        case errno.EADDRINUSE:
            return CannotStart(
                f"Cannot listen on {where}: another program holds it.",
                "Stop that program, or choose another port in the settings.",
            )
        case errno.EACCES | errno.EPERM:
            return CannotStart(
                f"Cannot listen on {where}: this user has no right to it.",
                "Choose a port from 1024 on, or give the right CAP_NET_BIND_SERVICE.",
            )
        case errno.EADDRNOTAVAIL:
            return CannotStart(
                f"Cannot listen on {where}: no interface of this machine has that address.",
                "Choose another host in the settings.",
            )
        case _:
            reason = exc.strerror or type(exc).__name__
            return CannotStart(f"Cannot listen on {where}: {reason}.", "Check host and port.")
