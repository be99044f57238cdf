"""Facts as they travel: what the outbox stores, as protobuf messages of a batch.

The rule: **every stored fact has a message**.  One that cannot be read any more travels without a
body, so that control sets it aside and it does not hold up those behind it.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from edge.begun import Receiving
from edge.facts import (
    Body,
    CredentialMiss,
    DeletionReason,
    DeletionReceipt,
    DeliveryChange,
    DeliveryState,
    Door,
    Outcome,
    OutcomeState,
    unpack_fact,
)
from edge.seal.packing import Malformed
from zentransfer.ids import EpochID, Region
from zentransfer.v1 import facts_pb2, types_pb2
from zentransfer.v1.facts_pb2 import FactBatch, UnderWay

_REGION: Final = MappingProxyType(
    {
        Region.US: types_pb2.REGION_US,
        Region.FR: types_pb2.REGION_FR,
        Region.SG: types_pb2.REGION_SG,
    }
)
_OUTCOME: Final[Mapping[OutcomeState, facts_pb2.OutcomeState]] = MappingProxyType(
    {
        OutcomeState.COMMITTED: facts_pb2.OUTCOME_STATE_COMMITTED,
        OutcomeState.CANCELLED: facts_pb2.OUTCOME_STATE_CANCELLED,
        OutcomeState.EXPIRED: facts_pb2.OUTCOME_STATE_EXPIRED,
        OutcomeState.FAILED: facts_pb2.OUTCOME_STATE_FAILED,
    }
)
_DOOR: Final = MappingProxyType(
    {
        Door.HTTP: facts_pb2.DOOR_HTTP,
        Door.FTP: facts_pb2.DOOR_FTP,
        Door.SFTP: facts_pb2.DOOR_SFTP,
    }
)
_DELIVERY: Final[Mapping[DeliveryState, facts_pb2.DeliveryState]] = MappingProxyType(
    {
        DeliveryState.WAIT: facts_pb2.DELIVERY_STATE_WAIT,
        DeliveryState.RUN: facts_pb2.DELIVERY_STATE_RUN,
        DeliveryState.PARKED: facts_pb2.DELIVERY_STATE_PARKED,
        DeliveryState.DELIVERED: facts_pb2.DELIVERY_STATE_DELIVERED,
        DeliveryState.CANCELLED: facts_pb2.DELIVERY_STATE_CANCELLED,
        DeliveryState.FAILED: facts_pb2.DELIVERY_STATE_FAILED,
    }
)
_DELETION: Final[Mapping[DeletionReason, facts_pb2.DeletionReason]] = MappingProxyType(
    {
        DeletionReason.DELIVERED: facts_pb2.DELETION_REASON_DELIVERED,
        DeletionReason.CANCELLED: facts_pb2.DELETION_REASON_CANCELLED,
        DeletionReason.ERASED: facts_pb2.DELETION_REASON_ERASED,
        DeletionReason.EXPIRED: facts_pb2.DELETION_REASON_EXPIRED,
        DeletionReason.UNFINISHED: facts_pb2.DELETION_REASON_UNFINISHED,
    }
)


def under_way(uploads: Sequence[Receiving]) -> UnderWay:
    """Return the message that these are being received."""
    return UnderWay(uploads=map(_receiving, uploads))


def batch(epoch: EpochID, first: int, payloads: Sequence[bytes]) -> FactBatch:
    """Return the batch of stored facts whose sequences begin with *first*."""
    facts = [fact(sequence, payload) for sequence, payload in enumerate(payloads, first)]
    return FactBatch(epoch=epoch, first_sequence=first, facts=facts)


def fact(sequence: int, payload: bytes) -> facts_pb2.Fact:
    """Return the message of one stored fact."""
    try:
        stored = unpack_fact(payload)
    except Malformed:
        return facts_pb2.Fact(sequence=sequence)
    message = _with_body(stored.body)
    message.id, message.sequence, message.node_time_ms = stored.id, sequence, stored.at_ms
    return message


def _with_body(body: Body) -> facts_pb2.Fact:
    kept, coalesced = facts_pb2.FACT_CLASS_KEPT, facts_pb2.FACT_CLASS_COALESCED
    match body:
        case Outcome():
            return facts_pb2.Fact(fact_class=kept, outcome=_outcome(body))
        case DeliveryChange():
            return facts_pb2.Fact(fact_class=coalesced, delivery_change=_delivery(body))
        case DeletionReceipt():
            return facts_pb2.Fact(fact_class=kept, deletion_receipt=_receipt(body))
        case CredentialMiss():
            missed = facts_pb2.CredentialMiss(credential_id=body.credential_id, count=body.count)
            return facts_pb2.Fact(
                fact_class=facts_pb2.FACT_CLASS_DROPPED_FIRST, credential_miss=missed
            )


def _receiving(one: Receiving) -> facts_pb2.Receiving:
    message = facts_pb2.Receiving(
        upload_id=one.upload_id,
        account_id=one.account_id,
        region=_REGION[one.region],
        created_ms=one.created_ms,
        received_bytes=one.received_bytes,
        announced_bytes=one.announced_bytes,
        durable=one.durable,
    )
    if one.name is not None:
        message.sealed_name.kid = one.name.kid
        message.sealed_name.ciphertext = one.name.ciphertext
    return message


def _outcome(body: Outcome) -> facts_pb2.Outcome:
    message = facts_pb2.Outcome(
        id=body.id,
        upload_id=body.upload_id,
        account_id=body.account_id,
        credential_id=body.credential_id or "",
        state=_OUTCOME[body.state],
        error=body.error or "",
        size_bytes=body.size_bytes,
        region=_REGION[body.region],
        door=_DOOR[body.door],
        workflow_id=body.workflow_id or "",
        workflow_version=body.workflow_version,
        created_ms=body.created_ms,
        ended_ms=body.ended_ms,
        announced_bytes=body.announced_bytes,
        destroyed_ms=body.destroyed_ms,
    )
    if body.digest is not None:
        message.digest.algorithm = types_pb2.DIGEST_ALGORITHM_SHA256
        message.digest.value = body.digest
    if body.name is not None:
        message.sealed_name.kid = body.name.kid
        message.sealed_name.ciphertext = body.name.ciphertext
    return message


def _delivery(body: DeliveryChange) -> facts_pb2.DeliveryChange:
    message = facts_pb2.DeliveryChange(
        delivery_id=body.delivery_id,
        run_id=body.run_id,
        upload_id=body.upload_id,
        account_id=body.account_id,
        destination_id=body.destination_id,
        state=_DELIVERY[body.state],
        attempt=body.attempt,
        fence=body.fence,
        error=body.error or "",
        due_ms=body.due_ms,
        size_bytes=body.size_bytes,
    )
    if body.digest is not None:
        message.digest.algorithm = types_pb2.DIGEST_ALGORITHM_SHA256
        message.digest.value = body.digest
    return message


def _receipt(body: DeletionReceipt) -> facts_pb2.DeletionReceipt:
    return facts_pb2.DeletionReceipt(
        upload_id=body.upload_id,
        account_id=body.account_id,
        run_id=body.run_id or "",
        reason=_DELETION[body.reason],
        region=_REGION[body.region],
        size_bytes=body.size_bytes,
        keys_destroyed_ms=body.keys_destroyed_ms,
        removed_ms=body.removed_ms,
        undelivered_destination_ids=body.undelivered,
        audit_sequence=body.audit_sequence,
        audit_hash=body.audit_hash,
        signature=body.signature,
        root_key=body.root_key,
    )
