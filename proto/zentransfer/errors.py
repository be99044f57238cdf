"""What went wrong, in one vocabulary: one table from code to gRPC, HTTP and FTP.  Pure.

An error is raised where it is known and mapped once, at the door, by this table; so two doors
cannot call the same failure by two names.  The type tells whose fault it was, never the text.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Final

from zentransfer.limits import ERROR_DETAIL_CHARS_MAX


class Grpc(IntEnum):
    """The status codes of gRPC, by the numbers on the wire (grpc/doc/statuscodes.md)."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class Code(StrEnum):
    """Every way in which we refuse or fail, as the word that travels and is shown."""

    # The peer's fault: the same request will fail again.
    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    TLS_REQUIRED = "tls_required"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    GONE = "gone"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    CONFLICT = "conflict"
    FAILED_PRECONDITION = "failed_precondition"
    OFFSET_MISMATCH = "offset_mismatch"
    INCONSISTENT_LENGTH = "inconsistent_length"
    SIZE_EXCEEDED = "size_exceeded"
    TOO_LARGE = "too_large"
    QUOTA = "quota"
    UNSUPPORTED_MEDIA = "unsupported_media"
    VERSION_MISMATCH = "version_mismatch"
    MISDIRECTED = "misdirected"
    SUPERSEDED = "superseded"
    DUPLICATE = "duplicate"
    DAMAGED = "damaged"
    # It heals: the same request may succeed later.
    CHECKSUM_MISMATCH = "checksum_mismatch"
    TIMEOUT = "timeout"
    PEER_GONE = "peer_gone"
    LOCKED = "locked"
    FENCED = "fenced"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    DRAINING = "draining"
    OUTBOX_FULL = "outbox_full"
    INSUFFICIENT_STORAGE = "insufficient_storage"
    SINK_UNAVAILABLE = "sink_unavailable"
    CONTROL_UNREACHABLE = "control_unreachable"
    PINNED = "pinned"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Reply:
    """How one code is said in each protocol, and why, in plain words that say what to do.

    ``temporary`` means that the same request, unchanged, may succeed later.  ``problem`` is the
    registered problem type (RFC 9457) where the standards have one.
    """

    grpc: Grpc
    http: int
    ftp: int
    temporary: bool
    reason: str
    problem: str = ""


# Our own types are names and no addresses (RFC 4151): there is nothing to fetch.
_PROBLEM: Final = "tag:zentransfer.io,2026:problem/"
_CLOSING: Final = 421
_UNPRINTABLE: Final = re.compile(r"[^ -~]+")
_IANA: Final = "https://iana.org/assignments/http-problem-types#"


def _final(grpc: Grpc, http: int, ftp: int, reason: str, problem: str = "") -> Reply:
    return Reply(grpc, http, ftp, temporary=False, reason=reason, problem=problem)


def _heals(grpc: Grpc, http: int, ftp: int, reason: str) -> Reply:
    return Reply(grpc, http, ftp, temporary=True, reason=reason)


