"""What happens to an account's uploads, as it happens: server-sent events (HTML standard, 9.2).

The rule: the stream is a view of the timeline, from the number that the client saw last; so a cut
line loses nothing.  The token is checked again at each pause, and a revoked one ends the stream.
"""

import asyncio
import json
from collections.abc import Sequence
from http import HTTPStatus

from aiohttp import web

from control.accounts.signin import signed_in
from control.uploads.feed import Watch
from control.uploads.model import Event
from control.web import shown
from control.web.problem import HEADERS
from control.web.request import Call, bearer
from control.web.routes import Services
from zentransfer.errors import Code, Error
from zentransfer.limits import EVENTS_PER_READ_MAX

_NUMBER_CHARS_MAX = 18
_RETRY_MS = 3_000


async def stream_events(on: Services, call: Call) -> web.StreamResponse:
    """Stream the account's events, from behind ``Last-Event-ID`` or from now on.

    Ends after ``stream_s``, or when the token is no longer good; the client dials again.
    """
    last = await _start(on, call)
    with on.feed.watch(call.caller.account_id) as watch:
        answer = web.StreamResponse(
            status=HTTPStatus.OK, headers={**HEADERS, "Content-Type": "text/event-stream"}
        )
        await answer.prepare(call.request)
        await answer.write(f"retry: {_RETRY_MS}\n\n".encode())
        try:
            async with asyncio.timeout(on.stream_s):
                await _run(on, call, answer, watch, last)
        except (TimeoutError, ConnectionError, Error):
            pass  # its time is over, the client has left, or it may see no more
    return answer


async def _run(
    on: Services, call: Call, answer: web.StreamResponse, watch: Watch, last: int
) -> None:
    while not on.feed.is_closed:
        last = await _told(on, call, answer, last)
        if not await watch.changed():
            await answer.write(b":\n\n")  # keeps the line open, and notices a client that left
        async with on.database.read() as uow:
            await signed_in(bearer(call.request), uow, on.clock.now_ms(), on.tools.keys)


async def _told(on: Services, call: Call, answer: web.StreamResponse, last: int) -> int:
    """Write what came behind *last*; return the number of the last event written."""
    while True:
        async with on.database.read() as uow:
            events = await uow.uploads.events_after(
                call.caller.account_id, last, EVENTS_PER_READ_MAX
            )
        if events:
            await answer.write(_lines(events))
            last = events[-1].number
        if len(events) < EVENTS_PER_READ_MAX:
            return last


def _lines(events: Sequence[Event]) -> bytes:
    lines: list[str] = []
    for one in events:
        data = json.dumps({"upload": one.upload_id, **shown.event(one).model_dump()})
        lines.append(f"id: {one.number}\nevent: upload\ndata: {data}\n\n")
    return "".join(lines).encode()


async def _start(on: Services, call: Call) -> int:
    """Return the number behind which the stream begins; raises ``Error(INVALID)``."""
    seen = call.request.headers.get("Last-Event-ID")
    if seen is None:
        async with on.database.read() as uow:
            return await uow.uploads.last_event(call.caller.account_id)
    if not (seen.isascii() and seen.isdigit() and len(seen) <= _NUMBER_CHARS_MAX):
        raise Error(Code.INVALID, "Last-Event-ID is a number that this stream gave")
    return int(seen)
