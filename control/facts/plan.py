"""What a run of facts changes, given what the database knows.  Pure.

The rule: deciding is apart from writing.  Of one id, the first fact stays; the same again changes
nothing; another under the same id is set aside with its reason.  So duplicates, other orders and
other cuts of the batches all give the same rows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from control.billing.ledger import Transaction
from control.billing.usage import maybe_usage
from control.canonical import canonical, digest
from control.facts.model import Batch, CredentialMiss, Fact, Reason, Unknown, maybe_fault
from control.uploads.model import DeletionReceipt, Delivery, DeliveryChange, Outcome
from zentransfer.ids import AccountID, CredentialID, DeliveryID, OutcomeID, UploadID
from zentransfer.limits import (
    FACT_CLOCK_OFFSET_MS_MAX,
    FACT_ID_CHARS_MAX,
    FACT_QUARANTINE_BODY_BYTES_MAX,
)


@dataclass(slots=True)
class Known:
    """What the database holds of the things that a batch names; a plan brings it up to date.

    ``outcomes`` and ``receipts`` are the digests of what was applied, by upload; ``outcome_ids``
    are the uploads by the id of their outcome; ``events`` are digests by the id of the fact;
    ``owners`` are the accounts of uploads that some fact has named before.
    """

    accounts: set[AccountID] = field(default_factory=set[AccountID])
    outcomes: dict[UploadID, bytes] = field(default_factory=dict[UploadID, bytes])
    outcome_ids: dict[OutcomeID, UploadID] = field(default_factory=dict[OutcomeID, UploadID])
    receipts: dict[UploadID, bytes] = field(default_factory=dict[UploadID, bytes])
    deliveries: dict[DeliveryID, Delivery] = field(default_factory=dict[DeliveryID, Delivery])
    events: dict[str, bytes] = field(default_factory=dict[str, bytes])
    owners: dict[UploadID, AccountID] = field(default_factory=dict[UploadID, AccountID])


@dataclass(frozen=True, slots=True)
class NewOutcome:
    """An outcome that was not there, with its digest."""

    outcome: Outcome
    fact_digest: bytes


@dataclass(frozen=True, slots=True)
class NewReceipt:
    """A deletion receipt that was not there, with its digest."""

    receipt: DeletionReceipt
    fact_digest: bytes


@dataclass(frozen=True, slots=True)
class NewEvent:
    """A line for an upload's timeline; *id* is that of its fact."""

    id: str
    fact_digest: bytes
    account_id: AccountID
    upload_id: UploadID
    type: str
    detail: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class SetAside:
    """A fact that is not applied, why, and as much of it as is worth looking at."""

    sequence: int
    fact_id: str
    kind: str
    reason: Reason
    body: bytes


@dataclass(slots=True)
class Writes:
    """The rows that a run of facts adds or changes."""

    outcomes: list[NewOutcome] = field(default_factory=list[NewOutcome])
    transactions: list[Transaction] = field(default_factory=list[Transaction])
    deliveries: dict[DeliveryID, Delivery] = field(default_factory=dict[DeliveryID, Delivery])
    receipts: list[NewReceipt] = field(default_factory=list[NewReceipt])
    events: list[NewEvent] = field(default_factory=list[NewEvent])
    used: dict[CredentialID, int] = field(default_factory=dict[CredentialID, int])
    aside: list[SetAside] = field(default_factory=list[SetAside])
    missed: set[str] = field(default_factory=set[str])


def planned(batch: Batch, facts: Sequence[Fact], known: Known, now_ms: int) -> Writes:
    """Return what *facts*, a part of *batch*, change; *known* then holds that too."""
    plan = _Plan(batch, known, now_ms)
    for fact in facts:
        plan.take(fact)
    return plan.writes


def set_aside(fact: Fact, reason: Reason) -> SetAside:
    """Return the row of the quarantine for *fact*, cut to its limits."""
    kind = fact.body.kind if isinstance(fact.body, Unknown) else type(fact.body).__name__
    body = canonical(fact.body)[:FACT_QUARANTINE_BODY_BYTES_MAX]
    return SetAside(
        fact.sequence, fact.id[:FACT_ID_CHARS_MAX], kind[:FACT_ID_CHARS_MAX], reason, body
    )


_DUPLICATE: Final = "duplicate"
Verdict = Reason | str | None  # a reason, or the word duplicate, or None: it is new


