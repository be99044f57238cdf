"""Facts as nodes send them: protobuf batches, as what ``control.facts`` takes.

The rule: a batch is a run of facts or it is refused; a single fact never is.  One that says what
this release does not know becomes ``Unknown``, which control sets aside.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from control.accounts.traces import TraceLine
from control.facts.model import Batch, Body, CredentialMiss, Fact, Unknown, is_sound_receiving
from control.uploads.model import (
    DeletionReason,
    DeletionReceipt,
    DeliveryChange,
    DeliveryState,
    Door,
    Outcome,
    OutcomeState,
    Receiving,
    SealedName,
)
from zentransfer import ids
from zentransfer.ids import (
    AccountID,
    CredentialID,
    DeliveryID,
    DestinationID,
    EpochID,
    Kind,
    NodeID,
    OutcomeID,
    ProcessName,
    Region,
    RunID,
    UploadID,
    WorkflowID,
)
from zentransfer.limits import RECEIVING_REPORT_MAX, TRACE_LINES_PER_REPORT_MAX
from zentransfer.sealed_line import SEALED_LINE_BYTES_MAX
from zentransfer.v1 import facts_pb2, fleet_pb2, types_pb2

_AT_MS_MAX: Final = 253_402_300_799_999  # the end of the year 9999: what a date can say
_REGION: Final = MappingProxyType(
    {
        types_pb2.REGION_US: Region.US,
        types_pb2.REGION_FR: Region.FR,
        types_pb2.REGION_SG: Region.SG,
    }
)
_OUTCOME: Final[Mapping[facts_pb2.OutcomeState, OutcomeState]] = MappingProxyType(
    {
        facts_pb2.OUTCOME_STATE_COMMITTED: OutcomeState.COMMITTED,
        facts_pb2.OUTCOME_STATE_CANCELLED: OutcomeState.CANCELLED,
        facts_pb2.OUTCOME_STATE_EXPIRED: OutcomeState.EXPIRED,
        facts_pb2.OUTCOME_STATE_FAILED: OutcomeState.FAILED,
    }
)
_DOOR: Final = MappingProxyType(
    {
        facts_pb2.DOOR_HTTP: Door.HTTP,
        facts_pb2.DOOR_FTP: Door.FTP,
        facts_pb2.DOOR_SFTP: Door.SFTP,
    }
)
_DELIVERY: Final[Mapping[facts_pb2.DeliveryState, DeliveryState]] = MappingProxyType(
    {
        facts_pb2.DELIVERY_STATE_WAIT: DeliveryState.WAIT,
        facts_pb2.DELIVERY_STATE_RUN: DeliveryState.RUN,
        facts_pb2.DELIVERY_STATE_PARKED: DeliveryState.PARKED,
        facts_pb2.DELIVERY_STATE_DELIVERED: DeliveryState.DELIVERED,
        facts_pb2.DELIVERY_STATE_CANCELLED: DeliveryState.CANCELLED,
        facts_pb2.DELIVERY_STATE_FAILED: DeliveryState.FAILED,
    }
)
_DELETION: Final[Mapping[facts_pb2.DeletionReason, DeletionReason]] = MappingProxyType(
    {
        facts_pb2.DELETION_REASON_DELIVERED: DeletionReason.DELIVERED,
        facts_pb2.DELETION_REASON_CANCELLED: DeletionReason.CANCELLED,
        facts_pb2.DELETION_REASON_ERASED: DeletionReason.ERASED,
        facts_pb2.DELETION_REASON_EXPIRED: DeletionReason.EXPIRED,
        facts_pb2.DELETION_REASON_UNFINISHED: DeletionReason.UNFINISHED,
    }
)


def batch(
    message: facts_pb2.FactBatch, node: NodeID, process: ProcessName, clock_offset_ms: int
) -> Batch:
    """Return what *node*'s *process* sent; raises ``Error(INVALID)`` when it is no run of facts."""
    return Batch(
        node=node,
        process=process,
        epoch=EpochID(ids.parse(Kind.EPOCH, message.epoch)),
        first_sequence=message.first_sequence,
        facts=tuple(map(_fact, message.facts)),
        clock_offset_ms=clock_offset_ms,
    )


def under_way(message: facts_pb2.UnderWay, node: NodeID) -> list[Receiving]:
    """Return what *node* says that it is receiving; what is no sound word of it is passed over."""
    told = (_maybe_receiving(one, node) for one in message.uploads[:RECEIVING_REPORT_MAX])
    return [one for one in told if one is not None and is_sound_receiving(one)]


