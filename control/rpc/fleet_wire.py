"""What streams say, as protobuf messages, and what we make of it: parsed at the rim, never held."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from control.facts.apply import Applied
from control.fleet.model import Desired, DesiredState, Identity
from control.fleet.region_keys import RegionKey
from control.fleet.states import Observed
from control.uploads.commands import Command, CommandKind
from zentransfer import ids
from zentransfer.errors import Code, Error
from zentransfer.ids import CommandID, CredentialID, EpochID, Kind, NodeID, Region
from zentransfer.v1 import fleet_pb2, types_pb2
from zentransfer.v1.fleet_pb2 import ConnectRequest, ConnectResponse
from zentransfer.versions import Versions

REGION: Final = MappingProxyType(
    {
        types_pb2.REGION_US: Region.US,
        types_pb2.REGION_FR: Region.FR,
        types_pb2.REGION_SG: Region.SG,
    }
)
_KIND: Final = MappingProxyType(
    {types_pb2.PROCESS_KIND_INGEST: "ingest", types_pb2.PROCESS_KIND_DELIVERY: "delivery"}
)
_SAID: Final = MappingProxyType(
    {
        fleet_pb2.OBSERVED_STATE_JOINING: Observed.JOINING,
        fleet_pb2.OBSERVED_STATE_SERVING: Observed.SERVING,
        fleet_pb2.OBSERVED_STATE_DRAINING: Observed.DRAINING,
        fleet_pb2.OBSERVED_STATE_DRAINED: Observed.DRAINED,
    }
)
_DESIRED: Final = MappingProxyType(
    {
        DesiredState.ACTIVE: fleet_pb2.DESIRED_STATE_ACTIVE,
        DesiredState.DRAIN: fleet_pb2.DESIRED_STATE_DRAIN,
        DesiredState.DISABLED: fleet_pb2.DESIRED_STATE_DISABLED,
    }
)
_DESIRED_COMMAND: Final = MappingProxyType(
    {
        DesiredState.ACTIVE: fleet_pb2.COMMAND_KIND_RESUME,
        DesiredState.DRAIN: fleet_pb2.COMMAND_KIND_DRAIN,
    }
)
_COMMAND: Final = MappingProxyType(
    {
        CommandKind.CANCEL: fleet_pb2.COMMAND_KIND_CANCEL,
        CommandKind.RETRY: fleet_pb2.COMMAND_KIND_RETRY,
    }
)
_ENDED: Final = MappingProxyType(
    {
        fleet_pb2.COMMAND_STATE_DONE: "done",
        fleet_pb2.COMMAND_STATE_REFUSED: "refused",
        fleet_pb2.COMMAND_STATE_FAILED: "failed",
        fleet_pb2.COMMAND_STATE_EXPIRED: "expired",
    }
)
_TELLS: Final = MappingProxyType(
    {
        "destination_key": (types_pb2.PROCESS_KIND_DELIVERY, types_pb2.KEY_SUITE_HPKE_X25519),
        "ticket_key": (types_pb2.PROCESS_KIND_INGEST, types_pb2.KEY_SUITE_ED25519),
    }
)
_KEY_BYTES: Final = 32
_KID_CHARS_MAX: Final = 64
_NUMBER_MAX: Final = 2**53  # of sequences and versions: what every database and language holds


@dataclass(frozen=True, slots=True)
class Hello:
    """Who dials and what it holds; ``outbox`` is ``None`` for a process that tells no facts.

    ``version`` and ``digest`` are those of its snapshot, 0 and empty without one.
    ``destination_key`` is what a delivery process has its region's secrets sealed to,
    ``ticket_key`` what verifies the tickets that an ingest process signs.
    """

    identity: Identity
    versions: Versions
    version: int
    digest: bytes
    outbox: EpochID | None
    outbox_first: int
    destination_key: RegionKey | None = None
    ticket_key: RegionKey | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """What a welcome promises: the version, the pause between heartbeats, and batches in flight.

    ``resume_from`` is the first fact that control lacks.
    """

    version: int
    heartbeat_s: float
    credit: int = 0
    resume_from: int = 0


def introduced(message: ConnectRequest, peer: NodeID | None) -> Hello:
    """Return who says hello, which *peer* must be; raises ``Error``: INVALID, FORBIDDEN."""
    if message.WhichOneof("body") != "hello":
        raise Error(Code.INVALID, "a stream begins with a hello")
    hello = message.hello
    node, process = ids.node(hello.identity.node), ids.process(hello.identity.process)
    if peer is not None and node != peer:
        raise Error(Code.FORBIDDEN, "the certificate is another node's")
    if process.partition("-")[0] != _KIND.get(hello.kind):
        raise Error(Code.INVALID, "the process is not what its name says")
    if REGION.get(hello.region) is not ids.region_of(node):
        raise Error(Code.INVALID, "the region is not the one in the node's name")
    if max(hello.snapshot_version, hello.outbox_first_sequence) > _NUMBER_MAX:
        raise Error(Code.INVALID, "a version or sequence is out of its range")
    has_outbox = bool(hello.outbox_epoch)
    return Hello(
        identity=Identity(node, process, EpochID(ids.parse(Kind.EPOCH, hello.identity.epoch))),
        versions=Versions(hello.proto_min, hello.proto_max),
        version=hello.snapshot_version,
        digest=hello.snapshot_digest.value,
        outbox=EpochID(ids.parse(Kind.EPOCH, hello.outbox_epoch)) if has_outbox else None,
        outbox_first=max(hello.outbox_first_sequence, 1),
        destination_key=_maybe_key(hello, "destination_key"),
        ticket_key=_maybe_key(hello, "ticket_key"),
    )


def _maybe_key(hello: fleet_pb2.Hello, name: str) -> RegionKey | None:
    """Return the key *name* of whoever may tell it; of others, and of newer suites, none."""
    told: types_pb2.PublicKey = getattr(hello, name)
    kind, suite = _TELLS[name]
    if hello.kind != kind or told.suite != suite:
        return None
    if len(told.public_key) != _KEY_BYTES or not 0 < len(told.kid) <= _KID_CHARS_MAX:
        raise Error(Code.INVALID, "the key in the hello is none of its suite")
    region = ids.region_of(ids.node(hello.identity.node))
    if name == "ticket_key" and told.kid != ids.ticket_kid(region, told.public_key):
        raise Error(Code.INVALID, "the ticket key in the hello bears another key's name")
    return RegionKey(told.kid, told.public_key)


def maybe_said(heartbeat: fleet_pb2.Heartbeat) -> Observed | None:
    """Return what a process says of itself, ``None`` when it may not say that."""
    return _SAID.get(heartbeat.observed)


def maybe_ended(done: fleet_pb2.CommandDone) -> str | None:
    """Return how a command ended, in a word of the log."""
    return _ENDED.get(done.state)


def welcome(
    terms: Terms, outbox: EpochID | None, desired: Desired, now_s: float, now_ms: int
) -> ConnectResponse:
    """Return the terms of a stream."""
    message = fleet_pb2.Welcome(
        proto=terms.version,
        heartbeat_interval_ms=round(terms.heartbeat_s * 1000),
        credit=terms.credit,
        desired=fleet_pb2.Desired(
            state=_DESIRED[desired.state], remaining_ms=_remaining_ms(desired, now_s)
        ),
        clock_ms=now_ms,
    )
    if outbox is not None and terms.resume_from:
        message.resume_from.epoch = outbox
        message.resume_from.sequence = terms.resume_from
    return ConnectResponse(welcome=message)


def echo(t0_ms: int, t1_ms: int) -> ConnectResponse:
    """Return the answer to a heartbeat; when it leaves it is stamped."""
    return ConnectResponse(echo=fleet_pb2.HeartbeatEcho(t0_ms=t0_ms, t1_ms=t1_ms))


def acked(epoch: EpochID, applied: Applied) -> ConnectResponse:
    """Return that facts are committed, and from where to send again if there was a gap."""
    return ConnectResponse(
        facts_ack=fleet_pb2.FactsAck(
            epoch=epoch, sequence=applied.sequence, resume_from=applied.resume_from or 0
        )
    )


def maybe_turn(command: CommandID, desired: Desired, now_s: float) -> ConnectResponse | None:
    """Return the command that says what is desired, ``None`` where only terms say it."""
    kind = _DESIRED_COMMAND.get(desired.state)
    if kind is None:
        return None
    return ConnectResponse(
        command=fleet_pb2.Command(
            id=command, kind=kind, expires_in_ms=_remaining_ms(desired, now_s)
        )
    )


def command(of: Command) -> ConnectResponse:
    """Return what an owner asks of an upload or a delivery."""
    return ConnectResponse(
        command=fleet_pb2.Command(id=of.id, kind=_COMMAND[of.kind], argument=of.argument)
    )


def trace(name: CommandID, credential: CredentialID, lasts_ms: int) -> ConnectResponse:
    """Return the command *name* to trace *credential*; one that lasts no longer is over at once."""
    return ConnectResponse(
        command=fleet_pb2.Command(
            id=name,
            kind=fleet_pb2.COMMAND_KIND_TRACE,
            argument=credential,
            expires_in_ms=max(lasts_ms, 1),
        )
    )


def _remaining_ms(desired: Desired, now_s: float) -> int:
    """Return how long *desired* lasts from now; 0 says that it has no end, so a past end is 1."""
    if desired.until_s is None:
        return 0
    return max(1, round((desired.until_s - now_s) * 1000))
