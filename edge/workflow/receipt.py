"""What is told of a run: a delivery's change, and that content is gone.  Pure.

The rule: made again it is the same, because every field comes from the run record; so what may or
may not have been told is told again, and counts once.
"""

import hashlib
from dataclasses import replace
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from edge.facts import DeletionReceipt, DeliveryChange, Fact
from edge.seal.packing import pack
from edge.workflow.plan import receipt_id
from edge.workflow.run import Delivery, Gone, Run
from zentransfer.ids import Region

_LABEL: Final = b"zentransfer deletion receipt, version 1\x00"


def change_fact(run: Run, delivery: Delivery) -> Fact:
    """Return the fact of the newest change of one delivery of *run*."""
    change = DeliveryChange(
        delivery_id=delivery.id,
        run_id=run.id,
        upload_id=run.upload,
        account_id=run.account,
        destination_id=delivery.destination,
        state=delivery.state,
        attempt=delivery.attempt,
        fence=delivery.fence,
        error=delivery.error,
        due_ms=delivery.due_ms,
        size_bytes=delivery.size_bytes,
        digest=delivery.digest,
    )
    return Fact(f"{delivery.id}-{delivery.changes}", delivery.changed_ms, change)


def receipt_of(run: Run, region: Region, gone: Gone) -> DeletionReceipt:
    """Return the receipt of *run*, which has a ``reason``; its content went as *gone* says."""
    assert run.reason is not None
    return DeletionReceipt(
        upload_id=run.upload,
        account_id=run.account,
        run_id=run.id,
        reason=run.reason,
        region=region,
        size_bytes=run.size_bytes,
        keys_destroyed_ms=gone.keys_destroyed_ms,
        removed_ms=gone.removed_ms,
        undelivered=run.undelivered,
        audit_sequence=gone.audit.sequence,
        audit_hash=gone.audit.hash,
        signature=gone.signature,
        root_key=gone.root_key,
    )


def receipt_fact(run: Run, region: Region) -> Fact:
    """Return the fact that the content of *run* is gone; its ``gone`` is set."""
    assert run.gone is not None
    receipt = receipt_of(run, region, run.gone)
    if not receipt.signature:  # an older program destroyed it, and may have told just this much
        receipt = replace(receipt, audit_sequence=0, audit_hash=b"")
    return Fact(receipt_id(run.upload), run.gone.removed_ms, receipt)


def signed_text(receipt: DeletionReceipt) -> bytes:
    """Return what the region signs: every field of the receipt but the signature and its key.

    With the audit chain's end among them the receipt speaks of every opening before it, too.  The
    bytes are described for owners in docs/contracts.md, section 7: they never change.
    """
    text = pack(
        {
            "upload": receipt.upload_id,
            "account": receipt.account_id,
            "run": receipt.run_id,
            "reason": receipt.reason,
            "region": receipt.region,
            "size": receipt.size_bytes,
            "keys_destroyed_ms": receipt.keys_destroyed_ms,
            "removed_ms": receipt.removed_ms,
            "undelivered": list(receipt.undelivered),
            "audit_sequence": receipt.audit_sequence,
            "audit_hash": receipt.audit_hash,
        }
    )
    return _LABEL + hashlib.sha256(text).digest()


def sign(receipt: DeletionReceipt, root: Ed25519PrivateKey) -> bytes:
    """Return the region's signature (RFC 8032, 64 bytes) of *receipt*; the same each time."""
    return root.sign(signed_text(receipt))


def is_signed(receipt: DeletionReceipt, root: bytes) -> bool:
    """Say whether the region whose root key's public half is *root* signed *receipt*."""
    if receipt.root_key != root:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(root).verify(receipt.signature, signed_text(receipt))
    except InvalidSignature:
        return False
    return True
