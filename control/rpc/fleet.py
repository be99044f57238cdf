"""The fleet's streams: protobuf in, calls of control's planes, protobuf out, and nothing else.

The rule: what a stream says reaches the model at once, and what the model answers reaches the
streams through bounded queues; so no slow node ever holds control. A stream that is refused or
ended is told why by its code. Enrolment is not offered yet: gRPC says so.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import grpc
import grpc.aio

from control.accounts.traces import TraceDesk
from control.fleet import routing
from control.fleet.introduction import Introduction, Use
from control.fleet.model import (
    Desired,
    Effect,
    End,
    Fleet,
    Identity,
    Notice,
    NoticeKind,
    Tell,
)
from control.fleet.place import StreamID
from control.rpc import facts as facts_wire
from control.rpc import fleet_wire
from control.rpc.fleet_wire import Hello, Terms
from control.rpc.lanes import FactLane, Intake, SnapshotLane, TraceLane
from control.rpc.session import Session, Stream
from control.rpc.snapshots import Snapshots
from control.uploads.commands import Command, MemoryCommands
from control.uploads.receiving import ReceivingBook
from geo.health import Health
from zentransfer import log
from zentransfer.clock import Clock
from zentransfer.errors import Code, Error
from zentransfer.ids import CommandID, CredentialID, IdMaker, Kind, NodeID, Region, region_of
from zentransfer.limits import (
    FLEET_CREDIT,
    FLEET_HEARTBEAT_S,
    FLEET_HELLO_S,
    FLEET_LOST_S,
    FLEET_TICK_S,
)
from zentransfer.rpc_stream import served
from zentransfer.stream import StreamClosed
from zentransfer.v1 import fleet_pb2
from zentransfer.v1.fleet_pb2 import (
    ConnectRequest,
    ConnectResponse,
    FetchSnapshotRequest,
    FetchSnapshotResponse,
)
from zentransfer.versions import OURS, agreed


@dataclass(frozen=True, slots=True)
class Timing:
    """The waits of control's side, in seconds; tests with real sockets shorten them."""

    heartbeat_s: float = FLEET_HEARTBEAT_S
    hello_s: float = FLEET_HELLO_S
    silence_s: float = FLEET_LOST_S
    tick_s: float = FLEET_TICK_S


DEFAULT_TIMING: Final = Timing()


@dataclass(frozen=True, slots=True)
class Truth:
    """What streams carry beside heartbeats, where control has it: facts in, snapshots out.

    ``introduction`` takes the keys that processes tell of their region, ``receiving`` what ingest
    processes say that they are receiving, ``traces`` what traced sessions say.
    """

    intake: Intake | None = None
    snapshots: Snapshots | None = None
    introduction: Introduction | None = None
    receiving: ReceivingBook | None = None
    traces: TraceDesk | None = None


NO_TRUTH: Final = Truth()


