"""One stream as control's side holds it: what waits for its node, and how long it may be silent.

The rule: nothing here waits for the node; one that does not read loses its stream.
"""

import asyncio
from collections import deque
from contextlib import suppress

from control.fleet.model import Identity
from control.rpc import fleet_wire
from control.rpc.fleet_wire import Hello
from control.rpc.lanes import FactLane, SnapshotLane, TraceLane
from control.uploads.commands import Command
from zentransfer import log
from zentransfer.clock import Clock
from zentransfer.errors import Code, Error
from zentransfer.ids import CommandID
from zentransfer.limits import FLEET_COMMANDS_MAX, FLEET_OUTBOUND_MAX, FLEET_RETRY_AFTER_S
from zentransfer.stream import MessageStream, StreamClosed
from zentransfer.v1 import fleet_pb2
from zentransfer.v1.fleet_pb2 import ConnectRequest, ConnectResponse

Stream = MessageStream[ConnectResponse, ConnectRequest]


class Session:
    """One stream, from its hello to its end."""

    patience: asyncio.Timeout

    def __init__(self, stream: Stream, clock: Clock) -> None:
        self.stream = stream
        self.hello: Hello | None = None  # once it said one
        self.version = 0
        self.refusal: Error | None = None
        self.facts: FactLane | None = None
        self.snapshots: SnapshotLane | None = None
        self.traces: TraceLane | None = None
        # What it was told to do and has not answered; None for what the operator desires.
        self.commands: dict[CommandID, Command | None] = {}
        self._clock = clock
        self._since_s: float | None = None  # when its first heartbeat came
        self._outbound: deque[ConnectResponse] = deque()
        self._filled = asyncio.Event()

    @property
    def is_proven(self) -> bool:
        """Whether a heartbeat has come, so that a living process is at the other end."""
        return self._since_s is not None and self.refusal is None

    @property
    def identity(self) -> Identity | None:
        """Who dials, once it said so."""
        return self.hello.identity if self.hello else None

    @property
    def takes_commands(self) -> bool:
        """Whether it may be given another command of an owner."""
        return sum(of is not None for of in self.commands.values()) < FLEET_COMMANDS_MAX

    def push(self, message: ConnectResponse) -> None:
        """Queue *message*; a node that does not read loses its stream and learns by the next."""
        if len(self._outbound) >= FLEET_OUTBOUND_MAX:
            self.end(Error(Code.OVERLOADED, "the node does not read", FLEET_RETRY_AFTER_S))
            return
        self._outbound.append(message)
        self._filled.set()

    def command(self, name: CommandID, message: ConnectResponse, of: Command | None = None) -> None:
        """Queue the command *name*, which comes from an owner if it is *of* one."""
        ours = [one for one, owner_s in self.commands.items() if owner_s is None]
        if of is None and len(ours) >= FLEET_COMMANDS_MAX:
            del self.commands[ours[0]]  # said again with each heartbeat, if it is still desired
        self.commands[name] = of
        self.push(message)

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
        now_s = asyncio.get_running_loop().time()
        us = self.identity
        if self._since_s is None and us is not None:
            self._since_s = now_s
            log.fact("fleet.connected", node=us.node, process=us.process, version=self.version)
        if not self.patience.expired() and self.refusal is None:
            self.patience.reschedule(now_s + silence_s)

    def end(self, refusal: Error) -> None:
        """End the stream with *refusal*, soon, from whichever task."""
        if self.refusal is None and not self.patience.expired():
            self.refusal = refusal
            self.patience.reschedule(asyncio.get_running_loop().time())

    def on_done(self, done: fleet_pb2.CommandDone) -> None:
        """Note how a command of this stream ended."""
        state, name = fleet_wire.maybe_ended(done), CommandID(done.id)
        us = self.identity
        if self.traces is not None:
            self.traces.on_done(name)
        if state is None or us is None or name not in self.commands:
            return
        del self.commands[name]
        log.fact("fleet.command_ended", node=us.node, process=us.process, state=state)

    def tell_log(self) -> None:
        """Write the one line about the stream's end."""
        us = self.identity
        node, process = (us.node, us.process) if us else (None, None)
        reason = self.refusal.code if self.refusal else None
        if self._since_s is not None:
            lived_s = asyncio.get_running_loop().time() - self._since_s
            log.fact(
                "fleet.disconnected", node=node, process=process, reason=reason, lived_s=lived_s
            )
        elif self.refusal is not None and reason is Code.VERSION_MISMATCH:
            detail = self.refusal.detail
            log.fact("fleet.version_mismatch", node=node, process=process, detail=detail)
        elif reason is not None:
            log.fact("fleet.refused", node=node, process=process, reason=reason)
