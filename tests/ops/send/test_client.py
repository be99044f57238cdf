import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from ops.send.client import Client, Waits, is_private, is_url
from ops.send.content import Content
from ops.send.tus import Lost, Refused
from tests.support.real_loop import real_loop
from zentransfer.limits import (
    SEND_ANSWER_BYTES_MAX,
    SEND_ANSWER_S,
    SEND_CONNECT_S,
    SEND_STALL_S,
    SEND_WRITE_BYTES,
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SHORT = Waits(stall_s=0.3, answer_s=0.3, connect_s=0.3)


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1, lingering_time=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def asking(handler: Handler, test: Callable[[Client, str], Awaitable[None]]) -> None:
    async def main() -> None:
        client = Client("t", SHORT)
        try:
            async with serving(handler) as url:
                await test(client, url)
        finally:
            await client.close()

    real_loop(main())


@pytest.mark.reaches("SEND_ANSWER_S")
def test_silence_is_no_answer() -> None:
    assert Waits().answer_s == SEND_ANSWER_S

    async def silent(_: web.Request) -> web.Response:
        await asyncio.sleep(1)
        return web.Response()

    async def test(client: Client, url: str) -> None:
        with pytest.raises(Lost, match="the line is silent"):
            await client.look(url)

    asking(silent, test)


@pytest.mark.reaches("SEND_ANSWER_BYTES_MAX")
def test_an_answer_is_read_up_to_a_bound() -> None:
    async def chatty(_: web.Request) -> web.Response:
        return web.Response(body=bytes(SEND_ANSWER_BYTES_MAX + 1))

    async def test(client: Client, url: str) -> None:
        with pytest.raises(Lost, match="too long"):
            await client.upload(url, "up_")

    asking(chatty, test)


@pytest.mark.reaches("SEND_CONNECT_S")
def test_a_host_that_says_nothing_is_not_waited_for_long() -> None:
    assert Waits().connect_s == SEND_CONNECT_S

    async def main() -> None:
        client = Client("t", Waits(connect_s=0.3))
        with socket.socket() as full, socket.socket() as first, socket.socket() as second:
            full.bind(("127.0.0.1", 0))
            full.listen(0)  # the kernel answers nobody else once its queue is full
            for line in (first, second):
                line.setblocking(False)
                line.connect_ex(full.getsockname())
            with pytest.raises(Lost):
                async with asyncio.timeout(3):
                    await client.look(f"http://127.0.0.1:{full.getsockname()[1]}/x")
        await client.close()

    real_loop(main())


@pytest.mark.reaches("SEND_STALL_S", "SEND_WRITE_BYTES")
def test_a_line_on_which_nothing_leaves_is_dropped(tmp_path: Path) -> None:
    assert Waits().stall_s == SEND_STALL_S
    size = 32 << 20
    path = tmp_path / "a"
    path.write_bytes(bytes(size))

    async def deaf(_: web.Request) -> web.Response:
        await asyncio.sleep(1)
        return web.Response()

    async def test(client: Client, url: str) -> None:
        moved: list[int] = []
        with ThreadPoolExecutor(1) as executor:
            content = await Content(path, executor).open()
            with pytest.raises(Lost, match="the line is silent"):
                await client.append(url, content, (0, size), moved.append)
            await content.close()
        steps = [after - before for before, after in itertools.pairwise(moved)]
        assert max(steps) <= SEND_WRITE_BYTES
        assert moved[-1] < size

    asking(deaf, test)


def test_a_refusal_in_the_middle_of_a_body_is_heard(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(8 << 20))

    async def refusing(request: web.Request) -> web.Response:
        await request.content.readany()
        return web.json_response({"title": "too much"}, status=413)

    async def test(client: Client, url: str) -> None:
        with ThreadPoolExecutor(1) as executor:
            content = await Content(path, executor).open()
            with pytest.raises((Refused, Lost)):
                await client.append(url, content, (0, content.size), lambda _: None)
            await content.close()

    asking(refusing, test)


@pytest.mark.parametrize("body", ["[]", "x", '"x"'])
def test_what_control_says_is_a_document_or_nothing(body: str) -> None:
    async def strange(_: web.Request) -> web.Response:
        return web.Response(text=body)

    async def test(client: Client, url: str) -> None:
        with pytest.raises(Lost, match="not understood"):
            await client.upload(url, "up_")
        with pytest.raises(Lost, match="not understood"):
            await client.route(url)

    asking(strange, test)


def test_a_name_that_nobody_knows_is_said() -> None:
    async def main() -> None:
        client = Client("t", SHORT)
        with pytest.raises(Lost, match="no connection"):
            await client.look("http://127.0.0.1:9/x")
        with pytest.raises(Lost):
            await client.look("http://no-such-host.invalid/x")
        await client.close()

    real_loop(main())


def test_what_is_a_url_and_what_is_private() -> None:
    assert is_url("https://zt.example")
    assert not any(map(is_url, ["", "zt.example", "ftp://x", "https://", "https://x?y"]))
    assert all(map(is_private, ["https://x", "http://localhost:1", "http://127.0.0.1"]))
    assert not is_private("http://zt.example")
