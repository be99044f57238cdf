"""Resumable Uploads for HTTP (draft-ietf-httpbis-resumable-upload), every version in use.  Pure.

The rule: one table says what each interop version wants otherwise than the newest; a field that is
malformed counts as not sent, as the draft has it, and what must be there is then missing.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from edge import checks
from edge.checks import Check
from edge.facts import Door, Outcome
from edge.http import plain, problem
from edge.http.problem import Answer
from edge.http.rufh_name import name_of
from edge.http.structured import (
    boolean,
    dictionary,
    field,
    maybe_boolean,
    maybe_bytes,
    maybe_dictionary,
    maybe_integer,
    maybe_integers,
    maybe_size,
)
from edge.incoming import Incoming
from edge.upload import OffsetMismatch
from zentransfer.errors import Code, Error
from zentransfer.ids import UploadID

DIALECT: Final = "rufh"
COLLECTION_VERBS: Final = ("OPTIONS", "POST", "PUT", "PATCH")
UPLOAD_VERBS: Final = ("OPTIONS", "HEAD", "GET", "PATCH", "DELETE")
PARTIAL: Final = "application/partial-upload"
_TUS: Final = "Tus-Resumable: 1.0.0 to speak tus"
VERSION: Final = "Upload-Draft-Interop-Version"

_COMPLETE: Final = "Upload-Complete"
_INCOMPLETE: Final = "Upload-Incomplete"
_SHA256: Final = "sha-256"
_WORD: Final = re.compile("[ -~]{0,255}")  # a media type or coding that anybody could use
# draft-ietf-httpapi-digest-fields-problem-types; 460 is tus' own and registered nowhere.
_DIGEST_PROBLEM: Final = "https://iana.org/assignments/http-problem-types#digest-mismatching-values"
_MAY_LIMIT: Final = (Code.TOO_LARGE, Code.SIZE_EXCEEDED)


@dataclass(frozen=True, slots=True)
class Version:
    """What one interop version wants otherwise than the newest.

    ``number`` is what a 104 says; without one there is none.  ``has_type`` says that an append has
    its own media type, ``has_progress`` that a 104 may tell an offset; ``age`` is how a limit of
    the lifetime is called, empty where there are no limits.
    """

    number: int | None = None
    is_inverted: bool = False
    has_type: bool = True
    has_progress: bool = True
    age: str = "max-age"


NEWEST: Final = Version()
VERSIONS: Final[Mapping[int, Version]] = MappingProxyType(
    {
        3: Version(3, is_inverted=True, has_type=False, has_progress=False, age=""),  # -01
        4: Version(4, has_type=False, has_progress=False, age=""),  # -02
        5: Version(5, has_type=False, age=""),  # -03
        6: Version(6, age="expires"),  # -04 and -05
        7: Version(7),  # -06 to -08
        8: Version(8),  # -09 to -11
        9: Version(9),  # -12
        10: Version(10),  # -13
    }
)


@dataclass(frozen=True, slots=True)
class Creation:
    """What a request says that creates an upload; ``is_last`` that its content is all there is."""

    incoming: Incoming
    is_last: bool
    check: Check | None


@dataclass(frozen=True, slots=True)
class Append:
    """What an append says: where its content goes, and whether that is the end.

    ``length`` is the whole upload's in bytes where the request says or implies it.
    """

    offset: int
    is_last: bool
    length: int | None
    check: Check | None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an upload stands: ``offset`` durable bytes, of ``length`` if that is known.

    ``is_whole`` says that its sender completed it.
    """

    upload: UploadID
    offset: int
    length: int | None
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Limits:
    """What an upload must keep to: bytes in all, and seconds that it lives without a byte."""

    size_max: int
    age_s: int | None


# -- what a request says --------------------------------------------------------------------------


def is_creation(headers: Mapping[str, str]) -> bool:
    """Say whether a request to a place that takes uploads speaks this dialect."""
    is_likely = _COMPLETE in headers or _INCOMPLETE in headers  # cheap, for every plain file
    return is_likely and _maybe_last(headers) is not None


def version(headers: Mapping[str, str]) -> Version:
    """Return the version by which a request with *headers* is served.

    Who names none, or one that is not known, is served by the newest rules without a 104.
    """
    known = VERSIONS.get(maybe_integer(field(headers, VERSION)) or 0, NEWEST)
    says_so = field(headers, _INCOMPLETE) is not None
    is_inverted = field(headers, _COMPLETE) is None and (says_so or known.is_inverted)
    return replace(known, is_inverted=is_inverted)


