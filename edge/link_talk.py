"""One stream to control, from its hello to its end: one task sends, one receives, one takes offers.

The rule: a heartbeat waits for nothing.  Answers go first, then what is due, then facts as credit
allows; and a snapshot on its way holds up neither.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Final, Protocol

from edge import link_wire
from edge.link_facts import FactSender, FactSource, ReceivingSource, Reporter
from edge.link_snapshot import SnapshotReceiver
from edge.link_state import (
    Acked,
    Asked,
    ClockOffset,
    CommandEnd,
    Commands,
    Desired,
    Echo,
    Held,
    Identity,
    Order,
    SealingKey,
    Status,
    Terms,
    VerifyingKey,
)
from edge.link_wire import Offer
from edge.traced import Tracing
from zentransfer import log
from zentransfer.clock import Clock
from zentransfer.errors import Code, Error
from zentransfer.limits import (
    LINK_COMMAND_S,
    LINK_HEARTBEAT_S_MAX,
    LINK_HEARTBEAT_S_MIN,
    LINK_REPLIES_MAX,
    LINK_SILENCE_S,
    LINK_WELCOME_S,
)
from zentransfer.stream import MessageStream, StreamClosed
from zentransfer.v1.fleet_pb2 import ConnectRequest, ConnectResponse
from zentransfer.versions import OURS

Stream = MessageStream[ConnectRequest, ConnectResponse]

HEARTBEAT_JITTER: Final = 0.1  # of the interval, so that a fleet does not beat as one


@dataclass(frozen=True, slots=True)
class Cargo:
    """What a stream carries beside its heartbeats: facts out, snapshots in, or neither.

    ``destination_key`` is what control shall seal destinations' secrets to; delivery only.
    ``ticket_key`` is what verifies the tickets of the region; ingest only.
    ``receiving`` is what an ingest process has to report beside its facts, ``tracing`` what its
    traced sessions say.
    """

    outbox: FactSource | None = None
    snapshots: SnapshotReceiver | None = None
    destination_key: SealingKey | None = None
    receiving: ReceivingSource | None = None
    ticket_key: VerifyingKey | None = None
    tracing: Tracing | None = None


class Owner(Protocol):
    """The process that the link speaks for."""

    @property
    def cargo(self) -> Cargo:
        """Return what the next stream carries."""
        ...

    def status(self) -> Status:
        """Return what the next heartbeat shall say; called for each, so it is quick."""
        ...

    async def obey(self, desired: Desired, /) -> None:
        """Turn towards what the operator wants; returns when it is in hand, not when it is done.

        Called with the same again at every welcome, so it is idempotent. A process that leaves by
        its own signal stays on its way out whatever is desired. Raises ``Error`` if it cannot.
        """
        ...

    async def act(self, asked: Asked, /) -> None:
        """Take in hand what is asked of a delivery, upload or account; idempotent.

        Raises ``Error``: one that does not heal refuses the command for good.
        """
        ...


@dataclass(frozen=True, slots=True)
class Timing:
    """The waits of a link, in seconds; tests with real sockets shorten them."""

    welcome_s: float = LINK_WELCOME_S
    silence_s: float = LINK_SILENCE_S
    heartbeat_s_min: float = LINK_HEARTBEAT_S_MIN


class Side:
    """Our side of every stream: who we are, and what is kept from one stream to the next."""

    def __init__(
        self, identity: Identity, owner: Owner, clock: Clock, random: Random, timing: Timing
    ) -> None:
        self.identity = identity
        self.owner = owner
        self.clock = clock
        self.random = random
        self.timing = timing
        self.offset = ClockOffset()
        self.commands = Commands()


class Talk:
    """One stream; *linked* is called with the agreed version when control says welcome."""

    def __init__(self, side: Side, linked: Callable[[int], None]) -> None:
        self.is_live = False
        self.since_s: float | None = None  # when control said welcome
        self._side = side
        self._linked = linked
        self._interval_s = LINK_HEARTBEAT_S_MAX
        self._wake = asyncio.Event()
        self._due_s = 0.0  # when the next heartbeat is to be sent
        self._beaten_s = 0.0  # when the last one was
        self._beats = 0
        self._echoes = 0
        self._heard = asyncio.Event()  # an echo or an ack came, or the stream is over
        self._replies: deque[ConnectRequest] = deque()
        cargo = side.owner.cargo
        self._outbox = cargo.outbox
        self._facts = FactSender(cargo.outbox, side.identity.node) if cargo.outbox else None
        self._reporter = Reporter(cargo.receiving) if cargo.receiving else None
        self._tracing = cargo.tracing
        self._snapshots = cargo.snapshots
        self._destination_key = cargo.destination_key
        self._ticket_key = cargo.ticket_key

    async def live(self, stream: Stream, patience: asyncio.Timeout) -> StreamClosed:
        """Talk until the stream is over and return why; re-arms *patience* with each message."""
        side = self._side
        hello = link_wire.hello(
            side.identity, side.owner.status(), side.clock.now_ms(), self._held()
        )
        await stream.send(hello)
        terms = link_wire.parsed(await stream.receive())
        while not isinstance(terms, Terms):  # the welcome may come late, and patience bounds it
            terms = link_wire.parsed(await stream.receive())
        await self._on_welcome(terms)
        self._rearm(patience)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._send_all(stream))]
                if self._facts is not None:
                    tasks.append(group.create_task(self._facts.watch(self._wake.set)))
                if self._tracing is not None:
                    tasks.append(group.create_task(self._tracing.watch(self._wake.set)))
                if self._reporter is not None:
                    tasks.append(group.create_task(self._reporter.watch(self._wake.set)))
                if self._snapshots is not None:
                    tasks.append(group.create_task(self._snapshots.run(self._on_taken)))
                await self._obeyed(terms.desired)
                closed = await self._receive_all(stream, patience)
                for task in tasks:
                    task.cancel()
            return closed
        finally:
            self.is_live = False
            self._heard.set()

    def beat_soon(self) -> None:
        """Send the next heartbeat as soon as the last one is old enough."""
        self._due_s = min(self._due_s, self._beaten_s + self._side.timing.heartbeat_s_min)
        self._wake.set()

    async def say_last(self) -> None:
        """Send one more heartbeat and return when control has answered it, or is gone."""
        expected = self._beats + 1
        self._due_s = self._beaten_s
        self._wake.set()
        await self._until(lambda: self._echoes >= expected)

    async def tell_all(self) -> None:
        """Return when control has committed every fact, or is gone."""
        if self._facts is not None:
            await self._until(self._facts.is_done)

    async def _until(self, holds: Callable[[], bool]) -> None:
        while self.is_live and not holds():
            self._heard.clear()
            await self._heard.wait()

    def _held(self) -> Held:
        outbox, snapshots = self._outbox, self._snapshots
        return Held(
            snapshot_digest=snapshots.digest if snapshots else b"",
            outbox_epoch=outbox.epoch if outbox else "",
            outbox_first=outbox.first_kept if outbox else 0,
            destination_key=self._destination_key,
            ticket_key=self._ticket_key,
        )

    # --- sending ---

    async def _send_all(self, stream: Stream) -> None:
        """Send what is there: answers first, then what is due; the end is told by the receiver."""
        loop = asyncio.get_running_loop()
        with suppress(StreamClosed):
            while True:
                message = self._next(loop.time())
                if message is not None:
                    await stream.send(message)
                else:
                    await self._until_due(loop.time())

    def _next(self, now_s: float) -> ConnectRequest | None:
        if self._replies:
            return self._replies.popleft()
        if now_s >= self._due_s:
            return self._heartbeat(now_s)
        report = self._reporter.maybe_report() if self._reporter else None
        if report is not None:
            return link_wire.under_way(report)
        batch = self._facts.maybe_batch(now_s) if self._facts else None
        if batch is not None:
            return link_wire.facts(batch)
        told = self._tracing.maybe_report() if self._tracing else []
        return link_wire.traced(told) if told else None

    async def _until_due(self, now_s: float) -> None:
        self._wake.clear()
        facts_s = self._facts.due_s(now_s) if self._facts else None
        due_s = self._due_s if facts_s is None else min(self._due_s, facts_s)
        with suppress(TimeoutError):
            async with asyncio.timeout_at(due_s):
                await self._wake.wait()

    def _heartbeat(self, now_s: float) -> ConnectRequest:
        jitter = self._side.random.uniform(1 - HEARTBEAT_JITTER, 1 + HEARTBEAT_JITTER)
        self._beaten_s, self._due_s = now_s, now_s + self._interval_s * jitter
        self._beats += 1
        side = self._side
        return link_wire.heartbeat(side.owner.status(), side.offset.best(), side.clock.now_ms())

    def _reply(self, message: ConnectRequest) -> None:
        if len(self._replies) >= LINK_REPLIES_MAX:
            raise StreamClosed("control commands faster than it takes our answers")
        self._replies.append(message)
        self._wake.set()

    # --- receiving ---

    def _rearm(self, patience: asyncio.Timeout) -> None:
        patience.reschedule(asyncio.get_running_loop().time() + self._side.timing.silence_s)

    async def _receive_all(self, stream: Stream, patience: asyncio.Timeout) -> StreamClosed:
        try:
            while True:
                message = await stream.receive()
                self._rearm(patience)
                await self._take(link_wire.parsed(message))
        except StreamClosed as closed:
            return closed

    async def _take(self, said: Terms | Echo | Order | Acked | Offer | None) -> None:
        match said:
            case Echo():
                self._on_echo(said)
            case Acked():
                await self._on_acked(said)
            case Order():
                await self._on_order(said)
            case Terms():  # they changed; where facts begin was said by the welcome
                self._on_terms(said)
                await self._obeyed(said.desired)
            case None:
                pass
            case _:
                if self._snapshots is not None:
                    self._snapshots.offered(said)

    async def _on_welcome(self, terms: Terms) -> None:
        if not OURS.least <= terms.version <= OURS.most:
            raise StreamClosed("control chose a version that we did not offer")
        self._on_terms(terms)
        now_s = asyncio.get_running_loop().time()
        if self._facts is not None:
            await self._facts.begin(terms, now_s)
        if self._snapshots is not None:
            self._snapshots.offered(None)  # what another stream offered is forgotten
        self.is_live, self.since_s = True, now_s
        self._linked(terms.version)

    def _on_terms(self, terms: Terms) -> None:
        least_s = self._side.timing.heartbeat_s_min
        self._interval_s = min(max(terms.heartbeat_s, least_s), LINK_HEARTBEAT_S_MAX)

    def _on_echo(self, echo: Echo) -> None:
        self._side.offset.echoed(echo, self._side.clock.now_ms())
        self._echoes += 1
        self._heard.set()

    async def _on_acked(self, acked: Acked) -> None:
        if self._facts is not None:
            await self._facts.on_ack(acked, asyncio.get_running_loop().time())
            self._wake.set()
            self._heard.set()

    def _on_taken(self, answer: ConnectRequest) -> None:
        """Answer an offer, and let the next heartbeat say which version serves now."""
        self._reply(answer)
        self.beat_soon()

    # --- commands ---

    async def _on_order(self, order: Order) -> None:
        """Do a command once, and answer it each time that it comes."""
        end, reason = self._side.commands.end_of(order.command), ""
        if end is None:
            end, reason = await self._done(order)
            self._side.commands.ended(order.command, end)
        self._reply(link_wire.done(order.command, end, reason))

    async def _done(self, order: Order) -> tuple[CommandEnd, str]:
        if order.desired is not None:
            return await self._obeyed(order.desired)
        if order.asked is not None:
            return await self._tried(self._side.owner.act(order.asked))
        return CommandEnd.REFUSED, Code.METHOD_NOT_ALLOWED

    async def _obeyed(self, desired: Desired) -> tuple[CommandEnd, str]:
        """Hand *desired* to the owner; return how that ended, and the word of an error's code."""
        end, reason = await self._tried(self._side.owner.obey(desired))
        if end is CommandEnd.DONE:
            self.beat_soon()
        return end, reason

    async def _tried(self, work: Awaitable[None]) -> tuple[CommandEnd, str]:
        try:
            async with asyncio.timeout(LINK_COMMAND_S):
                await work
        except TimeoutError:
            return CommandEnd.FAILED, Code.TIMEOUT
        except Error as refusal:
            heals = refusal.reply.temporary
            return CommandEnd.FAILED if heals else CommandEnd.REFUSED, refusal.code
        except Exception as exc:  # noqa: BLE001 - a fault of the owner is answered, not spread
            log.error("link.obey_failed", exc, node=self._side.identity.node)
            return CommandEnd.FAILED, Code.INTERNAL
        return CommandEnd.DONE, ""
