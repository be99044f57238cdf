"""A run as a small file beside the content.  Pure.

The rule: it holds no name of a file and nothing that opens one: names stay sealed in the upload
record, and go with it.
"""

from dataclasses import replace
from typing import Final

from crc32c import crc32c

from edge.audit_chain import HASH_BYTES, Head
from edge.facts import ROOT_KEY_BYTES, SIGNATURE_BYTES, DeletionReason, DeliveryState
from edge.seal.packing import Fields, Malformed, Packable, pack, unpack
from edge.workflow.run import Delivery, Gone, Lease, Run, RunState
from zentransfer.errors import Code
from zentransfer.ids import AccountID, DeliveryID, DestinationID, RunID, UploadID, WorkflowID
from zentransfer.limits import (
    REMOTE_REF_CHARS_MAX,
    RUN_RECORD_BYTES_MAX,
    WORKFLOW_DESTINATIONS_MAX,
)

_MAGIC: Final = b"ZTRUN\x01"
_ID_CHARS_MAX: Final = 64


def pack_run(run: Run, version: int) -> bytes:
    """Return the stored form of *run* as its *version*, with a CRC over it."""
    text = _MAGIC + pack(
        {
            "version": version,
            "id": run.id,
            "upload": run.upload,
            "account": run.account,
            "workflow": run.workflow,
            "workflow_version": run.workflow_version,
            "size": run.size_bytes,
            "created_ms": run.created_ms,
            "keep_until_ms": run.keep_until_ms,
            "is_kept": run.is_kept,
            "is_urgent": run.is_urgent,
            "state": run.state,
            "reason": run.reason,
            "fence": run.fence,
            "lease": _packed_lease(run.lease),
            "gone": None if run.gone is None else _packed_gone(run.gone),
            "deliveries": [_packed_delivery(delivery) for delivery in run.deliveries],
        }
    )
    assert len(text) + 4 <= RUN_RECORD_BYTES_MAX, "cannot happen: every field has a bound"
    return text + crc32c(text).to_bytes(4)


def read_run(data: bytes) -> tuple[Run, int]:
    """Return the run in *data* and its version; raises :class:`edge.seal.packing.Malformed`."""
    text, crc = data[:-4], data[-4:]
    if not text.startswith(_MAGIC) or crc32c(text) != int.from_bytes(crc):
        raise Malformed("no run record, or a damaged one")
    fields = unpack(text[len(_MAGIC) :])
    try:
        return _run(fields), fields.number("version")
    except ValueError as wrong:  # a word that is no state, code or reason of ours
        raise Malformed("a field has no meaning") from wrong


def _run(fields: Fields) -> Run:
    workflow = _id(fields, "workflow") if fields.has("workflow") else None
    rows = fields.rows("deliveries", WORKFLOW_DESTINATIONS_MAX)
    return Run(
        id=RunID(_id(fields, "id")),
        upload=UploadID(_id(fields, "upload")),
        account=AccountID(_id(fields, "account")),
        workflow=None if workflow is None else WorkflowID(workflow),
        workflow_version=fields.number("workflow_version"),
        size_bytes=fields.number("size"),
        created_ms=fields.number("created_ms"),
        keep_until_ms=fields.number("keep_until_ms"),
        is_kept=fields.flag("is_kept"),
        is_urgent=fields.flag("is_urgent"),
        state=RunState(_id(fields, "state")),
        reason=DeletionReason(_id(fields, "reason")) if fields.has("reason") else None,
        fence=fields.number("fence"),
        lease=_lease(fields, "lease"),
        gone=_gone(fields) if fields.has("gone") else None,
        deliveries=tuple(_delivery(row) for row in rows),
    )


def _packed_delivery(delivery: Delivery) -> Packable:
    return [
        delivery.id,
        delivery.destination,
        delivery.state,
        delivery.attempt,
        delivery.fence,
        delivery.due_ms,
        _packed_lease(delivery.lease),
        delivery.error,
        delivery.ref,
        delivery.size_bytes,
        delivery.changes,
        delivery.changed_ms,
        delivery.told,
        delivery.digest,
    ]


def _delivery(row: Fields) -> Delivery:
    return Delivery(
        id=DeliveryID(_id(row, "0")),
        destination=DestinationID(_id(row, "1")),
        state=DeliveryState(_id(row, "2")),
        attempt=row.number("3"),
        fence=row.number("4"),
        due_ms=row.number("5"),
        lease=_lease(row, "6"),
        error=Code(_id(row, "7")) if row.has("7") else None,
        ref=row.text("8", REMOTE_REF_CHARS_MAX),
        size_bytes=row.number("9"),
        changes=row.number("10"),
        changed_ms=row.number("11"),
        told=row.number("12"),
        digest=row.data("13", HASH_BYTES) if row.has("13") else None,
    )


def _packed_lease(lease: Lease) -> Packable:
    return [[lease.process, lease.life, lease.until_ms]]


def _lease(fields: Fields, name: str) -> Lease:
    (row,) = fields.rows(name, 1)
    return Lease(_id(row, "0"), _id(row, "1"), row.number("2"))


def _packed_gone(gone: Gone) -> Packable:
    audit = gone.audit
    times = [gone.keys_destroyed_ms, gone.removed_ms]
    return [[*times, audit.sequence, audit.hash, gone.signature, gone.root_key]]


def _gone(fields: Fields) -> Gone:
    (row,) = fields.rows("gone", 1)
    audit = Head(row.number("2"), row.data("3", HASH_BYTES))
    gone = Gone(row.number("0"), row.number("1"), audit)
    if not row.has("4"):  # an older program wrote it, and kept no signature
        return gone
    signature, root_key = row.data("4", SIGNATURE_BYTES), row.data("5", ROOT_KEY_BYTES)
    return replace(gone, signature=signature, root_key=root_key)


def _id(fields: Fields, name: str) -> str:
    return fields.text(name, _ID_CHARS_MAX)
