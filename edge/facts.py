"""What a node tells control, each fact once: how an upload ended, what its deliveries do.  Pure.

The rule: a fact is made once and stored before it is first sent, and **made again it is the same**:
its id and every field come from what is durable, never from the moment of telling.  So a fact that
may or may not have been told is simply told again.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from edge.seal.packing import Fields, Malformed, Packable, pack, unpack
from zentransfer.errors import Code
from zentransfer.ids import (
    AccountID,
    CredentialID,
    DeliveryID,
    DestinationID,
    OutcomeID,
    Region,
    RunID,
    UploadID,
    WorkflowID,
)
from zentransfer.limits import (
    FACT_ID_CHARS_MAX,
    SEALED_NAME_BYTES_MAX,
    WORKFLOW_DESTINATIONS_MAX,
)

_WORD_CHARS_MAX: Final = 32
_DIGEST_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
"""What Ed25519 makes (RFC 8032)."""
ROOT_KEY_BYTES: Final = 32
"""The public half of a region's root key, as RFC 8032 writes it."""


class OutcomeState(StrEnum):
    """The final fate of an upload."""

    COMMITTED = "committed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    FAILED = "failed"


class Door(StrEnum):
    """The kind of listener that took an upload."""

    HTTP = "http"
    FTP = "ftp"
    SFTP = "sftp"


class DeliveryState(StrEnum):
    """Where a delivery stands."""

    WAIT = "wait"
    RUN = "run"
    PARKED = "parked"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"
    FAILED = "failed"


class DeletionReason(StrEnum):
    """Why content was destroyed."""

    DELIVERED = "delivered"
    CANCELLED = "cancelled"
    ERASED = "erased"
    EXPIRED = "expired"
    UNFINISHED = "unfinished"


@dataclass(frozen=True, slots=True)
class SealedName:
    """A file's name and folder, sealed to the account's key named ``kid``."""

    kid: str
    ciphertext: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """The final fate of an upload; there is exactly one per upload (law 3).

    ``error`` is why it did not commit, ``None`` if it did.  ``size_bytes`` are durable ones;
    ``digest`` is SHA-256 of the content, when it is whole and known.  ``announced_bytes`` is how
    long it should have been, of one that did not commit; ``destroyed_ms`` is when nothing was left
    of it, where that was before its outcome was told, else 0.  Times are UTC milliseconds.
    """

    id: OutcomeID
    upload_id: UploadID
    account_id: AccountID
    credential_id: CredentialID | None
    state: OutcomeState
    error: Code | None
    size_bytes: int
    digest: bytes | None
    region: Region
    door: Door
    name: SealedName | None
    workflow_id: WorkflowID | None
    workflow_version: int
    created_ms: int
    ended_ms: int
    announced_bytes: int | None = None
    destroyed_ms: int = 0


@dataclass(frozen=True, slots=True)
class DeliveryChange:
    """A delivery in a new state.

    ``attempt`` counts the running one too; ``fence`` is that of the lease under which it changed;
    ``due_ms`` is when it is due again while it waits, else 0; ``digest`` is the SHA-256 of what was
    delivered, where delivery computed it.
    """

    delivery_id: DeliveryID
    run_id: RunID
    upload_id: UploadID
    account_id: AccountID
    destination_id: DestinationID
    state: DeliveryState
    attempt: int
    fence: int
    error: Code | None
    due_ms: int
    size_bytes: int
    digest: bytes | None = None


@dataclass(frozen=True, slots=True)
class DeletionReceipt:
    """Content is gone: its keys first, then its bytes.

    ``undelivered`` are the destinations that did not get it, in a run that ended by policy.
    ``signature`` is the region's, by the key whose public half is ``root_key``, over all the other
    fields; ``audit_sequence`` and ``audit_hash`` are its audit chain's end just then.  All four are
    empty in a receipt of a program that did not keep them.
    """

    upload_id: UploadID
    account_id: AccountID
    run_id: RunID | None
    reason: DeletionReason
    region: Region
    size_bytes: int
    keys_destroyed_ms: int
    removed_ms: int
    undelivered: tuple[DestinationID, ...] = ()
    audit_sequence: int = 0
    audit_hash: bytes = b""
    signature: bytes = b""
    root_key: bytes = b""


