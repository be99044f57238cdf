"""Read one request of the API: its token, its body, its ids, its place in a list.

The rule: everything is bounded and checked before a handler sees it, and what is wrong with it is
said in our words, not in those that were sent.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from control.accounts.signin import Caller
from control.paging import Position
from zentransfer import ids
from zentransfer.errors import Code, Error
from zentransfer.ids import Kind
from zentransfer.limits import (
    API_BODY_BYTES_MAX,
    API_CURSOR_CHARS_MAX,
    ERROR_DETAIL_CHARS_MAX,
    PAGE_ITEMS,
    PAGE_ITEMS_MAX,
)

M = TypeVar("M", bound=BaseModel)

_CURSOR: Final = re.compile(r"([0-9]{1,15})\.([a-z0-9_]{1,64})")
_QUOTING: Final = frozenset({"value_error", "assertion_error"})  # of validators, in their own words
_LIMIT: Final = re.compile(r"[0-9]{1,4}")


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose caller is known; ``body`` is what was sent, if the route takes a body."""

    request: web.Request
    caller: Caller
    now_ms: int
    body: BaseModel | None = None

    def sent(self, model: type[M]) -> M:
        """Return the body, which the route promises to be a *model*."""
        assert isinstance(self.body, model), "the table of routes names another body"
        return self.body


def bearer(request: web.Request) -> str:
    """Return the token of a request (RFC 6750 section 2.1); raises ``Error(UNAUTHENTICATED)``."""
    given = request.headers.getall("Authorization", [])
    scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    if scheme.lower() != "bearer" or not token:
        raise Error(Code.UNAUTHENTICATED, "send Authorization: Bearer and an API token")
    return token


async def parsed(request: web.Request, model: type[M]) -> M:
    """Return the body of *request*; raises ``Error``: TOO_LARGE, UNSUPPORTED_MEDIA, INVALID."""
    if request.content_type != "application/json" or "Content-Encoding" in request.headers:
        raise Error(Code.UNSUPPORTED_MEDIA, "send application/json, not encoded further")
    content = bytearray()
    async for part in request.content.iter_any():
        content += part
        if len(content) > API_BODY_BYTES_MAX:
            raise Error(Code.TOO_LARGE, f"a body here has at most {API_BODY_BYTES_MAX} bytes")
    try:
        return model.model_validate_json(bytes(content))
    except ValidationError as wrong:
        raise Error(Code.INVALID, _explained(wrong)) from None  # its text quotes what was sent


def named(request: web.Request, kind: Kind) -> str:
    """Return the id in the path; raises ``Error(NOT_FOUND)`` when it cannot be one.

    A malformed id, an unknown one and somebody else's are all answered alike.
    """
    try:
        return ids.parse(kind, request.match_info["id"])
    except Error:
        raise Error(Code.NOT_FOUND) from None


def place(request: web.Request) -> tuple[int, Position | None]:
    """Return how many items a page shall have, and behind which; raises ``Error(INVALID)``."""
    limit = request.query.get("limit", str(PAGE_ITEMS))
    if _LIMIT.fullmatch(limit) is None or not 0 < int(limit) <= PAGE_ITEMS_MAX:
        raise Error(Code.INVALID, f"limit is a number from 1 to {PAGE_ITEMS_MAX}")
    cursor = request.query.get("cursor")
    return int(limit), None if cursor is None else _position(cursor)


def cursor_behind(position: Position) -> str:
    """Return what asks for the page behind *position*."""
    at_ms, name = position
    return base64.urlsafe_b64encode(f"{at_ms}.{name}".encode()).decode().rstrip("=")


def _position(cursor: str) -> Position:
    match = _CURSOR.fullmatch(_decoded(cursor))
    if match is None:
        raise Error(Code.INVALID, "the cursor is not one of ours; begin without it")
    return int(match[1]), match[2]


def _decoded(cursor: str) -> str:
    """Return the text in *cursor*; nothing if it is none."""
    try:
        padded = cursor[:API_CURSOR_CHARS_MAX] + "=" * (-len(cursor) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        return ""


def _explained(wrong: ValidationError) -> str:
    """Say which fields are wrong and how, by their declared names only."""
    told: list[str] = []
    for one in wrong.errors(include_url=False, include_context=False, include_input=False):
        # The last step to a field that is not declared is the sender's own word.
        steps = one["loc"][:-1] if one["type"] == "extra_forbidden" else one["loc"]
        told.append(f"{'.'.join(map(str, steps)) or 'body'} {_fault(one['type'], one['msg'])}")
    return "; ".join(told)[:ERROR_DETAIL_CHARS_MAX]


def _fault(kind: str, told: str) -> str:
    """Say what is wrong with a field: in pydantic's words where they cannot quote what was sent."""
    match kind:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return "has a field that is not known"
        case "json_invalid":
            return "is no JSON"
        case _ if kind in _QUOTING:
            return f"is not as it should be ({kind})"
        case _:
            return told.removeprefix("Input ").replace("String should", "should", 1)
