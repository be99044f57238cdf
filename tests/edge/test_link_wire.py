from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import link_wire
from edge.link_state import (
    Acked,
    Asked,
    CommandEnd,
    Desired,
    DesiredState,
    Echo,
    Held,
    Observed,
    Offset,
    Order,
    Position,
    Status,
    Terms,
    Verb,
)
from tests.support.fleet import identity
from zentransfer.errors import Code
from zentransfer.ids import CommandID, IdMaker, Kind, Region
from zentransfer.v1 import fleet_pb2, types_pb2
from zentransfer.v1.fleet_pb2 import ConnectResponse, SnapshotRef
from zentransfer.v1.snapshot_pb2 import Delta
from zentransfer.versions import OURS

COMMAND = CommandID(IdMaker(Random(1).randbytes).make(Kind.COMMAND))


@pytest.mark.parametrize("region", Region)
@pytest.mark.parametrize("kind", ["ingest", "delivery"])
def test_a_hello_says_region_kind_and_versions(region: Region, kind: str) -> None:
    us = identity(f"{region}-12/{kind}-3", Random(1))
    hello = link_wire.hello(us, Status(Observed.JOINING, snapshot_version=4), 99).hello
    assert hello.region == types_pb2.Region.Value(f"REGION_{region.upper()}")
    assert hello.kind == types_pb2.ProcessKind.Value(f"PROCESS_KIND_{kind.upper()}")
    assert (hello.proto_min, hello.proto_max) == (OURS.least, OURS.most)
    assert (hello.identity.epoch, hello.boot_id, hello.build) == (us.epoch, us.boot_id, us.build)
    assert (hello.snapshot_version, hello.clock_ms) == (4, 99)
    assert (hello.outbox_epoch, hello.outbox_first_sequence) == ("", 0)


@pytest.mark.parametrize("observed", Observed)
def test_what_a_process_says_has_its_word_on_the_wire(observed: Observed) -> None:
    beat = link_wire.heartbeat(Status(observed), None, 5).heartbeat
    assert fleet_pb2.ObservedState.Name(beat.observed) == f"OBSERVED_STATE_{observed.upper()}"
    assert (beat.t0_ms, beat.clock_offset_ms, beat.round_trip_ms) == (5, 0, 0)


@given(st.floats(allow_nan=False))
def test_a_load_is_told_in_thousandths_whatever_was_measured(utilisation: float) -> None:
    status = Status(Observed.SERVING, utilisation)
    beat = link_wire.heartbeat(status, Offset(-3, 8), 5).heartbeat
    assert beat.utilisation_permille == round(1000 * min(max(utilisation, 0), 1))
    assert (beat.clock_offset_ms, beat.round_trip_ms) == (-3, 8)


@pytest.mark.parametrize("end", CommandEnd)
def test_how_a_command_ended_has_its_word_on_the_wire(end: CommandEnd) -> None:
    done = link_wire.done(COMMAND, end, "timeout").done
    assert fleet_pb2.CommandState.Name(done.state) == f"COMMAND_STATE_{end.upper()}"
    assert (done.id, done.reason) == (COMMAND, "timeout")


@pytest.mark.parametrize(
    ("state", "desired"),
    [
        (fleet_pb2.DESIRED_STATE_UNSPECIFIED, DesiredState.ACTIVE),
        (fleet_pb2.DESIRED_STATE_ACTIVE, DesiredState.ACTIVE),
        (fleet_pb2.DESIRED_STATE_DRAIN, DesiredState.DRAIN),
        (fleet_pb2.DESIRED_STATE_DISABLED, DesiredState.DISABLED),
    ],
)
@pytest.mark.parametrize(("remaining_ms", "remaining_s"), [(0, None), (-1, None), (1500, 1.5)])
def test_a_welcome_is_the_terms(
    state: fleet_pb2.DesiredState,
    desired: DesiredState,
    remaining_ms: int,
    remaining_s: float | None,
) -> None:
    welcome = fleet_pb2.Welcome(
        proto=1,
        heartbeat_interval_ms=250,
        desired=fleet_pb2.Desired(state=state, remaining_ms=remaining_ms),
    )
    terms = link_wire.parsed(ConnectResponse(welcome=welcome))
    assert terms == Terms(1, 0.25, Desired(desired, remaining_s))


