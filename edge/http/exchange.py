"""One HTTP request and its answer, as every dialect's handlers need them.

The rule: the body is asked for when it is wanted, and an answer whose body was not read closes the
connection; what a peer does wrong is said in our words.
"""

import select
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

from aiohttp import ClientPayloadError, StreamReader, http_exceptions, web

from edge.admission import Request
from edge.handover import Ticket
from edge.http import plain
from edge.http.connection import Connection
from edge.http.problem import Answer
from edge.lane import Lane, Lent
from edge.pump import Source
from edge.snapshot import CredentialKind
from zentransfer.errors import Code, Error
from zentransfer.limits import LANE_FROM_BYTES

_REASONS: Final = {460: "Checksum Mismatch"}  # tus 1.0, checksum; no registered status
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

LANE: Final = web.AppKey("lane", Lane)
"""Where an application keeps the fast lane of its process."""


HANDED: Final = web.RequestKey("handed", Ticket)
"""Where a new upload's ticket is that another region gave it."""
REFUSED: Final = web.RequestKey("refused", Error)
"""Where it is said why that ticket is not good."""
AT_DOOR: Final = web.RequestKey("at_door", str)
"""Where the URL of this region's own door is, of a request that came by another name."""


class Body:
    """A request's body as the pump wants it: its faults in our words."""

    def __init__(self, content: StreamReader) -> None:
        self._content = content

    async def readany(self) -> bytes:
        """Return what has come; raises ``Error``: PEER_GONE, or INVALID for broken chunks."""
        with _in_our_words():
            return await self._content.readany()

    def read_now(self) -> bytes:
        """Return what is there already; raises as ``readany``."""
        with _in_our_words():
            return self._content.read_nowait()


@contextmanager
def _in_our_words() -> Generator[None, None, None]:
    try:
        yield
    except http_exceptions.BadHttpMessage as broken:
        raise Error(Code.INVALID, "the body is not what its headers say") from broken
    except (OSError, ClientPayloadError) as gone:
        raise Error(Code.PEER_GONE) from gone


def wanted(request: web.Request, length: int | None, now_ms: int) -> Request:
    """Return who asks to send *length* bytes, for admission.

    Raises ``Error`` if it comes with a ticket of another region that is not good.
    """
    refused = request.get(REFUSED)
    if refused is not None:
        raise refused
    return Request(
        shown=plain.maybe_shown(request.headers.get("Authorization")),
        kind=CredentialKind.API,
        length=length,
        is_tls=request.secure,
        now_ms=now_ms,
        ticket=request.get(HANDED),
    )


def at_host(request: web.Request) -> tuple[str, str]:
    """Return host and scheme by which what this request makes shall be asked for."""
    door = urlsplit(request.get(AT_DOOR) or "")
    if door.netloc and door.path in ("", "/"):
        return door.netloc, door.scheme
    return request.headers.get("Host", ""), request.scheme


async def say_nothing(_: web.Request) -> None:
    """Leave ``Expect`` to the handler, which says 100 when it has admitted."""


async def ask_for_body(request: web.Request) -> Source:
    """Return the body, asked for if the client waits for that (RFC 9110 section 15.2.1).

    It may go to the fast lane, if the application has one under :data:`LANE`.
    """
    if plain.expects_continue(request.headers):
        writer = request.writer
        try:
            await writer.write(_CONTINUE)
        except OSError as gone:
            raise Error(Code.PEER_GONE) from gone
        writer.output_size = 0  # as aiohttp's own: the response has not begun
    body = Body(request.content)
    lane = request.app.get(LANE)
    return body if lane is None else lent(request, body, lane)


def lent(request: web.Request, body: Body, lane: Lane) -> Source:
    """Return *body* as one that *lane* may take, if it is long enough, and clear TCP."""
    length, transport = request.content_length, request.transport
    if length is None or length < LANE_FROM_BYTES or transport is None:
        return body
    if transport.get_extra_info("sslcontext") is not None:
        return body
    connection = Connection(request.protocol, request.content)
    return Lent(lane, body, length, connection.ways(body.read_now))


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


def is_there(request: web.Request) -> bool:
    """Say whether the client is not known to be gone, be its end behind what was not read yet."""
    transport = request.transport
    if transport is None or transport.is_closing():
        return False
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), select.POLLRDHUP)
    return not poll.poll(0)  # an RST is always told: POLLERR, POLLHUP


def hang_up(request: web.Request) -> None:
    """Close the connection at once: whoever is at its other end has connected anew."""
    if request.transport is not None:
        request.transport.abort()
