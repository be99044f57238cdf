import asyncio
import json
import os
import selectors
import socket
import struct
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from tests.support.real_loop import real_loop
from tests.support.sim import simulate
from zentransfer.health import DRAINING, Check, Health, http_runner, listen, routes
from zentransfer.limits import (
    HEALTH_DETAIL_CHARS_MAX,
    HTTP_KEEPALIVE_S,
    HTTP_LINGER_S,
    HTTP_READ_BUFFER_BYTES,
    LISTEN_BACKLOG,
)
from zentransfer.service import CannotStart


def saying(*, ok: bool) -> Check:
    return lambda: (ok, "a word")


SECRET = b"canary-203.0.113.9"


@given(
    checks=st.dictionaries(st.text(min_size=1).filter(lambda n: n != DRAINING), st.booleans()),
    optional=st.sets(st.integers(0, 9)),
    draining=st.booleans(),
)
def test_ready_means_that_every_required_check_is_good_and_nothing_drains(
    checks: dict[str, bool], optional: set[int], *, draining: bool
) -> None:
    health = Health()
    expected = not draining
    for number, (name, ok) in enumerate(checks.items()):
        health.add(name, saying(ok=ok), required=number not in optional)
        expected = expected and (ok or number in optional)
    if draining:
        simulate(health.drain())
    report = health.report()
    assert report["ready"] is expected
    assert report["checks"].keys() == checks.keys() | ({DRAINING} if draining else set())


@pytest.mark.reaches("HEALTH_DETAIL_CHARS_MAX")
def test_a_detail_is_a_few_words() -> None:
    health = Health()
    health.add("sink", lambda: (True, "x" * 10_000))
    assert health.report()["checks"]["sink"]["detail"] == "x" * HEALTH_DETAIL_CHARS_MAX


# --- listeners ------------------------------------------------------------------------------------


async def ignores(_: web.Request) -> web.Response:
    return web.Response(text="thanks\n")


async def falls(_: web.Request) -> web.Response:
    raise ValueError(SECRET.decode())


@asynccontextmanager
async def serving(health: Health, *more: web.RouteDef) -> AsyncIterator[int]:
    """Serve the health routes and *more* on a free port, and yield the port."""
    app = web.Application()
    app.add_routes([*routes(health), web.post("/ignores", ignores), web.get("/falls", falls)])
    app.add_routes(more)
    runner = http_runner(app)
    await runner.setup()
    listener = listen("127.0.0.1", 0, "test HTTP")
    await web.SockSite(runner, listener).start()
    try:
        yield listener.getsockname()[1]
    finally:
        await runner.cleanup()


