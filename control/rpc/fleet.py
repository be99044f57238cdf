"""The fleet's streams: protobuf in, calls of ``control.fleet``, protobuf out, and nothing else.

The rule: what a stream says reaches the model at once, and what the model answers reaches the
streams through bounded queues; so no slow node ever holds control. A stream that is refused or
ended is told why by its code. Enrolment and snapshots are not offered yet: gRPC says so.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import grpc
import grpc.aio

from control.fleet.model import (
    Desired,
    DesiredState,
    Effect,
    End,
    Fleet,
    Identity,
    Notice,
    NoticeKind,
    Tell,
)
from control.fleet.place import StreamID
from control.fleet.states import Observed
from zentransfer import ids, log
from zentransfer.clock import Clock
from zentransfer.errors import Code, Error
from zentransfer.ids import CommandID, EpochID, IdMaker, Kind, NodeID, Region
from zentransfer.limits import (
    FLEET_HEARTBEAT_S,
    FLEET_HELLO_S,
    FLEET_LOST_S,
    FLEET_OUTBOUND_MAX,
    FLEET_RETRY_AFTER_S,
    FLEET_TICK_S,
)
from zentransfer.rpc_stream import served
from zentransfer.stream import MessageStream, StreamClosed
from zentransfer.v1 import fleet_pb2, types_pb2
from zentransfer.v1.fleet_pb2 import ConnectRequest, ConnectResponse
from zentransfer.versions import OURS, Versions, agreed

Stream = MessageStream[ConnectResponse, ConnectRequest]

CREDIT: Final = 0  # fact batches: this control takes none yet

_REGION: Final = MappingProxyType(
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
_COMMANDED: Final = MappingProxyType(
    {
        DesiredState.ACTIVE: fleet_pb2.COMMAND_KIND_RESUME,
        DesiredState.DRAIN: fleet_pb2.COMMAND_KIND_DRAIN,
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


@dataclass(frozen=True, slots=True)
class Timing:
    """The waits of control's side, in seconds; tests with real sockets shorten them."""

    heartbeat_s: float = FLEET_HEARTBEAT_S
    hello_s: float = FLEET_HELLO_S
    silence_s: float = FLEET_LOST_S
    tick_s: float = FLEET_TICK_S


DEFAULT_TIMING: Final = Timing()


