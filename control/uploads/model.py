"""What became of an upload, as nodes report it, and what its owner is shown.  Pure.

The rule: control never guesses.  An upload's state is derived from the facts that are here, by one
function; the facts of one upload come from two processes and in any order, and give the same state.
Times are UTC milliseconds of the node, sizes are bytes.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from zentransfer.ids import (
    AccountID,
    CredentialID,
    DeliveryID,
    DestinationID,
    NodeID,
    OutcomeID,
    Region,
    RunID,
    UploadID,
    WorkflowID,
)


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
    """It never became whole."""


class UploadState(StrEnum):
    """What an owner is shown; ``destroyed`` is the end of every path but ``receiving``."""

    RECEIVING = "receiving"
    COMMITTED = "committed"
    DELIVERING = "delivering"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DESTROYED = "destroyed"


@dataclass(frozen=True, slots=True)
class SealedName:
    """A file's name and folder, sealed to the account's key named ``kid``."""

    kid: str
    ciphertext: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """The final fate of an upload; there is exactly one per upload (law 3).

    ``digest`` is SHA-256 of the content, when it is whole; ``error`` is a word of the shared error
    table, empty when it committed.  ``announced_bytes`` is how long it should have been, of one
    that did not; ``destroyed_ms`` when nothing was left of it, where no receipt tells it, else 0.
    """

    id: OutcomeID
    upload_id: UploadID
    account_id: AccountID
    credential_id: CredentialID | None
    state: OutcomeState
    error: str
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
class Receiving:
    """An upload that has no end yet, as its node told last: ``received_bytes`` are durable there.

    ``announced_bytes`` is how long it will be, as far as its sender says.  One that is not
    ``durable`` has no trace at its node that a crash would leave.
    """

    upload_id: UploadID
    account_id: AccountID
    node: NodeID
    region: Region
    name: SealedName | None
    created_ms: int
    received_bytes: int
    announced_bytes: int | None
    durable: bool


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
    error: str
    due_ms: int
    size_bytes: int
    digest: bytes | None = None


@dataclass(frozen=True, slots=True)
class DeletionReceipt:
    """Content is gone: its keys first, then its bytes.

    ``signature`` is the region's, by the key whose public half is ``root_key``, over all the other
    fields, for the owner to check; ``audit_sequence`` and ``audit_hash`` are the end of the
    region's audit chain just then.  All four are empty when an older node told it, and of an
    upload that never was whole: whoever destroys that has no key to sign with.
    """

    upload_id: UploadID
    account_id: AccountID
    run_id: RunID | None
    reason: DeletionReason
    region: Region
    size_bytes: int
    keys_destroyed_ms: int
    removed_ms: int
    undelivered: tuple[DestinationID, ...]
    audit_sequence: int = 0
    audit_hash: bytes = b""
    signature: bytes = b""
    root_key: bytes = b""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery as control knows it: its last change, and where and when that happened."""

    change: DeliveryChange
    node: NodeID
    changed_ms: int

    def is_before(self, change: DeliveryChange, at_ms: int) -> bool:
        """Whether *change*, made at *at_ms*, comes after this state and takes its place.

        The higher fence wins, then the higher attempt, then the later time.  Nothing comes after
        *delivered* and *cancelled*; a *failed* one may be tried again.
        """
        if self.change.state in FINAL:
            return False
        mine = (self.change.fence, self.change.attempt, self.changed_ms)
        return change.state in FINAL or mine <= (change.fence, change.attempt, at_ms)


@dataclass(frozen=True, slots=True)
class Event:
    """One line of an upload's timeline; ``number`` grows with each event that control takes."""

    number: int
    upload_id: UploadID
    at_ms: int
    type: str
    detail: str


@dataclass(frozen=True, slots=True)
class Upload:
    """Everything that control knows of one upload."""

    outcome: Outcome
    node: NodeID
    deliveries: tuple[Delivery, ...]
    receipt: DeletionReceipt | None

    @property
    def state(self) -> UploadState:
        """The state that its owner is shown."""
        if self.destroyed_ms is not None:
            return UploadState.DESTROYED
        match self.outcome.state:
            case OutcomeState.COMMITTED:
                return _progress([one.change.state for one in self.deliveries])
            case OutcomeState.CANCELLED:
                return UploadState.CANCELLED
            case OutcomeState.EXPIRED | OutcomeState.FAILED:
                return UploadState.FAILED

    @property
    def destroyed_ms(self) -> int | None:
        """When its content was gone, UTC milliseconds; ``None`` while it is there."""
        if self.receipt is not None:
            return self.receipt.removed_ms
        return self.outcome.destroyed_ms or None

    @property
    def digest(self) -> bytes | None:
        """The SHA-256 of its content: of its sender, or of who delivered it first."""
        delivered = (one.change.digest for one in self.deliveries if one.change.digest)
        return self.outcome.digest or next(delivered, None)


FINAL: Final = frozenset({DeliveryState.DELIVERED, DeliveryState.CANCELLED})
ENDED: Final = FINAL | {DeliveryState.FAILED}


def _progress(states: Collection[DeliveryState]) -> UploadState:
    """Return how far the deliveries of a committed upload are, none of them known at first."""
    if not states:
        return UploadState.COMMITTED
    if not ENDED.issuperset(states):
        return UploadState.DELIVERING
    if DeliveryState.FAILED in states:
        return UploadState.FAILED
    return UploadState.DELIVERED if DeliveryState.DELIVERED in states else UploadState.CANCELLED
