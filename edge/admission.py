"""May this upload begin, and may it end: decided from what the node knows, asking nobody.  Pure.

The rules: the data path makes no call (law 5); a name that nobody knows costs the same and gets the
same answer as a wrong secret; and what a refusal says is true only of the one who holds the right
secret.  Full means refused with the time to come back, never a wait without end (law 7).

Under pressure the order is: who asks for an offset or ends an upload is served, then who goes on
with one, then who begins one.  So what is on its way is never shed for something new.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from edge.handover import Ticket
from edge.snapshot import (
    AccountEntry,
    AccountState,
    CredentialEntry,
    CredentialKind,
    Snapshot,
    WorkflowEntry,
)
from zentransfer.credential import Pepper, Shown, inner_hash, is_right, verifier
from zentransfer.errors import Code, Error
from zentransfer.ids import AccountID, CredentialID, CredentialName
from zentransfer.limits import (
    ADMISSION_RETRY_AFTER_S,
    FLUSH_WAIT_MAX_S,
    LOOP_LAG_MAX_S,
    OUTBOX_FACT_BYTES_MAX,
    UPLOAD_BYTES_MAX,
    UPLOADS_PER_ACCOUNT_MAX,
)

_NOBODY: Final = Shown(CredentialName(""), "")
_NO_VERIFIER: Final = bytes(32)
_KEPT_FOR_APPENDS: Final = 10  # of so many places one is for uploads that were begun before


@dataclass(frozen=True, slots=True)
class Request:
    """Who asks to send what: ``shown`` is ``None`` for no credential, or a malformed one.

    ``length`` in bytes, ``None`` if not announced.  ``now_ms`` is UTC.  A ``ticket`` that is good
    here stands for the credential that another region was shown.
    """

    shown: Shown | None
    kind: CredentialKind
    length: int | None
    is_tls: bool
    now_ms: int
    ticket: Ticket | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """What this process bears now.

    ``room_bytes`` is what the disk may still be promised: free, less the reserve and what open
    uploads announced.  ``outbox_room_bytes`` is what the outbox may still take.  ``lag_s`` is how
    late the loop is, ``flush_wait_s`` for how long a fact has been waiting for the disk.
    ``elsewhere`` says how many uploads an account has under way at the region's other processes.
    """

    is_admitting: bool
    in_flight: int
    in_flight_max: int
    of_account: Mapping[AccountID, int]
    room_bytes: int
    outbox_room_bytes: int
    lag_s: float = 0.0
    flush_wait_s: float = 0.0
    elsewhere: Callable[[AccountID], int] = lambda _: 0

    @property
    def is_behind(self) -> bool:
        """Whether this process has more to do than it can, so that nothing new may begin."""
        kept = self.in_flight_max // _KEPT_FOR_APPENDS
        return (
            self.in_flight >= self.in_flight_max - kept
            or self.lag_s > LOOP_LAG_MAX_S
            or self.flush_wait_s > FLUSH_WAIT_MAX_S
        )

    def without(self, account: AccountID) -> "Load":
        """Return the load without one of the uploads that *account* has under way."""
        of_account = {**self.of_account, account: self.of_account.get(account, 1) - 1}
        return replace(self, in_flight=self.in_flight - 1, of_account=of_account)

    def has_its_share(self, account: AccountID) -> bool:
        """Say whether *account* has what it may have of a process that is half full.

        That is an equal part for each account that has anything, so that none can fill it alone.
        """
        own = self.of_account.get(account, 0)
        accounts = len(self.of_account) + (own == 0)
        return 2 * self.in_flight >= self.in_flight_max and own * accounts >= self.in_flight_max


@dataclass(frozen=True, slots=True)
class Admit:
    """It may: whose it is, where it goes, and the largest size in bytes."""

    account: AccountEntry
    credential: CredentialEntry
    workflow: WorkflowEntry
    size_max: int


@dataclass(frozen=True, slots=True)
class Refuse:
    """It may not: the code and detail for the peer, and when to come back, in seconds."""

    code: Code
    detail: str = ""
    retry_after_s: float | None = None

    def error(self) -> Error:
        """Return the refusal as what a door answers."""
        return Error(self.code, self.detail, self.retry_after_s)


_WRONG: Final = Refuse(Code.UNAUTHENTICATED)


def admit(
    snapshot: Snapshot | None, pepper: Pepper | None, request: Request, load: Load
) -> Admit | Refuse:
    """Decide about a new upload: the process first, then who asks, then what, then the room."""
    if load.is_admitting and load.is_behind:
        return _later(Code.OVERLOADED)  # before anything is computed for it
    found = _asker(snapshot, pepper, request, load)
    if isinstance(found, Refuse):
        return found
    if found.account.state is AccountState.SUSPENDED:
        return Refuse(Code.FORBIDDEN, "the account is suspended; see your account page")
    if load.has_its_share(found.account.id):
        return _later(Code.RATE_LIMITED)
    asked = _asked(found.credential, found.size_max, request)
    elsewhere = load.elsewhere(found.account.id)
    return asked or _room(found, snapshot, request, load, elsewhere=elsewhere) or found


def admit_again(
    snapshot: Snapshot | None, pepper: Pepper | None, request: Request, load: Load, *, adds: bool
) -> Admit | Refuse:
    """Decide about a request for an upload that was admitted before.

    *adds* says that it brings ``request.length`` further bytes; without, it needs no room: what
    asks for an offset or ends an upload is served by a full node too.  A suspended account may
    finish what is on its way.
    """
    if adds and load.is_admitting and load.in_flight >= load.in_flight_max:
        return _later(Code.OVERLOADED)
    found = _asker(snapshot, pepper, request, load)
    if isinstance(found, Refuse):
        return found
    # Those elsewhere do not count: one may be the very request that this one ends, and those that
    # a process told of before it died end here in the end.
    room = _room(found, snapshot, request, load) if adds else None
    return _asked(found.credential, found.size_max, request) or room or found


def maybe_asker(
    snapshot: Snapshot | None, pepper: Pepper | None, request: Request
) -> tuple[AccountEntry, CredentialEntry] | None:
    """Return who asks to begin an upload, be it here or in the region of the account's pin.

    ``None`` for whoever is refused everywhere; :func:`admit` says why.  Neither load nor room
    matter, which are another region's too.
    """
    if snapshot is None or pepper is None or not _fits(pepper, snapshot):
        return None
    credential = _maybe_known(snapshot, pepper, request)
    account = None if credential is None else snapshot.maybe_account(credential.account_id)
    if credential is None or account is None or not _is_good(credential, account, request.now_ms):
        return None
    size_max = _size_max(snapshot, account)
    is_active = account.state is AccountState.ACTIVE
    if not is_active or _asked(credential, size_max, request) is not None:
        return None
    return account, credential


def standing(snapshot: Snapshot, credential: CredentialID, now_ms: int) -> Admit | Refuse:
    """Decide about what *credential* began, where nobody is there to show it again."""
    return _standing(snapshot, snapshot.maybe_credential(credential), now_ms)


def still_admitted(snapshot: Snapshot, admitted: Admit, now_ms: int) -> Admit | Refuse:
    """Decide again, at the end: the credential may be void by now, the workflow a newer one.

    A suspended account may finish what is on its way.
    """
    credential = snapshot.names.get(admitted.credential.name)
    was = admitted.credential
    if credential is None or (credential.id, credential.verifier) != (was.id, was.verifier):
        return _WRONG
    return _standing(snapshot, credential, now_ms)


def _asker(
    snapshot: Snapshot | None, pepper: Pepper | None, request: Request, load: Load
) -> Admit | Refuse:
    """Return what whoever asks may do, if this process takes anything at all."""
    if not load.is_admitting:
        return _later(Code.DRAINING)
    if snapshot is None or pepper is None or not _fits(pepper, snapshot):
        return _later(Code.CONTROL_UNREACHABLE)
    return _standing(snapshot, _maybe_known(snapshot, pepper, request), request.now_ms)


def _fits(pepper: Pepper, snapshot: Snapshot) -> bool:
    """Say whether the verifiers can be checked at all; asked before any name is looked up."""
    return not snapshot.pepper_kids or pepper.kid in snapshot.pepper_kids


def _maybe_known(snapshot: Snapshot, pepper: Pepper, request: Request) -> CredentialEntry | None:
    """Return the credential by which *request* comes: shown here, or in the region before.

    What the ticket names must stand here as it stood there, or nobody has checked it.
    """
    if request.ticket is None:
        return _maybe_shown(snapshot, pepper, request.shown)
    found, was = snapshot.maybe_credential(request.ticket.credential), request.ticket
    if found is None or (found.account_id, found.workflow_id) != (was.account, was.workflow):
        return None
    return found


def _maybe_shown(snapshot: Snapshot, pepper: Pepper, shown: Shown | None) -> CredentialEntry | None:
    """Return the credential that was shown with its right secret.

    The hashes are made and compared in any case, so that time tells nothing about names.
    """
    asked = shown or _NOBODY
    credential = snapshot.names.get(asked.name)
    expected = credential.verifier if credential is not None else _NO_VERIFIER
    right = is_right(expected, verifier(pepper, inner_hash(asked.secret)))
    return credential if right else None


def _standing(
    snapshot: Snapshot, credential: CredentialEntry | None, now_ms: int
) -> Admit | Refuse:
    """Return what a right credential may do, if there is one and it still stands for anything."""
    account = None if credential is None else snapshot.maybe_account(credential.account_id)
    if credential is None or account is None or not _is_good(credential, account, now_ms):
        return _WRONG
    if account.pin not in (None, snapshot.region):
        return Refuse(Code.MISDIRECTED)
    workflow = snapshot.maybe_workflow(credential.workflow_id)
    if workflow is None or workflow.account_id != account.id:
        return Refuse(
            Code.FORBIDDEN, "the credential's workflow is gone; choose one on your account page"
        )
    return Admit(account, credential, workflow, _size_max(snapshot, account))


def _size_max(snapshot: Snapshot, account: AccountEntry) -> int:
    own = account.limits.upload_bytes_max
    return own or snapshot.knob("upload_bytes_max", UPLOAD_BYTES_MAX)


def _is_good(credential: CredentialEntry, account: AccountEntry, now_ms: int) -> bool:
    return (
        account.state is not AccountState.CLOSED
        and credential.epoch >= account.epoch
        and (credential.not_after_ms is None or now_ms < credential.not_after_ms)
    )


def _asked(credential: CredentialEntry, size_max: int, request: Request) -> Refuse | None:
    """Refuse what this account and credential may not do, and what is too large."""
    if credential.kind is not request.kind:
        return Refuse(Code.FORBIDDEN, "this credential is for another kind of client")
    if credential.require_tls and not request.is_tls:
        return Refuse(Code.TLS_REQUIRED)
    if request.length is not None and request.length > size_max:
        return Refuse(Code.TOO_LARGE)
    return None


def _room(
    found: Admit, snapshot: Snapshot | None, request: Request, load: Load, *, elsewhere: int = 0
) -> Refuse | None:
    """Refuse what would not fit beside what is on its way; every upload needs room for its fact.

    *elsewhere* is how many of the account's are under way at other processes.
    """
    assert snapshot is not None, "it says who asks"
    most = found.account.limits.uploads_in_flight_max or snapshot.knob(
        "uploads_in_flight_max", UPLOADS_PER_ACCOUNT_MAX
    )
    if load.of_account.get(found.account.id, 0) + elsewhere >= most:
        return _later(Code.RATE_LIMITED)
    if load.outbox_room_bytes < (load.in_flight + 1) * OUTBOX_FACT_BYTES_MAX:
        return _later(Code.OUTBOX_FULL)
    if load.room_bytes <= (request.length or 0):
        return _later(Code.INSUFFICIENT_STORAGE)
    return None


def _later(code: Code) -> Refuse:
    return Refuse(code, retry_after_s=ADMISSION_RETRY_AFTER_S)
