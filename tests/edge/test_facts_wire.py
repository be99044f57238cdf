from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.facts.model import Reason, Unknown, maybe_fault
from control.rpc import facts as received
from edge import facts_wire
from edge.begun import Receiving
from edge.facts import Fact, SealedName, pack_fact
from tests.support.told import FACTS, outcome, plain
from zentransfer.ids import (
    AccountID,
    EpochID,
    IdMaker,
    Kind,
    NodeID,
    ProcessName,
    Region,
    UploadID,
)
from zentransfer.limits import RECEIVING_REPORT_MAX
from zentransfer.v1 import facts_pb2, types_pb2

MAKE = IdMaker(Random(1).randbytes)
EPOCH = EpochID(MAKE.make(Kind.EPOCH))
NODE, PROCESS = NodeID("fr-1"), ProcessName("ingest-0")


@given(st.lists(FACTS, min_size=1, max_size=5), st.integers(1, 2**53))
def test_what_the_outbox_holds_is_what_control_gets(told: list[Fact], first: int) -> None:
    sent = facts_wire.batch(EPOCH, first, [pack_fact(fact) for fact in told])
    wire = facts_pb2.FactBatch.FromString(sent.SerializeToString())
    batch = received.batch(wire, NODE, PROCESS, clock_offset_ms=-7)
    assert (batch.node, batch.process, batch.epoch) == (NODE, PROCESS, EPOCH)
    assert (batch.first_sequence, batch.clock_offset_ms) == (first, -7)
    assert [fact.sequence for fact in batch.facts] == list(range(first, first + len(told)))
    assert [(one.id, one.at_ms, plain(one.body)) for one in batch.facts] == [
        (one.id, one.at_ms, plain(one.body)) for one in told
    ]


@given(FACTS)
def test_a_fact_says_what_may_be_given_up(told: Fact) -> None:
    message = facts_wire.fact(1, pack_fact(told))
    is_kept = message.WhichOneof("body") in ("outcome", "deletion_receipt")
    assert is_kept == (message.fact_class == facts_pb2.FACT_CLASS_KEPT)
    assert message.fact_class != facts_pb2.FACT_CLASS_UNSPECIFIED


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x80"])
def test_what_cannot_be_read_travels_without_a_body_and_is_set_aside(payload: bytes) -> None:
    account = AccountID(MAKE.make(Kind.ACCOUNT))
    good = outcome(MAKE, account)
    stored = [payload, pack_fact(Fact(good.id, 5, good))]
    batch = received.batch(facts_wire.batch(EPOCH, 8, stored), NODE, PROCESS, 0)
    broken, whole = batch.facts
    assert broken.body == Unknown("none")
    assert maybe_fault(NODE, broken) is Reason.UNKNOWN_KIND
    assert maybe_fault(NODE, whole) is None
    assert plain(whole.body) == plain(good)


NUMBERS = st.integers(0, 2**53 - 1)
COMING = st.builds(
    Receiving,
    upload_id=st.just(UploadID(MAKE.make(Kind.UPLOAD))),
    account_id=st.just(AccountID(MAKE.make(Kind.ACCOUNT))),
    region=st.sampled_from(Region),
    name=st.none() | st.builds(SealedName, kid=st.just("k"), ciphertext=st.binary(max_size=100)),
    created_ms=NUMBERS.map(lambda number: number // 100_000),
    received_bytes=NUMBERS,
    announced_bytes=st.none() | NUMBERS,
    durable=st.booleans(),
)


@given(st.lists(COMING, max_size=5))
def test_what_is_being_received_is_what_control_gets_of_its_own_region(
    coming: list[Receiving],
) -> None:
    wire = facts_pb2.UnderWay.FromString(facts_wire.under_way(coming).SerializeToString())
    heard = received.under_way(wire, NODE)
    assert [plain(one) | {"node": None} for one in heard] == [
        plain(one) | {"node": None} for one in coming if one.region is Region.FR
    ]
    assert {one.node for one in heard} <= {NODE}


def test_what_makes_no_sense_is_passed_over() -> None:
    newer: Any = 99
    wire = facts_pb2.UnderWay(
        uploads=[
            facts_pb2.Receiving(upload_id="up_x", account_id="ac_x", region=newer),
            facts_pb2.Receiving(
                upload_id="../../etc", account_id="ac_x", region=types_pb2.REGION_FR
            ),
        ]
    )
    assert received.under_way(wire, NODE) == []
    many = facts_pb2.UnderWay(uploads=[facts_pb2.Receiving()] * (RECEIVING_REPORT_MAX + 1))
    assert received.under_way(many, NODE) == []
