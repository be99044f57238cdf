import dataclasses
from enum import StrEnum
from random import Random

import msgpack  # type: ignore[import-untyped]  # msgpack ships no types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.facts.model import Fact as ControlFact
from control.facts.model import maybe_fault
from control.uploads import model as control
from edge.facts import (
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
    of_outcome,
    pack_fact,
    unpack_fact,
)
from edge.seal.packing import Malformed, pack, unpack
from zentransfer.errors import Code
from zentransfer.ids import (
    AccountID,
    CredentialID,
    DeliveryID,
    DestinationID,
    IdMaker,
    Kind,
    NodeID,
    OutcomeID,
    Region,
    RunID,
    UploadID,
    WorkflowID,
)
from zentransfer.limits import OUTBOX_FACT_BYTES_MAX, SEALED_NAME_BYTES_MAX

MAKE = IdMaker(Random(3).randbytes).make
NUMBERS = st.integers(0, 2**53)
CODES = st.none() | st.sampled_from(Code)
ACCOUNT = AccountID(MAKE(Kind.ACCOUNT))
UPLOAD = UploadID(MAKE(Kind.UPLOAD))
RUN = RunID(MAKE(Kind.RUN))
DESTINATION = DestinationID(MAKE(Kind.DESTINATION))

OUTCOMES = st.builds(
    Outcome,
    id=st.just(OutcomeID(MAKE(Kind.OUTCOME))),
    upload_id=st.just(UPLOAD),
    account_id=st.just(ACCOUNT),
    credential_id=st.none() | st.just(CredentialID(MAKE(Kind.CREDENTIAL))),
    error=CODES,
    size_bytes=NUMBERS,
    digest=st.none() | st.binary(min_size=32, max_size=32),
    name=st.none()
    | st.builds(SealedName, st.just("kid"), st.binary(min_size=1, max_size=SEALED_NAME_BYTES_MAX)),
    workflow_id=st.none() | st.just(WorkflowID(MAKE(Kind.WORKFLOW))),
    workflow_version=NUMBERS,
    created_ms=NUMBERS,
    ended_ms=NUMBERS,
)
CHANGES = st.builds(
    DeliveryChange,
    delivery_id=st.just(DeliveryID(MAKE(Kind.DELIVERY))),
    run_id=st.just(RUN),
    upload_id=st.just(UPLOAD),
    account_id=st.just(ACCOUNT),
    destination_id=st.just(DESTINATION),
    attempt=NUMBERS,
    fence=NUMBERS,
    error=CODES,
    due_ms=NUMBERS,
    size_bytes=NUMBERS,
)
RECEIPTS = st.builds(
    DeletionReceipt,
    upload_id=st.just(UPLOAD),
    account_id=st.just(ACCOUNT),
    run_id=st.none() | st.just(RUN),
    size_bytes=NUMBERS,
    keys_destroyed_ms=NUMBERS,
    removed_ms=NUMBERS,
    undelivered=st.just(()) | st.just((DESTINATION,) * 3),
    audit_sequence=NUMBERS,
    audit_hash=st.just(b"") | st.binary(min_size=32, max_size=32),
    signature=st.just(b"") | st.binary(min_size=64, max_size=64),
    root_key=st.just(b"") | st.binary(min_size=32, max_size=32),
)
MISSES = st.builds(CredentialMiss, st.just(CredentialID(MAKE(Kind.CREDENTIAL))), NUMBERS)
FACTS = st.builds(Fact, st.just("fact-1"), NUMBERS, OUTCOMES | CHANGES | RECEIPTS | MISSES)


@given(FACTS)
def test_a_fact_comes_back_as_it_was_and_fits_the_outbox(fact: Fact) -> None:
    payload = pack_fact(fact)
    assert unpack_fact(payload) == fact
    assert pack_fact(unpack_fact(payload)) == payload
    assert len(payload) <= OUTBOX_FACT_BYTES_MAX


@given(FACTS, st.data())
def test_bytes_that_were_cut_or_changed_are_a_fact_or_refused(
    fact: Fact, data: st.DataObject
) -> None:
    payload = bytearray(pack_fact(fact))
    place = data.draw(st.integers(0, len(payload) - 1))
    payload[place] ^= 1 << data.draw(st.integers(0, 7))
    for broken in (bytes(payload), bytes(payload[:place])):
        try:
            unpack_fact(broken)
        except Malformed:
            continue


@given(OUTCOMES)
def test_an_outcomes_fact_has_its_own_id_and_time(outcome: Outcome) -> None:
    fact = of_outcome(outcome)
    assert (fact.id, fact.at_ms) == (outcome.id, outcome.ended_ms)