# HTTP: RFC 9110, 4918 (423, 507), 6585 (429), tus 1.0 (460).  FTP: RFC 959, 1123, 4217.  What a
# code does to a camera: 421, 426, 450, 451 send the file again; 550 skips it; 552 stops the queue,
# so it is only for the account's own quota; 530 halts until somebody edits the profile, so it is
# only for the credential and for missing TLS.  Where a reply must end the connection (the greeting,
# a drain), a door says 421 in place of any other temporary code.  CONFLICT is MKD of a folder that
# exists; a file of a name that exists is none.  QUOTA is 403, which no client repeats by itself.
TABLE: Final[Mapping[Code, Reply]] = MappingProxyType(
    {
        Code.INVALID: _final(
            Grpc.INVALID_ARGUMENT, 400, 501, "The request is malformed; correct it"
        ),
        Code.UNAUTHENTICATED: _final(
            Grpc.UNAUTHENTICATED,
            401,
            530,
            "Sign-in failed; check the credential, and that you have it for this address",
        ),
        Code.TLS_REQUIRED: _final(
            Grpc.UNAUTHENTICATED, 403, 530, "This credential needs TLS; turn on encryption"
        ),
        Code.FORBIDDEN: _final(
            Grpc.PERMISSION_DENIED, 403, 550, "This is not allowed here; use a credential that may"
        ),
        Code.NOT_FOUND: _final(
            Grpc.NOT_FOUND, 404, 550, "There is nothing here; check the address"
        ),
        Code.GONE: _final(Grpc.NOT_FOUND, 410, 550, "This is gone; start a new upload"),
        Code.METHOD_NOT_ALLOWED: _final(
            Grpc.UNIMPLEMENTED, 405, 502, "This verb is not offered here; use another"
        ),
        Code.CONFLICT: _final(
            Grpc.ALREADY_EXISTS, 409, 550, "This exists already; read it before changing it"
        ),
        Code.FAILED_PRECONDITION: _final(
            Grpc.FAILED_PRECONDITION,
            412,
            503,
            "Something else must come first; read the state and begin there",
        ),
        Code.OFFSET_MISMATCH: _final(
            Grpc.OUT_OF_RANGE,
            409,
            554,
            "The offset is not ours; ask for it and go on from there",
            _IANA + "mismatching-upload-offset",
        ),
        Code.INCONSISTENT_LENGTH: _final(
            Grpc.INVALID_ARGUMENT,
            400,
            501,
            "The lengths given contradict each other; send one",
            _IANA + "inconsistent-upload-length",
        ),
        Code.SIZE_EXCEEDED: _final(
            Grpc.OUT_OF_RANGE, 413, 550, "More was sent than was announced; start a new upload"
        ),
        Code.TOO_LARGE: _final(
            Grpc.INVALID_ARGUMENT,
            413,
            550,
            "The file is larger than the plan allows; send a smaller one",
        ),
        Code.QUOTA: _final(
            Grpc.RESOURCE_EXHAUSTED,
            403,
            552,
            "The account's quota is used up; see your account page",
        ),
        Code.UNSUPPORTED_MEDIA: _final(
            Grpc.INVALID_ARGUMENT, 415, 504, "This type or mode is not offered; use another"
        ),
        Code.VERSION_MISMATCH: _final(
            Grpc.FAILED_PRECONDITION, 412, 504, "We share no version of the protocol; update"
        ),
        Code.MISDIRECTED: _final(
            Grpc.FAILED_PRECONDITION,
            421,
            550,
            "Another region answers for this; use the address on your account page",
        ),
        Code.SUPERSEDED: _final(
            Grpc.ABORTED, 409, 550, "A newer request of yours took over; let it go on"
        ),
        Code.DUPLICATE: _final(
            Grpc.ALREADY_EXISTS, 409, 550, "The same file came before; nothing is missing"
        ),
        Code.DAMAGED: _final(
            Grpc.DATA_LOSS,
            410,
            554,
            "The stored part is damaged; send the file again from the start",
        ),
        Code.CHECKSUM_MISMATCH: _heals(
            Grpc.ABORTED, 460, 451, "The content arrived damaged; send it again"
        ),
        Code.TIMEOUT: _heals(Grpc.DEADLINE_EXCEEDED, 408, 426, "It took too long; try again"),
        Code.PEER_GONE: _heals(
            Grpc.CANCELLED, 408, 426, "The connection broke; go on from the offset we hold"
        ),
        Code.LOCKED: _heals(
            Grpc.ABORTED, 423, 450, "Another request is busy with this; try again shortly"
        ),
        Code.FENCED: _heals(
            Grpc.ABORTED, 503, 451, "Another process took over; go on from the offset we hold"
        ),
        Code.RATE_LIMITED: _heals(
            Grpc.RESOURCE_EXHAUSTED, 429, 450, "Too many requests; slow down and try again later"
        ),
        Code.OVERLOADED: _heals(Grpc.UNAVAILABLE, 503, 451, "We are busy; try again later"),
        Code.DRAINING: _heals(
            Grpc.UNAVAILABLE, 503, 451, "This node is leaving; connect again to reach another"
        ),
        Code.OUTBOX_FULL: _heals(
            Grpc.UNAVAILABLE, 503, 451, "Too many reports wait here; try again later"
        ),
        Code.INSUFFICIENT_STORAGE: _heals(
            Grpc.UNAVAILABLE, 507, 451, "This node is full for now; try again later"
        ),
        Code.SINK_UNAVAILABLE: _heals(
            Grpc.UNAVAILABLE, 503, 451, "Content cannot be stored for now; try again later"
        ),
        Code.CONTROL_UNREACHABLE: _heals(
            Grpc.UNAVAILABLE, 503, 451, "Accounts cannot be reached for now; try again later"
        ),
        Code.PINNED: _heals(
            Grpc.UNAVAILABLE,
            503,
            451,
            "Your account is pinned to a region that is down; try again later",
        ),
        Code.UNAVAILABLE: _heals(
            Grpc.UNAVAILABLE, 503, 451, "This cannot be served for now; try again later"
        ),
        Code.INTERNAL: _heals(
            Grpc.INTERNAL, 500, 451, "Something failed on our side; try again later"
        ),
    }
)


