"""What the HTTP door says when it refuses or fails: problem details (RFC 9457).  Pure.

The rule: the code's own words and nothing that the peer sent, and a time to come back wherever
coming back helps.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

from zentransfer.errors import Code, Error, problem


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP response: status, headers and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def refusal(error: Error, stretch: float = 1.0) -> Answer:
    """Return the answer that says *error*.

    *stretch*, at least 1, lengthens the time to come back: drawn anew for each refusal, so that
    those who were refused together do not come back together.
    """
    headers = {"Content-Type": "application/problem+json", "Cache-Control": "no-store"}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after_s * stretch))
    if error.code is Code.UNAUTHENTICATED:  # RFC 9110 section 11.6.1: a 401 must carry it
        headers["WWW-Authenticate"] = 'Bearer realm="zentransfer"'
    body = json.dumps(problem(error)).encode() + b"\n"
    return Answer(error.reply.http, headers, body)
