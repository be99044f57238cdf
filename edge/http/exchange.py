"""One HTTP request and its answer, as every dialect's handlers need them.

The rule: the body is asked for when it is wanted, and an answer whose body was not read closes the
connection; what a peer does wrong is said in our words.
"""

from collections.abc import Mapping
from typing import Final

from aiohttp import ClientPayloadError, StreamReader, http_exceptions, web

from edge.admission import Request
from edge.http import plain
from edge.http.problem import Answer
from edge.snapshot import CredentialKind
from zentransfer.errors import Code, Error

_REASONS: Final = {460: "Checksum Mismatch"}  # tus 1.0, checksum; no registered status
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Body:
    """A request's body as the pump wants it: its faults in our words."""

    def __init__(self, content: StreamReader) -> None:
        self._content = content

    async def readany(self) -> bytes:
        """Return what has come; raises ``Error``: PEER_GONE, or INVALID for broken chunks."""
        try:
            return await self._content.readany()
        except http_exceptions.BadHttpMessage as broken:
            raise Error(Code.INVALID, "the body is not what its headers say") from broken
        except (OSError, ClientPayloadError) as gone:
            raise Error(Code.PEER_GONE) from gone


def wanted(request: web.Request, length: int | None, now_ms: int) -> Request:
    """Return who asks to send *length* bytes, for admission."""
    return Request(
        shown=plain.maybe_shown(request.headers.get("Authorization")),
        kind=CredentialKind.API,
        length=length,
        is_tls=request.secure,
        now_ms=now_ms,
    )


async def say_nothing(_: web.Request) -> None:
    """Leave ``Expect`` to the handler, which says 100 when it has admitted."""


async def ask_for_body(request: web.Request) -> Body:
    """Return the body, asked for if the client waits for that (RFC 9110 section 15.2.1)."""
    if plain.expects_continue(request.headers):
        writer = request.writer
        try:
            await writer.write(_CONTINUE)
        except OSError as gone:
            raise Error(Code.PEER_GONE) from gone
        writer.output_size = 0  # as aiohttp's own: the response has not begun
    return Body(request.content)


def response(
    request: web.Request, answer: Answer, more: Mapping[str, str] | None = None
) -> web.Response:
    """Return *answer*, with the headers *more*, as aiohttp sends it."""
    headers = {**answer.headers, **(more or {})}
    made = web.Response(
        status=answer.status,
        reason=_REASONS.get(answer.status),
        headers=headers,
        body=answer.body,
    )
    if not request.content.is_eof():
        made.force_close()
    return made


def hang_up(request: web.Request) -> None:
    """Close the connection at once: whoever is at its other end has connected anew."""
    if request.transport is not None:
        request.transport.abort()
