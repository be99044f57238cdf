"""What the link says and hears, as protobuf messages: parsed at the rim, never held.

The rule: a message or a word that a newer control sends and we do not know is passed over.
"""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

from edge.link_state import (
    Acked,
    Asked,
    CommandEnd,
    Desired,
    DesiredState,
    Echo,
    Held,
    Identity,
    Observed,
    Offset,
    Order,
    Position,
    SealingKey,
    Status,
    Terms,
    Verb,
    VerifyingKey,
)
from edge.traced import Told
from zentransfer import ids
from zentransfer.errors import Code, Error
from zentransfer.ids import CommandID, Kind, Region
from zentransfer.v1 import fleet_pb2, types_pb2
from zentransfer.v1.facts_pb2 import FactBatch, UnderWay
from zentransfer.v1.fleet_pb2 import ConnectRequest, ConnectResponse, SnapshotRef
from zentransfer.v1.snapshot_pb2 import Delta
from zentransfer.versions import OURS

NOTHING: Final = Held()
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
_ASKED: Final = MappingProxyType(
    {
        fleet_pb2.COMMAND_KIND_RETRY: (Verb.RETRY, Kind.DELIVERY),
        fleet_pb2.COMMAND_KIND_CANCEL: (Verb.CANCEL, Kind.UPLOAD),
        fleet_pb2.COMMAND_KIND_ERASE: (Verb.ERASE, Kind.ACCOUNT),
        fleet_pb2.COMMAND_KIND_TRACE: (Verb.TRACE, Kind.CREDENTIAL),
    }
)
_ENDED: Final = MappingProxyType(
    {
        CommandEnd.DONE: fleet_pb2.COMMAND_STATE_DONE,
        CommandEnd.REFUSED: fleet_pb2.COMMAND_STATE_REFUSED,
        CommandEnd.FAILED: fleet_pb2.COMMAND_STATE_FAILED,
    }
)


Offer = Delta | SnapshotRef
"""A snapshot that control offers, still as it came: the receiver alone knows what it is for."""


def hello(us: Identity, status: Status, now_ms: int, held: Held = NOTHING) -> ConnectRequest:
    """Return who we are and what we hold; no certificate yet."""
    is_ingest = us.process.startswith("ingest-")
    sha256 = types_pb2.DIGEST_ALGORITHM_SHA256
    digest = types_pb2.Digest(algorithm=sha256, value=held.snapshot_digest)
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
            snapshot_digest=digest if held.snapshot_digest else None,
            outbox_epoch=held.outbox_epoch,
            outbox_first_sequence=held.outbox_first,
            clock_ms=now_ms,
            observed=_OBSERVED[status.observed],
            destination_key=_maybe_key(held.destination_key),
            ticket_key=_maybe_key(held.ticket_key),
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


def facts(batch: FactBatch) -> ConnectRequest:
    """Return a batch of facts."""
    return ConnectRequest(facts=batch)


def under_way(report: UnderWay) -> ConnectRequest:
    """Return what is being received."""
    return ConnectRequest(under_way=report)


def traced(told: Sequence[Told]) -> ConnectRequest:
    """Return lines of traced sessions."""
    lines = [
        fleet_pb2.TraceLine(
            credential_id=one.credential,
            account_id=one.account,
            session=one.session,
            at_ms=one.at_ms,
            sealed_line=types_pb2.Sealed(kid=one.line.kid, ciphertext=one.line.ciphertext),
        )
        for one in told
    ]
    return ConnectRequest(traced=fleet_pb2.Traced(lines=lines))


def kept(offer: Offer) -> ConnectRequest:
    """Return that the version of *offer* is on disk and in force."""
    version = offer.to_version if isinstance(offer, Delta) else offer.version
    return ConnectRequest(ack=fleet_pb2.SnapshotAck(version=version, nonce=offer.nonce))


def refused(offer: Offer, reason: Code, serving: int) -> ConnectRequest:
    """Return that *offer* was refused and version *serving* keeps serving."""
    nack = fleet_pb2.SnapshotNack(nonce=offer.nonce, reason=reason, serving_version=serving)
    return ConnectRequest(nack=nack)


def parsed(message: ConnectResponse) -> Terms | Echo | Order | Acked | Offer | None:
    """Return what control says, or ``None`` if it is nothing that we know."""
    match message.WhichOneof("body"):
        case "welcome":
            return _terms(message.welcome)
        case "echo":
            return Echo(message.echo.t0_ms, message.echo.t1_ms, message.echo.t2_ms)
        case "command":
            return _order(message.command)
        case "facts_ack":
            return _acked(message.facts_ack)
        case "delta" | "snapshot":
            return message.delta if message.HasField("delta") else message.snapshot
        case _:
            return None


def _maybe_key(key: SealingKey | VerifyingKey | None) -> types_pb2.PublicKey | None:
    if key is None:
        return None
    seals = isinstance(key, SealingKey)
    suite = types_pb2.KEY_SUITE_HPKE_X25519 if seals else types_pb2.KEY_SUITE_ED25519
    return types_pb2.PublicKey(kid=key.kid, suite=suite, public_key=key.key)


def _terms(welcome: fleet_pb2.Welcome) -> Terms:
    state = _DESIRED.get(welcome.desired.state, DesiredState.ACTIVE)
    resume = welcome.resume_from
    return Terms(
        version=welcome.proto,
        heartbeat_s=welcome.heartbeat_interval_ms / 1000,
        desired=Desired(state, _seconds(welcome.desired.remaining_ms)),
        credit=welcome.credit,
        resume_from=Position(resume.epoch, resume.sequence) if resume.epoch else None,
    )


def _acked(ack: fleet_pb2.FactsAck) -> Acked:
    return Acked(Position(ack.epoch, ack.sequence), ack.resume_from or None)


def _order(command: fleet_pb2.Command) -> Order | None:
    try:
        name = CommandID(ids.parse(Kind.COMMAND, command.id))
    except Error:
        return None  # without an id there is nothing to answer
    state = _COMMANDED.get(command.kind)
    desired = None if state is None else Desired(state, _seconds(command.expires_in_ms))
    return Order(name, desired, _maybe_asked(command))


def _maybe_asked(command: fleet_pb2.Command) -> Asked | None:
    if command.kind not in _ASKED:
        return None
    verb, kind = _ASKED[command.kind]
    try:
        lasts_s = _seconds(command.expires_in_ms) if verb is Verb.TRACE else None
        return Asked(verb, ids.parse(kind, command.argument), lasts_s)
    except Error:
        return None


def _seconds(milliseconds: int) -> float | None:
    return milliseconds / 1000 if milliseconds > 0 else None
