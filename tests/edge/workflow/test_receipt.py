from dataclasses import fields, replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from control.facts.model import Fact as ControlFact
from control.facts.model import maybe_fault
from control.rpc import facts as received
from control.uploads import model as control
from control.web import shown
from edge import facts_wire
from edge.audit_chain import Head
from edge.facts import DeletionReason, DeletionReceipt, DeliveryChange, Fact, pack_fact
from edge.workflow.plan import delivery_id, run_id
from edge.workflow.receipt import (
    change_fact,
    is_signed,
    receipt_fact,
    receipt_of,
    sign,
    signed_text,
)
from edge.workflow.run import Delivery, Gone, Holder, Run
from tests.edge.workflow.test_run import new_run
from tests.support.delivery_site import destination_id
from tests.support.owner_check import forged, is_genuine
from zentransfer.errors import Code
from zentransfer.ids import NodeID, ProcessName, Region, RunID, UploadID
from zentransfer.limits import OUTBOX_FACT_BYTES_MAX, WORKFLOW_DESTINATIONS_MAX
from zentransfer.v1 import facts_pb2

ROOT = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = ROOT.public_key().public_bytes_raw()
UPLOAD = UploadID("up_" + "a" * 26)
ME = Holder("fr-1/delivery-0", "ep_1")
GONE = Gone(7, 8, Head(3, bytes(32)), root_key=PUBLIC)


def run() -> Run:
    one, two = (
        Delivery(delivery_id(UPLOAD, destination_id(n)), destination_id(n)) for n in range(2)
    )
    made = replace(new_run(0), id=run_id(UPLOAD), upload=UPLOAD, deliveries=(one, two))
    made = made.claimed(one.id, ME, 5, 100).delivered(one.id, 1, 6, "1")
    return made.stopped(DeletionReason.CANCELLED, 7)


def signed(of: Run) -> Run:
    """Return the run with its content gone, signed for by the region."""
    signature = sign(receipt_of(of, Region.FR, GONE), ROOT)
    return replace(of, gone=replace(GONE, signature=signature))


def receipt() -> DeletionReceipt:
    body = receipt_fact(signed(run()), Region.FR).body
    assert isinstance(body, DeletionReceipt)
    return body


def test_a_receipt_says_what_was_not_delivered() -> None:
    found = receipt()
    assert found.undelivered == (destination_id(1),)
    assert (found.reason, found.size_bytes) == (DeletionReason.CANCELLED, 10)
    assert (found.keys_destroyed_ms, found.removed_ms) == (7, 8)
    assert (found.audit_sequence, found.audit_hash) == (3, bytes(32))
    assert (len(found.signature), found.root_key) == (64, PUBLIC)


def test_a_receipt_whose_signature_was_not_kept_is_what_it_was_before_it_could_be() -> None:
    older = replace(run(), gone=Gone(7, 8, Head(3, bytes(32))))
    body = receipt_fact(older, Region.FR).body
    assert isinstance(body, DeletionReceipt)
    last = (body.audit_sequence, body.audit_hash, body.signature, body.root_key)
    assert last == (0, b"", b"", b"")
    assert replace(receipt(), audit_sequence=0, audit_hash=b"", signature=b"", root_key=b"") == body


def test_facts_made_again_are_the_same() -> None:
    done = signed(run())
    assert pack_fact(receipt_fact(done, Region.FR)) == pack_fact(receipt_fact(done, Region.FR))
    for delivery in done.deliveries:
        assert change_fact(done, delivery) == change_fact(done, replace(delivery, told=1))


def test_each_change_of_a_delivery_has_an_id_of_its_own() -> None:
    made = new_run(1)
    seen: set[str] = set()
    for fence in range(1, 4):
        made = made.claimed(made.deliveries[0].id, ME, 5, 100)
        seen.add(change_fact(made, made.deliveries[0]).id)
        made = made.postponed(made.deliveries[0].id, fence, 5, Code.TIMEOUT, 5)
        seen.add(change_fact(made, made.deliveries[0]).id)
    assert len(seen) == 6


def test_control_takes_these_facts() -> None:
    done = signed(run())
    change = change_fact(done, done.deliveries[0])
    assert isinstance(change.body, DeliveryChange)
    theirs = control.DeliveryChange(
        **{f.name: getattr(change.body, f.name) for f in fields(control.DeliveryChange)}
        | {"error": change.body.error or "", "state": control.DeliveryState(change.body.state)}
    )
    assert maybe_fault(NodeID("fr-1"), ControlFact(change.id, 1, change.at_ms, theirs)) is None
    told = receipt_fact(done, Region.FR)
    assert isinstance(told.body, DeletionReceipt)
    body = control.DeletionReceipt(
        **{f.name: getattr(told.body, f.name) for f in fields(control.DeletionReceipt)}
        | {"reason": control.DeletionReason(told.body.reason)}
    )
    assert maybe_fault(NodeID("fr-1"), ControlFact(told.id, 2, told.at_ms, body)) is None


