"""The tus 1.0 dialect with all its extensions but checksum-trailer.  Pure.

The rule: what a request says is read once, here, and held to the protocol's text
(tus.io/protocols/resumable-upload, 1.0.0); what is malformed is refused, also where others guess.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from edge import checks
from edge.checks import Check
from edge.facts import Door
from edge.http import problem
from edge.http.problem import Answer
from edge.incoming import Incoming
from edge.names import cleaned
from zentransfer.errors import Code, Error
from zentransfer.ids import Capability, UploadID
from zentransfer.limits import (
    PARTIALS_PER_UPLOAD_MAX,
    UPLOAD_CONCAT_CHARS_MAX,
    UPLOAD_METADATA_CHARS_MAX,
)
from zentransfer.sealed_name import FileName

DIALECT: Final = "tus"
PREFIX: Final = "/files/"
VERSION: Final = "1.0.0"
# No checksum-trailer: aiohttp 3.14 reads the trailers of a request and hands them to nobody, in C
# and in Python alike, so a digest in one could not be compared.  A request that announces one is
# refused: its sender would take the 204 for a match.
EXTENSIONS: Final = (
    "checksum",
    "concatenation",
    "concatenation-unfinished",
    "creation",
    "creation-defer-length",
    "creation-with-upload",
    "expiration",
    "termination",
)
COLLECTION_VERBS: Final = ("OPTIONS", "POST")
UPLOAD_VERBS: Final = ("OPTIONS", "HEAD", "PATCH", "DELETE")

_CONTENT_TYPE: Final = "application/offset+octet-stream"
_NUMBER: Final = re.compile("[0-9]+")
_DIGITS_MAX: Final = 18
_HUGE: Final = 10**18  # bytes: what a number of more digits counts as; no upload is as long
_PARTIAL: Final = "partial"
_FINAL: Final = "final;"
_TRAILER: Final = re.compile(r"(?:^|,)[ \t]*upload-checksum[ \t]*(?=,|$)", re.IGNORECASE)
_KEY: Final = re.compile("[!-+.-~/-]+")  # printable ASCII, no space and no comma
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+(:[0-9]+)?|\[[0-9A-Fa-f:.]+\](:[0-9]+)?")
_WORD: Final = re.compile("[ -~]{0,255}")
_VISIBLE: Final = re.compile("[ -~]+")  # it is answered as it came (T48)
_UNNAMED: Final = FileName("", "upload")
_NONE: Final[Mapping[str, bytes]] = MappingProxyType({})
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)


@dataclass(frozen=True, slots=True)
class Append:
    """What a PATCH says: where its bytes go, the whole length if it is announced only now.

    And what its bytes hash to, if it says so.
    """

    offset: int
    length: int | None
    check: Check | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an upload stands: ``offset`` durable bytes, of ``length`` if that is known.

    The offset is ``None`` of one that consists of others which are still to come.  ``metadata`` and
    ``concat`` are as its sender gave them, ``upload`` is its id where that is told, ``expires_ms``
    when it goes without a further byte.
    """

    offset: int | None
    length: int | None
    metadata: str = ""
    upload: UploadID | None = None
    expires_ms: int | None = None
    concat: str = ""


def is_ours(target: str) -> bool:
    """Say whether the request line's *target* is the collection, or an upload in it."""
    path = _path(target)
    return path.startswith(PREFIX) or path + "/" == PREFIX


def verb(method: str, headers: Mapping[str, str]) -> str:
    """Return what the client really asks for, where something between us lets few verbs pass."""
    return headers.get("X-HTTP-Method-Override", method).upper()


def shown_capability(target: str) -> str:
    """Return what the request line's *target* names in the collection; empty for itself."""
    return _path(target)[len(PREFIX) :]


def check_version(headers: Mapping[str, str]) -> None:
    """Refuse another version, before anything of the request is done; VERSION_MISMATCH."""
    if headers.get("Tus-Resumable") != VERSION:
        raise Error(Code.VERSION_MISMATCH)


def check_fits(offset: int, count: int | None, length: int | None) -> None:
    """Refuse *count* announced bytes at *offset* that go past *length*, before they are sent."""
    if count is not None and length is not None and offset + count > length:
        raise Error(Code.SIZE_EXCEEDED)


