"""A small S3 server in memory, in a thread: it keeps every condition, and fails as it is told.

It has what the object sink asks for and no more: put, get, head, delete, lists, conditions, ranges;
it checks the name of the key and the digest of what arrives, not the signature.
"""

import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from enum import Enum, auto
from typing import Final
from urllib.parse import unquote
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from aiohttp import web

from zentransfer.clock import SystemClock

BUCKET: Final = "region"
KEY_ID: Final = "AKIAOBJECTSERVERTEST"
SECRET: Final = "secret/of+the/objects"

_SPACE: Final = "http://s3.amazonaws.com/doc/2006-03-01/"


class Fault(Enum):
    """What becomes of one request."""

    BEFORE = auto()
    """500, and nothing is done."""
    AFTER = auto()
    """It is done, and answered by 500."""
    CUT = auto()
    """It is done, and the connection is cut before the answer."""
    HALF = auto()
    """Half of the answer, then the connection is cut."""
    SLOW = auto()
    """Everything is done, but later than anybody waits for."""


Plan = Callable[[str, str], Fault | None]
"""From a method and a key (or a prefix, with method LIST) to what goes wrong with it."""


def all_well(_: str, __: str) -> None:
    """Let nothing go wrong."""


def once(method: str, part: str, *faults: Fault | None) -> Plan:
    """Let the first requests of *method* with *part* in their key go so, one fault each."""
    left = list(faults)

    def plan(asked: str, key: str) -> Fault | None:
        return left.pop(0) if left and asked == method and part in key else None

    return plan


@dataclass
class _Kept:
    data: bytes
    tag: str
    put: datetime


