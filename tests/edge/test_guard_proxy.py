import asyncio
import os
from base64 import b64encode
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.guard import Guard, Policy
from edge.guard_proxy import Proxy, _joined, _parsed
from tests.edge.test_guard import Answers
from tests.support.real_loop import real_loop
from tests.support.sim import simulate
from zentransfer.limits import (
    GUARD_CONNECTIONS_MAX,
    GUARD_HEAD_BYTES_MAX,
    GUARD_HEAD_S,
    GUARD_IDLE_S,
    GUARD_READ_BYTES,
)

LAB = Policy(is_lab=True)
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(policy: Policy = LAB) -> AsyncGenerator[Proxy, None]:
    proxy = Proxy(Guard(policy, Answers(["127.0.0.1"])), os.urandom)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(proxy.run())
        yield proxy
        task.cancel()


@asynccontextmanager
async def origin(handle: Handle) -> AsyncGenerator[int, None]:
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def echoes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while part := await reader.read(65_536):
            writer.write(part)
            await writer.drain()
    writer.close()


async def asked(proxy: Proxy, of: tuple[str, int], head: str, *, password: bool = True) -> Streams:
    """Connect to the proxy with the password for *of*, and send *head*."""
    url = urlsplit(await proxy.url(*of))
    assert url.hostname is not None
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    given = b64encode(f"{url.username}:{url.password}".encode()).decode()
    field = f"Proxy-Authorization: Basic {given}\r\n" if password else ""
    writer.write(f"{head}\r\n{field}\r\n".encode())
    return reader, writer


async def status(reader: asyncio.StreamReader) -> int:
    return int((await reader.readuntil(b"\r\n\r\n")).split(b" ")[1])


def test_a_tunnel_moves_bytes_both_ways() -> None:
    async def run() -> None:
        async with serving() as proxy, origin(echoes) as port:
            of = ("a.example.com", port)
            reader, writer = await asked(proxy, of, f"CONNECT a.example.com:{port} HTTP/1.1")
            assert await status(reader) == 200
            content = os.urandom(3 * GUARD_READ_BYTES)
            writer.write(content)
            writer.write_eof()
            assert await reader.read(-1) == content
            writer.close()

    real_loop(run())


def test_a_password_is_good_for_one_server_only() -> None:
    async def run() -> None:
        async with serving() as proxy, origin(echoes) as port:
            of = ("a.example.com", port)
            for target in (f"b.example.com:{port}", f"a.example.com:{port + 1}", "127.0.0.1:22"):
                reader, writer = await asked(proxy, of, f"CONNECT {target} HTTP/1.1")
                assert await status(reader) == 403
                writer.close()
            head = f"CONNECT a.example.com:{port} HTTP/1.1"
            reader, writer = await asked(proxy, of, head, password=False)
            assert await status(reader) == 403
            writer.close()

    real_loop(run())


def test_what_the_guard_refuses_is_refused() -> None:
    async def run() -> None:
        async with serving(Policy()) as proxy, origin(echoes) as port:
            of = ("a.example.com", port)
            for target, answer in ((of, 403), (("127.0.0.1", port), 403)):
                head = f"CONNECT {target[0]}:{port} HTTP/1.1"
                reader, writer = await asked(proxy, target, head)
                assert await status(reader) == answer
                writer.close()

    real_loop(run())


def test_where_nobody_listens_is_a_bad_gateway() -> None:
    async def run() -> None:
        async with serving() as proxy:
            reader, writer = await asked(proxy, ("a.b", 1), "CONNECT a.b:1 HTTP/1.1")
            assert await status(reader) == 502
            writer.close()

    real_loop(run())


def test_a_request_in_clear_is_passed_on_without_its_password() -> None:
    async def run() -> None:
        seen: list[bytes] = []

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append(await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(4))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
            await writer.drain()
            writer.close()

        async with serving() as proxy, origin(handle) as port:
            of = ("a.b", port)
            head = (
                f"PUT http://a.b:{port}/x%20y?q=1 HTTP/1.1\r\nHost: a.b:{port}\r\n"
                "Proxy-Connection: keep-alive\r\nConnection: keep-alive\r\nContent-Length: 4"
            )
            reader, writer = await asked(proxy, of, head)
            writer.write(b"body")
            assert (await reader.read(-1)).endswith(b"\r\n\r\nhi")
            writer.close()
            (request,) = seen
            assert request.startswith(b"PUT /x%20y?q=1 HTTP/1.1\r\nConnection: close\r\n")
            assert request.endswith(b"\r\n\r\nbody")
            assert b"roxy" not in request
            assert b"keep-alive" not in request

    real_loop(run())


