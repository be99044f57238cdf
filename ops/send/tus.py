"""The client's side of tus 1.0: what is asked, and what an answer means.  Pure.

The rule: an upload's bytes are never in the request that creates it, so a lost answer to a creation
leaves an empty upload that ends by itself, and never a second delivery.  For the same reason an
empty file is created with its length deferred, and becomes whole by its first PATCH.
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin, urlsplit

VERSION: Final = "1.0.0"
COLLECTION: Final = "/files/"

_CONTENT_TYPE: Final = "application/offset+octet-stream"
_NUMBER: Final = re.compile("[0-9]{1,18}")
_UPLOAD: Final = re.compile("up_[a-z2-7]{26}")
_WORDS_CHARS_MAX: Final = 300
_UNAUTHENTICATED: Final = 401
_DEFAULTS: Final = {
    401: "the token is not accepted; take a new one from your account page",
    413: "the file is larger than the account may send",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer: status, headers (any case) and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Created:
    """A new upload: where it is continued, which is a secret, and its id if that was told."""

    url: str
    upload: str


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an upload stands: durable bytes, of how many (``None``: not announced yet)."""

    offset: int
    length: int | None


class Lost(Exception):
    """There was no answer, or none that makes sense; what was asked may have happened."""


class Refused(Exception):
    """The node said no: with a status, words for a person, and seconds to wait if it said so."""

    def __init__(self, status: int, words: str, retry_after_s: float = 0.0) -> None:
        super().__init__(status, words, retry_after_s)
        self.status = status
        self.words = words
        self.retry_after_s = retry_after_s

    def hinted(self, hint: str) -> "Refused":
        """Return it with the *hint* in its words, if it is the token that is refused."""
        if self.status != _UNAUTHENTICATED or not hint:
            return self
        return Refused(self.status, f"{self.words}; {hint}", self.retry_after_s)


def creating(name: str, size: int) -> dict[str, str]:
    """Return the headers of the POST that creates an upload of *size* bytes."""
    length = {"Upload-Length": str(size)} if size else {"Upload-Defer-Length": "1"}
    encoded = base64.b64encode(name.encode()).decode()
    return {"Tus-Resumable": VERSION, **length, "Upload-Metadata": f"filename {encoded}"}


def asking() -> dict[str, str]:
    """Return the headers of HEAD and DELETE."""
    return {"Tus-Resumable": VERSION}


def appending(offset: int, end: int, size: int) -> dict[str, str]:
    """Return the headers of the PATCH that brings the bytes from *offset* to *end*."""
    headers = {
        "Tus-Resumable": VERSION,
        "Upload-Offset": str(offset),
        "Content-Type": _CONTENT_TYPE,
        "Content-Length": str(end - offset),
    }
    return headers if size else {**headers, "Upload-Length": "0"}


def created(answer: Answer, at: str) -> Created:
    """Return what the answer to a POST to the URL *at* says; raises ``Refused``, ``Lost``."""
    _check(answer, 201)
    url = urljoin(at, answer.headers.get("Location", ""))
    parts = urlsplit(url)
    was_protected, is_protected = at.startswith("https:"), parts.scheme == "https"
    if url == at or not parts.hostname or parts.scheme not in ("http", "https"):
        raise Lost("the node did not say where the upload is")
    if was_protected and not is_protected:
        raise Lost("the node sent us on to an address without TLS")
    told = answer.headers.get("ZT-Upload-Id", "")
    return Created(url, told if _UPLOAD.fullmatch(told) else "")


def found(answer: Answer) -> Standing:
    """Return what the answer to a HEAD says; raises ``Refused``, ``Lost``."""
    _check(answer, 200, 204)
    length = answer.headers.get("Upload-Length")
    return Standing(
        _number(answer, "Upload-Offset"),
        None if length is None else _number(answer, "Upload-Length"),
    )


def appended(answer: Answer) -> int:
    """Return the durable offset after a PATCH; raises ``Refused``, ``Lost``."""
    _check(answer, 204)
    return _number(answer, "Upload-Offset")


def terminated(answer: Answer) -> None:
    """Return if the upload is ended; raises ``Refused``, ``Lost``."""
    _check(answer, 204)


def refusal(answer: Answer) -> Refused:
    """Return the *answer*, which is no success, as what it is: with its words if it has any."""
    text = answer.headers.get("Retry-After", "")
    return Refused(answer.status, _words(answer), float(text) if _NUMBER.fullmatch(text) else 0.0)


def _check(answer: Answer, *good: int) -> None:
    if answer.status in good:
        return
    if answer.status < 400:  # noqa: PLR2004 - neither success nor refusal: somebody between us
        raise Lost(f"an answer {answer.status} that makes no sense")
    raise refusal(answer)


def _number(answer: Answer, name: str) -> int:
    text = answer.headers.get(name, "")
    if not _NUMBER.fullmatch(text):
        raise Lost(f"an answer without {name}")
    return int(text)


def _words(answer: Answer) -> str:
    """Return what a problem document (RFC 9457) says, or words of our own."""
    try:
        problem = json.loads(answer.body)
        said = [problem[key] for key in ("title", "detail") if key in problem]
        words = ": ".join(map(str, said))[:_WORDS_CHARS_MAX]
    except (ValueError, TypeError, KeyError, AttributeError):
        words = ""
    return words or _DEFAULTS.get(answer.status, f"the node answered {answer.status}")
