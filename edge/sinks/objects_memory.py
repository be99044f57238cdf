"""A bucket in memory, as unreliable as a real one across a network.

The rule: a request takes time, may be done without an answer, may be done after its error, and may
not be done at all; whoever asks learns no more than over a wire.
"""

import asyncio
from asyncio import Future
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from random import Random
from typing import Final, TypeVar

from edge.sinks.base import SinkError
from edge.sinks.objects_bucket import Listed, Object, Taken, too_large

T = TypeVar("T")

_ANSWER_S: Final = 0.02  # the longest way there or back
_LATE_S: Final = 5.0  # the longest that a request lies somewhere after its error


class Failure(Enum):
    """What becomes of a request that fails for who asked."""

    BEFORE = auto()
    """It is not done."""
    AFTER = auto()
    """It is done, and its answer is lost."""
    LATE = auto()
    """It is done after the error was heard."""
    SLOW = auto()
    """It is done, and answered, after a long time."""


@dataclass
class _Shelf:
    """What all processes see; ``put`` counts the puts, which are the tags."""

    objects: dict[str, tuple[bytes, str, int]] = field(
        default_factory=dict[str, tuple[bytes, str, int]]
    )
    put: int = 0


class MemoryBucket:
    """A :class:`edge.sinks.objects_bucket.Bucket`, as one process reaches it."""

    def __init__(self, random: Random, page: int = 1_000, shelf: _Shelf | None = None) -> None:
        """Answer lists in pages of *page* objects; the same seed is the same history."""
        self._random = random
        self._page = page
        self._shelf = _Shelf() if shelf is None else shelf
        self._planned: dict[int, Failure] = {}
        self.asked = 0
        """Requests so far."""

    def process(self) -> "MemoryBucket":
        """Return the same bucket as another process reaches it, with none of this one's faults."""
        return MemoryBucket(self._random, self._page, self._shelf)

    def fail_at(self, count: int, failure: Failure) -> None:
        """Let the request fail that is number *count* from now, counted from 1."""
        self._planned[self.asked + count] = failure

    def heal(self) -> None:
        """Let nothing fail that was planned to."""
        self._planned.clear()

    @property
    def is_fault_planned(self) -> bool:
        """Whether some request is still to fail."""
        return any(count > self.asked for count in self._planned)

    @property
    def keys(self) -> list[str]:
        """What is there now."""
        return sorted(self._shelf.objects)

    def look(self, key: str) -> bytes:
        """Return what lies under *key* now, without a request; raises ``KeyError``."""
        return self._shelf.objects[key][0]

    def spoil(self, key: str, data: bytes | None) -> None:
        """Let *key* hold *data*, or nothing: damage that no process of ours does."""
        if data is None:
            del self._shelf.objects[key]
        else:
            _, tag, put_ms = self._shelf.objects[key]
            self._shelf.objects[key] = (data, tag, put_ms)

    def begin(self, key: str, data: bytes) -> "Future[str]":
        """Begin to put a new object; see :class:`edge.sinks.objects_bucket.Bucket`."""
        return self._ask(partial(self._put, key, bytes(data), None))

    async def put(self, key: str, data: bytes, tag: str | None) -> str:
        """Put an object; see :class:`edge.sinks.objects_bucket.Bucket`."""
        return await self._ask(partial(self._put, key, bytes(data), tag))

    async def get(self, key: str, size_max: int, *, start: int = 0) -> Object | None:
        """Return what lies under *key*; see :class:`edge.sinks.objects_bucket.Bucket`."""

        def got() -> Object | None:
            found = self._shelf.objects.get(key)
            return None if found is None else Object(found[0][start:], found[1])

        found = await self._ask(got)
        if found is not None and len(found.data) > size_max:
            raise too_large()
        return found

    async def names(self, prefix: str, after: str = "") -> AsyncIterator[Listed]:
        """Yield what is there; see :class:`edge.sinks.objects_bucket.Bucket`."""
        assert prefix.endswith("/")
        while True:
            page = await self._ask(partial(self._listed, prefix, after))
            for listed in page:
                yield listed
            if len(page) < self._page:
                return
            after = page[-1].key

    async def folders(self, prefix: str) -> list[str]:
        """Return the folders below *prefix*; see :class:`edge.sinks.objects_bucket.Bucket`."""
        assert prefix.endswith("/")

        def found() -> list[str]:
            rests = [key.removeprefix(prefix) for key in self.keys if key.startswith(prefix)]
            return sorted({rest.split("/", 1)[0] for rest in rests if "/" in rest})

        return await self._ask(found)

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove these objects; see :class:`edge.sinks.objects_bucket.Bucket`."""
        for key in keys:
            await self._ask(partial(self._shelf.objects.pop, key, None))

    def _put(self, key: str, data: bytes, tag: str | None) -> str:
        now = self._shelf.objects.get(key)
        if (None if now is None else now[1]) != tag:
            raise Taken
        self._shelf.put += 1
        new = str(self._shelf.put)
        put_ms = int(asyncio.get_running_loop().time() * 1_000)
        self._shelf.objects[key] = (data, new, put_ms)
        return new

    def _listed(self, prefix: str, after: str) -> list[Listed]:
        found = [key for key in self.keys if key.startswith(prefix) and key > after]
        objects = self._shelf.objects
        return [Listed(key, len(objects[key][0]), objects[key][2]) for key in found[: self._page]]

    def _ask(self, effect: Callable[[], T]) -> "Future[T]":
        """Send a request on its way; its *effect* and its answer come when they come."""
        loop = asyncio.get_running_loop()
        answer: Future[T] = loop.create_future()
        self.asked += 1
        failure = self._planned.pop(self.asked, None)
        there_s = self._random.uniform(0.001, _ANSWER_S)
        back_s = self._random.uniform(0.001, _ANSWER_S)
        if failure in (Failure.BEFORE, Failure.LATE):
            loop.call_later(there_s, _lose, answer)
        if failure is Failure.BEFORE:
            return answer
        if failure is Failure.LATE:
            there_s += self._random.uniform(0.001, _LATE_S)
        if failure is Failure.SLOW:
            there_s += self._random.uniform(_LATE_S, 2 * _LATE_S)

        def arrive() -> None:
            outcome: Future[T] = loop.create_future()
            try:
                outcome.set_result(effect())
            except Taken as taken:
                outcome.set_exception(taken)
            if failure is Failure.AFTER:
                loop.call_later(back_s, _lose, answer)
            loop.call_later(back_s, _tell, answer, outcome)

        loop.call_later(there_s, arrive)
        return answer


def _lose(answer: "Future[T]") -> None:
    if not answer.done():
        answer.set_exception(SinkError("ask the store", temporary=True))


def _tell(answer: "Future[T]", outcome: "Future[T]") -> None:
    failure = outcome.exception()
    if answer.done():
        return
    if failure is not None:
        answer.set_exception(failure)
    else:
        answer.set_result(outcome.result())
