"""The stream to control: dials, says who we are, beats, obeys, and dials again.

The rule: whatever happens to control happens here and nowhere else (law 5). ``run`` ends when
``aclose`` is called and for no other reason; the process asks ``state`` and is never interrupted.
What a message says is known to ``link_wire`` alone, and what to decide to ``link_state``.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Final, Protocol

from edge import link_wire
from edge.link_state import (
    ClockOffset,
    CommandEnd,
    Commands,
    Desired,
    Echo,
    Identity,
    Offset,
    Order,
    Pace,
    Status,
    Terms,
    is_for_long,
)
from zentransfer import log
from zentransfer.clock import Clock
from zentransfer.errors import Code, Error
from zentransfer.limits import (
    LINK_COMMAND_S,
    LINK_HEARTBEAT_S_MAX,
    LINK_HEARTBEAT_S_MIN,
    LINK_LAST_WORD_S,
    LINK_REPLIES_MAX,
    LINK_SILENCE_S,
    LINK_WELCOME_S,
)
from zentransfer.stream import MessageStream, StreamClosed
from zentransfer.v1.fleet_pb2 import ConnectRequest, ConnectResponse
from zentransfer.versions import OURS

Stream = MessageStream[ConnectRequest, ConnectResponse]
Dial = Callable[[], Awaitable[Stream]]
"""Opens a stream to control; raises :class:`StreamClosed` when nobody takes it."""

HEARTBEAT_JITTER: Final = 0.1  # of the interval, so that a fleet does not beat as one


class Owner(Protocol):
    """The process that the link speaks for."""

    def status(self) -> Status:
        """Return what the next heartbeat shall say; called for each, so it is quick."""
        ...

    async def obey(self, desired: Desired, /) -> None:
        """Turn towards what the operator wants; returns when it is in hand, not when it is done.

        Called with the same again at every welcome, so it is idempotent. A process that leaves by
        its own signal stays on its way out whatever is desired. Raises ``Error`` if it cannot.
        """
        ...


@dataclass(frozen=True, slots=True)
class Timing:
    """The waits of a link, in seconds; tests with real sockets shorten them."""

    welcome_s: float = LINK_WELCOME_S
    silence_s: float = LINK_SILENCE_S
    heartbeat_s_min: float = LINK_HEARTBEAT_S_MIN


DEFAULT_TIMING: Final = Timing()


class _Side:
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


class Link:
    """Keeps one stream to control for one process, for as long as that process lives."""

    def __init__(
        self,
        identity: Identity,
        dial: Dial,
        owner: Owner,
        clock: Clock,
        random: Random,
        timing: Timing = DEFAULT_TIMING,
    ) -> None:
        self._side = _Side(identity, owner, clock, random, timing)
        self._dial = dial
        self._pace = Pace(random)
        self._talk: _Talk | None = None  # the last one; live or not
        self._detail = "control was not dialled yet"
        self._dials = 0  # since the last welcome
        self._away_since_s: float | None = None
        self._life: asyncio.Timeout | None = None
        self._is_leaving = False
        self._left = asyncio.Event()

    def state(self) -> tuple[bool, str]:
        """Say whether control is linked, and in which words; a check for health, not required."""
        is_linked = self._talk is not None and self._talk.is_live
        return is_linked, "linked to control" if is_linked else self._detail

    def offset(self) -> Offset | None:
        """Return how far this clock is from control's, if an echo ever came."""
        return self._side.offset.best()

    def changed(self) -> None:
        """Tell control soon that the owner's status is another; at most one early beat a second."""
        if self._talk is not None:
            self._talk.beat_soon()

    async def run(self) -> None:
        """Hold a stream to control until :meth:`aclose`; control's absence never ends it."""
        assert self._life is None, "a link runs once"
        self._away_since_s = asyncio.get_running_loop().time()
        life = self._life = asyncio.timeout(None)
        try:
            async with life:
                while not self._is_leaving:
                    await self._hold()
        except TimeoutError:
            assert life.expired(), "nothing else lets a timeout out"
        finally:
            self._detail = "the process leaves"
            self._left.set()

    async def aclose(self) -> None:
        """Say the last state if control listens, then end :meth:`run`; idempotent."""
        self._is_leaving = True
        if self._life is None:
            return
        if self._talk is not None and self._talk.is_live:
            with suppress(TimeoutError):
                async with asyncio.timeout(LINK_LAST_WORD_S):
                    await self._talk.say_last()
        if not self._left.is_set() and not self._life.expired():
            self._life.reschedule(asyncio.get_running_loop().time())
        await self._left.wait()

    async def _hold(self) -> None:
        """Live through one stream, and the pause after it."""
        self._dials += 1
        self._talk = talk = _Talk(self._side, self._linked)
        closed = await self._lived(talk)
        now_s = asyncio.get_running_loop().time()
        lived_s = 0.0 if talk.since_s is None else now_s - talk.since_s
        if talk.since_s is not None:
            self._away_since_s = now_s
        wait_s = self._pace.next_wait_s(closed.code, lived_s, closed.retry_after_s)
        self._detail = f"not linked: {closed.detail}"
        self._tell(closed, lived_s, wait_s)
        await asyncio.sleep(wait_s)

    async def _lived(self, talk: "_Talk") -> StreamClosed:
        """Dial, talk, close; return why it is over, for one stream never outlives its silence."""
        try:
            async with asyncio.timeout(self._side.timing.welcome_s) as patience:
                stream = await self._dial()
                try:
                    return await talk.live(stream, patience)
                finally:
                    talk.is_live = False
                    await stream.close()
        except StreamClosed as closed:
            return closed
        except TimeoutError:
            return StreamClosed("control was silent for too long")
        except Exception as exc:  # noqa: BLE001 - the rim: a fault of ours costs one stream
            log.error("link.failed", exc, node=self._side.identity.node)
            return StreamClosed("a fault of our own")

    def _linked(self, version: int) -> None:
        now_s = asyncio.get_running_loop().time()
        log.fact(
            "link.up",
            node=self._side.identity.node,
            version=version,
            dials=self._dials,
            away_s=now_s - (self._away_since_s or 0),
        )
        self._dials = 0

    def _tell(self, closed: StreamClosed, lived_s: float, wait_s: float) -> None:
        """Write one line where the state changed, and one for each end that needs a person."""
        node = self._side.identity.node
        if closed.code == Code.VERSION_MISMATCH:
            log.fact("link.version_mismatch", node=node, detail=closed.detail, wait_s=wait_s)
        elif closed.code == Code.SUPERSEDED:
            log.fact("link.superseded", node=node, lived_s=lived_s, wait_s=wait_s)
        elif is_for_long(closed.code):
            log.fact("link.refused", node=node, reason=closed.code, wait_s=wait_s)
        elif self._dials == 0:  # it was welcome
            log.fact("link.down", node=node, reason=closed.code, lived_s=lived_s)
        elif self._dials == 1:
            log.fact("link.away", node=node, reason=closed.code)


