"""How the API refuses: problem details (RFC 9457), made from the one table of errors.

The rule: a refusal repeats nothing of the request, and the same code gives the same answer.
"""

import json
import math
from http import HTTPStatus
from typing import Final

from aiohttp import web

from zentransfer.errors import Code, Error

HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def problem(error: Error, request: web.Request | None = None) -> web.Response:
    """Return the answer for *error*.

    When part of the body of *request* was not read, the connection ends with the answer.
    """
    reply = error.reply
    document: dict[str, object] = {
        "type": reply.problem or "about:blank",
        "title": _title(error),
        "status": reply.http,
        "detail": error.detail or reply.reason,
        "code": str(error.code),
    }
    headers = dict(HEADERS)
    if error.code is Code.UNAUTHENTICATED:
        headers["WWW-Authenticate"] = "Bearer"  # RFC 6750 section 3
    if error.retry_after_s is not None:
        document["retry_after_s"] = error.retry_after_s
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    answer = web.Response(
        status=reply.http,
        text=json.dumps(document) + "\n",
        content_type="application/problem+json",
        headers=headers,
    )
    if request is not None and not request.content.at_eof():
        answer.force_close()
    return answer


def _title(error: Error) -> str:
    """Return the status' registered words; our own where none are registered (tus uses 460)."""
    try:
        return HTTPStatus(error.reply.http).phrase
    except ValueError:
        return str(error.code).replace("_", " ").capitalize()