async def asked(port: int, request: bytes) -> tuple[bytes, bytes]:
    """Send raw bytes and return head and body of all that comes back until the peer closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


@pytest.mark.parametrize("uvloop", [False, True])
def test_livez_and_readyz_answer_on_a_real_listener(*, uvloop: bool) -> None:
    async def main() -> None:
        health = Health()
        health.add("snapshot", lambda: (True, "version 3"))
        async with serving(health) as port, aiohttp.ClientSession() as client:
            url = f"http://127.0.0.1:{port}"
            async with client.get(f"{url}/readyz") as answer:
                assert answer.status == 200
                assert answer.content_type == "application/json"
                good = {"ok": True, "required": True, "detail": "version 3"}
                assert await answer.json() == {"ready": True, "checks": {"snapshot": good}}
            await health.drain()
            async with client.get(f"{url}/readyz") as answer:
                assert answer.status == 503
                assert (await answer.json())["checks"][DRAINING]["ok"] is False
            async with client.get(f"{url}/livez") as answer:
                assert (answer.status, await answer.json()) == (200, {"live": True})

    real_loop(main(), uvloop=uvloop)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /" + SECRET + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 404),
        (b"PUT /livez?" + SECRET + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 405),
        (b"GET /falls HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n\r\n", 500),
        (b"GET / HTTP/1.1\r\n" + SECRET + b"\x00: a\r\nAccept: text/html\r\n\r\n", 400),
        (SECRET + b" is no HTTP\r\n\r\n", 400),
        (b"GET /" + SECRET * 1000 + b" HTTP/1.1\r\n\r\n", 400),
    ],
)
def test_an_error_page_is_problem_details_and_repeats_nothing(request_: bytes, status: int) -> None:
    async def main() -> None:
        async with serving(Health()) as port:
            head, body = await asked(port, request_)
        assert int(head.split()[1]) == status
        assert b"aiohttp" not in head
        assert b"application/problem+json" in head
        assert json.loads(body)["status"] == status
        assert b"canary" not in head + body
        assert (b"Allow:" in head) is (status == 405)

    real_loop(main())


def test_a_page_that_a_handler_wrote_itself_and_a_redirect_go_through() -> None:
    async def own(_: web.Request) -> web.Response:
        raise web.HTTPConflict(text="<p>our own</p>", content_type="text/html")

    async def away(_: web.Request) -> web.Response:
        raise web.HTTPSeeOther("/livez")

    async def main() -> None:
        more = (web.get("/own", own), web.get("/away", away))
        async with serving(Health(), *more) as port:
            _, body = await asked(
                port, b"GET /own HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            )
            assert body == b"<p>our own</p>"
            head, _ = await asked(
                port, b"GET /away HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            )
            assert b"Location: /livez" in head

    real_loop(main())


def test_a_compressed_body_is_stored_as_it_is() -> None:
    async def keeps(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    async def main() -> None:
        async with serving(Health(), web.put("/keep", keeps)) as port:
            head = b"PUT /keep HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\n"
            request = head + b"Content-Length: 4\r\nConnection: close\r\n\r\nabcd"
            assert (await asked(port, request))[1] == b"abcd"

    real_loop(main())


@pytest.mark.reaches("HTTP_READ_BUFFER_BYTES")
def test_a_peer_is_held_when_nobody_reads() -> None:
    taken = 0

    async def reads_late(request: web.Request) -> web.Response:
        nonlocal taken
        before = -1
        while before < request.content.total_bytes:  # until nothing more is taken in
            before = request.content.total_bytes
            await asyncio.sleep(0.1)
        taken = request.content.total_bytes
        return web.Response(text="enough\n", headers={"Connection": "close"})

    async def main() -> None:
        async with serving(Health(), web.put("/late", reads_late)) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"PUT /late HTTP/1.1\r\nHost: a\r\nContent-Length: 8388608\r\n\r\n")
            writer.write(bytes(8 * 1024 * 1024))
            await reader.readline()
            writer.transport.abort()

    real_loop(main())
    # The mark is twice the limit, and one read of the loop (256 KiB at most) may cross it.
    assert HTTP_READ_BUFFER_BYTES <= taken <= 2 * HTTP_READ_BUFFER_BYTES + 256 * 1024


class _Hasty(selectors.SelectSelector):
    """Waits a hundredth of what it should."""

    def select(self, timeout: float | None = None) -> list[Any]:
        return super().select(timeout / 100 if timeout else timeout)


class HastyLoop(asyncio.SelectorEventLoop):
    """A loop with real sockets whose clock runs a hundred times too fast."""

    def __init__(self) -> None:
        super().__init__(_Hasty())

    def time(self) -> float:
        return super().time() * 100


def hastily(main: Coroutine[Any, Any, float]) -> float:
    with asyncio.Runner(loop_factory=HastyLoop, debug=False) as runner:
        return runner.run(main)


async def seconds_until_cut(request: bytes, trickle: bytes) -> float:
    """Send *request*, then *trickle* twice a second, and return when the peer cuts it off."""
    loop = asyncio.get_running_loop()
    async with serving(Health()) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        began = loop.time()
        try:
            while True:
                writer.write(trickle)
                await writer.drain()
                await asyncio.sleep(0.5)
        except ConnectionError:
            return loop.time() - began
        finally:
            writer.transport.abort()


@pytest.mark.reaches("HTTP_KEEPALIVE_S")
def test_a_trickle_of_headers_is_cut_at_its_total() -> None:
    first = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nA: "
    lived = hastily(seconds_until_cut(first, b"a"))
    assert HTTP_KEEPALIVE_S <= lived < 2 * HTTP_KEEPALIVE_S


@pytest.mark.reaches("HTTP_LINGER_S")
def test_the_rest_of_a_refused_body_is_read_for_a_moment_only() -> None:
    head = b"POST /ignores HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
    lived = hastily(seconds_until_cut(head, b"a"))
    assert HTTP_LINGER_S <= lived < HTTP_KEEPALIVE_S


@pytest.mark.reaches("LISTEN_BACKLOG")
def test_as_many_connections_wait_in_the_kernel_as_is_said() -> None:
    somaxconn = int(Path("/proc/sys/net/core/somaxconn").read_text(encoding="ascii"))
    with listen("127.0.0.1", 0, "test") as listener:
        # For a listening socket the kernel tells its longest queue as tcpi_sacked (tcp(7)).
        info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        assert struct.unpack_from("=I", info, 28)[0] == min(LISTEN_BACKLOG, somaxconn)


def test_a_taken_port_is_named_with_its_role_and_the_cure() -> None:
    with listen("127.0.0.1", 0, "us HTTP") as listener:
        port = listener.getsockname()[1]
        with pytest.raises(CannotStart, match=f"port {port} .*us HTTP.*another program") as caught:
            listen("127.0.0.1", port, "us HTTP")
        assert "choose another port" in caught.value.cure


def test_ipv6_listens_as_well() -> None:
    with listen("::1", 0, "us HTTP") as listener:
        assert listener.family is socket.AF_INET6


def test_an_address_that_is_not_ours_is_named() -> None:
    with pytest.raises(CannotStart, match="no interface of this machine"):
        listen("203.0.113.9", 0, "us HTTP")


def test_a_missing_right_is_named_with_the_cure() -> None:
    limit = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text(encoding="ascii")
    if int(limit) == 0:
        pytest.skip("this machine lets everybody have every port")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # an ordinary user, also when the tests run as root
        said = "listened"
        try:
            if os.getuid() == 0:
                os.setuid(65_534)
            listen("127.0.0.1", 1, "us HTTP")
        except CannotStart as exc:
            said = str(exc)
        finally:
            os.write(writing, said.encode())
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with open(reading, "rb") as pipe:
        said = pipe.read().decode()
    assert "port 1 of 127.0.0.1 (us HTTP): this user has no right" in said
    assert "CAP_NET_BIND_SERVICE" in said