@dataclass(frozen=True, slots=True)
class CredentialMiss:
    """A credential that the snapshot does not hold was shown, *count* times."""

    credential_id: CredentialID
    count: int


Body = Outcome | DeliveryChange | DeletionReceipt | CredentialMiss


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that happened; *id* is the same whenever it is told, *at_ms* this node's time."""

    id: str
    at_ms: int
    body: Body


def of_outcome(outcome: Outcome) -> Fact:
    """Return the fact of *outcome*, whose id is the outcome's own."""
    return Fact(outcome.id, outcome.ended_ms, outcome)


def pack_fact(fact: Fact) -> bytes:
    """Return the stored form of *fact*: lists in the order of the fields."""
    kind, fields = _packed(fact.body)
    return pack({"": [[kind, fact.id, fact.at_ms], fields]})


def unpack_fact(payload: bytes) -> Fact:
    """Return the fact in *payload*; raises :class:`edge.seal.packing.Malformed`.

    Fields that a newer program added at the end are passed over.
    """
    rows = unpack(payload).rows("", 2)
    if len(rows) != 2:  # noqa: PLR2004 - what every fact has, and what its kind has
        raise Malformed("no fact")
    head, fields = rows
    try:
        body = _body(head.text("0", _WORD_CHARS_MAX), fields)
    except Malformed:
        raise
    except ValueError as wrong:  # a word that is no member of ours
        raise Malformed("a field has no meaning") from wrong
    return Fact(head.text("1", FACT_ID_CHARS_MAX), head.number("2"), body)


def _packed(body: Body) -> tuple[str, list[Packable]]:
    match body:
        case Outcome():
            return "outcome", _packed_outcome(body)
        case DeliveryChange():
            return "delivery", _packed_delivery(body)
        case DeletionReceipt():
            return "receipt", _packed_receipt(body)
        case CredentialMiss():
            return "miss", [body.credential_id, body.count]


def _body(kind: str, fields: Fields) -> Body:
    match kind:
        case "outcome":
            return _outcome(fields)
        case "delivery":
            return _delivery(fields)
        case "receipt":
            return _receipt(fields)
        case "miss":
            return CredentialMiss(CredentialID(_id(fields, "0")), fields.number("1"))
        case _:
            raise Malformed("a fact of an unknown kind")


def _packed_outcome(body: Outcome) -> list[Packable]:
    name = body.name
    more: list[Packable] = [body.announced_bytes, body.destroyed_ms]
    return [
        body.id,
        body.upload_id,
        body.account_id,
        body.credential_id,
        body.state,
        body.error,
        body.size_bytes,
        body.digest,
        body.region,
        body.door,
        name.kid if name else None,
        name.ciphertext if name else None,
        body.workflow_id,
        body.workflow_version,
        body.created_ms,
        body.ended_ms,
        *(more if any(more) else ()),
    ]


def _outcome(fields: Fields) -> Outcome:
    credential, workflow = _maybe_id(fields, "3"), _maybe_id(fields, "12")
    return Outcome(
        id=OutcomeID(_id(fields, "0")),
        upload_id=UploadID(_id(fields, "1")),
        account_id=AccountID(_id(fields, "2")),
        credential_id=None if credential is None else CredentialID(credential),
        state=OutcomeState(_word(fields, "4")),
        error=_maybe_code(fields, "5"),
        size_bytes=fields.number("6"),
        digest=fields.data("7", _DIGEST_BYTES) if fields.has("7") else None,
        region=Region(_word(fields, "8")),
        door=Door(_word(fields, "9")),
        name=_maybe_name(fields),
        workflow_id=None if workflow is None else WorkflowID(workflow),
        workflow_version=fields.number("13"),
        created_ms=fields.number("14"),
        ended_ms=fields.number("15"),
        announced_bytes=fields.number("16") if fields.has("16") else None,
        destroyed_ms=fields.number("17") if fields.has("17") else 0,
    )


