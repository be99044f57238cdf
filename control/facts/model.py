"""A fact on its way into the database, and what is judged of it before.  Pure.

The rule: a fact is judged by itself.  One that control cannot apply is set aside with a reason and
the others go on, so that one poisoned record never stops a node's ledger.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from control.billing.ledger import AMOUNT_MAX
from control.uploads.model import (
    DeletionReceipt,
    DeliveryChange,
    Outcome,
    OutcomeState,
    Receiving,
    SealedName,
)
from zentransfer import ids
from zentransfer.errors import Code, Error
from zentransfer.ids import EpochID, Kind, NodeID, ProcessName, region_of
from zentransfer.limits import (
    FACT_ID_CHARS_MAX,
    OUTBOX_BATCH_FACTS_MAX,
    SEALED_NAME_BYTES_MAX,
    WORKFLOW_DESTINATIONS_MAX,
)

_DIGEST_BYTES: Final = 32
_UNSIGNED: Final = (0, 0, 0)  # an older node's receipt: it has neither signature nor key
_SIGNED: Final = (_DIGEST_BYTES, 64, 32)  # Ed25519's signatures and public keys (RFC 8032)
_TIME_MS_MAX: Final = 253_402_300_799_999  # the end of the year 9999


@dataclass(frozen=True, slots=True)
class CredentialMiss:
    """A credential was shown that the node's snapshot does not hold; *count* times."""

    credential_id: str
    count: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """A fact of a kind that control keeps no table for; *kind* is its field's name on the wire."""

    kind: str


Body = Outcome | DeliveryChange | DeletionReceipt | CredentialMiss | Unknown


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that happened at a node; *at_ms* is the node's time."""

    id: str
    sequence: int
    at_ms: int
    body: Body


@dataclass(frozen=True, slots=True)
class Batch:
    """A run of facts with consecutive sequences of one outbox.

    ``clock_offset_ms`` is control's clock minus the node's, as its heartbeats tell.  Raises
    ``Error(INVALID)`` when it is no such run: then its sender is mistaken, not one fact of it.
    """

    node: NodeID
    process: ProcessName
    epoch: EpochID
    first_sequence: int
    facts: tuple[Fact, ...]
    clock_offset_ms: int = 0

    def __post_init__(self) -> None:
        if not 0 < len(self.facts) <= OUTBOX_BATCH_FACTS_MAX:
            raise Error(Code.INVALID, "a batch holds at least one fact and no more than the limit")
        expected = range(self.first_sequence, self.first_sequence + len(self.facts))
        if self.first_sequence < 1 or [fact.sequence for fact in self.facts] != list(expected):
            raise Error(Code.INVALID, "the sequences of a batch follow one another from 1 on")

    @property
    def last_sequence(self) -> int:
        """The sequence of the last fact."""
        return self.first_sequence + len(self.facts) - 1


class Reason(StrEnum):
    """Why a fact was set aside."""

    MALFORMED = "malformed"
    UNKNOWN_KIND = "unknown_kind"
    UNKNOWN_ACCOUNT = "unknown_account"
    FOREIGN_REGION = "foreign_region"
    FOREIGN_ACCOUNT = "foreign_account"
    CONFLICT = "conflict"
    REFUSED = "refused"
    """The database would not take it."""
    LOST = "lost"
    """It left the outbox before control had it; ``sequence`` is the last one of the gap."""


def is_sound_receiving(one: Receiving) -> bool:
    """Say whether *one* is what a node may tell of an upload that it is receiving."""
    try:
        ids.parse(Kind.UPLOAD, one.upload_id)
        ids.parse(Kind.ACCOUNT, one.account_id)
    except Error:
        return False
    name = one.name or SealedName("kid", b"")
    return (
        one.region is region_of(one.node)
        and all(map(_is_amount, (one.received_bytes, one.announced_bytes or 0)))
        and _is_time(one.created_ms)
        and len(name.ciphertext) <= SEALED_NAME_BYTES_MAX
        and 0 < len(name.kid) <= FACT_ID_CHARS_MAX
    )