def incoming(headers: Mapping[str, str], *, has_body: bool) -> Incoming:
    """Return what a POST says of the upload that it creates; raises ``Error``.

    INVALID for headers that are missing, malformed or of an extension that would change what the
    upload is; UNSUPPORTED_MEDIA for a body of another type.
    """
    if has_body:
        _check_type(headers)
    concat = _checked_concat(headers, has_body=has_body)
    is_final = concat.startswith(_FINAL)
    metadata = headers.get("Upload-Metadata", "")
    found = parsed(metadata)
    return Incoming(
        name=_name(found),
        door=Door.HTTP,
        dialect=DIALECT,
        length=None if is_final else _created_length(headers),
        media_type=_word(found.get("filetype", found.get("type", b""))),
        metadata=metadata,
        concat=concat,
        is_partial=concat == _PARTIAL,
        is_checked=has_body and check(headers) is not None,
    )


def partials(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Return what names each upload that a POST wants to join, in its order; else nothing.

    Their addresses are absolute or relative; whose host an absolute one names says nothing, because
    what stands before us may bear any name.  Raises ``Error(INVALID)`` for none, or too many.
    """
    concat = headers.get("Upload-Concat", "")
    if not concat.startswith(_FINAL):
        return ()
    addresses = concat.removeprefix(_FINAL).split(" ")
    if len(addresses) > PARTIALS_PER_UPLOAD_MAX:
        raise Error(Code.INVALID, f"at most {PARTIALS_PER_UPLOAD_MAX} uploads make one")
    if not all(is_ours(address) and shown_capability(address) for address in addresses):
        raise Error(Code.INVALID, "Upload-Concat names what is no upload of this collection")
    return tuple(shown_capability(address) for address in addresses)


def check(headers: Mapping[str, str]) -> Check | None:
    """Return what ``Upload-Checksum`` says of the request's bytes; raises ``Error(INVALID)``."""
    if _TRAILER.search(headers.get("Trailer", "")):
        raise Error(Code.INVALID, "checksum-trailer is not offered; send Upload-Checksum before")
    text = headers.get("Upload-Checksum")
    if text is None:
        return None
    algorithm, _, digest = text.partition(" ")
    try:
        expected = base64.b64decode(digest, validate=True)
    except ValueError as wrong:
        raise Error(Code.INVALID, "the checksum is not base64") from wrong
    return checks.check(algorithm, expected, checks.TUS)


def append(headers: Mapping[str, str]) -> Append:
    """Return what a PATCH says; raises ``Error``: UNSUPPORTED_MEDIA, INVALID."""
    _check_type(headers)
    offset = _maybe_number(headers, "Upload-Offset")
    if offset is None:
        raise Error(Code.INVALID, "Upload-Offset is missing")
    return Append(offset, _maybe_number(headers, "Upload-Length"), check(headers))


def parsed(metadata: str) -> Mapping[str, bytes]:
    """Return the pairs in ``Upload-Metadata``; raises ``Error(INVALID)``.

    It is answered as it came, so nothing gets in that could not stand in a header.
    """
    if not metadata:
        return _NONE
    if len(metadata) > UPLOAD_METADATA_CHARS_MAX:
        raise Error(Code.INVALID, "Upload-Metadata is too long")
    found: dict[str, bytes] = {}
    for pair in metadata.split(","):
        key, _, value = pair.strip(" ").partition(" ")
        if not _KEY.fullmatch(key) or key in found:
            raise Error(Code.INVALID, "a key of Upload-Metadata is malformed or given twice")
        try:
            found[key] = base64.b64decode(value, validate=True)
        except ValueError as wrong:
            raise Error(Code.INVALID, "a value of Upload-Metadata is not base64") from wrong
    return found


def options(size_max: int) -> Answer:
    """Return what this door speaks, and the largest upload in bytes that anybody may send."""
    headers = {
        "Tus-Version": VERSION,
        "Tus-Extension": ",".join(EXTENSIONS),
        "Tus-Max-Size": str(size_max),
        "Tus-Checksum-Algorithm": ",".join(checks.TUS),
    }
    return Answer(204, headers, b"")


def location(capability: Capability, host: str, scheme: str) -> str:
    """Return the address of an upload, the same in every response to one request.

    It is absolute where the request said which *host* it was sent to, for scripts that resolve
    none; else it is relative (RFC 9110 section 10.2.2 allows both).
    """
    base = f"{scheme}://{host}" if _HOST.fullmatch(host) else ""
    return base + PREFIX + capability


def created(
    capability: Capability, standing: Standing, *, has_body: bool, host: str = "", scheme: str = ""
) -> Answer:
    """Return the answer for an upload that exists now, at the address of :func:`location`."""
    headers = {"Location": location(capability, host, scheme), **_expiring(standing)}
    if has_body:
        headers["Upload-Offset"] = str(standing.offset)
    return _answer(201, headers)


def found(standing: Standing) -> Answer:
    """Return the answer to HEAD."""
    headers = {"Cache-Control": "no-store"}
    if standing.offset is not None:
        headers["Upload-Offset"] = str(standing.offset)
    if standing.length is not None:
        headers["Upload-Length"] = str(standing.length)
    elif standing.offset is not None:
        headers["Upload-Defer-Length"] = "1"
    if standing.concat:
        headers["Upload-Concat"] = standing.concat
    if standing.metadata:
        headers["Upload-Metadata"] = standing.metadata
    return _answer(200, {**headers, **_expiring(standing)})


def appended(standing: Standing) -> Answer:
    """Return the answer to a PATCH whose bytes are durable."""
    return _answer(204, {"Upload-Offset": str(standing.offset), **_expiring(standing)})


def terminated() -> Answer:
    """Return the answer to DELETE."""
    return _answer(204, {})


def refusal(error: Error, stretch: float = 1.0) -> Answer:
    """Return the answer that says *error*, as :func:`edge.http.problem.refusal`."""
    answer = problem.refusal(error, stretch)
    headers = {**answer.headers, "Tus-Resumable": VERSION}
    if error.code is Code.VERSION_MISMATCH:
        headers["Tus-Version"] = VERSION
    return replace(answer, headers=headers)


def http_date(at_ms: int) -> str:
    """Return *at_ms* (UTC milliseconds) as RFC 9110 section 5.6.7 wants a date."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    day, month = _DAYS[at.weekday()], _MONTHS[at.month - 1]
    return f"{day}, {at.day:02} {month} {at.year:04} {at:%H:%M:%S} GMT"


def _answer(status: int, headers: Mapping[str, str]) -> Answer:
    return Answer(status, {"Tus-Resumable": VERSION, **headers}, b"")


def _expiring(standing: Standing) -> dict[str, str]:
    headers: dict[str, str] = {}
    if standing.expires_ms is not None:
        headers["Upload-Expires"] = http_date(standing.expires_ms)
    if standing.upload is not None:
        headers["ZT-Upload-Id"] = standing.upload
    return headers


def _path(target: str) -> str:
    if target.startswith("/"):
        return target.partition("?")[0]
    try:
        return urlsplit(target).path
    except ValueError:  # a host in brackets that is none
        return ""


def _check_type(headers: Mapping[str, str]) -> None:
    if headers.get("Content-Type", "").partition(";")[0].strip().lower() != _CONTENT_TYPE:
        raise Error(Code.UNSUPPORTED_MEDIA, f"send Content-Type: {_CONTENT_TYPE}")


def _checked_concat(headers: Mapping[str, str], *, has_body: bool) -> str:
    """Return ``Upload-Concat`` if it means anything and stands with what may be beside it."""
    concat = headers.get("Upload-Concat", "")
    if not concat.startswith(_FINAL):
        if concat not in ("", _PARTIAL):
            raise Error(Code.INVALID, "Upload-Concat is partial, or final; and addresses")
        return concat
    if has_body or "Upload-Length" in headers or "Upload-Defer-Length" in headers:
        raise Error(
            Code.INVALID, "an upload made of others has neither bytes nor length of its own"
        )
    if len(concat) > UPLOAD_CONCAT_CHARS_MAX or not _VISIBLE.fullmatch(concat):
        raise Error(Code.INVALID, "Upload-Concat is too long, or malformed")
    return concat


def _created_length(headers: Mapping[str, str]) -> int | None:
    length, deferred = _maybe_number(headers, "Upload-Length"), headers.get("Upload-Defer-Length")
    if deferred not in (None, "1"):
        raise Error(Code.INVALID, "Upload-Defer-Length is 1 or not there")
    if (length is None) == (deferred is None):
        raise Error(Code.INVALID, "send either Upload-Length or Upload-Defer-Length: 1")
    return length


def _maybe_number(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name)
    if text is None:
        return None
    if not _NUMBER.fullmatch(text):
        raise Error(Code.INVALID, f"{name} is not a number of bytes")
    digits = text.lstrip("0")
    return _HUGE if len(digits) > _DIGITS_MAX else int(digits or "0")


def _name(found: Mapping[str, bytes]) -> FileName:
    """Return the file's name, by the keys that clients in the field use for it."""
    given = found.get("filename") or found.get("name")
    if not given:
        return _UNNAMED
    try:
        return cleaned(given.decode())
    except UnicodeDecodeError as wrong:
        raise Error(Code.INVALID, "the name is not UTF-8") from wrong


def _word(value: bytes) -> str:
    text = value.decode("latin-1")
    return text if _WORD.fullmatch(text) else ""
