"""The objects of one segment on their way into a bucket, some at a time.

The rules: nothing waits in ``hand_over``, so any thread may fill; what a put that failed may have
left is found out by whoever waits for all of them, and tried once more, because an object that
nobody changes may be put twice; and the memory of all segments together has one bound.
"""

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from threading import Lock

from edge.sinks.base import SinkError
from edge.sinks.objects_bucket import Bucket, Taken
from zentransfer.limits import OBJECT_PUTS_IN_FLIGHT, OBJECTS_MEMORY_BYTES_MAX


class Memory:
    """How much sealed content one process holds that its store does not have yet."""

    def __init__(self, bytes_max: int = OBJECTS_MEMORY_BYTES_MAX) -> None:
        """Allow *bytes_max* bytes, all uploads together."""
        self._bytes_max = bytes_max
        self._lock = Lock()  # segments are filled by several threads
        self.used = 0

    @property
    def is_tight(self) -> bool:
        """Whether so much is in use that objects had better be small."""
        return self.used > self._bytes_max // 2

    @property
    def is_full(self) -> bool:
        """Whether whoever holds something should put it now."""
        return self.used > self._bytes_max

    def add(self, count: int) -> None:
        """Count *count* bytes more, or less."""
        with self._lock:
            self.used += count


@dataclass(frozen=True, slots=True, eq=False)
class _Put:
    key: str
    data: bytes


class Puts:
    """The objects that one writer hands over; all but ``hand_over`` belongs to the loop."""

    def __init__(self, bucket: Bucket, memory: Memory) -> None:
        """Belong to the running loop."""
        self._bucket = bucket
        self._memory = memory
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Put] = deque()
        self._running: dict[_Put, asyncio.Future[str]] = {}
        self._failed: dict[_Put, BaseException] = {}
        self._is_ended = False
        self._handed = self._over = 0  # objects; each counted by one thread only

    @property
    def is_behind(self) -> bool:
        """Whether the store is too slow for what is handed over, or does not take it."""
        return bool(self._failed) or self._handed - self._over >= OBJECT_PUTS_IN_FLIGHT

    @property
    def is_begun(self) -> bool:
        """Whether anything was ever handed over."""
        return self._handed > 0

    def hand_over(self, key: str, data: bytes) -> None:
        """Put a new object soon; called by one thread at a time."""
        self._memory.add(len(data))
        self._handed += 1
        self._waiting.append(_Put(key, data))
        self._loop.call_soon_threadsafe(self._begin)

    async def settle(self) -> None:
        """Return when everything that was handed over is durable; raises ``SinkError``."""
        while True:
            self._begin()
            if self._running:
                running = next(iter(self._running.values()))
                with suppress(Taken, SinkError):  # it is among the failed then
                    await running
                await asyncio.sleep(0)  # one that has ended already is counted in a moment
            elif self._failed:
                put, failure = next(iter(self._failed.items()))
                await self._again(put, failure)
                del self._failed[put]
                self._forget(put)
            else:
                return

    def end(self) -> None:
        """Put nothing more; what is under way may still become durable.  Idempotent."""
        self._is_ended = True
        for put in (*self._waiting, *self._failed):
            self._forget(put)
        self._waiting.clear()
        self._failed.clear()
        for running in self._running.values():
            running.cancel()

    def _begin(self) -> None:
        while self._waiting and not self._failed and not self._is_ended:
            if len(self._running) >= OBJECT_PUTS_IN_FLIGHT:
                return
            put = self._waiting.popleft()
            running = self._bucket.begin(put.key, put.data)
            self._running[put] = running
            running.add_done_callback(partial(self._done, put))

    def _done(self, put: _Put, running: "asyncio.Future[str]") -> None:
        del self._running[put]
        failure = None if running.cancelled() else running.exception()
        if failure is not None and not self._is_ended:
            self._failed[put] = failure
            return
        self._forget(put)
        self._begin()

    def _forget(self, put: _Put) -> None:
        self._over += 1
        self._memory.add(-len(put.data))

    async def _again(self, put: _Put, failure: BaseException) -> None:
        """Put once more what failed, unless it is there; raises ``SinkError``."""
        if isinstance(failure, SinkError) and failure.temporary:
            try:
                await self._bucket.begin(put.key, put.data)
            except Taken as taken:
                failure = taken
            else:
                return
        if not isinstance(failure, Taken):
            raise failure
        found = await self._bucket.get(put.key, len(put.data))
        if found is None or found.data != put.data:
            raise SinkError("put a new object", temporary=True) from failure
