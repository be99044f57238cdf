"""The plain dialect: a whole file as the body of a PUT or POST, or files in a form.  Pure.

The rule: what a request says is read once, here, and what is ambiguous is refused: a length that is
not there, an address for another host, a change of protocol.
"""

import base64
import json
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from edge.facts import Door, Outcome
from edge.http.problem import Answer
from edge.incoming import Incoming
from edge.names import from_url
from zentransfer.credential import Shown, parse_token
from zentransfer.errors import Code, Error

DIALECT: Final = "plain"
"""Such an upload is never continued: what a crash cuts is aborted."""
PREFIX: Final = "/in/"
VERBS: Final = ("OPTIONS", "PUT", "POST")

_BEARER: Final = re.compile("bearer +([!-~]+)", re.IGNORECASE)  # RFC 6750 section 2.1
_SHA256: Final = re.compile(r"(?:^|,)[ \t]*sha-256=:([A-Za-z0-9+/=]*):[ \t]*(?=,|$)")
_SHA256_NAME: Final = re.compile(r"(?:^|,)[ \t]*sha-256[ \t]*=", re.IGNORECASE)
_DIGEST_FIELDS: Final = ("repr-digest", "content-digest")
_WANTED: Final = re.compile(r"(?:^|,)[ \t]*sha-256=([0-9]+)[ \t]*(?=,|$)")
_DIGEST_BYTES: Final = 32
_TOKEN_CHARS_MAX: Final = 255  # of a media type or coding: longer ones say nothing to anybody
_PRINTABLE: Final = re.compile("[ -~]*")


def check_target(target: str, headers: Mapping[str, str]) -> None:
    """Refuse a request that is not meant for a door of ours; raises ``Error(INVALID)``.

    The absolute form must name the host that the request is for (RFC 9112 section 3.2.2), else a
    front and we would disagree about whose it is.  ``Upgrade`` is refused: what follows it would be
    read as something else than a body.
    """
    if "Upgrade" in headers:
        raise Error(Code.INVALID, "this door changes to no other protocol")
    if not target.startswith("/") and target != "*":
        host = headers.get("Host", "").lower()
        try:
            named = urlsplit(target).netloc.lower()
        except ValueError as wrong:
            raise Error(Code.INVALID, "the address is none") from wrong
        if named != host:
            raise Error(Code.INVALID, "the address is for another host")


def maybe_shown(authorization: str | None) -> Shown | None:
    """Return what the header ``Authorization`` shows, or ``None`` for nothing of ours."""
    match = _BEARER.fullmatch(authorization or "")
    if match is None:
        return None
    try:
        return parse_token(match[1])
    except Error:
        return None


def incoming(target: str, headers: Mapping[str, str], length: int | None) -> Incoming:
    """Return what the request line and *headers* say of the file; *length* is Content-Length.

    Raises ``Error(INVALID)``.
    """
    if length is None and "Transfer-Encoding" not in headers:
        raise Error(Code.INVALID, "send Content-Length, or chunks")
    if "Content-Range" in headers:  # RFC 9110 section 14.5: else a part would look whole
        raise Error(Code.INVALID, "a PUT takes whole files; leave out Content-Range")
    path = path_of(target)
    if not path:
        raise Error(Code.INVALID, "the file has no name: send it to /in/NAME, or in a form to /in/")
    return Incoming(
        name=from_url(path),
        door=Door.HTTP,
        dialect=DIALECT,
        length=length,
        media_type=word(headers.get("Content-Type", "")),
        content_encoding=word(headers.get("Content-Encoding", "")),
        digest=_maybe_digest(headers),
        wants_digest=_wants_digest(headers),
    )


def expects_continue(headers: Mapping[str, str]) -> bool:
    """Say whether the client waits for our word before it sends (RFC 9110 section 10.1.1)."""
    return headers.get("Expect", "").lower() == "100-continue"


def created(outcome: Outcome, digest: bytes | None) -> Answer:
    """Return the answer for an upload that is whole and durable, with its *digest* if asked."""
    headers = {"Content-Type": "application/json", "ZT-Upload-Id": outcome.upload_id}
    if digest is not None:
        headers["Repr-Digest"] = f"sha-256=:{base64.b64encode(digest).decode('ascii')}:"
    body = {"id": outcome.upload_id, "size": outcome.size_bytes, "region": outcome.region}
    return Answer(201, headers, json.dumps(body).encode() + b"\n")


def path_of(target: str) -> str:
    """Return what stands behind the prefix in the request line."""
    path = urlsplit(target).path if not target.startswith("/") else target.partition("?")[0]
    return path.removeprefix(PREFIX)


def _maybe_digest(headers: Mapping[str, str]) -> bytes | None:
    """Return the SHA-256 that was announced (RFC 9530); other algorithms are passed over.

    Of a PUT both fields are over the same bytes, because nothing is decoded.  One that cannot be
    read is refused: its sender relies on it.
    """
    named = ",".join(value for name, value in headers.items() if name.lower() in _DIGEST_FIELDS)
    found = _SHA256.findall(named)
    if len(found) != len(_SHA256_NAME.findall(named)):
        raise Error(Code.INVALID, "a digest is written sha-256=:base64:")
    if not found:
        return None
    try:
        (digest,) = {base64.b64decode(text, validate=True) for text in found}
    except ValueError as wrong:
        raise Error(Code.INVALID, "the digests are malformed or contradict each other") from wrong
    if len(digest) != _DIGEST_BYTES:
        raise Error(Code.INVALID, "a SHA-256 has 32 bytes")
    return digest


def _wants_digest(headers: Mapping[str, str]) -> bool:
    match = _WANTED.search(headers.get("Want-Repr-Digest", ""))
    return match is not None and int(match[1]) > 0


def word(text: str) -> str:
    """Return a media type or coding as a sender writes it; nothing for what cannot be one."""
    return text if len(text) <= _TOKEN_CHARS_MAX and _PRINTABLE.fullmatch(text) else ""
