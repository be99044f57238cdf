"""What servers of buckets answer when they do not do it, and what is to be done about it.

The rule: the server's own word decides, then the status, then the type of the library's error.
Layering violation: the library gives word and status in the text of its errors only, so they are
read from there; what is not found so is taken for a fault that heals.
"""

import re
from typing import Final

from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from edge.workflow.destinations.base import DestinationError, Fault
from zentransfer.errors import Code
from zentransfer.limits import S3_ANSWER_CHARS_MAX

FAILURES: Final = (BaseError, OSError, ValueError)
"""What the library raises of its own."""

_FORBIDDEN: Final = (
    Code.FORBIDDEN,
    Fault.DESTINATION,
    "the server refuses the access key, or the key lacks a right",
)
_ELSEWHERE: Final = (
    Code.MISDIRECTED,
    Fault.DESTINATION,
    "the bucket is in another region, or at another endpoint",
)
_MISSING: Final = (Code.NOT_FOUND, Fault.DESTINATION, "the bucket is not there")
_FULL: Final = (Code.INSUFFICIENT_STORAGE, Fault.TEMPORARY, "the destination is full")
_SLOW: Final = (Code.RATE_LIMITED, Fault.TEMPORARY, "the server asks us to slow down")
_DAMAGED: Final = (Code.CHECKSUM_MISMATCH, Fault.TEMPORARY, "the server got other bytes than sent")
_FAILED: Final = (Code.UNAVAILABLE, Fault.TEMPORARY, "the server failed, or cannot be reached")

_Verdict = tuple[Code, Fault, str]

# The words of Amazon's list of error codes, and of those who speak like it.
_WORDS: Final[dict[str, _Verdict]] = {
    **dict.fromkeys(
        (
            *("AccessDenied", "AccountProblem", "AllAccessDisabled", "ExpiredToken"),
            *("InvalidAccessKeyId", "InvalidToken", "NotSignedUp", "SignatureDoesNotMatch"),
            *("Unauthorized", "UnauthorizedAccess"),
        ),
        _FORBIDDEN,
    ),
    **dict.fromkeys(
        (
            *("AuthorizationHeaderMalformed", "IllegalLocationConstraintException"),
            *("PermanentRedirect", "Redirect", "TemporaryRedirect"),
        ),
        _ELSEWHERE,
    ),
    **dict.fromkeys(("NoSuchBucket", "InvalidBucketName"), _MISSING),
    **dict.fromkeys(("InsufficientStorage", "QuotaExceeded", "XMinioStorageFull"), _FULL),
    **dict.fromkeys(("SlowDown", "RequestLimitExceeded", "TooManyRequests"), _SLOW),
    **dict.fromkeys(("BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch"), _DAMAGED),
    "EntityTooLarge": (
        Code.TOO_LARGE,
        Fault.OBJECT,
        "the bucket cannot hold a file of this size",
    ),
    "KeyTooLongError": (Code.INVALID, Fault.OBJECT, "the bucket cannot hold this name"),
    # The parts are gone, not the bucket: somebody else gave up this upload, or a rule did.
    "NoSuchUpload": _FAILED,
}
_STATUSES: Final[dict[int, _Verdict]] = {
    **dict.fromkeys((301, 302, 307, 308), _ELSEWHERE),
    **dict.fromkeys((401, 403), _FORBIDDEN),
    404: _MISSING,
    429: _SLOW,
    507: _FULL,
}
_WORD: Final = re.compile(r"<Code>([A-Za-z0-9]{1,64})</Code>")
_STATUS: Final = re.compile(r"status code: (\d{3}) ")
_BARE_REDIRECT: Final = "redirect without LOCATION"
NOT_IMPLEMENTED: Final = 501


def failed(error: Exception) -> DestinationError:
    """Return what the library's *error* means; to be raised from it."""
    return DestinationError(*_ordered(_verdict(error)))


def status(error: Exception) -> int:
    """Return the status that the server answered with; 0 if it is not known."""
    found = _STATUS.search(_text(error))
    return int(found[1]) if found else 0


def _verdict(error: Exception) -> _Verdict:
    text = _text(error)
    word = _WORD.search(text)
    if word is not None and word[1] in _WORDS:
        return _WORDS[word[1]]
    by_status = _STATUSES.get(status(error))
    if by_status is not None:
        return by_status
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return _FORBIDDEN
    if isinstance(error, FileNotFoundError):
        return _MISSING
    return _ELSEWHERE if _BARE_REDIRECT in text else _FAILED


def _ordered(verdict: _Verdict) -> tuple[Code, str, Fault]:
    code, fault, detail = verdict
    return code, detail, fault


def _text(error: Exception) -> str:
    return str(error)[:S3_ANSWER_CHARS_MAX]
