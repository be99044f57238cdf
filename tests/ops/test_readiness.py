import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from ops.readiness import Answer, ask, ask_all, understood
from tests.support.real_loop import real_loop
from zentransfer.health import Health, http_runner, listen, routes
from zentransfer.limits import READYZ_BYTES_MAX, READYZ_S

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.integers(201, 599), st.text() | json_values.map(repr))
def test_whatever_comes_back_is_understood_as_not_ready(status: int, body: str) -> None:
    answer = understood(status, body)
    assert not answer.ready
    assert answer.detail


@pytest.mark.parametrize("body", ["[]", '{"checks": []}', '{"checks": {"a": 1}}', "null", "{}"])
def test_a_strange_report_is_no_error_of_ours(body: str) -> None:
    assert understood(503, body) == Answer(ready=False, detail="answered 503 and no report")


def test_only_what_is_required_and_bad_is_named() -> None:
    body = """{"ready": false, "checks": {
        "sink": {"ok": false, "required": true, "detail": "full"},
        "link": {"ok": false, "required": false, "detail": "down"},
        "keys": {"ok": true, "required": true, "detail": "here"}}}"""
    assert understood(503, body).detail == "sink: full"
    assert understood(200, "") == Answer(ready=True, detail="")


@asynccontextmanager
async def serving(route: web.RouteDef | None = None) -> AsyncIterator[tuple[Health, str]]:
    """Serve /readyz of a fresh Health, and one route more; yield it and its address."""
    health = Health()
    app = web.Application()
    app.add_routes([*routes(health), *([route] if route else [])])
    runner = http_runner(app)
    await runner.setup()
    listener = listen("127.0.0.1", 0, "test")
    await web.SockSite(runner, listener).start()
    try:
        yield health, f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        await runner.cleanup()


def test_all_are_asked_at_once_and_one_that_is_away_is_said_to_be() -> None:
    async def main() -> None:
        with listen("127.0.0.1", 0, "test") as gone:
            away = f"http://127.0.0.1:{gone.getsockname()[1]}/readyz"
        async with serving() as (health, here):
            url = f"{here}/readyz"
            assert await ask_all([url, away]) == {
                url: Answer(ready=True, detail=""),
                away: Answer(ready=False, detail="does not answer"),
            }
            await health.drain()
            assert (await ask_all([url]))[url].detail == "draining: the process leaves"

    real_loop(main())


@pytest.mark.reaches("READYZ_BYTES_MAX")
def test_an_answer_that_is_too_long_is_not_read() -> None:
    async def floods(_: web.Request) -> web.Response:
        return web.Response(body=bytes(READYZ_BYTES_MAX + 1))

    async def main() -> None:
        async with serving(web.get("/flood", floods)) as (_, here):
            assert (await ask_all([f"{here}/flood"]))[f"{here}/flood"] == Answer(
                ready=False, detail="answers more than a report"
            )

    real_loop(main())


@pytest.mark.reaches("READYZ_S")
def test_one_that_hangs_is_given_up() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        with listen("127.0.0.1", 0, "test") as hangs:  # connects, and nobody accepts
            url = f"http://127.0.0.1:{hangs.getsockname()[1]}/readyz"
            async with aiohttp.ClientSession() as client:
                began = loop.time()
                answer = await ask(client, url)
                assert answer == Answer(ready=False, detail="does not answer within 2 s")
                return loop.time() - began

    assert READYZ_S <= real_loop(main()) < READYZ_S + 5