def creation(target: str, headers: Mapping[str, str], count: int | None) -> Creation:
    """Return what a request says that creates an upload by *count* bytes of content, if known.

    Raises ``Error``: INVALID, INCONSISTENT_LENGTH.
    """
    is_last = _must_say_whether_last(headers)
    check = _maybe_check(headers)
    media_type = headers.get("Content-Type", "")
    incoming = Incoming(
        name=name_of(target, headers),
        door=Door.HTTP,
        dialect=DIALECT,
        length=_length(headers, 0, count, is_last=is_last),
        media_type="" if _is_partial(media_type) else _word(headers, "Content-Type"),
        content_encoding=_word(headers, "Content-Encoding"),
        digest=_maybe_digest(headers),
        wants_digest=wants_digest(headers),
        is_checked=check is not None,
    )
    return Creation(incoming, is_last, check)


def append(headers: Mapping[str, str], count: int | None, spoken: Version) -> Append:
    """Return what an append of *count* bytes, if known, says in the version *spoken*.

    Raises ``Error``: UNSUPPORTED_MEDIA, INVALID, INCONSISTENT_LENGTH.
    """
    if spoken.has_type and not _is_partial(headers.get("Content-Type", "")):
        raise Error(Code.UNSUPPORTED_MEDIA, f"send Content-Type: {PARTIAL}; or {_TUS}")
    is_last = _must_say_whether_last(headers)
    offset = maybe_size(field(headers, "Upload-Offset"))
    if offset is None:
        raise Error(Code.INVALID, "send Upload-Offset, a number of bytes")
    length = _length(headers, offset, count, is_last=is_last)
    return Append(offset, is_last, length, _maybe_check(headers))


def wants_digest(headers: Mapping[str, str]) -> bool:
    """Say whether the answer to a whole upload shall tell its SHA-256 (RFC 9530 section 4)."""
    wanted = maybe_integers(field(headers, "Want-Repr-Digest")) or {}
    return wanted.get(_SHA256, 0) > 0


# -- what is answered -----------------------------------------------------------------------------


def limited(limits: Limits, spoken: Version) -> dict[str, str]:
    """Return the header that tells *limits*, if the version *spoken* has it."""
    if not spoken.age:
        return {}
    members: dict[str, int | bytes] = {"max-size": limits.size_max}
    if limits.age_s is not None:
        members[spoken.age] = limits.age_s
    return {"Upload-Limit": dictionary(members)}


def interim(spoken: Version) -> Mapping[str, str] | None:
    """Return what every 104 to a client of the version *spoken* says; ``None``: it gets none."""
    return None if spoken.number is None else {VERSION: str(spoken.number)}


def created(standing: Standing, limits: Limits, spoken: Version, location: str) -> Answer:
    """Return the answer to a creation that more content follows."""
    headers = _standing(standing, limits, spoken)
    return Answer(201, {"Location": location, **headers}, b"")


def found(standing: Standing, limits: Limits, spoken: Version) -> Answer:
    """Return the answer to an offset retrieval."""
    headers = _standing(standing, limits, spoken)
    if standing.length is not None:
        headers["Upload-Length"] = str(standing.length)
    return Answer(204, {**headers, "Cache-Control": "no-store"}, b"")


def appended(standing: Standing, limits: Limits, spoken: Version) -> Answer:
    """Return the answer to an append that more content follows."""
    return Answer(204, _standing(standing, limits, spoken), b"")


def completed(
    outcome: Outcome, digest: bytes | None, spoken: Version, location: str | None = None
) -> Answer:
    """Return the answer for an upload that is whole: what the plain dialect says, and that it is.

    It is the same for whoever asks again because the first one was lost.
    """
    answer = plain.created(outcome, digest)
    headers = {
        **answer.headers,
        **_complete(spoken, is_whole=True),
        "Upload-Offset": str(outcome.size_bytes),
    }
    if location is not None:
        headers["Location"] = location
    return replace(answer, headers=headers)


def cancelled() -> Answer:
    """Return the answer to a cancellation."""
    return Answer(204, {}, b"")


def options(limits: Limits, more: Mapping[str, str]) -> Answer:
    """Return what a place that takes uploads tells of itself, with the headers *more*."""
    headers = {**more, "Accept-Patch": PARTIAL, **limited(limits, NEWEST)}
    return Answer(204, headers, b"")