def test_fields_of_a_newer_program_are_passed_over() -> None:
    fact = Fact("x", 1, CredentialMiss(CredentialID("cr_x"), 2))
    newer = pack({"": [["miss", "x", 1, "new"], ["cr_x", 2, "new"]], "more": 1})
    assert unpack_fact(newer) == fact


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        pack({}),
        pack({"": []}),
        pack({"": [["outcome", "x", 1]]}),
        pack({"": [["gossip", "x", 1], []]}),
        pack({"": [["miss", "x", -1], ["cr_x", 1]]}),
        pack({"": [["miss", "x" * 65, 1], ["cr_x", 1]]}),
    ],
)
def test_what_is_no_fact_is_refused(payload: bytes) -> None:
    with pytest.raises(Malformed):
        unpack_fact(payload)


@given(RECEIPTS)
def test_a_receipt_of_a_program_that_kept_no_signature_is_read_as_unsigned(
    receipt: DeletionReceipt,
) -> None:
    bare = dataclasses.replace(
        receipt, audit_sequence=0, audit_hash=b"", signature=b"", root_key=b""
    )
    head, row = msgpack.unpackb(pack_fact(Fact("x", 1, receipt)))[""]
    assert unpack_fact(pack({"": [head, row[:9]]})) == Fact("x", 1, bare)


@pytest.mark.parametrize(
    "longer",
    [
        {"audit_hash": bytes(33), "signature": b"", "root_key": b""},
        {"audit_hash": b"", "signature": bytes(65), "root_key": b""},
        {"audit_hash": b"", "signature": b"", "root_key": bytes(33)},
    ],
    ids=["hash", "signature", "key"],
)
def test_a_signature_or_key_that_is_too_long_is_refused(longer: dict[str, bytes]) -> None:
    receipt = DeletionReceipt(
        *(UPLOAD, ACCOUNT, None, DeletionReason.ERASED, Region.FR, 0, 0, 0),
        audit_hash=longer["audit_hash"],
        signature=longer["signature"],
        root_key=longer["root_key"],
    )
    with pytest.raises(Malformed):
        unpack_fact(pack_fact(Fact("x", 1, receipt)))


def test_too_many_destinations_are_refused() -> None:
    receipt = DeletionReceipt(
        UPLOAD, ACCOUNT, None, DeletionReason.ERASED, Region.FR, 0, 0, 0, (DESTINATION,) * 21
    )
    with pytest.raises(Malformed):
        unpack_fact(pack_fact(Fact("x", 1, receipt)))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Outcome, control.Outcome),
        (DeliveryChange, control.DeliveryChange),
        (DeletionReceipt, control.DeletionReceipt),
        (SealedName, control.SealedName),
    ],
)
def test_control_expects_the_same_fields(ours: type, theirs: type) -> None:
    mine = {field.name for field in dataclasses.fields(ours)}
    assert {field.name for field in dataclasses.fields(theirs)} == mine


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (OutcomeState, control.OutcomeState),
        (Door, control.Door),
        (DeliveryState, control.DeliveryState),
        (DeletionReason, control.DeletionReason),
    ],
)
def test_control_knows_the_same_words(ours: type[StrEnum], theirs: type[StrEnum]) -> None:
    assert [str(word) for word in ours] == [str(word) for word in theirs]


def test_control_finds_no_fault_in_an_outcome_of_ours() -> None:
    values = {
        field.name: getattr(OUTCOME, field.name)
        for field in dataclasses.fields(OUTCOME)
        if field.name not in ("state", "door", "error", "name")
    }
    theirs = control.Outcome(
        **values,
        state=control.OutcomeState.COMMITTED,
        door=control.Door.HTTP,
        error="",
        name=control.SealedName("kid", b"sealed"),
    )
    fact = ControlFact(OUTCOME.id, 1, 2_000, theirs)
    assert maybe_fault(NodeID("fr-1"), fact) is None


OUTCOME = Outcome(
    id=OutcomeID(MAKE(Kind.OUTCOME)),
    upload_id=UPLOAD,
    account_id=ACCOUNT,
    credential_id=None,
    state=OutcomeState.COMMITTED,
    error=None,
    size_bytes=5,
    digest=None,
    region=Region.FR,
    door=Door.HTTP,
    name=SealedName("kid", b"sealed"),
    workflow_id=None,
    workflow_version=0,
    created_ms=1_000,
    ended_ms=2_000,
)


def test_the_stored_form_does_not_change() -> None:
    """A node reads after an update what it wrote before: this is for ever."""
    outcome = dataclasses.replace(
        OUTCOME,
        id=OutcomeID("oc_a"),
        upload_id=UploadID("up_a"),
        account_id=AccountID("ac_a"),
    )
    payload = pack_fact(of_outcome(outcome))
    assert unpack(payload).names() == [""]
    assert payload.hex() == (
        "81a09293a76f7574636f6d65a46f635f61cd07d0dc0010a46f635f61a475705f61a461635f61c0a9636f6d6d6974"
        "746564c005c0a26672a468747470a36b6964c4067365616c6564c000cd03e8cd07d0"
    )
