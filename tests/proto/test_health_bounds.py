import asyncio
import resource
from contextlib import suppress

import pytest
from aiohttp import web

from tests.support.real_loop import real_loop
from zentransfer import health
from zentransfer.limits import FULL_RETRY_AFTER_S, HTTP_CONNECTIONS_MAX

ASKED = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.reaches("HTTP_CONNECTIONS_MAX", "FULL_RETRY_AFTER_S")
@pytest.mark.parametrize("uvloop", [False, True])
def test_a_connection_too_many_is_refused_at_once_and_the_others_are_served(
    *, uvloop: bool
) -> None:
    async def main() -> None:
        app = web.Application()
        app.add_routes(health.routes(health.Health()))
        runner = health.http_runner(app, connections_max=2)
        await runner.setup()
        listener = health.listen("127.0.0.1", 0, "test")
        port = listener.getsockname()[1]
        await web.SockSite(runner, listener).start()
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        await asyncio.sleep(0.05)
        began_s = asyncio.get_running_loop().time()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answer = await reader.read()
        assert asyncio.get_running_loop().time() - began_s < 5
        assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert b"\r\nRetry-After: %d\r\n" % FULL_RETRY_AFTER_S in answer
        assert b"\r\nConnection: close\r\n" in answer
        writer.close()
        for _ in range(20):  # refused ones leave nothing behind
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(ASKED)
            with suppress(ConnectionError):
                await reader.read()
            writer.close()
        for reader, writer in held:
            writer.write(ASKED)
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        held.pop()[1].close()
        while True:  # there is room again as soon as the server has heard of it
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(ASKED)
            line = await reader.readline()
            writer.close()
            if line.startswith(b"HTTP/1.1 200"):
                break
        held.pop()[1].close()
        await runner.cleanup()

    real_loop(main(), uvloop=uvloop)


def test_descriptors_bound_the_connections_too() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1_000), hard))
    try:
        runner = health.http_runner(web.Application())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert getattr(runner, "connections_max") == min(500, HTTP_CONNECTIONS_MAX)  # noqa: B009