class _Talk:
    """One stream, from its hello to its end: one task sends, one receives."""

    def __init__(self, side: _Side, linked: Callable[[int], None]) -> None:
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
        self._echoed = asyncio.Event()
        self._replies: deque[ConnectRequest] = deque()

    async def live(self, stream: Stream, patience: asyncio.Timeout) -> StreamClosed:
        """Talk until the stream is over and return why; re-arms *patience* with each message."""
        side = self._side
        await stream.send(link_wire.hello(side.identity, side.owner.status(), side.clock.now_ms()))
        terms = link_wire.parsed(await stream.receive())
        while not isinstance(terms, Terms):  # the welcome may come late, and patience bounds it
            terms = link_wire.parsed(await stream.receive())
        self._on_welcome(terms)
        self._heard(patience)
        async with asyncio.TaskGroup() as group:
            sender = group.create_task(self._send_all(stream))
            await self._obeyed(terms.desired)
            closed = await self._receive_all(stream, patience)
            sender.cancel()
        return closed

    def beat_soon(self) -> None:
        """Send the next heartbeat as soon as the last one is old enough."""
        self._due_s = min(self._due_s, self._beaten_s + self._side.timing.heartbeat_s_min)
        self._wake.set()

    async def say_last(self) -> None:
        """Send one more heartbeat and return when control has answered it."""
        expected = self._beats + 1
        self._due_s = self._beaten_s
        self._wake.set()
        while self._echoes < expected:
            self._echoed.clear()
            await self._echoed.wait()

    # --- sending ---

    async def _send_all(self, stream: Stream) -> None:
        """Send what is there: answers first, then what is due; the end is told by the receiver."""
        loop = asyncio.get_running_loop()
        with suppress(StreamClosed):
            while True:
                if self._replies:
                    await stream.send(self._replies.popleft())
                elif loop.time() >= self._due_s:
                    await stream.send(self._heartbeat(loop.time()))
                else:
                    await self._until_due()

    async def _until_due(self) -> None:
        self._wake.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._due_s):
                await self._wake.wait()

    def _heartbeat(self, now_s: float) -> ConnectRequest:
        jitter = self._side.random.uniform(1 - HEARTBEAT_JITTER, 1 + HEARTBEAT_JITTER)
        self._beaten_s, self._due_s = now_s, now_s + self._interval_s * jitter
        self._beats += 1
        side = self._side
        return link_wire.heartbeat(side.owner.status(), side.offset.best(), side.clock.now_ms())

    # --- receiving ---

    def _heard(self, patience: asyncio.Timeout) -> None:
        patience.reschedule(asyncio.get_running_loop().time() + self._side.timing.silence_s)

    async def _receive_all(self, stream: Stream, patience: asyncio.Timeout) -> StreamClosed:
        try:
            while True:
                message = await stream.receive()
                self._heard(patience)
                await self._take(link_wire.parsed(message))
        except StreamClosed as closed:
            return closed

    async def _take(self, said: Terms | Echo | Order | None) -> None:
        match said:
            case Echo():
                self._on_echo(said)
            case Order():
                await self._on_order(said)
            case Terms():  # they changed
                self._on_terms(said)
                await self._obeyed(said.desired)
            case None:
                pass

    def _on_welcome(self, terms: Terms) -> None:
        if not OURS.least <= terms.version <= OURS.most:
            raise StreamClosed("control chose a version that we did not offer")
        self._on_terms(terms)
        self.is_live, self.since_s = True, asyncio.get_running_loop().time()
        self._linked(terms.version)

    def _on_terms(self, terms: Terms) -> None:
        least_s = self._side.timing.heartbeat_s_min
        self._interval_s = min(max(terms.heartbeat_s, least_s), LINK_HEARTBEAT_S_MAX)

    def _on_echo(self, echo: Echo) -> None:
        self._side.offset.echoed(echo, self._side.clock.now_ms())
        self._echoes += 1
        self._echoed.set()

    async def _on_order(self, order: Order) -> None:
        """Do a command once, and answer it each time that it comes."""
        end, reason = self._side.commands.end_of(order.command), ""
        if end is None:
            if order.desired is None:
                end, reason = CommandEnd.REFUSED, Code.METHOD_NOT_ALLOWED
            else:
                end, reason = await self._obeyed(order.desired)
            self._side.commands.ended(order.command, end)
        if len(self._replies) >= LINK_REPLIES_MAX:
            raise StreamClosed("control commands faster than it takes our answers")
        self._replies.append(link_wire.done(order.command, end, reason))
        self._wake.set()

    async def _obeyed(self, desired: Desired) -> tuple[CommandEnd, str]:
        """Hand *desired* to the owner; return how that ended, and the word of an error's code."""
        try:
            async with asyncio.timeout(LINK_COMMAND_S):
                await self._side.owner.obey(desired)
        except TimeoutError:
            return CommandEnd.FAILED, Code.TIMEOUT
        except Error as refusal:
            return CommandEnd.FAILED, refusal.code
        except Exception as exc:  # noqa: BLE001 - a fault of the owner is answered, not spread
            log.error("link.obey_failed", exc, node=self._side.identity.node)
            return CommandEnd.FAILED, Code.INTERNAL
        self.beat_soon()
        return CommandEnd.DONE, ""
