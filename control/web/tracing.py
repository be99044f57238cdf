"""The live protocol trace of a credential: opened, watched as server-sent events, closed.

The rule: its lines are opened here and nowhere else, for the members of its own account, and go
from memory to the answer; no log, no database and no timeline ever holds one.
"""

import asyncio
import json
from collections.abc import Sequence
from http import HTTPStatus

from aiohttp import web

from control.accounts.model import CredentialKind
from control.accounts.signin import signed_in
from control.accounts.traces import Numbered, TraceLine
from control.uploads.feed import Watch
from control.web.bodies import TraceBody, rfc3339
from control.web.problem import HEADERS
from control.web.request import Call, bearer, named
from control.web.routes import Services
from zentransfer.errors import Code, Error
from zentransfer.ids import CredentialID, Kind

_NUMBER_CHARS_MAX = 18
_RETRY_MS = 3_000


async def open_trace(on: Services, call: Call) -> TraceBody:
    """Trace a camera's credential for some minutes; again: for so long from now."""
    wanted = CredentialID(named(call.request, Kind.CREDENTIAL))
    owner = call.caller.account_id
    async with on.database.read() as uow:
        held = await uow.accounts.maybe_owned(owner, wanted)
    if held is None:
        raise Error(Code.NOT_FOUND)
    if held.kind is not CredentialKind.FTP:
        raise Error(Code.INVALID, "only a camera's credential can be traced")
    told_ms = on.traces.until_ms(owner, wanted, call.now_ms)
    until_ms = on.traces.open(owner, wanted, call.now_ms)
    if until_ms != told_ms:  # else every node was asked just so
        on.trace(wanted, until_ms - call.now_ms)
    return TraceBody(credential=wanted, expires_at=rfc3339(until_ms))


async def close_trace(on: Services, call: Call) -> None:
    """End a trace and forget its lines."""
    wanted = CredentialID(named(call.request, Kind.CREDENTIAL))
    if not on.traces.close(call.caller.account_id, wanted):
        raise Error(Code.NOT_FOUND)
    on.trace(wanted, 0)
    on.feed.notify({call.caller.account_id})


async def stream_trace(on: Services, call: Call) -> web.StreamResponse:
    """Stream the lines of an open trace, those that are kept first; ends with the trace."""
    wanted = CredentialID(named(call.request, Kind.CREDENTIAL))
    owner, last = call.caller.account_id, on.traces.resumed(_seen(call))
    if on.traces.until_ms(owner, wanted, call.now_ms) is None:
        raise Error(Code.NOT_FOUND)
    with on.feed.watch(owner) as watch:
        answer = web.StreamResponse(
            status=HTTPStatus.OK, headers={**HEADERS, "Content-Type": "text/event-stream"}
        )
        await answer.prepare(call.request)
        await answer.write(f"retry: {_RETRY_MS}\n\n".encode())
        try:
            async with asyncio.timeout(on.stream_s):
                await _run(on, call, answer, watch, wanted, last)
        except (TimeoutError, ConnectionError, Error):
            pass  # its time is over, the client has left, or it may see no more
    return answer


async def _run(
    on: Services,
    call: Call,
    answer: web.StreamResponse,
    watch: Watch,
    wanted: CredentialID,
    last: int,
) -> None:
    owner = call.caller.account_id
    while not on.feed.is_closed:
        if on.traces.until_ms(owner, wanted, on.clock.now_ms()) is None:
            await answer.write(b"event: end\ndata: {}\n\n")
            return
        found = on.traces.behind(owner, wanted, last)
        if found:
            await answer.write(_lines(on, found))
            last = found[-1].number
        if not await watch.changed():
            await answer.write(b":\n\n")  # keeps the line open, and notices a client that left
        async with on.database.read() as uow:
            await signed_in(bearer(call.request), uow, on.clock.now_ms(), on.tools.keys)


def _lines(on: Services, found: Sequence[Numbered]) -> bytes:
    return "".join(
        f"id: {one.number}\nevent: line\ndata: {json.dumps(_shown(on, one.line))}\n\n"
        for one in found
    ).encode()


def _shown(on: Services, one: TraceLine) -> dict[str, object]:
    try:
        text = on.tools.keys.open_line(one.account_id, one.credential_id, one.sealed)
    except Error:
        text = "(this line cannot be opened)"
    return {
        "at": rfc3339(one.at_ms),
        "node": one.node,
        "session": f"{one.process}/{one.session}",
        "line": text,
    }


def _seen(call: Call) -> int:
    """Return the number behind which the stream begins; raises ``Error(INVALID)``."""
    seen = call.request.headers.get("Last-Event-ID", "0")
    if not (seen.isascii() and seen.isdigit() and len(seen) <= _NUMBER_CHARS_MAX):
        raise Error(Code.INVALID, "Last-Event-ID is a number that this stream gave")
    return int(seen)
