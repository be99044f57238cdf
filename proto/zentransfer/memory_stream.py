"""The streams of a memory network: two ends, and two pipes with the faults of their link."""

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from google.protobuf.message import Message

from zentransfer.errors import Code, Error
from zentransfer.limits import NETWORK_PIPE_MESSAGES_MAX, RPC_MESSAGE_BYTES_MAX
from zentransfer.stream import StreamClosed

Happening = Literal[
    "dialled",
    "refused",
    "sent",
    "lost",
    "duplicated",
    "reordered",
    "arrived",
    "ended",
    "cut",
    "crashed",
    "partitioned",
    "healed",
]


@dataclass(frozen=True, slots=True)
class Faults:
    """What a link does to messages: chances from 0 to 1, and a delay in seconds drawn per message.

    A reordered message is delayed once more, and later ones may pass it.
    """

    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    delay_min_s: float = 0.0
    delay_max_s: float = 0.0

    def __post_init__(self) -> None:
        assert all(0 <= chance <= 1 for chance in (self.loss, self.duplicate, self.reorder))
        assert 0 <= self.delay_min_s <= self.delay_max_s
        assert self.reorder == 0 or self.delay_max_s > 0, "without a delay nothing can pass"


class Medium(Protocol):
    """What a pipe asks of its network."""

    @property
    def chance(self) -> random.Random:
        """The one source of chance."""
        ...

    def record(self, what: Happening, source: str, target: str, stream: int, size: int) -> None:
        """Add to the history."""
        ...

    def faults(self, source: str, target: str) -> Faults:
        """Return the faults of a link."""
        ...

    def is_silent(self, source: str, target: str) -> bool:
        """Whether nothing arrives at *target* from *source*."""
        ...


def drawn_delay(chance: random.Random, faults: Faults) -> float:
    """Draw the delay of one message, in seconds."""
    return chance.uniform(faults.delay_min_s, faults.delay_max_s)


class Connection:
    """One dial: its two ends and the pipes between them; calls *forget* when both ends know it."""

    def __init__(
        self,
        network: Medium,
        number: int,
        link: tuple[str, str],
        forget: Callable[[], object],
    ) -> None:
        self.link = link
        self._forget = forget
        there = _Pipe(network, number, link)
        back = _Pipe(network, number, (link[1], link[0]))
        self.near = MemoryStream(there, back, self._ended)
        self.far = MemoryStream(back, there, self._ended)
        there.sender = back.receiver = self.near
        back.sender = there.receiver = self.far

    def end(self, reason: StreamClosed) -> None:
        """End both sides at once; what is under way is lost."""
        self.near.end(reason, loses=True)
        self.far.end(reason, loses=True)

    def crashed_at(self, name: str) -> None:
        """End the side of *name* at once, the other one when the network has told it."""
        for side, its_name in zip((self.near, self.far), self.link, strict=True):
            if its_name == name:
                side.crash()

    def healed(self) -> None:
        """Let both pipes look again at what waits."""
        self.near.outgoing.deliver()
        self.far.outgoing.deliver()

    def _ended(self) -> None:
        if self.near.is_ended and self.far.is_ended:
            self._forget()


class MemoryStream:
    """One end of a stream."""

    def __init__(self, outgoing: "_Pipe", incoming: "_Pipe", ended: Callable[[], None]) -> None:
        self.outgoing = outgoing
        self._incoming = incoming
        self._arrived: deque[Message] = deque()  # bounded by the pipe, which counts what is unread
        self._end: StreamClosed | None = None
        self._changed = asyncio.Event()
        self._tell_ended = ended

    @property
    def is_ended(self) -> bool:
        """Whether this end knows that the stream is over."""
        return self._end is not None

    async def send(self, message: Message, /) -> None:
        """Hand *message* over; see the contract."""
        wire = message.SerializeToString()
        if len(wire) > RPC_MESSAGE_BYTES_MAX:
            raise Error(Code.TOO_LARGE, "A message is larger than the wire carries")
        copy = type(message).FromString(wire)
        while self._end is None and self.outgoing.is_full:
            await self.changed()
        if self._end is not None:
            raise self._end.again()
        self.outgoing.put(copy, len(wire))

    async def receive(self) -> Any:  # noqa: ANN401  # what it is, is between the ends: see dial
        """Return the next message; see the contract."""
        while not self._arrived:
            if self._end is not None:
                raise self._end.again()
            await self.changed()
        self._incoming.read()
        return self._arrived.popleft()

    async def close(self) -> None:
        """End the stream; see the contract."""
        self.finish(StreamClosed("the peer closed the stream"))

    def finish(self, told: StreamClosed) -> None:
        """End this side; the other one is *told* after what was sent."""
        if self._end is None:
            self.outgoing.put_end(told)
            self.end(StreamClosed("this side closed the stream"))
        self._arrived.clear()

    def crash(self) -> None:
        """End this side, and lose what it had sent; the other one hears of a broken connection."""
        self.outgoing.lose()
        self.finish(StreamClosed("the connection broke"))

    def end(self, reason: StreamClosed, *, loses: bool = False) -> None:
        """Know that the stream is over; what has arrived may still be received."""
        if loses:
            self.outgoing.lose()
        self._end = self._end or reason
        self.wake()
        self._tell_ended()

    def arrive(self, message: Message) -> bool:
        """Take a message from the pipe; says whether it will be read."""
        if self._end is not None:
            return False
        self._arrived.append(message)
        self.wake()
        return True

    def wake(self) -> None:
        """Let who waits look again."""
        self._changed.set()

    async def changed(self) -> None:
        """Return after the next :meth:`wake`."""
        self._changed.clear()
        await self._changed.wait()


