"""What one verb of the API is: a line of the table that router and OpenAPI document are made from.

The rule: what is not in the table (``control.web.table``) does not exist.  Paths are below
``/api/v1``.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from aiohttp import web
from pydantic import BaseModel

from control.accounts.handlers import Tools
from control.accounts.probe import Probe
from control.accounts.traces import TraceBook
from control.unit_of_work import Database
from control.uploads.commands import Commands
from control.uploads.feed import EventFeed
from control.uploads.receiving import ReceivingBook
from control.web.request import Call
from zentransfer.clock import Clock
from zentransfer.ids import CredentialID
from zentransfer.limits import EVENTS_STREAM_S

PREFIX: Final = "/api/v1"


def _nobody(_: CredentialID, __: int) -> None:
    """Tell no node: the default of a control without any."""


@dataclass(frozen=True, slots=True)
class Services:
    """What the verbs stand on.

    ``changed`` is called when nodes must hear of a change; ``stream_s`` is the longest life of a
    stream of events; ``receiving`` holds the uploads that have no end yet, ``traces`` what nodes
    tell of traced credentials, which ``trace`` asks them to (for milliseconds, 0 ends it).
    """

    database: Database
    tools: Tools
    clock: Clock
    commands: Commands
    probe: Probe
    feed: EventFeed
    changed: Callable[[], None]
    stream_s: float = EVENTS_STREAM_S
    receiving: ReceivingBook = field(default_factory=ReceivingBook)
    traces: TraceBook = field(default_factory=TraceBook)
    trace: Callable[[CredentialID, int], None] = _nobody


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list, and the cursor of the next one."""

    items: Sequence[BaseModel]
    next: str | None


Answer = BaseModel | Page | web.StreamResponse | None
Handle = Callable[[Services, Call], Awaitable[Answer]]
OpenHandle = Callable[[], web.Response]


@dataclass(frozen=True, slots=True)
class Route:
    """One verb at one path; who calls it is known.

    ``takes`` is the body; ``gives`` that of the answer, or of each item of a page; without it the
    answer has no body.  ``media`` is the type of an answer that is no JSON object of ours.
    """

    method: str
    path: str
    name: str
    summary: str
    handle: Handle
    gives: type[BaseModel] | None = None
    takes: type[BaseModel] | None = None
    status: HTTPStatus = HTTPStatus.OK
    is_page: bool = False
    media: str = "application/json"


@dataclass(frozen=True, slots=True)
class OpenRoute:
    """A GET that needs no token and asks nobody."""

    path: str
    name: str
    summary: str
    handle: OpenHandle