class FleetService:
    """Serves the streams of all nodes over one :class:`Fleet`, whose clock is the loop's time."""

    def __init__(
        self, fleet: Fleet, clock: Clock, ids: IdMaker, timing: Timing = DEFAULT_TIMING
    ) -> None:
        self._fleet = fleet
        self._clock = clock
        self._ids = ids
        self._timing = timing
        self._sessions: dict[StreamID, _Session] = {}

    def register(self, server: grpc.aio.Server) -> None:
        """Add the service to *server*; methods that are not here are UNIMPLEMENTED."""
        connect: Any = grpc.stream_stream_rpc_method_handler(
            self._connect,
            request_deserializer=ConnectRequest.FromString,
            response_serializer=ConnectResponse.SerializeToString,
        )
        name = fleet_pb2.DESCRIPTOR.services_by_name["FleetService"].full_name
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(name, {"Connect": connect}),)
        )

    async def watch(self) -> None:
        """Let time pass in the fleet, for ever; a task of the composition root."""
        loop = asyncio.get_running_loop()
        while True:
            self.apply(self._fleet.tick(loop.time()))
            await asyncio.sleep(self._timing.tick_s)

    def apply(self, effects: Iterable[Effect]) -> None:
        """Do what the fleet answered to an event: tell nodes, end streams, log."""
        for effect in effects:
            match effect:
                case Notice():
                    _NOTED[effect.kind](effect)
                case Tell():
                    self._tell(effect)
                case End():
                    session = self._sessions.get(effect.stream)
                    if session is not None:
                        session.end(Error(effect.code, effect.detail))

    async def serve_stream(self, stream: Stream, peer: NodeID | None = None) -> None:
        """Serve one stream to its end; *peer* is the node that the transport proved it to be.

        Raises ``Error`` for the peer: ``INVALID``, ``FORBIDDEN``, ``VERSION_MISMATCH``,
        ``SUPERSEDED``, ``TIMEOUT`` after too long a silence, ``LOCKED``, ``OVERLOADED``.
        """
        session = _Session(stream, self._clock)
        try:
            async with asyncio.timeout(self._timing.hello_s) as session.patience:
                message = await stream.receive()
                identity, versions = _introduced(message, peer)
                session.identity = identity
                session.version = agreed(OURS, versions)
                await self._serve(session, identity)
        except TimeoutError:
            if not session.patience.expired():
                raise
            session.refusal = session.refusal or Error(Code.TIMEOUT, "no heartbeat came in time")
            raise session.refusal from None
        except Error as refusal:
            session.refusal = refusal
            raise
        finally:
            session.tell_log()

    async def _connect(
        self, _: object, context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> AsyncIterator[ConnectResponse]:
        async for response in served(context, self.serve_stream):
            yield response

    async def _serve(self, session: "_Session", identity: Identity) -> None:
        """Give the stream its number in the fleet and move messages both ways until its end."""
        number = self._fleet.hello(identity, _now_s())
        self._sessions[number] = session
        try:
            session.push(self._welcome(session.version, self._fleet.desired(identity.node)))
            async with asyncio.TaskGroup() as group:
                sender = group.create_task(session.send_all())
                await self._receive_all(session, number)
                sender.cancel()
        finally:
            del self._sessions[number]
            self._fleet.disconnected(number)

    async def _receive_all(self, session: "_Session", number: StreamID) -> None:
        """Take messages until the stream is over; what is not known here is passed over."""
        with suppress(StreamClosed):
            while True:
                message = await session.stream.receive()
                match message.WhichOneof("body"):
                    case "heartbeat":
                        self._on_heartbeat(session, number, message.heartbeat)
                    case "done":
                        session.on_done(message.done)
                    case _:
                        pass

    def _on_heartbeat(
        self, session: "_Session", number: StreamID, heartbeat: fleet_pb2.Heartbeat
    ) -> None:
        t1_ms = self._clock.now_ms()
        said = _SAID.get(heartbeat.observed)
        if said is None:
            session.end(Error(Code.INVALID, "a heartbeat says what the process is"))
            return
        session.beat(self._timing.silence_s)
        session.push(_echo(heartbeat.t0_ms, t1_ms))
        self.apply(self._fleet.heartbeat(number, said, _now_s()))

    def _tell(self, tell: Tell) -> None:
        session = self._sessions.get(tell.stream)
        if session is None:
            return
        kind = _COMMANDED.get(tell.desired.state)
        if kind is None:  # no command says it, so the terms of the stream are said again
            session.push(self._welcome(session.version, tell.desired))
            return
        command = CommandID(self._ids.make(Kind.COMMAND))
        session.commands.append(command)
        session.push(
            ConnectResponse(
                command=fleet_pb2.Command(
                    id=command, kind=kind, expires_in_ms=_remaining_ms(tell.desired)
                )
            )
        )

    def _welcome(self, version: int, desired: Desired) -> ConnectResponse:
        return ConnectResponse(
            welcome=fleet_pb2.Welcome(
                proto=version,
                heartbeat_interval_ms=round(self._timing.heartbeat_s * 1000),
                credit=CREDIT,
                desired=fleet_pb2.Desired(
                    state=_DESIRED[desired.state], remaining_ms=_remaining_ms(desired)
                ),
                clock_ms=self._clock.now_ms(),
            )
        )


class _Session:
    """One stream as control's side holds it."""

    patience: asyncio.Timeout

    def __init__(self, stream: Stream, clock: Clock) -> None:
        self.stream = stream
        self.identity: Identity | None = None  # once it said hello
        self.version = 0
        self.refusal: Error | None = None
        self.commands: deque[CommandID] = deque(maxlen=FLEET_OUTBOUND_MAX)
        self._clock = clock
        self._since_s: float | None = None  # when its first heartbeat came
        self._outbound: deque[ConnectResponse] = deque()
        self._filled = asyncio.Event()

    def push(self, message: ConnectResponse) -> None:
        """Queue *message*; a node that does not read loses its stream and learns by the next."""
        if len(self._outbound) >= FLEET_OUTBOUND_MAX:
            self.end(Error(Code.OVERLOADED, "the node does not read", FLEET_RETRY_AFTER_S))
            return
        self._outbound.append(message)
        self._filled.set()

    async def send_all(self) -> None:
        """Send what is queued until the stream is over, which the receiver tells."""
        with suppress(StreamClosed):
            while True:
                while self._outbound:
                    await self.stream.send(self._stamped(self._outbound.popleft()))
                self._filled.clear()
                await self._filled.wait()

    def _stamped(self, message: ConnectResponse) -> ConnectResponse:
        if message.WhichOneof("body") == "echo":
            message.echo.t2_ms = self._clock.now_ms()
        return message

    def beat(self, silence_s: float) -> None:
        """Note a heartbeat: the stream may be silent for *silence_s* from now."""
        if self._since_s is None and self.identity is not None:
            self._since_s = _now_s()
            log.fact(
                "fleet.connected",
                node=self.identity.node,
                process=self.identity.process,
                version=self.version,
            )
        if not self.patience.expired() and self.refusal is None:
            self.patience.reschedule(_now_s() + silence_s)

    def end(self, refusal: Error) -> None:
        """End the stream with *refusal*, soon, from whichever task."""
        if self.refusal is None and not self.patience.expired():
            self.refusal = refusal
            self.patience.reschedule(_now_s())

    def on_done(self, done: fleet_pb2.CommandDone) -> None:
        """Note how a command of this stream ended."""
        state = _ENDED.get(done.state)
        if state is None or self.identity is None or done.id not in self.commands:
            return
        self.commands.remove(CommandID(done.id))
        log.fact(
            "fleet.command_ended",
            node=self.identity.node,
            process=self.identity.process,
            state=state,
        )

    def tell_log(self) -> None:
        """Write the one line about the stream's end."""
        node = self.identity.node if self.identity else None
        process = self.identity.process if self.identity else None
        reason = self.refusal.code if self.refusal else None
        if self._since_s is not None:
            lived_s = _now_s() - self._since_s
            log.fact(
                "fleet.disconnected", node=node, process=process, reason=reason, lived_s=lived_s
            )
        elif self.refusal is not None and reason is Code.VERSION_MISMATCH:
            detail = self.refusal.detail
            log.fact("fleet.version_mismatch", node=node, process=process, detail=detail)
        elif reason is not None:
            log.fact("fleet.refused", node=node, process=process, reason=reason)


def _introduced(message: ConnectRequest, peer: NodeID | None) -> tuple[Identity, Versions]:
    """Return who says hello, and the versions it speaks; raises ``Error``."""
    if message.WhichOneof("body") != "hello":
        raise Error(Code.INVALID, "a stream begins with a hello")
    hello = message.hello
    node, process = ids.node(hello.identity.node), ids.process(hello.identity.process)
    if peer is not None and node != peer:
        raise Error(Code.FORBIDDEN, "the certificate is another node's")
    if process.partition("-")[0] != _KIND.get(hello.kind):
        raise Error(Code.INVALID, "the process is not what its name says")
    if _REGION.get(hello.region) is not ids.region_of(node):
        raise Error(Code.INVALID, "the region is not the one in the node's name")
    epoch = EpochID(ids.parse(Kind.EPOCH, hello.identity.epoch))
    return Identity(node, process, epoch), Versions(hello.proto_min, hello.proto_max)


def _echo(t0_ms: int, t1_ms: int) -> ConnectResponse:
    return ConnectResponse(echo=fleet_pb2.HeartbeatEcho(t0_ms=t0_ms, t1_ms=t1_ms))


def _remaining_ms(desired: Desired) -> int:
    """Return how long *desired* lasts from now; 0 says that it has no end, so a past end is 1."""
    if desired.until_s is None:
        return 0
    return max(1, round((desired.until_s - _now_s()) * 1000))


def _now_s() -> float:
    return asyncio.get_running_loop().time()


# One line a kind, each with its literal name, as the gate over the log's facts reads them.
_NOTED: Final[MappingProxyType[NoticeKind, Callable[[Notice], None]]] = MappingProxyType(
    {
        NoticeKind.LATE: lambda it: log.fact(
            "fleet.late", region=it.region, node=it.node, process=it.process
        ),
        NoticeKind.LOST: lambda it: log.fact(
            "fleet.lost", region=it.region, node=it.node, process=it.process
        ),
        NoticeKind.BACK: lambda it: log.fact(
            "fleet.back", region=it.region, node=it.node, process=it.process
        ),
        NoticeKind.HELD: lambda it: log.fact("fleet.held", region=it.region),
        NoticeKind.QUARANTINED: lambda it: log.fact(
            "fleet.quarantined", region=it.region, node=it.node
        ),
        NoticeKind.RELEASED: lambda it: log.fact("fleet.released", region=it.region, node=it.node),
        NoticeKind.ENABLED: lambda it: log.fact("fleet.enabled", region=it.region, node=it.node),
    }
)
