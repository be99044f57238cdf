"""A network of names in memory, for tests and simulation: seeded faults, on the loop's time.

The rules: same seed, same history (law 13); nobody is told what a real network would not tell; the
two ends of a stream share no message. With the default faults a stream is what gRPC gives: whole
and in order. Loss, duplicates and reordering are harsher than any stream over TCP.
"""

import asyncio
import hashlib
import random
from collections import deque
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from zentransfer.errors import Code, Error
from zentransfer.limits import (
    NETWORK_DIAL_S,
    NETWORK_HISTORY_EVENTS_MAX,
    NETWORK_STREAMS_MAX,
)
from zentransfer.memory_stream import Connection, Faults, Happening, MemoryStream, drawn_delay
from zentransfer.stream import Handler, MessageStream, StreamClosed

__all__ = ["NO_FAULTS", "Event", "Faults", "MemoryNetwork"]

NO_FAULTS: Final = Faults()


class Event(NamedTuple):
    """One thing that happened: when (loop's time, seconds), what, on which link and stream.

    ``stream`` counts dials from 1 and ``size`` is the message's bytes; 0 where there is none.
    """

    at_s: float
    what: Happening
    source: str
    target: str
    stream: int
    size: int


class MemoryNetwork:
    """Carries streams between names; ``async with`` owns the handlers, and cancels them at its end.

    What a handler raises, other than :class:`Error` and :class:`StreamClosed`, is a bug and ends
    the block.
    """

    def __init__(self, chance: random.Random, faults: Faults = NO_FAULTS) -> None:
        self.history: deque[Event] = deque(maxlen=NETWORK_HISTORY_EVENTS_MAX)
        """The last events, the newest at the end."""
        self.chance: Final = chance
        self._faults = faults
        self._link_faults: dict[tuple[str, str], Faults] = {}
        self._silent: set[tuple[str, str]] = set()
        self._listeners: dict[str, _Listener] = {}
        self._streams: dict[int, Connection] = {}
        self._dials = 0
        self._every_event = hashlib.sha256()
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for stream in list(self._streams.values()):
            stream.end(StreamClosed("the network is gone"))
        for listener in self._listeners.values():
            listener.stop()
        await self._tasks.__aexit__(kind, error, trace)

    @property
    def history_digest(self) -> str:
        """SHA-256 over every event since the start, in hexadecimal."""
        return self._every_event.hexdigest()

    # --- the two ends ---

    def listen(self, name: str, handler: Handler) -> None:
        """Let *handler* have each stream that is dialled to *name*, until a crash of *name*."""
        assert name not in self._listeners, f"{name} listens already"
        self._listeners[name] = _Listener(handler)

    async def dial(self, source: str, target: str) -> MessageStream[Any, Any]:
        """Open a stream; what it carries is between its ends, and must be protobuf messages.

        Raises :class:`StreamClosed`: nobody listens, nobody answered within ``NETWORK_DIAL_S``
        (partition), or ``NETWORK_STREAMS_MAX`` streams are open (``overloaded``).
        """
        await asyncio.sleep(self._delay(source, target) + self._delay(target, source))
        if self.is_silent(source, target) or self.is_silent(target, source):
            await asyncio.sleep(NETWORK_DIAL_S)
            raise self._refused(source, target, StreamClosed("the peer did not answer in time"))
        listener = self._listeners.get(target)
        if listener is None:
            raise self._refused(source, target, StreamClosed("the peer cannot be reached"))
        if len(self._streams) >= NETWORK_STREAMS_MAX:
            full = StreamClosed("there are too many streams", Code.OVERLOADED)
            raise self._refused(source, target, full)
        self._dials += 1
        number = self._dials
        stream = Connection(self, number, (source, target), lambda: self._streams.pop(number, None))
        self._streams[number] = stream
        self.record("dialled", source, target, number)
        listener.start(self._tasks, stream.far)
        return stream.near

    def _refused(self, source: str, target: str, why: StreamClosed) -> StreamClosed:
        self.record("refused", source, target)
        return why

    # --- faults ---

    def set_faults(self, faults: Faults, source: str, target: str) -> None:
        """Give messages from *source* to *target* faults of their own, from now on."""
        self._link_faults[source, target] = faults

    def partition(self, a: str, b: str, *, one_way: bool = False) -> None:
        """Let nothing arrive at *b* from *a*, nor the other way unless *one_way*; tell nobody.

        What is under way waits, as TCP would send it again, and arrives after :meth:`heal`.
        """
        self._silent.add((a, b))
        if not one_way:
            self._silent.add((b, a))
        self.record("partitioned", a, b)

    def heal(self, a: str, b: str) -> None:
        """End what :meth:`partition` began between *a* and *b*, in both directions."""
        self._silent -= {(a, b), (b, a)}
        self.record("healed", a, b)
        for stream in self._between(a, b):
            stream.healed()

    def cut(self, a: str, b: str) -> None:
        """End every stream between *a* and *b* for both; what had not arrived is lost."""
        self.record("cut", a, b)
        for stream in self._between(a, b):
            stream.end(StreamClosed("the connection broke"))

    def crash(self, name: str) -> None:
        """Let *name* die: its streams end, its handlers are cancelled, it listens no more.

        What had not arrived is lost. The other ends hear of it as soon as the network lets them.
        It may listen again, which is its restart.
        """
        self.record("crashed", name, name)
        for stream in list(self._streams.values()):
            stream.crashed_at(name)
        listener = self._listeners.pop(name, None)
        if listener is not None:
            listener.stop()

    def _between(self, a: str, b: str) -> list["Connection"]:
        return [stream for stream in self._streams.values() if set(stream.link) == {a, b}]

    # --- what the pipes ask ---

    def record(
        self, what: Happening, source: str, target: str, stream: int = 0, size: int = 0
    ) -> None:
        """Add to the history."""
        event = Event(asyncio.get_running_loop().time(), what, source, target, stream, size)
        self.history.append(event)
        self._every_event.update(repr(tuple(event)).encode())

    def faults(self, source: str, target: str) -> Faults:
        """Return the faults of a link."""
        return self._link_faults.get((source, target), self._faults)

    def is_silent(self, source: str, target: str) -> bool:
        """Whether nothing arrives at *target* from *source*."""
        return (source, target) in self._silent

    def _delay(self, source: str, target: str) -> float:
        return drawn_delay(self.chance, self.faults(source, target))


class _Listener:
    """A name's handler and its running tasks."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._running: set[asyncio.Task[None]] = set()

    def start(self, tasks: asyncio.TaskGroup, stream: "MemoryStream") -> None:
        task = tasks.create_task(self._handle(stream))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def stop(self) -> None:
        for task in list(self._running):
            task.cancel()

    async def _handle(self, stream: "MemoryStream") -> None:
        try:
            await self._handler(stream)
        except StreamClosed:
            pass
        except Error as error:
            reason = error.detail or error.reply.reason
            stream.finish(StreamClosed(reason, error.code, error.retry_after_s))
        finally:
            stream.finish(StreamClosed("the peer closed the stream"))