_OF_STATUS: Final[Mapping[int, Code]] = MappingProxyType(
    {
        400: Code.INVALID,
        404: Code.NOT_FOUND,
        405: Code.METHOD_NOT_ALLOWED,
        413: Code.TOO_LARGE,
        415: Code.UNSUPPORTED_MEDIA,
        500: Code.INTERNAL,
    }
)


class Error(Exception):
    """A refusal or failure that has a code; the door that catches it looks up the reply.

    ``detail`` is for the peer and says what the reason leaves open.  It is a sentence of ours: it
    holds no address, name, path or credential, and nothing that the peer sent (law 11); what is
    longer than the limit is cut.
    ``retry_after_s`` is in seconds and given only where waiting may help.
    """

    def __init__(self, code: Code, detail: str = "", retry_after_s: float | None = None) -> None:
        assert retry_after_s is None or may_wait(code), f"waiting does not cure {code}"
        detail = detail[:ERROR_DETAIL_CHARS_MAX]
        super().__init__(code, detail, retry_after_s)
        self.code = code
        self.detail = detail
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"{self.code}: {self.detail or self.reply.reason}"

    @property
    def reply(self) -> Reply:
        """How the code is said in each protocol."""
        return TABLE[self.code]


def may_wait(code: Code) -> bool:
    """Whether a refusal with *code* may carry ``retry_after``: it heals, or the quota renews."""
    return code is Code.QUOTA or TABLE[code].temporary


def problem(error: Error) -> dict[str, str | int]:
    """Return the problem details (RFC 9457) of *error*, to be sent as JSON with its status.

    ``code`` is our extension: the word to program against.  ``detail`` is left out when empty.
    """
    reply = error.reply
    found: dict[str, str | int] = {
        "type": reply.problem or _PROBLEM + error.code,
        "title": reply.reason,
        "status": reply.http,
        "code": str(error.code),
    }
    if error.detail:
        found["detail"] = error.detail
    return found


def bare_problem(status: int, phrase: str) -> dict[str, str | int]:
    """Return problem details for a *status* that no code of ours stands behind.

    Where the status has one meaning here, they are those of its code; else *phrase* is all there is
    to say (RFC 9457 section 4.2.1).
    """
    code = _OF_STATUS.get(status)
    if code is not None:
        return problem(Error(code))
    return {"type": "about:blank", "title": phrase, "status": status}


def ftp_line(error: Error, *, closing: bool = False) -> str:
    """Return the one line of FTP that says *error*, without its end of line.

    *closing* says that the connection ends with it: what heals is then 421 (RFC 959, 5.4).
    """
    reply = error.reply
    ftp = _CLOSING if closing and reply.temporary else reply.ftp
    text = _UNPRINTABLE.sub(" ", f"{reply.reason}. {error.detail}")
    return f"{ftp} {' '.join(text.split())}"