@pytest.mark.parametrize(
    ("kind", "desired"),
    [
        (fleet_pb2.COMMAND_KIND_DRAIN, Desired(DesiredState.DRAIN, 2.0)),
        (fleet_pb2.COMMAND_KIND_RESUME, Desired(DesiredState.ACTIVE, 2.0)),
        (fleet_pb2.COMMAND_KIND_ERASE, None),
        (fleet_pb2.COMMAND_KIND_UNSPECIFIED, None),
    ],
)
def test_a_command_is_an_order(kind: fleet_pb2.CommandKind, desired: Desired | None) -> None:
    command = fleet_pb2.Command(id=COMMAND, kind=kind, expires_in_ms=2000)
    assert link_wire.parsed(ConnectResponse(command=command)) == Order(COMMAND, desired)


def test_an_echo_keeps_its_times() -> None:
    echo = fleet_pb2.HeartbeatEcho(t0_ms=1, t1_ms=2, t2_ms=3)
    assert link_wire.parsed(ConnectResponse(echo=echo)) == Echo(1, 2, 3)


@pytest.mark.parametrize(
    "message",
    [
        ConnectResponse(),
        ConnectResponse(quota=fleet_pb2.QuotaGrant(amount=1)),
        ConnectResponse(command=fleet_pb2.Command(id="", kind=fleet_pb2.COMMAND_KIND_DRAIN)),
        ConnectResponse.FromString(b"\xfa\x01\x01x"),  # field 31, of the future
    ],
    ids=str,
)
def test_what_is_not_known_is_passed_over(message: ConnectResponse) -> None:
    assert link_wire.parsed(message) is None


def test_a_hello_says_what_the_process_holds() -> None:
    us = identity("fr-1/ingest-0", Random(1))
    held = Held(bytes(32), "ep_x", 7)
    hello = link_wire.hello(us, Status(Observed.SERVING), 5, held).hello
    assert hello.snapshot_digest.value == bytes(32)
    assert (hello.outbox_epoch, hello.outbox_first_sequence) == ("ep_x", 7)
    assert not link_wire.hello(us, Status(Observed.SERVING), 5).hello.HasField("snapshot_digest")


def test_a_welcome_says_where_facts_go_on_and_how_many() -> None:
    position = fleet_pb2.OutboxPosition(epoch="ep_x", sequence=9)
    welcome = fleet_pb2.Welcome(proto=1, credit=4, resume_from=position)
    terms = link_wire.parsed(ConnectResponse(welcome=welcome))
    assert isinstance(terms, Terms)
    assert (terms.credit, terms.resume_from) == (4, Position("ep_x", 9))


@pytest.mark.parametrize(("again", "again_from"), [(0, None), (3, 3)])
def test_an_ack_says_what_is_committed(again: int, again_from: int | None) -> None:
    ack = fleet_pb2.FactsAck(epoch="ep_x", sequence=2, resume_from=again)
    found = link_wire.parsed(ConnectResponse(facts_ack=ack))
    assert found == Acked(Position("ep_x", 2), again_from)


@pytest.mark.parametrize(
    ("verb", "kind"),
    [(Verb.RETRY, Kind.DELIVERY), (Verb.CANCEL, Kind.UPLOAD), (Verb.ERASE, Kind.ACCOUNT)],
)
def test_what_is_asked_names_its_subject(verb: Verb, kind: Kind) -> None:
    number = f"COMMAND_KIND_{verb.upper()}"
    subject = IdMaker(Random(2).randbytes).make(kind)
    for argument, asked in ((subject, Asked(verb, subject)), (COMMAND, None), ("", None)):
        command = fleet_pb2.Command(id=COMMAND, kind=number, argument=argument)
        found = link_wire.parsed(ConnectResponse(command=command))
        assert found == Order(COMMAND, None, asked)


@pytest.mark.parametrize(
    "offer", [Delta(to_version=4, nonce="n"), SnapshotRef(version=4, nonce="n")], ids=str
)
def test_an_offer_is_answered_by_its_nonce(offer: Delta | SnapshotRef) -> None:
    is_delta = isinstance(offer, Delta)
    sent = ConnectResponse(delta=offer) if is_delta else ConnectResponse(snapshot=offer)  # type: ignore[arg-type]  # by its own kind
    assert link_wire.parsed(sent) == offer
    kept = link_wire.kept(offer).ack
    assert (kept.version, kept.nonce) == (4, "n")
    refused = link_wire.refused(offer, Code.DAMAGED, 3).nack
    assert (refused.nonce, refused.reason, refused.serving_version) == ("n", "damaged", 3)