class FleetService:
    """Serves the streams of all nodes over one :class:`Fleet`, whose clock is the loop's time."""

    def __init__(
        self,
        fleet: Fleet,
        clock: Clock,
        ids: IdMaker,
        timing: Timing = DEFAULT_TIMING,
        truth: Truth = NO_TRUTH,
    ) -> None:
        self._fleet = fleet
        self._clock = clock
        self._ids = ids
        self._timing = timing
        self._truth = truth
        self._sessions: dict[StreamID, Session] = {}
        self._commands = MemoryCommands()

    def register(self, server: grpc.aio.Server) -> None:
        """Add the service to *server*; methods that are not here are UNIMPLEMENTED."""
        methods: dict[str, Any] = {
            "Connect": grpc.stream_stream_rpc_method_handler(
                self._connect,
                request_deserializer=ConnectRequest.FromString,
                response_serializer=ConnectResponse.SerializeToString,
            )
        }
        if self._truth.snapshots is not None:
            methods["FetchSnapshot"] = grpc.unary_stream_rpc_method_handler(
                self._truth.snapshots.fetch,
                request_deserializer=FetchSnapshotRequest.FromString,
                response_serializer=FetchSnapshotResponse.SerializeToString,
            )
        name = fleet_pb2.DESCRIPTOR.services_by_name["FleetService"].full_name
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, methods),))

    async def watch(self) -> None:
        """Let time pass in the fleet, for ever; a task of the composition root."""
        loop = asyncio.get_running_loop()
        while True:
            self.apply(self._fleet.tick(loop.time()))
            self._traced()
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

    def health(self) -> Health:
        """Return which regions clients may be sent to now."""
        return routing.health(self._fleet.nodes())

    def publish(self, regions: set[Region]) -> None:
        """Offer the newest snapshot of *regions* to each node that is linked and lacks it."""
        for session in self._sessions.values():
            if session.snapshots is not None and _region(session) in regions:
                session.snapshots.look(_now_s())

    def trace(self, credential: CredentialID, lasts_ms: int) -> None:
        """Ask all ingest processes to trace *credential* for *lasts_ms*; 0 ends it."""
        for session in self._sessions.values():
            if session.is_proven and session.traces is not None:
                session.traces.ask({credential: lasts_ms})

    def _traced(self) -> dict[CredentialID, int]:
        """Return what is traced, and for how long; what is over is forgotten by that."""
        return {} if self._truth.traces is None else self._truth.traces.live()

    async def send(self, command: Command, /) -> None:
        """Take an owner's command to the delivery process that has its upload, now or later.

        The way to the nodes of :class:`control.uploads.commands.Commands`.  Raises
        ``Error(OVERLOADED)`` when too many wait.
        """
        await self._commands.send(command)
        await self._hand_out(command.region)

    async def serve_stream(self, stream: Stream, peer: NodeID | None = None) -> None:
        """Serve one stream to its end; *peer* is the node that the transport proved it to be.

        Raises ``Error`` for the peer: ``INVALID``, ``FORBIDDEN``, ``VERSION_MISMATCH``,
        ``SUPERSEDED``, ``TIMEOUT`` after too long a silence, ``LOCKED``, ``OVERLOADED``,
        ``UNAVAILABLE`` while the database is.
        """
        session = Session(stream, self._clock)
        try:
            async with asyncio.timeout(self._timing.hello_s) as session.patience:
                message = await stream.receive()
                hello = session.hello = fleet_wire.introduced(message, peer)
                session.version = agreed(OURS, hello.versions)
                terms = await self._terms(hello, session.version)
                await self._serve(session, hello, terms)
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

    async def _terms(self, hello: Hello, version: int) -> Terms:
        """Return what the welcome promises; raises ``Error`` while the database cannot tell."""
        us, truth = hello.identity, self._truth
        if truth.introduction is not None and hello.destination_key is not None:
            await truth.introduction.take(us.node, hello.destination_key)
        if truth.introduction is not None and hello.ticket_key is not None:
            await truth.introduction.take(us.node, hello.ticket_key, Use.TICKETS)
        if truth.snapshots is not None:
            region = region_of(us.node)
            if await truth.snapshots.outrun(region, hello.version):
                self.publish({region})
        if truth.intake is None or hello.outbox is None:
            return Terms(version, self._timing.heartbeat_s)
        first = await truth.intake.resume(us.node, us.process, hello.outbox, hello.outbox_first)
        return Terms(version, self._timing.heartbeat_s, FLEET_CREDIT, first)

    async def _serve(self, session: Session, hello: Hello, terms: Terms) -> None:
        """Give the stream its number in the fleet and move messages both ways until its end."""
        number = self._fleet.hello(hello.identity, _now_s())
        self._sessions[number] = session
        try:
            desired = self._fleet.desired(hello.identity.node)
            session.push(self._welcome(terms, hello, desired))
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(session.send_all())]
                if self._truth.intake is not None:
                    session.facts = FactLane(self._truth.intake, hello, session.push)
                    tasks.append(group.create_task(session.facts.run()))
                if self._truth.snapshots is not None:
                    session.snapshots = SnapshotLane(self._truth.snapshots, hello, session.push)
                    session.snapshots.look(_now_s())
                if hello.identity.process.startswith("ingest-"):
                    session.traces = TraceLane(self._ids, self._clock, session.command)
                await self._receive_all(session, number)
                for task in tasks:
                    task.cancel()
        finally:
            del self._sessions[number]
            self._fleet.disconnected(number)
            if self._truth.receiving is not None:
                self._truth.receiving.closed(number)
            await self._take_back(session)

    async def _receive_all(self, session: Session, number: StreamID) -> None:
        """Take messages until the stream is over; what is not known here is passed over."""
        with suppress(StreamClosed):
            while True:
                message = await session.stream.receive()
                try:
                    await self._take(session, number, message)
                except Error as refusal:
                    session.end(refusal)

    async def _take(self, session: Session, number: StreamID, message: ConnectRequest) -> None:
        """Take one message; raises ``Error`` for one that no sound process sends."""
        facts, snapshots = session.facts, session.snapshots
        match message.WhichOneof("body"):
            case "heartbeat":
                await self._on_heartbeat(session, number, message.heartbeat)
            case "facts" if facts is not None:
                facts.put(message.facts)
            case "ack" if snapshots is not None:
                snapshots.on_ack(message.ack, _now_s())
            case "nack" if snapshots is not None:
                snapshots.on_nack(message.nack, _now_s())
            case "under_way" if self._truth.receiving is not None and session.is_proven:
                told = facts_wire.under_way(message.under_way, _identity(session).node)
                self._truth.receiving.take(told, number, self._clock.now_ms())
            case "traced" if self._truth.traces is not None and session.is_proven:
                us = _identity(session)
                self._truth.traces.take(facts_wire.traced(message.traced, us.node, us.process))
            case "done":
                session.on_done(message.done)
                await self._hand_out(_region(session))
            case _:
                pass

    async def _on_heartbeat(
        self, session: Session, number: StreamID, heartbeat: fleet_pb2.Heartbeat
    ) -> None:
        t1_ms = self._clock.now_ms()
        said = fleet_wire.maybe_said(heartbeat)
        if said is None:
            raise Error(Code.INVALID, "a heartbeat says what the process is")
        is_first = not session.is_proven
        session.beat(self._timing.silence_s)
        session.push(fleet_wire.echo(heartbeat.t0_ms, t1_ms))
        self.apply(self._fleet.heartbeat(number, said, _now_s()))
        if session.facts is not None:
            session.facts.clock_offset_ms = heartbeat.clock_offset_ms
        if session.snapshots is not None:
            session.snapshots.on_heartbeat(heartbeat.snapshot_version, _now_s())
        if is_first:
            await self._hand_out(_region(session))
            if session.traces is not None:
                session.traces.ask(self._traced())

    def _tell(self, tell: Tell) -> None:
        session = self._sessions.get(tell.stream)
        if session is None or session.hello is None:
            return
        name = CommandID(self._ids.make(Kind.COMMAND))
        command = fleet_wire.maybe_turn(name, tell.desired, _now_s())
        if command is not None:
            session.command(name, command)
            return
        # No command says it, so the terms of the stream are said again.
        credit = FLEET_CREDIT if session.facts is not None else 0
        terms = Terms(session.version, self._timing.heartbeat_s, credit)
        session.push(self._welcome(terms, session.hello, tell.desired))

    def _welcome(self, terms: Terms, hello: Hello, desired: Desired) -> ConnectResponse:
        return fleet_wire.welcome(terms, hello.outbox, desired, _now_s(), self._clock.now_ms())

    # --- owners' commands ---

    async def _hand_out(self, region: Region) -> None:
        """Give what waits for *region* to the delivery processes that are there to take it."""
        for command in self._commands.take(region):
            session = self._maybe_delivery(command.node)
            if session is None:
                await self._commands.send(command)
            else:
                session.command(command.id, fleet_wire.command(command), command)

    def _maybe_delivery(self, node: NodeID) -> Session | None:
        """Return the stream of *node*'s first delivery process that has room for a command."""
        found = [
            session
            for session in self._sessions.values()
            if session.is_proven
            and _identity(session).node == node
            and _identity(session).process.startswith("delivery-")
            and session.takes_commands
        ]
        return min(found, key=lambda session: _identity(session).process, default=None)

    async def _take_back(self, session: Session) -> None:
        """Keep for the next stream what an owner asked and this one has not answered."""
        with suppress(Error):  # too many wait: who asked for these asks again
            for command in session.commands.values():
                if command is not None:
                    await self._commands.send(command)


def _identity(session: Session) -> Identity:
    assert session.identity is not None, "a session is served after its hello"
    return session.identity


def _region(session: Session) -> Region:
    return region_of(_identity(session).node)


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
