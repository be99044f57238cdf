"""An account, its people and what they sign in with.  Pure.

The rule: what travels to a node is opaque.  Labels, names of workflows and addresses of people stay
here; a credential's secret is nowhere.  Times are UTC milliseconds.
"""

import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from zentransfer.errors import Code, Error
from zentransfer.ids import AccountID, CredentialID, CredentialName, MemberID, Region, WorkflowID
from zentransfer.limits import FOLDER_CHARS_MAX, FOLDER_DEPTH_MAX, LABEL_CHARS_MAX


class AccountState(StrEnum):
    """Whether an account may upload."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    CLOSED = "closed"


class Role(StrEnum):
    """What a member may do."""

    OWNER = "owner"


class CredentialKind(StrEnum):
    """Who shows a credential: a camera (FTP, FTPS, SFTP), or a program (HTTP)."""

    FTP = "ftp"
    API = "api"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a plan allows; 0 means the node's own default.  Sizes in bytes, times in ms."""

    upload_bytes_max: int = 0
    uploads_in_flight_max: int = 0
    connections_max: int = 0
    uploads_per_minute_max: int = 0
    first_slice_bytes: int = 0
    overdraft_bytes: int = 0
    unfinished_keep_ms: int = 0
    content_keep_ms: int = 0


@dataclass(frozen=True, slots=True)
class Account:
    """A customer; ``pin`` is the one region that may hold its content, ``None`` means any.

    A credential is void once the account's ``epoch`` is higher than its own.
    """

    id: AccountID
    state: AccountState
    pin: Region | None
    epoch: int
    limits: Limits
    created_ms: int


@dataclass(frozen=True, slots=True)
class Member:
    """A person of an account; the e-mail address is sealed to the account, and hashed by a key."""

    id: MemberID
    account_id: AccountID
    role: Role
    email_sealed: bytes
    email_hash: bytes
    created_ms: int


@dataclass(frozen=True, slots=True)
class Credential:
    """What a camera or a program signs in with: one workflow, one folder, write only.

    ``inner_sealed`` is the inner hash of its secret, sealed to the account.  ``last_used_ms`` is
    known to the hour.
    """

    id: CredentialID
    account_id: AccountID
    kind: CredentialKind
    name: CredentialName
    label: str
    inner_sealed: bytes
    workflow_id: WorkflowID
    folder: str
    require_tls: bool
    epoch: int
    created_ms: int
    not_after_ms: int | None = None
    revoked_ms: int | None = None
    last_used_ms: int | None = None

    def is_good(self, account: Account, now_ms: int) -> bool:
        """Whether it may be used: neither revoked, nor over, nor of an account that is closed."""
        return (
            self.revoked_ms is None
            and (self.not_after_ms is None or now_ms < self.not_after_ms)
            and self.epoch >= account.epoch
            and account.state is not AccountState.CLOSED
        )


def label(text: str) -> str:
    """Return *text* as a label, in Unicode's composed form; raises ``Error(INVALID)``."""
    clean = unicodedata.normalize("NFC", text).strip()
    if not 0 < len(clean) <= LABEL_CHARS_MAX or not _is_plain(clean):
        raise Error(
            Code.INVALID, f"a label has 1 to {LABEL_CHARS_MAX} characters, and none that hides"
        )
    return clean


def folder(text: str) -> str:
    """Return *text* as a virtual folder: ``a/b``, empty for none; raises ``Error(INVALID)``.

    The result has no empty, ``.`` or ``..`` part, so that joined to a path it stays below it.
    """
    clean = unicodedata.normalize("NFC", text).strip("/")
    parts = clean.split("/") if clean else []
    if len(clean) > FOLDER_CHARS_MAX or len(parts) > FOLDER_DEPTH_MAX:
        raise Error(Code.INVALID, "the folder is too long or too deep")
    if not _is_plain(clean) or any(_is_unsafe(part) for part in parts):
        raise Error(Code.INVALID, "a folder is made of plain names and slashes")
    return clean


def _is_unsafe(part: str) -> bool:
    return part.strip() in ("", ".", "..") or "\\" in part


def _is_plain(text: str) -> bool:
    """Whether no character of *text* is a control, half a pair, hidden or a change of direction."""
    return not any(unicodedata.category(char) in _HIDDEN and char not in _JOINERS for char in text)


_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JOINERS: Final = frozenset(
    "\u200c\u200d"
)  # Persian, Indic scripts and emoji are spelled with them