@dataclass(frozen=True, slots=True)
class Refused:
    """What the answer to a refused request tells beside the error.

    ``offset`` is where the upload stands, where that is known, ``provided`` what the request took
    it for.  ``is_append`` says that the request brought content for an upload.
    """

    spoken: Version
    limits: Limits
    provided: int | None = None
    offset: int | None = None
    is_append: bool = False
    is_whole: bool = False


def refusal(error: Error, refused: Refused, stretch: float = 1.0) -> Answer:
    """Return the answer that says *error*, as :func:`edge.http.problem.refusal`."""
    answer = problem.refusal(error, stretch)
    headers = dict(answer.headers)
    document: dict[str, object] = json.loads(answer.body)
    offset = error.expected if isinstance(error, OffsetMismatch) else refused.offset
    if offset is not None:
        headers["Upload-Offset"] = str(offset)
    if offset is not None or refused.is_append:
        headers.update(_complete(refused.spoken, is_whole=refused.is_whole))
    if error.code is Code.OFFSET_MISMATCH:
        document |= {"expected-offset": offset, "provided-offset": refused.provided}
    if error.code in _MAY_LIMIT:
        headers.update(limited(refused.limits, refused.spoken))
    status = answer.status
    if error.code is Code.CHECKSUM_MISMATCH:
        status = 400
        document |= {"type": _DIGEST_PROBLEM, "status": status}
    return Answer(status, headers, json.dumps(document).encode() + b"\n")


# -- inside ---------------------------------------------------------------------------------------


def _standing(standing: Standing, limits: Limits, spoken: Version) -> dict[str, str]:
    return {
        "Upload-Offset": str(standing.offset),
        **_complete(spoken, is_whole=standing.is_whole),
        **({} if standing.is_whole else limited(limits, spoken)),
        "ZT-Upload-Id": standing.upload,
    }


def _complete(spoken: Version, *, is_whole: bool) -> dict[str, str]:
    if spoken.is_inverted:
        return {_INCOMPLETE: boolean(not is_whole)}
    return {_COMPLETE: boolean(is_whole)}


def _maybe_last(headers: Mapping[str, str]) -> bool | None:
    """Return whether the content ends with this request; ``None`` if that is not said."""
    if version(headers).is_inverted:
        incomplete = maybe_boolean(field(headers, _INCOMPLETE))
        return None if incomplete is None else not incomplete
    return maybe_boolean(field(headers, _COMPLETE))


def _must_say_whether_last(headers: Mapping[str, str]) -> bool:
    is_last = _maybe_last(headers)
    if is_last is None:
        raise Error(Code.INVALID, f"send {_COMPLETE}: ?0 or ?1; or {_TUS}")
    return is_last


def _length(
    headers: Mapping[str, str], offset: int, count: int | None, *, is_last: bool
) -> int | None:
    """Return the whole upload's length, said or implied; both must say the same."""
    said = maybe_size(field(headers, "Upload-Length"))
    implied = offset + count if is_last and count is not None else None
    if said is not None and implied not in (None, said):
        raise Error(Code.INCONSISTENT_LENGTH)
    return implied if said is None else said


def _is_partial(media_type: str) -> bool:
    return media_type.partition(";")[0].strip().lower() == PARTIAL


def _word(headers: Mapping[str, str], name: str) -> str:
    text = headers.get(name, "")
    return text if _WORD.fullmatch(text) else ""


def _maybe_digest(headers: Mapping[str, str]) -> bytes | None:
    """Return the SHA-256 of the whole that was announced; other algorithms are passed over."""
    found = _digests(headers, "Repr-Digest")
    if _SHA256 not in found:
        return None
    return checks.check(_SHA256, found[_SHA256], checks.RFC9530).expected


def _maybe_check(headers: Mapping[str, str]) -> Check | None:
    """Return what the content of this request shall hash to, by the best algorithm known."""
    found = _digests(headers, "Content-Digest")
    for algorithm in checks.RFC9530:
        if algorithm in found:
            return checks.check(algorithm, found[algorithm], checks.RFC9530)
    return None


def _digests(headers: Mapping[str, str], name: str) -> Mapping[str, bytes]:
    """Return the digests in *name* by algorithm; what cannot be read is refused.

    Their sender relies on them, so one that is passed over would be a promise broken.
    """
    members = maybe_dictionary(field(headers, name))
    found = {key: maybe_bytes(bare) for key, bare in (members or {}).items()}
    digests = {key: value for key, value in found.items() if value is not None}
    if members is None or len(digests) < len(found):
        raise Error(Code.INVALID, f"{name} is written sha-256=:base64:")
    return digests
