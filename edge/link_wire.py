"""What the link says and hears, as protobuf messages: parsed at the rim, never held.

The rule: a message or a word that a newer control sends and we do not know is passed over.
"""

from types import MappingProxyType
from typing import Final

from edge.link_state import (
    CommandEnd,
    Desired,
    DesiredState,
    Echo,
    Identity,
    Observed,
    Offset,
    Order,
    Status,
    Terms,
)
from zentransfer import ids
from zentransfer.errors import Error
from zentransfer.ids import CommandID, Kind, Region
from zentransfer.v1 import fleet_pb2, types_pb2
from zentransfer.v1.fleet_pb2 import ConnectRequest, ConnectResponse
from zentransfer.versions import OURS

CAPABILITIES: Final[tuple[str, ...]] = ()  # what we can do beyond the agreed version, by name

_REGION: Final = MappingProxyType(
    {
        Region.US: types_pb2.REGION_US,
        Region.FR: types_pb2.REGION_FR,
        Region.SG: types_pb2.REGION_SG,
    }
)
_OBSERVED: Final = MappingProxyType(
    {
        Observed.JOINING: fleet_pb2.OBSERVED_STATE_JOINING,
        Observed.SERVING: fleet_pb2.OBSERVED_STATE_SERVING,
        Observed.DRAINING: fleet_pb2.OBSERVED_STATE_DRAINING,
        Observed.DRAINED: fleet_pb2.OBSERVED_STATE_DRAINED,
    }
)
_DESIRED: Final = MappingProxyType(
    {
        fleet_pb2.DESIRED_STATE_DRAIN: DesiredState.DRAIN,
        fleet_pb2.DESIRED_STATE_DISABLED: DesiredState.DISABLED,
    }
)
_COMMANDED: Final = MappingProxyType(
    {
        fleet_pb2.COMMAND_KIND_DRAIN: DesiredState.DRAIN,
        fleet_pb2.COMMAND_KIND_RESUME: DesiredState.ACTIVE,
    }
)
_ENDED: Final = MappingProxyType(
    {
        CommandEnd.DONE: fleet_pb2.COMMAND_STATE_DONE,
        CommandEnd.REFUSED: fleet_pb2.COMMAND_STATE_REFUSED,
        CommandEnd.FAILED: fleet_pb2.COMMAND_STATE_FAILED,
    }
)


def hello(us: Identity, status: Status, now_ms: int) -> ConnectRequest:
    """Return who we are and what we hold; no outbox and no certificate yet."""
    is_ingest = us.process.startswith("ingest-")
    return ConnectRequest(
        hello=fleet_pb2.Hello(
            identity=types_pb2.Identity(node=us.node, process=us.process, epoch=us.epoch),
            kind=types_pb2.PROCESS_KIND_INGEST if is_ingest else types_pb2.PROCESS_KIND_DELIVERY,
            region=_REGION[ids.region_of(us.node)],
            boot_id=us.boot_id,
            build=us.build,
            proto_min=OURS.least,
            proto_max=OURS.most,
            capabilities=CAPABILITIES,
            snapshot_version=status.snapshot_version,
            clock_ms=now_ms,
            observed=_OBSERVED[status.observed],
        )
    )


def heartbeat(status: Status, offset: Offset | None, now_ms: int) -> ConnectRequest:
    """Return what the process says now, and how far its clock is from control's."""
    return ConnectRequest(
        heartbeat=fleet_pb2.Heartbeat(
            t0_ms=now_ms,
            observed=_OBSERVED[status.observed],
            utilisation_permille=round(min(max(status.utilisation, 0.0), 1.0) * 1000),
            uploads_in_flight=status.uploads_in_flight,
            outbox_lag=status.outbox_lag,
            outbox_age_ms=status.outbox_age_ms,
            snapshot_version=status.snapshot_version,
            clock_offset_ms=offset.offset_ms if offset else 0,
            round_trip_ms=offset.round_trip_ms if offset else 0,
        )
    )


def done(command: CommandID, end: CommandEnd, reason: str) -> ConnectRequest:
    """Return how *command* ended, and the word of the error table that says why."""
    return ConnectRequest(done=fleet_pb2.CommandDone(id=command, state=_ENDED[end], reason=reason))


def parsed(message: ConnectResponse) -> Terms | Echo | Order | None:
    """Return what control says, or ``None`` if it is nothing that we know."""
    match message.WhichOneof("body"):
        case "welcome":
            return _terms(message.welcome)
        case "echo":
            return Echo(message.echo.t0_ms, message.echo.t1_ms, message.echo.t2_ms)
        case "command":
            return _order(message.command)
        case _:
            return None


def _terms(welcome: fleet_pb2.Welcome) -> Terms:
    state = _DESIRED.get(welcome.desired.state, DesiredState.ACTIVE)
    desired = Desired(state, _seconds(welcome.desired.remaining_ms))
    return Terms(welcome.proto, welcome.heartbeat_interval_ms / 1000, desired)


def _order(command: fleet_pb2.Command) -> Order | None:
    try:
        name = CommandID(ids.parse(Kind.COMMAND, command.id))
    except Error:
        return None  # without an id there is nothing to answer
    state = _COMMANDED.get(command.kind)
    desired = None if state is None else Desired(state, _seconds(command.expires_in_ms))
    return Order(name, desired)


def _seconds(milliseconds: int) -> float | None:
    return milliseconds / 1000 if milliseconds > 0 else None
