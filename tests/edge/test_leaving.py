import asyncio

import aiohttp
import pytest
from aiohttp import web

from edge.leaving import Leaving
from tests.support.real_loop import real_loop
from zentransfer.limits import LEAVE_GRACE_S


@pytest.mark.reaches("LEAVE_GRACE_S")
@pytest.mark.parametrize("uvloop", [False, True])
def test_who_was_let_in_is_served_and_its_answer_ends_the_connection(*, uvloop: bool) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        leaving = Leaving()

        async def answer(_: web.Request) -> web.Response:
            return web.Response(text="served")

        app = web.Application(middlewares=[leaving.middleware()])
        app.add_routes([web.get("/", answer)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        leaving.shuts(site.stop)
        port = runner.addresses[0][1]
        async with aiohttp.ClientSession() as client:
            async with client.get(f"http://127.0.0.1:{port}/") as before:
                assert before.headers.get("Connection") != "close"
            reader, writer = await asyncio.open_connection("127.0.0.1", port)  # and says nothing
            began_s = loop.time()
            shutting = loop.create_task(leaving.run())
            await asyncio.sleep(LEAVE_GRACE_S / 4)
            with pytest.raises(aiohttp.ClientConnectorError):
                async with aiohttp.ClientSession() as fresh, fresh.get(f"http://127.0.0.1:{port}/"):
                    pass
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert b"connection: close" in head.lower()
            assert await reader.read() == b"served", "and then it is over"
            writer.close()
            async with client.get(f"http://127.0.0.1:{port}/") as kept:  # on its old connection
                assert kept.headers["Connection"] == "close"
            await shutting
            assert loop.time() - began_s >= LEAVE_GRACE_S
        await runner.cleanup()

    real_loop(main(), uvloop=uvloop)
