import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import ClientResponse

from control.uploads.model import DeliveryState
from control.web.routes import Services
from tests.control.builders import NOW_MS, delivery_change, outcome
from tests.control.web.serving import Desk, served
from tests.support.real_loop import real_loop
from zentransfer.limits import (
    EVENT_STREAMS_PER_ACCOUNT_MAX,
    EVENTS_PER_READ_MAX,
    EVENTS_STREAM_S,
)


@dataclass
class Line:
    """A stream as a browser reads it."""

    answer: ClientResponse

    async def next(self) -> tuple[str, dict[str, Any]]:
        """Return the id and the data of the next event."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(5):
            while "data" not in fields:
                fields = await self._block()
        assert fields["event"] == "upload"
        return fields["id"], json.loads(fields["data"])

    async def _block(self) -> dict[str, str]:
        fields: dict[str, str] = {}
        while (line := (await self.answer.content.readline()).decode()) not in ("\n", ""):
            name, _, value = line.rstrip("\n").partition(": ")
            fields[name] = value
        assert line, "the stream has ended"
        return fields

    async def ended(self) -> bool:
        """Return whether the stream ends within some seconds."""
        async with asyncio.timeout(5):
            while await self.answer.content.read(1000):
                pass
        return True


@asynccontextmanager
async def watched(desk: Desk, token: str, last: str | None = None) -> AsyncGenerator[Line, None]:
    headers = {"Authorization": f"Bearer {token}"}
    if last is not None:
        headers["Last-Event-ID"] = last
    async with desk.session.get(desk.base + "/events", headers=headers) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert (await answer.content.readline()).startswith(b"retry:")
        yield Line(answer)
        answer.close()


def with_desk(case: Callable[[Desk], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with served() as desk:
            await case(desk)

    real_loop(run())


def test_an_owner_watches_what_happens_from_now_on() -> None:
    async def case(desk: Desk) -> None:
        nina, token = await desk.account("nina")
        ola, others = await desk.account("ola")
        before, mine, theirs = (
            outcome(nina, "before"),
            outcome(nina, "mine"),
            outcome(ola, "theirs"),
        )
        await desk.tell(before)
        async with watched(desk, token) as line, watched(desk, others) as other:
            await desk.tell(mine, theirs)
            _, told = await line.next()
            assert (told["upload"], told["type"]) == (mine.upload_id, "upload.committed")
            await desk.tell(delivery_change(mine, DeliveryState.RUN))
            assert (await line.next())[1]["type"] == "delivery.run"
            assert (await other.next())[1]["upload"] == theirs.upload_id

    with_desk(case)


@pytest.mark.reaches("EVENTS_PER_READ_MAX")
def test_a_cut_line_goes_on_where_it_was() -> None:
    async def case(desk: Desk) -> None:
        nina, token = await desk.account("nina")
        made = [outcome(nina, number) for number in range(2 * EVENTS_PER_READ_MAX + 5)]
        async with watched(desk, token) as line:
            await desk.tell(*made[:3])
            seen = [await line.next() for _ in range(3)]
        for first in range(3, len(made), 100):
            await desk.tell(*made[first : first + 100])
        async with watched(desk, token, last=seen[-1][0]) as line:
            seen += [await line.next() for _ in range(len(made) - 3)]
        assert [told["upload"] for _, told in seen] == [one.upload_id for one in made]
        numbers = [int(number) for number, _ in seen]
        assert numbers == sorted(set(numbers))

    with_desk(case)


def test_a_revoked_token_ends_the_stream() -> None:
    async def case(desk: Desk) -> None:
        nina, _ = await desk.account("nina")
        credential, token = await desk.issue(nina)
        async with watched(desk, token) as line:
            async with desk.services.database.write() as uow:
                await uow.accounts.revoke(nina.id, credential, NOW_MS)
            await desk.tell(outcome(nina))
            assert await line.ended()

    with_desk(case)


@pytest.mark.reaches("EVENTS_STREAM_S")
def test_a_stream_ends_in_time_and_the_client_dials_again() -> None:
    async def run() -> None:
        async with served(stream_s=0.3) as desk:
            nina, token = await desk.account("nina")
            async with watched(desk, token) as line:
                assert await line.ended()
            async with watched(desk, token, last="0") as line:
                await desk.tell(outcome(nina))
                assert await line.next()

    real_loop(run())
    assert Services.__dataclass_fields__["stream_s"].default == EVENTS_STREAM_S


def test_a_process_that_leaves_sends_its_watchers_home() -> None:
    async def case(desk: Desk) -> None:
        _, token = await desk.account("nina")
        async with watched(desk, token) as line:
            await desk.services.feed.close()
            assert await line.ended()
        status, document = await desk.call("GET", "/events", token)
        assert (status, document["code"]) == (503, "draining")

    with_desk(case)


def test_an_account_watches_only_so_often_at_a_time() -> None:
    async def case(desk: Desk) -> None:
        _, token = await desk.account("nina")
        _, others = await desk.account("ola")
        held = [watched(desk, token) for _ in range(EVENT_STREAMS_PER_ACCOUNT_MAX)]
        for one in held:
            await one.__aenter__()
        status, document = await desk.call("GET", "/events", token)
        assert (status, document["code"]) == (429, "rate_limited")
        async with watched(desk, others):
            pass
        for one in held:
            await one.__aexit__(None, None, None)

    with_desk(case)


def test_a_last_event_that_is_none_is_refused() -> None:
    async def case(desk: Desk) -> None:
        _, token = await desk.account("nina")
        for wrong in ("x", "-1", "9" * 30, "1.5"):
            headers = {"Last-Event-ID": wrong}
            status, document = await desk.call("GET", "/events", token, headers=headers)
            assert (status, document["code"]) == (400, "invalid")

    with_desk(case)