@dataclass
class ObjectServer:
    """A server on a free port, between :meth:`start` and :meth:`stop`."""

    plan: Plan = all_well
    slow_s: float = 3.0
    is_lax: bool = False  # a store that ignores conditions
    page: int = 1_000
    objects: dict[str, _Kept] = field(default_factory=dict[str, _Kept])
    requests: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> "ObjectServer":
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()
        assert self._up.wait(20), "the object server does not start"
        return self

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._down.set)
            self._thread.join(20)

    def keys(self, part: str = "") -> list[str]:
        return sorted(key for key in list(self.objects) if part in key)

    def _live(self) -> None:
        with asyncio.Runner() as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._down = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=1 << 28)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port)
        await site.start()
        self.port = runner.addresses[0][1]
        self._up.set()
        await self._down.wait()
        await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        bucket, _, key = unquote(request.rel_url.raw_path.lstrip("/")).partition("/")
        is_list = request.method == "GET" and not key
        method = "LIST" if is_list else request.method
        asked = request.query.get("prefix", "") if is_list else key
        self.requests.append((method, asked))
        fault = self.plan(method, asked)
        if fault is Fault.BEFORE:
            return _error(500, "InternalError")
        if fault is Fault.SLOW:
            await asyncio.sleep(self.slow_s)
        answer = self._refused(request, bucket, body) or self._done(request, key, body)
        if fault is Fault.AFTER:
            return _error(500, "InternalError")
        if fault is Fault.CUT:
            _cut(request)
        if fault is Fault.HALF:
            return await _half(request, answer)
        return answer

    def _refused(self, request: web.Request, bucket: str, body: bytes) -> web.Response | None:
        if f"Credential={KEY_ID}/" not in request.headers.get("Authorization", ""):
            return _error(403, "InvalidAccessKeyId")
        if bucket != BUCKET:
            return _error(404, "NoSuchBucket")
        digest = request.headers.get("x-amz-content-sha256", "")
        if len(digest) == 64 and hashlib.sha256(body).hexdigest() != digest:
            return _error(400, "XAmzContentSHA256Mismatch")
        return None

    def _done(self, request: web.Request, key: str, body: bytes) -> web.Response:
        match request.method:
            case "PUT":
                return self._put(request, key, body)
            case "GET" | "HEAD" if key:
                return self._got(request, key)
            case "GET":
                return self._listed(request)
            case "DELETE":
                self.objects.pop(key, None)
                return web.Response(status=204)
            case "POST" if "delete" in request.query:
                return self._deleted(body)
        return _error(405, "MethodNotAllowed")

    def _put(self, request: web.Request, key: str, body: bytes) -> web.Response:
        now = self.objects.get(key)
        wanted, unwanted = request.headers.get("If-Match"), request.headers.get("If-None-Match")
        if not self.is_lax:
            if unwanted == "*" and now is not None:
                return _error(412, "PreconditionFailed")
            if wanted is not None and now is None:
                return _error(404, "NoSuchKey")
            if wanted is not None and now is not None and wanted != now.tag:
                return _error(412, "PreconditionFailed")
        tag = f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
        now_s = SystemClock().now_ms() / 1_000
        self.objects[key] = _Kept(body, tag, datetime.fromtimestamp(now_s, UTC))
        return web.Response(headers={"ETag": tag})

    def _got(self, request: web.Request, key: str) -> web.Response:
        kept = self.objects.get(key)
        if kept is None:
            return _error(404, "NoSuchKey")
        headers = {"ETag": kept.tag, "Last-Modified": format_datetime(kept.put, usegmt=True)}
        part = request.http_range
        if part.start is None:
            return web.Response(body=kept.data, headers=headers)
        data = kept.data[part]
        last = part.start + len(data) - 1
        headers["Content-Range"] = f"bytes {part.start}-{last}/{len(kept.data)}"
        return web.Response(status=206, body=data, headers=headers)

    def _deleted(self, body: bytes) -> web.Response:
        """Remove every key that *body* names, and say so."""
        keys = [each.text or "" for each in ET.fromstring(body).iter() if each.tag.endswith("Key")]
        for key in keys:
            self.objects.pop(key, None)
        told = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
        return _xml(f'<DeleteResult xmlns="{_SPACE}">{told}</DeleteResult>')

    def _listed(self, request: web.Request) -> web.Response:
        query = request.query
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("continuation-token", query.get("start-after", ""))
        contents, folders, last = list[str](), dict[str, None](), ""
        is_cut = False
        for key in self.keys():
            if not key.startswith(prefix) or key <= after:
                continue
            if len(contents) + len(folders) >= self.page:
                is_cut = True
                break
            last = key
            rest = key.removeprefix(prefix)
            if delimiter and delimiter in rest:
                folders[prefix + rest.split(delimiter, 1)[0] + delimiter] = None
            else:
                contents.append(_content(key, self.objects[key]))
        token = f"<NextContinuationToken>{escape(last)}</NextContinuationToken>" if is_cut else ""
        below = "".join(
            f"<CommonPrefixes><Prefix>{escape(each)}</Prefix></CommonPrefixes>" for each in folders
        )
        return _xml(
            f'<ListBucketResult xmlns="{_SPACE}"><Name>{BUCKET}</Name><Prefix>{escape(prefix)}'
            f"</Prefix><IsTruncated>{str(is_cut).lower()}</IsTruncated>{token}"
            f"{''.join(contents)}{below}</ListBucketResult>"
        )


def served(server: ObjectServer) -> Iterator[ObjectServer]:
    """Yield *server* while it runs: the body of a fixture."""
    server.start()
    yield server
    server.stop()


def _content(key: str, kept: _Kept) -> str:
    put = kept.put.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return (
        f"<Contents><Key>{escape(key)}</Key><LastModified>{put}</LastModified>"
        f"<ETag>{escape(kept.tag)}</ETag><Size>{len(kept.data)}</Size></Contents>"
    )


def _xml(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="application/xml")


def _error(status: int, word: str) -> web.Response:
    return _xml(f"<Error><Code>{word}</Code><Message>no</Message></Error>", status)


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


async def _half(request: web.Request, answer: web.Response) -> web.StreamResponse:
    """Send the head of *answer* and half of its body, and cut."""
    body = answer.body
    assert body is None or isinstance(body, bytes)
    data = body or b""
    half = web.StreamResponse(status=answer.status, headers=answer.headers)
    half.content_length = len(data) or 10
    await half.prepare(request)
    await half.write(data[: len(data) // 2])
    _cut(request)
    return half