def _maybe_name(fields: Fields) -> SealedName | None:
    if not fields.has("10"):
        return None
    return SealedName(_id(fields, "10"), fields.data("11", SEALED_NAME_BYTES_MAX))


def _packed_delivery(body: DeliveryChange) -> list[Packable]:
    return [
        body.delivery_id,
        body.run_id,
        body.upload_id,
        body.account_id,
        body.destination_id,
        body.state,
        body.attempt,
        body.fence,
        body.error,
        body.due_ms,
        body.size_bytes,
        *(() if body.digest is None else (body.digest,)),
    ]


def _delivery(fields: Fields) -> DeliveryChange:
    return DeliveryChange(
        delivery_id=DeliveryID(_id(fields, "0")),
        run_id=RunID(_id(fields, "1")),
        upload_id=UploadID(_id(fields, "2")),
        account_id=AccountID(_id(fields, "3")),
        destination_id=DestinationID(_id(fields, "4")),
        state=DeliveryState(_word(fields, "5")),
        attempt=fields.number("6"),
        fence=fields.number("7"),
        error=_maybe_code(fields, "8"),
        due_ms=fields.number("9"),
        size_bytes=fields.number("10"),
        digest=_maybe_data(fields, "11", _DIGEST_BYTES) or None,
    )


def _packed_receipt(body: DeletionReceipt) -> list[Packable]:
    return [
        body.upload_id,
        body.account_id,
        body.run_id,
        body.reason,
        body.region,
        body.size_bytes,
        body.keys_destroyed_ms,
        body.removed_ms,
        [list(body.undelivered)],
        body.audit_sequence,
        body.audit_hash,
        body.signature,
        body.root_key,
    ]


def _receipt(fields: Fields) -> DeletionReceipt:
    run = _maybe_id(fields, "2")
    (undelivered,) = fields.rows("8", 1)
    names = undelivered.names()
    if len(names) > WORKFLOW_DESTINATIONS_MAX:
        raise Malformed("more destinations than a workflow has")
    return DeletionReceipt(
        upload_id=UploadID(_id(fields, "0")),
        account_id=AccountID(_id(fields, "1")),
        run_id=None if run is None else RunID(run),
        reason=DeletionReason(_word(fields, "3")),
        region=Region(_word(fields, "4")),
        size_bytes=fields.number("5"),
        keys_destroyed_ms=fields.number("6"),
        removed_ms=fields.number("7"),
        undelivered=tuple(DestinationID(_id(undelivered, name)) for name in names),
        audit_sequence=fields.number("9") if fields.has("9") else 0,
        audit_hash=_maybe_data(fields, "10", _DIGEST_BYTES),
        signature=_maybe_data(fields, "11", SIGNATURE_BYTES),
        root_key=_maybe_data(fields, "12", ROOT_KEY_BYTES),
    )


def _id(fields: Fields, name: str) -> str:
    return fields.text(name, FACT_ID_CHARS_MAX)


def _maybe_id(fields: Fields, name: str) -> str | None:
    return _id(fields, name) if fields.has(name) else None


def _maybe_data(fields: Fields, name: str, bytes_max: int) -> bytes:
    """Return the bytes *name*; none if an older program wrote the fact."""
    return fields.data(name, bytes_max) if fields.has(name) else b""


def _word(fields: Fields, name: str) -> str:
    return fields.text(name, _WORD_CHARS_MAX)


def _maybe_code(fields: Fields, name: str) -> Code | None:
    return Code(_word(fields, name)) if fields.has(name) else None
