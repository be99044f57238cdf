import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientResponse

from control.accounts.model import Account, CredentialKind
from control.accounts.traces import TraceLine
from tests.control.builders import NOW_MS
from tests.control.web.serving import Desk, served
from tests.support.real_loop import real_loop
from zentransfer import sealed_line
from zentransfer.ids import CredentialID, NodeID, ProcessName
from zentransfer.limits import TRACE_AGAIN_S, TRACE_S

LASTS_MS = int(TRACE_S * 1000)


def with_desk(case: Callable[[Desk], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with served() as desk:
            await case(desk)

    real_loop(run())


async def tell(desk: Desk, owner: Account, camera: CredentialID, text: str) -> None:
    """Let a node tell a line, as it does: sealed."""
    key = await desk.services.tools.keys.make_account(owner.id)
    sealed = sealed_line.seal(key.key, owner.id, camera, text)
    line = TraceLine(camera, owner.id, NodeID("fr-1"), ProcessName("ingest-0"), 3, NOW_MS, sealed)
    desk.services.feed.notify(desk.services.traces.take([line], desk.clock.now_ms()))


@asynccontextmanager
async def watched(
    desk: Desk, token: str, camera: CredentialID, last: str | None = None
) -> AsyncGenerator[ClientResponse, None]:
    headers = {"Authorization": f"Bearer {token}"}
    if last is not None:
        headers["Last-Event-ID"] = last
    where = f"{desk.base}/credentials/{camera}/trace"
    async with desk.session.get(where, headers=headers) as answer:
        yield answer
        answer.close()


async def event(answer: ClientResponse) -> dict[str, str]:
    """Return the fields of the next event."""
    fields: dict[str, str] = {}
    async with asyncio.timeout(20):
        while "data" not in fields:
            line = (await answer.content.readline()).decode()
            assert line, "the stream has ended"
            name, _, value = line.rstrip("\n").partition(": ")
            fields[name] = value
    return fields


def test_an_owner_sees_what_the_camera_says_as_it_says_it() -> None:
    async def case(desk: Desk) -> None:
        nina, token = await desk.account("nina")
        camera, _ = await desk.issue(nina, CredentialKind.FTP)
        status, made = await desk.call("POST", f"/credentials/{camera}/trace", token)
        assert status == 200
        assert made["credential"] == camera
        await tell(desk, nina, camera, "> USER abcdefgh")
        async with watched(desk, token, camera) as answer:
            assert answer.headers["Content-Type"] == "text/event-stream"
            first = await event(answer)
            assert json.loads(first["data"])["line"] == "> USER abcdefgh"
            await tell(desk, nina, camera, "> PASS ****")
            second = json.loads((await event(answer))["data"])
        assert second["session"] == "ingest-0/3"
        assert second["node"] == "fr-1"
        async with watched(desk, token, camera, first["id"]) as answer:
            assert json.loads((await event(answer))["data"])["line"] == "> PASS ****"

    with_desk(case)


def test_a_trace_ends_in_time_and_its_lines_with_it() -> None:
    async def case(desk: Desk) -> None:
        nina, token = await desk.account("nina")
        camera, _ = await desk.issue(nina, CredentialKind.FTP)
        await desk.call("POST", f"/credentials/{camera}/trace", token)
        await tell(desk, nina, camera, "> NOOP")
        async with watched(desk, token, camera) as answer:
            await event(answer)
            desk.clock.advance(LASTS_MS)
            desk.services.feed.notify({nina.id})
            assert (await event(answer))["event"] == "end"
        async with watched(desk, token, camera) as answer:
            assert answer.status == 404

    with_desk(case)


def test_an_owner_ends_a_trace_and_so_does_the_end_of_the_credential() -> None:
    async def case(desk: Desk) -> None:
        nina, token = await desk.account("nina")
        for path in ("/credentials/{}/trace", "/credentials/{}"):
            camera, _ = await desk.issue(nina, CredentialKind.FTP)
            await desk.call("POST", f"/credentials/{camera}/trace", token)
            await tell(desk, nina, camera, "> NOOP")
            assert (await desk.call("DELETE", path.format(camera), token))[0] == 204
            assert desk.services.traces.behind(nina.id, camera, 0) == []
            assert desk.traced == [(camera, LASTS_MS), (camera, 0)], "the nodes hear of both"
            desk.traced.clear()
            async with watched(desk, token, camera) as answer:
                assert answer.status == 404

    with_desk(case)


@pytest.mark.reaches("TRACE_AGAIN_S")
def test_nodes_are_asked_again_only_when_that_adds_something() -> None:
    async def case(desk: Desk) -> None:
        nina, token = await desk.account("nina")
        camera, _ = await desk.issue(nina, CredentialKind.FTP)
        ends: set[str] = set()
        for pause_ms in (0, 0, int(TRACE_AGAIN_S * 1000) - 1):
            desk.clock.advance(pause_ms)
            made = (await desk.call("POST", f"/credentials/{camera}/trace", token))[1]
            ends.add(made["expires_at"])
        assert (len(ends), desk.traced) == (1, [(camera, LASTS_MS)])
        desk.clock.advance(1)
        await desk.call("POST", f"/credentials/{camera}/trace", token)
        assert desk.traced == [(camera, LASTS_MS)] * 2

    with_desk(case)


def test_who_saw_lines_of_an_earlier_life_of_control_is_shown_the_new_ones() -> None:
    async def case(desk: Desk) -> None:
        nina, token = await desk.account("nina")
        camera, _ = await desk.issue(nina, CredentialKind.FTP)
        await desk.call("POST", f"/credentials/{camera}/trace", token)
        await tell(desk, nina, camera, "> NOOP")
        async with watched(desk, token, camera, "900") as answer:
            assert json.loads((await event(answer))["data"])["line"] == "> NOOP"

    with_desk(case)


def test_only_a_cameras_living_credential_is_traced() -> None:
    async def case(desk: Desk) -> None:
        nina, token = await desk.account("nina")
        program, _ = await desk.issue(nina, CredentialKind.API)
        status, problem = await desk.call("POST", f"/credentials/{program}/trace", token)
        assert (status, problem["code"]) == (400, "invalid")
        camera, _ = await desk.issue(nina, CredentialKind.FTP)
        await desk.call("DELETE", f"/credentials/{camera}", token)
        assert (await desk.call("POST", f"/credentials/{camera}/trace", token))[0] == 404

    with_desk(case)


def test_a_last_event_that_is_none_is_refused() -> None:
    async def case(desk: Desk) -> None:
        nina, token = await desk.account("nina")
        camera, _ = await desk.issue(nina, CredentialKind.FTP)
        await desk.call("POST", f"/credentials/{camera}/trace", token)
        async with watched(desk, token, camera, "-1") as answer:
            assert answer.status == 400

    with_desk(case)