def test_the_largest_facts_fit_into_the_outbox() -> None:
    deliveries = tuple(
        Delivery(delivery_id(UPLOAD, destination_id(0)), destination_id(0), error=Code.TIMEOUT)
        for _ in range(WORKFLOW_DESTINATIONS_MAX)
    )
    done = signed(replace(run(), deliveries=deliveries))
    assert len(pack_fact(receipt_fact(done, Region.FR))) < OUTBOX_FACT_BYTES_MAX
    assert len(pack_fact(change_fact(done, deliveries[0]))) < OUTBOX_FACT_BYTES_MAX


def test_the_region_signs_and_only_the_region() -> None:
    assert receipt().signature == sign(receipt(), ROOT)
    assert is_signed(receipt(), PUBLIC)
    stranger = Ed25519PrivateKey.from_private_bytes(bytes(32))
    other = stranger.public_key().public_bytes_raw()
    assert not is_signed(receipt(), other)
    theirs = replace(receipt(), signature=sign(receipt(), stranger), root_key=other)
    assert not is_signed(theirs, PUBLIC)


CHANGES: dict[str, object] = {
    "upload_id": "up_x",
    "account_id": "ac_x",
    "run_id": None,
    "reason": DeletionReason.EXPIRED,
    "region": Region.US,
    "size_bytes": 11,
    "keys_destroyed_ms": 6,
    "removed_ms": 9,
    "undelivered": (),
    "audit_sequence": 4,
    "audit_hash": bytes([1] * 32),
    "signature": bytes(64),
    "root_key": bytes(32),
}


@pytest.mark.parametrize("field", [field.name for field in fields(DeletionReceipt)])
def test_every_field_of_a_receipt_is_signed(field: str) -> None:
    changed = replace(receipt(), **{field: CHANGES[field]})  # type: ignore[arg-type]
    assert changed != receipt()
    assert not is_signed(changed, PUBLIC)
    if field not in ("signature", "root_key"):
        assert signed_text(changed) != signed_text(receipt())


@given(st.binary(max_size=80))
def test_what_is_no_signature_is_none(signature: bytes) -> None:
    assert not is_signed(replace(receipt(), signature=signature), PUBLIC)


def as_shown(told: DeletionReceipt) -> dict[str, Any]:
    """Return a receipt as the API shows what came over the wire."""
    message = facts_wire.fact(1, pack_fact(Fact("rc_1", told.removed_ms, told)))
    sent = facts_pb2.FactBatch(epoch="ep_" + "a" * 26, first_sequence=1, facts=[message])
    (got,) = received.batch(sent, NodeID("fr-1"), ProcessName("delivery-0"), 0).facts
    assert isinstance(got.body, control.DeletionReceipt)
    return shown.receipt(got.body).model_dump(mode="json")


TIMES = st.integers(0, 2**42)


@given(
    st.none() | st.just(run_id(UPLOAD)),
    st.sampled_from(DeletionReason),
    st.integers(0, 2**62),
    st.tuples(TIMES, TIMES),
    st.integers(0, WORKFLOW_DESTINATIONS_MAX),
    st.builds(Head, st.integers(0, 2**62), st.binary(min_size=32, max_size=32)),
)
def test_an_owner_can_check_what_the_api_shows(
    of: RunID | None,
    reason: DeletionReason,
    size_bytes: int,
    times: tuple[int, int],
    missed: int,
    audit: Head,
) -> None:
    made = DeletionReceipt(
        UPLOAD,
        run().account,
        of,
        reason,
        Region.FR,
        size_bytes,
        *times,
        tuple(destination_id(n % 8) for n in range(missed)),
        audit_sequence=audit.sequence,
        audit_hash=audit.hash,
        root_key=PUBLIC,
    )
    found = as_shown(replace(made, signature=sign(made, ROOT)))
    assert is_genuine(found, PUBLIC)
    assert not any(is_genuine(one, PUBLIC) for one in forged(found))


def test_what_an_older_node_told_is_shown_without_a_signature() -> None:
    bare = replace(receipt(), audit_sequence=0, audit_hash=b"", signature=b"", root_key=b"")
    found = as_shown(bare)
    for name in ("audit_sequence", "audit_hash", "signature", "root_key"):
        assert found.pop(name) is None
    assert found.items() <= as_shown(receipt()).items()