def maybe_fault(node: NodeID, fact: Fact) -> Reason | None:
    """Return why *fact* of *node* cannot be applied, by itself; ``None`` if it can."""
    if isinstance(fact.body, Unknown):
        return Reason.UNKNOWN_KIND
    if not 0 < len(fact.id) <= FACT_ID_CHARS_MAX or not _is_time(fact.at_ms):
        return Reason.MALFORMED
    try:
        sound = _is_sound(fact.body)
    except Error:
        sound = False
    if not sound:
        return Reason.MALFORMED
    match fact.body:  # a node speaks for its own region only
        case Outcome() | DeletionReceipt() if fact.body.region is not region_of(node):
            return Reason.FOREIGN_REGION
        case _:
            return None


def _is_sound(body: Body) -> bool:
    match body:
        case Outcome():
            return _sound_outcome(body)
        case DeliveryChange():
            return _sound_delivery(body)
        case DeletionReceipt():
            return _sound_receipt(body)
        case CredentialMiss():
            return _sound_miss(body)
        case Unknown():
            return False


def _is_time(value: int) -> bool:
    return 0 <= value <= _TIME_MS_MAX


def _is_amount(value: int) -> bool:
    return 0 <= value <= AMOUNT_MAX


def _is_error(word: str) -> bool:
    return word == "" or word in frozenset(Code)


def _sound_outcome(body: Outcome) -> bool:
    ids.parse(Kind.OUTCOME, body.id)
    ids.parse(Kind.UPLOAD, body.upload_id)
    ids.parse(Kind.ACCOUNT, body.account_id)
    if body.credential_id is not None:
        ids.parse(Kind.CREDENTIAL, body.credential_id)
    if body.workflow_id is not None:
        ids.parse(Kind.WORKFLOW, body.workflow_id)
    return (
        all(map(_is_amount, (body.size_bytes, body.workflow_version)))
        and all(map(_is_time, (body.created_ms, body.ended_ms)))
        and _is_error(body.error)
        and (body.digest is None or len(body.digest) == _DIGEST_BYTES)
        and (body.name is None or len(body.name.ciphertext) <= SEALED_NAME_BYTES_MAX)
        and (body.name is None or 0 < len(body.name.kid) <= FACT_ID_CHARS_MAX)
        and (body.error == "" or body.state is not OutcomeState.COMMITTED)
        and _is_amount(body.announced_bytes or 0)
        and _is_time(body.destroyed_ms)
        and (body.destroyed_ms == 0 or body.state is not OutcomeState.COMMITTED)
    )


def _sound_delivery(body: DeliveryChange) -> bool:
    ids.parse(Kind.DELIVERY, body.delivery_id)
    ids.parse(Kind.RUN, body.run_id)
    ids.parse(Kind.UPLOAD, body.upload_id)
    ids.parse(Kind.ACCOUNT, body.account_id)
    ids.parse(Kind.DESTINATION, body.destination_id)
    amounts = (body.attempt, body.fence, body.size_bytes)
    is_digest = body.digest is None or len(body.digest) == _DIGEST_BYTES
    words = _is_error(body.error) and is_digest
    return all(map(_is_amount, amounts)) and _is_time(body.due_ms) and words


def _sound_receipt(body: DeletionReceipt) -> bool:
    ids.parse(Kind.UPLOAD, body.upload_id)
    ids.parse(Kind.ACCOUNT, body.account_id)
    if body.run_id is not None:
        ids.parse(Kind.RUN, body.run_id)
    for destination in body.undelivered:
        ids.parse(Kind.DESTINATION, destination)
    times = (body.keys_destroyed_ms, body.removed_ms)
    few = len(body.undelivered) <= WORKFLOW_DESTINATIONS_MAX
    amounts = (body.size_bytes, body.audit_sequence)
    lengths = (len(body.audit_hash), len(body.signature), len(body.root_key))
    whole = lengths == _SIGNED or (lengths == _UNSIGNED and body.audit_sequence == 0)
    return few and whole and all(map(_is_amount, amounts)) and all(map(_is_time, times))


def _sound_miss(body: CredentialMiss) -> bool:
    ids.parse(Kind.CREDENTIAL, body.credential_id)
    return _is_amount(body.count)