@dataclass(order=True, slots=True)
class _UnderWay:
    """A message, or the end, on its way: ordered by when it is due, then as it was sent."""

    due_s: float
    number: int
    what: Message | StreamClosed = field(compare=False)
    size: int = field(compare=False)


class _Pipe:
    """One direction of a stream, with the faults of its link."""

    sender: MemoryStream
    receiver: MemoryStream

    def __init__(self, network: Medium, stream: int, link: tuple[str, str]) -> None:
        self._network = network
        self._stream = stream
        self._link = link
        self._under_way: list[_UnderWay] = []
        self._sent = 0
        self._unread = 0
        self._due_in_order_s = 0.0
        self._due_last_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_full(self) -> bool:
        """Whether the sender must wait."""
        return len(self._under_way) + self._unread >= NETWORK_PIPE_MESSAGES_MAX

    def put(self, message: Message, size: int) -> None:
        """Send a message, with the faults of its link."""
        network, chance = self._network, self._network.chance
        faults = network.faults(*self._link)
        self._record("sent", size)
        if _happens(chance, faults.loss):
            self._record("lost", size)
            return
        copies = [message]
        if _happens(chance, faults.duplicate):
            self._record("duplicated", size)
            copies.append(type(message).FromString(message.SerializeToString()))
        for copy in copies:
            now = asyncio.get_running_loop().time()
            due = max(now + drawn_delay(chance, faults), self._due_in_order_s)
            if _happens(chance, faults.reorder):
                self._record("reordered", size)
                due += drawn_delay(chance, faults)
            else:
                self._due_in_order_s = due
            self._launch(due, copy, size)

    def put_end(self, told: StreamClosed) -> None:
        """Send the end, after everything else; it is never lost."""
        now = asyncio.get_running_loop().time()
        delay = drawn_delay(self._network.chance, self._network.faults(*self._link))
        self._launch(max(now + delay, self._due_last_s), told, 0)

    def lose(self) -> None:
        """Drop what is under way."""
        self._under_way.clear()
        self._arm()

    def read(self) -> None:
        """Count a message that was received: the sender has room."""
        self._unread -= 1
        self.sender.wake()

    def deliver(self) -> None:
        """Hand over what is due, unless nothing arrives on this link."""
        now = asyncio.get_running_loop().time()
        if self._timer is not None:
            now = max(now, self._timer.when())  # the loop may call a little early
        while self._under_way and self._under_way[0].due_s <= now and not self._is_silent():
            self._hand_over(heapq.heappop(self._under_way))
        self._arm()

    def _hand_over(self, arrived: _UnderWay) -> None:
        if isinstance(arrived.what, StreamClosed):
            self._record("ended", 0)
            self.receiver.end(arrived.what, loses=True)
        else:
            self._record("arrived", arrived.size)
            self._unread += self.receiver.arrive(arrived.what)

    def _launch(self, due_s: float, what: Message | StreamClosed, size: int) -> None:
        self._sent += 1
        self._due_last_s = max(self._due_last_s, due_s)
        heapq.heappush(self._under_way, _UnderWay(due_s, self._sent, what, size))
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._under_way and not self._is_silent():
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._under_way[0].due_s, self.deliver)

    def _is_silent(self) -> bool:
        return self._network.is_silent(*self._link)

    def _record(self, what: Happening, size: int) -> None:
        self._network.record(what, *self._link, self._stream, size)


def _happens(chance: random.Random, how_often: float) -> bool:
    return how_often > 0 and chance.random() < how_often