@pytest.mark.parametrize(
    "line",
    [
        "",
        "CONNECT",
        "CONNECT a.b HTTP/1.1",
        "CONNECT a.b:99999 HTTP/1.1",
        "GET /x HTTP/1.1",
        "GET https://a.b/ HTTP/1.1",
        "GET ftp://a.b/ HTTP/1.1",
        "CONNECT é:1 HTTP/1.1",
        "GET http://[::1 HTTP/1.1",
    ],
)
def test_what_is_no_request_is_answered_so(line: str) -> None:
    async def run() -> None:
        async with serving() as proxy:
            reader, writer = await asked(proxy, ("a.b", 1), line)
            assert await status(reader) == 400
            writer.close()

    real_loop(run())


@given(
    st.binary(max_size=80), st.sampled_from([b"", b"CONNECT a.b:1 HTTP/1.1\r\n", b"GET http://"])
)
def test_whatever_is_said_is_a_request_or_refused(data: bytes, before: bytes) -> None:
    try:
        request = _parsed(before + data + b"\r\n\r\n")
    except (ValueError, IndexError):
        return
    assert request.host
    assert 0 <= request.port < 65_536


@pytest.mark.reaches("GUARD_HEAD_BYTES_MAX")
@pytest.mark.reaches("GUARD_READ_BYTES")
def test_a_head_without_end_is_not_read_to_it() -> None:
    async def run() -> None:
        for size in (GUARD_HEAD_BYTES_MAX, 2 * GUARD_READ_BYTES):
            async with serving() as proxy:
                head = f"CONNECT a.b:1 HTTP/1.1\r\nX: {'x' * size}"
                reader, writer = await asked(proxy, ("a.b", 1), head)
                with suppress(ConnectionError):
                    assert await status(reader) == 431
                writer.close()

    real_loop(run())


@pytest.mark.reaches("GUARD_CONNECTIONS_MAX")
def test_so_many_connections_are_served_at_once() -> None:
    async def run() -> None:
        async with serving() as proxy:
            proxy._connections = GUARD_CONNECTIONS_MAX - 1
            head = "CONNECT a.b:1 HTTP/1.1"
            reader, writer = await asked(proxy, ("a.b", 1), head)
            assert await status(reader) == 502
            writer.close()
            proxy._connections = GUARD_CONNECTIONS_MAX
            reader, writer = await asked(proxy, ("a.b", 1), head)
            assert await status(reader) == 503
            writer.close()

    real_loop(run())


class Silent(asyncio.StreamReader):
    """A peer that says nothing."""


class Sunk(asyncio.Transport):
    """A way out that takes everything."""

    def write(self, data: object) -> None:
        """Drop it."""

    def close(self) -> None:
        """Do nothing: there is nothing to close."""

    def is_closing(self) -> bool:
        return True


def silent() -> Streams:
    loop = asyncio.get_running_loop()
    reader = Silent()
    protocol = asyncio.StreamReaderProtocol(reader)
    return reader, asyncio.StreamWriter(Sunk(), protocol, reader, loop)


@pytest.mark.reaches("GUARD_HEAD_S")
def test_who_says_nothing_is_let_go() -> None:
    async def run() -> float:
        await Proxy(Guard(LAB, Answers(["127.0.0.1"])), os.urandom)._serve(*silent())
        return asyncio.get_running_loop().time()

    assert simulate(run()) == pytest.approx(GUARD_HEAD_S, abs=1)


@pytest.mark.reaches("GUARD_IDLE_S")
def test_a_tunnel_in_which_nothing_moves_ends() -> None:
    async def run() -> float:
        await _joined(silent(), silent())
        return asyncio.get_running_loop().time()

    assert simulate(run()) == pytest.approx(GUARD_IDLE_S, abs=1)
