import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
from aiohttp import web

from edge.guard import Guard, Policy, Resolver
from edge.guard_proxy import Proxy
from edge.snapshot import Clash
from edge.workflow.destinations.base import DestinationError, Fault
from edge.workflow.destinations.s3 import S3Destination
from edge.workflow.destinations.s3_place import bucket
from tests.support.destination_suite import (
    CASES,
    FIRST,
    SECOND,
    Broke,
    Case,
    Form,
    pieces,
    put,
    refused,
    remote,
)
from tests.support.ports import free_port
from tests.support.real_loop import real_loop
from tests.support.s3_server import BUCKET, KEY, KEY_ID, S3Server
from zentransfer.errors import Code
from zentransfer.health import http_runner, listen
from zentransfer.limits import (
    S3_ABORT_S,
    S3_KEY_BYTES_MAX,
    S3_PART_BYTES,
    S3_PARTS_IN_FLIGHT,
    S3_REQUEST_S,
    S3_RETRIES,
    S3_RETRY_S,
)
from zentransfer.sealed_secret import S3Secret

pytestmark = [pytest.mark.peer, pytest.mark.timeout(120)]

SECRET = S3Secret(KEY_ID, KEY)
LAB = Policy(is_lab=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3") / "moto.log")
    server.start()
    yield server
    server.stop()


@asynccontextmanager
async def proxied(policy: Policy = LAB) -> AsyncGenerator[Proxy, None]:
    resolver = Resolver()
    proxy = Proxy(Guard(policy, resolver), os.urandom)
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(proxy.run())
        yield proxy
        serving.cancel()
    resolver.close()


@dataclass
class Buckets:
    """Makes a bucket for each case."""

    server: S3Server
    prefix: str = ""
    name: str = ""

    @asynccontextmanager
    async def make(self, clash: Clash) -> AsyncGenerator[Form, None]:
        name = self.name = f"case-{os.urandom(6).hex()}"
        self.server.client().create_bucket(Bucket=name)
        where = bucket(f"s3://{name}{self.prefix}", self.server.url, "us-east-1")
        begin = len(where.prefix)
        async with proxied() as proxy:
            destination = S3Destination(where, SECRET, proxy, clash)
            yield Form(
                destination,
                lambda: {k[begin:]: v for k, v in self.server.objects(name).items()},
                lambda: self.server.parts(name),
            )
            destination.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_bucket_conforms(case: Case, server: S3Server) -> None:
    async def run() -> None:
        await case(Buckets(server, "/a b/c").make)

    real_loop(run())


# --- what comes in parts ---

LARGE = bytes(range(256)) * (5 * S3_PART_BYTES // 2 // 256)  # two parts and a half
PIECE = 262_144


async def put_large(form: Form, content: bytes, *, known: bool, **of: Any) -> str:
    ref = await form.destination.put(
        remote("large.raw", **of),
        pieces(content, PIECE),
        size=len(content),
        digest=sha256(content).digest() if known else None,
        resume_ref="",
    )
    assert ref.size == len(content)
    # What an earlier attempt put there without a digest is known by its delivery.
    assert ref.digest in ({sha256(content).digest()} if known else {sha256(content).digest(), None})
    return ref.text


@pytest.mark.reaches("S3_PART_BYTES")
@pytest.mark.parametrize("known", [True, False])
def test_what_is_large_comes_in_parts_and_is_there_once(server: S3Server, known: bool) -> None:
    async def run() -> None:
        async with Buckets(server).make(Clash.KEEP_BOTH) as form:
            for fence in (1, 2):  # the second attempt meets the first one's work
                assert await put_large(form, LARGE, known=known, fence=fence) == "1"
            other = LARGE[::-1]
            assert await put_large(form, other, known=known, delivery=SECOND) == "2"
            assert form.objects() == {"large.raw": LARGE, "large (2).raw": other}
            assert form.parts() == 0
            exactly = LARGE[: 2 * S3_PART_BYTES]
            await form.destination.put(
                remote("even"),
                pieces(exactly, PIECE),
                size=len(exactly),
                digest=None,
                resume_ref="",
            )
            assert form.objects()["even"] == exactly

    real_loop(run())


def test_large_content_that_does_not_end_well_leaves_nothing_at_the_server(
    server: S3Server,
) -> None:
    async def broken() -> AsyncIterator[memoryview]:
        async for view in pieces(LARGE[:-1], PIECE):
            yield view
        raise Broke

    async def os_broken() -> AsyncIterator[memoryview]:
        yield memoryview(LARGE)
        raise OSError

    async def run() -> None:
        async with Buckets(server).make(Clash.KEEP_BOTH) as form:

            async def put_content(content: AsyncIterator[memoryview], digest: bytes | None) -> None:
                await form.destination.put(
                    remote("a"), content, size=len(LARGE), digest=digest, resume_ref=""
                )

            with pytest.raises(Broke):
                await put_content(broken(), None)
            with pytest.raises(OSError, match=r"^$"):  # and not the server's fault
                await put_content(os_broken(), None)
            for wrong in (LARGE[:-1], LARGE + b"x"):
                with pytest.raises(DestinationError) as caught:
                    await put_content(pieces(wrong, PIECE), None)
                assert caught.value.code is Code.CHECKSUM_MISMATCH
            with pytest.raises(DestinationError) as caught:
                await put_content(pieces(LARGE, PIECE), bytes(32))
            assert caught.value.code is Code.CHECKSUM_MISMATCH
            assert form.objects() == {}
            assert form.parts() == 0

    real_loop(run())


def test_a_cancelled_upload_in_parts_is_given_up_at_the_server(server: S3Server) -> None:
    async def run() -> None:
        async with Buckets(server).make(Clash.KEEP_BOTH) as form:
            stalled = asyncio.Event()

            async def endless() -> AsyncIterator[memoryview]:
                yield memoryview(LARGE[: S3_PART_BYTES + 1])
                stalled.set()
                await asyncio.Event().wait()

            async with asyncio.TaskGroup() as group:
                task = group.create_task(
                    form.destination.put(
                        remote("a"), endless(), size=len(LARGE), digest=None, resume_ref=""
                    )
                )
                await stalled.wait()
                task.cancel()
            assert form.objects() == {}
            assert form.parts() == 0

    real_loop(run())


def test_another_writer_of_the_name_meanwhile_is_not_overwritten(server: S3Server) -> None:
    async def run() -> None:
        buckets = Buckets(server)
        async with buckets.make(Clash.KEEP_BOTH) as form:

            async def content() -> AsyncIterator[memoryview]:
                async for view in pieces(LARGE, PIECE):
                    yield view
                await form.destination.put(  # as another region does, which shares no memory
                    remote("b", SECOND), pieces(b"x"), size=1, digest=None, resume_ref=""
                )
                server.client().copy_object(
                    Bucket=name, Key="a", CopySource={"Bucket": name, "Key": "b"}
                )

            name = buckets.name
            with pytest.raises(DestinationError) as caught:
                await form.destination.put(
                    remote("a"), content(), size=len(LARGE), digest=None, resume_ref=""
                )
            assert (caught.value.code, caught.value.fault) == (Code.CONFLICT, Fault.TEMPORARY)
            assert form.objects() == {"a": b"x", "b": b"x"}
            assert form.parts() == 0

    real_loop(run())


def test_two_large_files_of_one_name_at_once_both_stay(server: S3Server) -> None:
    async def run() -> None:
        async with Buckets(server).make(Clash.KEEP_BOTH) as form:
            async with asyncio.TaskGroup() as group:
                for content, delivery in ((LARGE, FIRST), (LARGE[::-1], SECOND)):
                    group.create_task(put_large(form, content, known=True, delivery=delivery))
            assert sorted(form.objects()) == ["large (2).raw", "large.raw"]
            assert sorted(form.objects().values()) == sorted([LARGE, LARGE[::-1]])

    real_loop(run())


def test_what_a_stranger_put_there_is_read_and_compared(server: S3Server) -> None:
    async def run() -> None:
        buckets = Buckets(server)
        async with buckets.make(Clash.KEEP_BOTH) as form:
            server.client().put_object(Bucket=buckets.name, Key="a", Body=b"same")
            assert await put(form, remote("a"), b"same") == "1"
            assert await put(form, remote("a"), b"else") == "2"

    real_loop(run())


@pytest.mark.reaches("S3_KEY_BYTES_MAX")
def test_a_key_has_a_longest(server: S3Server) -> None:
    async def run() -> None:
        prefix = "/".join(["x" * 200] * 4)
        async with Buckets(server, "/" + prefix).make(Clash.KEEP_BOTH) as form:
            longest = S3_KEY_BYTES_MAX - len(prefix) - 1
            await put(form, remote("a" * longest), b"x")
            error = await refused(form, remote("a" * (longest + 1)))
            assert (error.code, error.fault) == (Code.INVALID, Fault.OBJECT)

    real_loop(run())


# --- servers that do not do it ---

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def against(answer: Answer, policy: Policy = LAB) -> AsyncGenerator[S3Destination, None]:
    """Yield a destination whose server answers every request by *answer*."""
    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/{path:.*}", answer)
    runner = http_runner(app)
    await runner.setup()
    listener = listen("127.0.0.1", 0, "a server")
    await web.SockSite(runner, listener).start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with proxied(policy) as proxy:
        yield S3Destination(bucket(f"s3://{BUCKET}", url, "us-east-1"), SECRET, proxy)
    await runner.cleanup()


async def refusal(destination: S3Destination, content: bytes = b"x") -> DestinationError:
    with pytest.raises(DestinationError) as caught:
        await destination.put(
            remote("a"), pieces(content, PIECE), size=len(content), digest=None, resume_ref=""
        )
    return caught.value


def said(status: int, word: str = "", **headers: str) -> Answer:
    """Return a server that finds nothing, and refuses everything else with *status*."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method == "HEAD":
            return web.Response(status=404)
        await request.read()
        text = f"<Error><Code>{word}</Code><Message>m</Message></Error>" if word else "no"
        return web.Response(status=status, text=text, headers=headers)

    return answer


@pytest.mark.parametrize(
    ("status", "word", "code", "fault"),
    [
        (403, "AccessDenied", Code.FORBIDDEN, Fault.DESTINATION),
        (403, "SignatureDoesNotMatch", Code.FORBIDDEN, Fault.DESTINATION),
        (400, "InvalidAccessKeyId", Code.FORBIDDEN, Fault.DESTINATION),
        (401, "", Code.FORBIDDEN, Fault.DESTINATION),
        (404, "NoSuchBucket", Code.NOT_FOUND, Fault.DESTINATION),
        (404, "NoSuchUpload", Code.UNAVAILABLE, Fault.TEMPORARY),
        (400, "AuthorizationHeaderMalformed", Code.MISDIRECTED, Fault.DESTINATION),
        (301, "PermanentRedirect", Code.MISDIRECTED, Fault.DESTINATION),
        (400, "EntityTooLarge", Code.TOO_LARGE, Fault.OBJECT),
        (400, "KeyTooLongError", Code.INVALID, Fault.OBJECT),
        (400, "BadDigest", Code.CHECKSUM_MISMATCH, Fault.TEMPORARY),
        (400, "Whatever", Code.UNAVAILABLE, Fault.TEMPORARY),
        (429, "", Code.RATE_LIMITED, Fault.TEMPORARY),
        (503, "SlowDown", Code.RATE_LIMITED, Fault.TEMPORARY),
        (500, "InternalError", Code.UNAVAILABLE, Fault.TEMPORARY),
        (507, "", Code.INSUFFICIENT_STORAGE, Fault.TEMPORARY),
    ],
)
def test_what_a_server_says_decides_what_is_done(
    status: int, word: str, code: Code, fault: Fault
) -> None:
    async def run() -> None:
        async with against(said(status, word)) as destination:
            for content in (b"x", LARGE):
                error = await refusal(destination, content)
                assert (error.code, error.fault) == (code, fault)
                assert KEY_ID not in str(error)

    real_loop(run())


@pytest.mark.reaches("S3_RETRIES")
def test_a_failed_request_is_tried_a_few_times_more() -> None:
    async def run() -> None:
        asked = 0

        async def answer(request: web.Request) -> web.StreamResponse:
            nonlocal asked
            asked += request.method == "PUT"
            return web.Response(status=404 if request.method == "HEAD" else 500)

        async with against(answer) as destination:
            await refusal(destination)
            assert asked == 1 + S3_RETRIES

    real_loop(run())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_elsewhere(status: int) -> None:
    async def run() -> None:
        followed: list[str] = []

        async def elsewhere(request: web.Request) -> web.StreamResponse:
            followed.append(request.path)
            return web.Response(headers={"ETag": '"x"'})

        async def answer(request: web.Request) -> web.StreamResponse:
            return web.Response(status=status, headers={"Location": f"{there}{request.path}"})

        async with against(elsewhere) as other, against(answer) as destination:
            there = other._where.endpoint
            error = await refusal(destination)
            assert error.fault is not Fault.OBJECT
        assert followed == []

    real_loop(run())


def test_a_server_without_conditions_is_asked_without_them() -> None:
    async def run() -> None:
        kept: dict[str, bytes] = {}

        async def answer(request: web.Request) -> web.StreamResponse:
            if request.method == "PUT" and "If-None-Match" in request.headers:
                return web.Response(status=501, text="<Code>NotImplemented</Code>")
            if request.method == "PUT":
                kept[request.path] = await request.read()
                return web.Response(headers={"ETag": '"unlike any"'})
            if request.path not in kept:
                return web.Response(status=404)
            return web.Response(
                body=kept[request.path],
                headers={"ETag": '"x"', "Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"},
            )

        async with against(answer) as destination:
            ref = await destination.put(
                remote("a"), pieces(b"content"), size=7, digest=None, resume_ref=""
            )
            assert ref.digest == sha256(b"content").digest(), "read back: the tag says nothing"
            assert kept == {f"/{BUCKET}/a": b"content"}

    real_loop(run())


def test_a_server_that_keeps_other_bytes_is_found_out_and_shows_nothing() -> None:
    async def run() -> None:
        kept: dict[str, bytes] = {}

        async def answer(request: web.Request) -> web.StreamResponse:
            if request.method == "PUT":
                kept[request.path] = (await request.read())[:-1]
                return web.Response(headers={"ETag": '"of its own"'})
            if request.method == "DELETE" or request.query_string == "delete":
                kept.clear()
                return web.Response(status=204)
            if request.path not in kept:
                return web.Response(status=404)
            modified = {"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}
            return web.Response(body=kept[request.path], headers=modified)

        async with against(answer) as destination:
            assert (await refusal(destination, b"content")).code is Code.CHECKSUM_MISMATCH
            assert kept == {}

    real_loop(run())


def hanging(parts: list[str], released: asyncio.Event) -> Answer:
    """Return a server that begins uploads in parts, and answers for no part until *released*."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method == "HEAD":
            return web.Response(status=404)
        if request.method == "POST":
            text = "<InitiateMultipartUploadResult><UploadId>u</UploadId>"
            return web.Response(text=f"{text}</InitiateMultipartUploadResult>")
        parts.append(request.query_string)
        await released.wait()
        return web.Response(status=500)

    return answer


@pytest.mark.reaches("S3_PARTS_IN_FLIGHT")
@pytest.mark.reaches("S3_ABORT_S")
def test_a_server_that_hangs_holds_few_parts_and_is_left_soon() -> None:
    async def run() -> None:
        parts: list[str] = []
        released = asyncio.Event()
        given = 0

        async def content() -> AsyncIterator[memoryview]:
            nonlocal given
            while True:
                yield memoryview(LARGE[:PIECE])
                given += PIECE

        loop = asyncio.get_running_loop()
        async with against(hanging(parts, released)) as destination:
            begun_s = loop.time()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(2):
                    await destination.put(
                        remote("a"), content(), size=2**30, digest=None, resume_ref=""
                    )
            took_s = loop.time() - begun_s
            released.set()
        assert 2 + S3_ABORT_S - 1 < took_s < 2 + S3_ABORT_S + 3
        assert len(parts) == S3_PARTS_IN_FLIGHT
        assert given < (S3_PARTS_IN_FLIGHT + 3) * S3_PART_BYTES

    real_loop(run())


@pytest.mark.reaches("S3_REQUEST_S")
@pytest.mark.reaches("S3_RETRY_S")
def test_a_request_has_its_time() -> None:
    async def run() -> None:
        async with against(said(200)) as destination:
            store = destination._client._made("http://127.0.0.1:1")
            assert store.client_options is not None
            assert store.client_options["timeout"] == f"{S3_REQUEST_S / 60:.0f}m"
            assert store.retry_config is not None
            assert store.retry_config["retry_timeout"] == timedelta(seconds=S3_RETRY_S)

    real_loop(run())


def test_a_server_in_a_private_network_is_named_and_not_dialled() -> None:
    async def run() -> None:
        asked: list[str] = []

        async def answer(request: web.Request) -> web.StreamResponse:
            asked.append(request.path)
            return web.Response()

        async with against(answer, Policy(ports=tuple(range(1, 65_536)))) as destination:
            error = await refusal(destination)
            assert (error.code, error.fault) == (Code.FORBIDDEN, Fault.DESTINATION)
            assert "private network" in error.detail
            assert asked == []

    real_loop(run())


def test_a_server_that_is_away_is_waited_for() -> None:
    async def run() -> None:
        where = bucket(f"s3://{BUCKET}", f"http://127.0.0.1:{free_port()}", "us-east-1")
        async with proxied() as proxy:
            error = await refusal(S3Destination(where, SECRET, proxy))
            assert (error.code, error.fault) == (Code.UNAVAILABLE, Fault.TEMPORARY)

    real_loop(run())
