"""Facts and accounts for tests in which an edge and a control meet."""

from dataclasses import fields, replace
from random import Random
from typing import Any

from hypothesis import strategies as st

from edge.facts import (
    Body,
    CredentialMiss,
    DeletionReason,
    DeletionReceipt,
    DeliveryChange,
    DeliveryState,
    Door,
    Fact,
    Outcome,
    OutcomeState,
    SealedName,
)
from zentransfer.errors import Code
from zentransfer.ids import (
    AccountID,
    DeliveryID,
    DestinationID,
    IdMaker,
    Kind,
    OutcomeID,
    Region,
    RunID,
    UploadID,
    WorkflowID,
)

AT_MS = 1_800_000_000_000


def outcome(
    ids: IdMaker, account: AccountID, size_bytes: int = 1000, region: Region = Region.FR
) -> Outcome:
    """Return the outcome of a new upload that was committed."""
    return Outcome(
        id=OutcomeID(ids.make(Kind.OUTCOME)),
        upload_id=UploadID(ids.make(Kind.UPLOAD)),
        account_id=account,
        credential_id=None,
        state=OutcomeState.COMMITTED,
        error=None,
        size_bytes=size_bytes,
        digest=bytes(32),
        region=region,
        door=Door.HTTP,
        name=SealedName("kid", b"sealed"),
        workflow_id=WorkflowID(ids.make(Kind.WORKFLOW)),
        workflow_version=1,
        created_ms=AT_MS,
        ended_ms=AT_MS + 1,
    )


def change(ids: IdMaker, of: Outcome) -> DeliveryChange:
    """Return that a delivery of an upload succeeded."""
    return DeliveryChange(
        delivery_id=DeliveryID(ids.make(Kind.DELIVERY)),
        run_id=RunID(ids.make(Kind.RUN)),
        upload_id=of.upload_id,
        account_id=of.account_id,
        destination_id=DestinationID(ids.make(Kind.DESTINATION)),
        state=DeliveryState.DELIVERED,
        attempt=1,
        fence=1,
        error=None,
        due_ms=0,
        size_bytes=of.size_bytes,
    )


def receipt(of: Outcome) -> DeletionReceipt:
    """Return that the content of an upload is gone."""
    return DeletionReceipt(
        upload_id=of.upload_id,
        account_id=of.account_id,
        run_id=None,
        reason=DeletionReason.DELIVERED,
        region=of.region,
        size_bytes=of.size_bytes,
        keys_destroyed_ms=AT_MS + 2,
        removed_ms=AT_MS + 3,
        audit_sequence=4,
        audit_hash=bytes(32),
        signature=bytes(64),
        root_key=bytes(32),
    )


def fact(ids: IdMaker, body: Body) -> Fact:
    """Return a new fact about *body*."""
    name = body.id if isinstance(body, Outcome) else ids.make(Kind.RECEIPT)
    return Fact(name, AT_MS, body)


# -- whatever a fact may hold ----------------------------------------------------------------------

_COUNT = st.integers(0, 2**53)
_TIME = st.integers(0, 2**42)
_DIGEST = st.binary(min_size=32, max_size=32)
_NAMES = st.builds(SealedName, kid=st.text(max_size=20), ciphertext=st.binary(max_size=50))


def _id(kind: Kind) -> st.SearchStrategy[Any]:
    return st.integers(0, 2**32).map(lambda seed: IdMaker(Random(seed).randbytes).make(kind))


_OUTCOMES = st.builds(
    Outcome,
    id=_id(Kind.OUTCOME),
    upload_id=_id(Kind.UPLOAD),
    account_id=_id(Kind.ACCOUNT),
    credential_id=st.none() | _id(Kind.CREDENTIAL),
    error=st.none() | st.sampled_from(Code),
    size_bytes=_COUNT,
    digest=st.none() | _DIGEST,
    name=st.none() | _NAMES,
    workflow_id=st.none() | _id(Kind.WORKFLOW),
    workflow_version=_COUNT,
    created_ms=_TIME,
    ended_ms=_TIME,
)
_CHANGES = st.builds(
    DeliveryChange,
    delivery_id=_id(Kind.DELIVERY),
    run_id=_id(Kind.RUN),
    upload_id=_id(Kind.UPLOAD),
    account_id=_id(Kind.ACCOUNT),
    destination_id=_id(Kind.DESTINATION),
    attempt=st.integers(0, 2**31),
    fence=_COUNT,
    error=st.none() | st.sampled_from(Code),
    due_ms=_TIME,
    size_bytes=_COUNT,
)
_RECEIPTS = st.builds(
    DeletionReceipt,
    upload_id=_id(Kind.UPLOAD),
    account_id=_id(Kind.ACCOUNT),
    run_id=st.none() | _id(Kind.RUN),
    size_bytes=_COUNT,
    keys_destroyed_ms=_TIME,
    removed_ms=_TIME,
    undelivered=st.lists(_id(Kind.DESTINATION), max_size=3).map(tuple),
    audit_sequence=_COUNT,
    audit_hash=_DIGEST,
    signature=st.binary(min_size=64, max_size=64),
    root_key=_DIGEST,
)
_OLD_RECEIPTS = _RECEIPTS.map(
    lambda one: replace(one, audit_sequence=0, audit_hash=b"", signature=b"", root_key=b"")
)
_MISSES = st.builds(CredentialMiss, credential_id=_id(Kind.CREDENTIAL), count=st.integers(0, 2**31))
FACTS: st.SearchStrategy[Fact] = st.builds(
    Fact,
    id=st.text(min_size=1, max_size=64),
    at_ms=_TIME,
    body=_OUTCOMES | _CHANGES | _RECEIPTS | _OLD_RECEIPTS | _MISSES,
)


def plain(value: Any) -> Any:
    """Return dataclasses as maps of their fields, and words as text; no error is an empty one."""
    if isinstance(value, tuple):
        return [plain(one) for one in value]
    if hasattr(type(value), "__dataclass_fields__"):
        found = {one.name: plain(getattr(value, one.name)) for one in fields(value)}
        if "error" in found:
            found["error"] = found["error"] or ""
        return found
    return str(value) if isinstance(value, str) else value