class _Plan:
    """The facts of one batch, one after the other."""

    def __init__(self, batch: Batch, known: Known, now_ms: int) -> None:
        self.writes = Writes()
        self._batch = batch
        self._known = known
        self._now_ms = now_ms

    def take(self, fact: Fact) -> None:
        """Plan *fact*, or set it aside."""
        fault = maybe_fault(self._batch.node, fact)
        verdict: Verdict = fault if fault is not None else self._apply(fact)
        if isinstance(verdict, Reason):
            self.writes.aside.append(set_aside(fact, verdict))

    def _apply(self, fact: Fact) -> Verdict:
        match fact.body:
            case CredentialMiss():
                self.writes.missed.add(fact.body.credential_id)
                return None
            case Unknown():
                return Reason.UNKNOWN_KIND
            case _:
                return self._apply_to_upload(fact, fact.body)

    def _apply_to_upload(
        self, fact: Fact, body: Outcome | DeliveryChange | DeletionReceipt
    ) -> Verdict:
        if body.account_id not in self._known.accounts:
            return Reason.UNKNOWN_ACCOUNT
        if self._known.owners.get(body.upload_id, body.account_id) != body.account_id:
            return Reason.FOREIGN_ACCOUNT
        mark = digest(body)
        if fact.id in self._known.events:
            return _DUPLICATE if self._known.events[fact.id] == mark else Reason.CONFLICT
        verdict = self._enter(fact, body, mark)
        if verdict is None:
            self._known.events[fact.id] = mark
            self._known.owners[body.upload_id] = body.account_id
            self.writes.events.append(_event(fact, body, mark))
        return verdict

    def _enter(
        self, fact: Fact, body: Outcome | DeliveryChange | DeletionReceipt, mark: bytes
    ) -> Verdict:
        match body:
            case Outcome():
                return self._enter_outcome(body, mark)
            case DeliveryChange():
                return self._enter_delivery(fact, body)
            case DeletionReceipt():
                return self._enter_receipt(body, mark)

    def _enter_outcome(self, body: Outcome, mark: bytes) -> Verdict:
        known = self._known
        if body.upload_id in known.outcomes:
            return _DUPLICATE if known.outcomes[body.upload_id] == mark else Reason.CONFLICT
        if body.id in known.outcome_ids:
            return Reason.CONFLICT
        known.outcomes[body.upload_id] = mark
        known.outcome_ids[body.id] = body.upload_id
        self.writes.outcomes.append(NewOutcome(body, mark))
        usage = maybe_usage(body, self._booked_ms(body.ended_ms))
        if usage is not None:
            self.writes.transactions.append(usage)
        if body.credential_id is not None:
            used = self.writes.used
            used[body.credential_id] = max(body.ended_ms, used.get(body.credential_id, 0))
        return None

    def _enter_delivery(self, fact: Fact, body: DeliveryChange) -> Verdict:
        held = self._known.deliveries.get(body.delivery_id)
        if held is not None and _identity(held.change) != _identity(body):
            return Reason.CONFLICT
        if held is None or held.is_before(body, fact.at_ms):
            delivery = Delivery(body, self._batch.node, fact.at_ms)
            self._known.deliveries[body.delivery_id] = delivery
            self.writes.deliveries[body.delivery_id] = delivery
        return None

    def _enter_receipt(self, body: DeletionReceipt, mark: bytes) -> Verdict:
        if body.upload_id in self._known.receipts:
            same = self._known.receipts[body.upload_id] == mark
            return _DUPLICATE if same else Reason.CONFLICT
        self._known.receipts[body.upload_id] = mark
        self.writes.receipts.append(NewReceipt(body, mark))
        return None

    def _booked_ms(self, node_ms: int) -> int:
        """Return when usage counts: by the node's clock, or by ours where that is far off."""
        is_far_off = abs(self._batch.clock_offset_ms) > FACT_CLOCK_OFFSET_MS_MAX
        return self._now_ms if is_far_off else node_ms


def uploads_named(facts: Iterable[Fact]) -> set[UploadID]:
    """Return the uploads that *facts* are about."""
    return {
        fact.body.upload_id
        for fact in facts
        if isinstance(fact.body, Outcome | DeliveryChange | DeletionReceipt)
    }


def _identity(change: DeliveryChange) -> tuple[str, ...]:
    """Return what no change of one delivery may alter."""
    return (change.account_id, change.upload_id, change.run_id, change.destination_id)


def _event(fact: Fact, body: Outcome | DeliveryChange | DeletionReceipt, mark: bytes) -> NewEvent:
    kind, detail = _told(body)
    return NewEvent(fact.id, mark, body.account_id, body.upload_id, kind, detail, fact.at_ms)


def _told(body: Outcome | DeliveryChange | DeletionReceipt) -> tuple[str, str]:
    """Return how the timeline tells a fact: what happened, and what to know of it."""
    match body:
        case Outcome():
            return f"upload.{body.state}", body.error
        case DeliveryChange():
            return f"delivery.{body.state}", " ".join(filter(None, (body.delivery_id, body.error)))
        case DeletionReceipt():
            return "content.destroyed", str(body.reason)