def _maybe_receiving(message: facts_pb2.Receiving, node: NodeID) -> Receiving | None:
    if message.region not in _REGION:
        return None
    name = SealedName(message.sealed_name.kid, message.sealed_name.ciphertext)
    return Receiving(
        upload_id=UploadID(message.upload_id),
        account_id=AccountID(message.account_id),
        node=node,
        region=_REGION[message.region],
        name=name if message.HasField("sealed_name") else None,
        created_ms=message.created_ms,
        received_bytes=message.received_bytes,
        announced_bytes=message.announced_bytes if message.HasField("announced_bytes") else None,
        durable=message.durable,
    )


def traced(message: fleet_pb2.Traced, node: NodeID, process: ProcessName) -> list[TraceLine]:
    """Return the lines that *process* tells of traced sessions; what is unsound is passed over."""
    told = (_maybe_line(one, node, process) for one in message.lines[:TRACE_LINES_PER_REPORT_MAX])
    return [one for one in told if one is not None]


def _maybe_line(
    message: fleet_pb2.TraceLine, node: NodeID, process: ProcessName
) -> TraceLine | None:
    sealed = message.sealed_line.ciphertext
    if not 0 <= message.at_ms <= _AT_MS_MAX or len(sealed) > SEALED_LINE_BYTES_MAX:
        return None
    return TraceLine(
        credential_id=CredentialID(message.credential_id),
        account_id=AccountID(message.account_id),
        node=node,
        process=process,
        session=message.session,
        at_ms=message.at_ms,
        sealed=sealed,
    )


def _fact(message: facts_pb2.Fact) -> Fact:
    return Fact(message.id, message.sequence, message.node_time_ms, _body(message))


def _body(message: facts_pb2.Fact) -> Body:
    kind = message.WhichOneof("body")
    try:
        match kind:
            case "outcome":
                return _outcome(message.outcome)
            case "delivery_change":
                return _delivery(message.delivery_change)
            case "deletion_receipt":
                return _receipt(message.deletion_receipt)
            case "credential_miss":
                missed = message.credential_miss
                return CredentialMiss(missed.credential_id, missed.count)
            case _:
                return Unknown(kind or "none")
    except KeyError:  # a word of a newer release
        return Unknown(kind or "none")


def _outcome(message: facts_pb2.Outcome) -> Outcome:
    is_named = message.HasField("sealed_name")
    name = SealedName(message.sealed_name.kid, message.sealed_name.ciphertext)
    return Outcome(
        id=OutcomeID(message.id),
        upload_id=UploadID(message.upload_id),
        account_id=AccountID(message.account_id),
        credential_id=CredentialID(message.credential_id) if message.credential_id else None,
        state=_OUTCOME[message.state],
        error=message.error,
        size_bytes=message.size_bytes,
        digest=_digest(message.digest) if message.HasField("digest") else None,
        region=_REGION[message.region],
        door=_DOOR[message.door],
        name=name if is_named else None,
        workflow_id=WorkflowID(message.workflow_id) if message.workflow_id else None,
        workflow_version=message.workflow_version,
        created_ms=message.created_ms,
        ended_ms=message.ended_ms,
        announced_bytes=message.announced_bytes if message.HasField("announced_bytes") else None,
        destroyed_ms=message.destroyed_ms,
    )


def _digest(message: types_pb2.Digest) -> bytes:
    """Return a digest; raises ``KeyError`` for an algorithm that is not known."""
    if message.algorithm != types_pb2.DIGEST_ALGORITHM_SHA256:
        raise KeyError(message.algorithm)
    return message.value


def _delivery(message: facts_pb2.DeliveryChange) -> DeliveryChange:
    return DeliveryChange(
        delivery_id=DeliveryID(message.delivery_id),
        run_id=RunID(message.run_id),
        upload_id=UploadID(message.upload_id),
        account_id=AccountID(message.account_id),
        destination_id=DestinationID(message.destination_id),
        state=_DELIVERY[message.state],
        attempt=message.attempt,
        fence=message.fence,
        error=message.error,
        due_ms=message.due_ms,
        size_bytes=message.size_bytes,
        digest=_digest(message.digest) if message.HasField("digest") else None,
    )


def _receipt(message: facts_pb2.DeletionReceipt) -> DeletionReceipt:
    return DeletionReceipt(
        upload_id=UploadID(message.upload_id),
        account_id=AccountID(message.account_id),
        run_id=RunID(message.run_id) if message.run_id else None,
        reason=_DELETION[message.reason],
        region=_REGION[message.region],
        size_bytes=message.size_bytes,
        keys_destroyed_ms=message.keys_destroyed_ms,
        removed_ms=message.removed_ms,
        undelivered=tuple(map(DestinationID, message.undelivered_destination_ids)),
        audit_sequence=message.audit_sequence,
        audit_hash=message.audit_hash,
        signature=message.signature,
        root_key=message.root_key,
    )
