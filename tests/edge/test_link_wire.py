from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import link_wire
from edge.link_state import (
    CommandEnd,
    Desired,
    DesiredState,
    Echo,
    Observed,
    Offset,
    Order,
    Status,
    Terms,
)
from tests.support.fleet import identity
from zentransfer.ids import CommandID, IdMaker, Kind, Region
from zentransfer.v1 import fleet_pb2, types_pb2
from zentransfer.v1.fleet_pb2 import ConnectResponse
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
        ConnectResponse(facts_ack=fleet_pb2.FactsAck(sequence=1)),
        ConnectResponse(command=fleet_pb2.Command(id="", kind=fleet_pb2.COMMAND_KIND_DRAIN)),
        ConnectResponse.FromString(b"\xfa\x01\x01x"),  # field 31, of the future
    ],
    ids=str,
)
def test_what_is_not_known_is_passed_over(message: ConnectResponse) -> None:
    assert link_wire.parsed(message) is None
