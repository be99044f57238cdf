"""Destinations as foreign systems: they outlive who delivers, and hear of its death late."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from random import Random
from typing import Any

from edge.snapshot import DestinationEntry
from edge.workflow.destinations.base import (
    Abilities,
    Destination,
    DestinationError,
    Fault,
    RemoteName,
    RemoteRef,
)
from edge.workflow.destinations.memory import MemoryDestination
from tests.support.whole_model import Model
from zentransfer.errors import Code
from zentransfer.ids import DestinationID

LINGER_S = 40.0  # seconds: that a place waits for a sender whose machine is gone, at most


class Shelf(dict[str, bytes]):
    """What everybody sees at one place; each change of it is held to the model at once."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self._model = model

    def __setitem__(self, path: str, content: bytes) -> None:
        self._model.appeared(self.items(), path, content)
        super().__setitem__(path, content)


class Places:
    """All destinations of the history.

    ``faults`` are what a destination says for now; ``tail_s`` is how long its answer may take when
    the object is there already.
    """

    def __init__(self, random: Random, model: Model, tasks: asyncio.TaskGroup) -> None:
        self.random = random
        self._tasks = tasks
        self._far: dict[asyncio.Task[None], None] = {}
        self.faults: dict[DestinationID, Fault] = {}
        self.tail_s = 0.0
        self.succeeded: set[tuple[str, int]] = set()  # (delivery, fence) of puts that were answered
        self._model = model
        self._places: dict[DestinationID, MemoryDestination] = {}

    def place(self, which: DestinationID) -> MemoryDestination:
        """Return the place that *which* names."""
        if which not in self._places:
            made = self._places[which] = MemoryDestination(self.random)
            made.objects = Shelf(self._model)
        return self._places[which]

    def get(self, entry: DestinationEntry) -> Destination:
        """Return the near end of a destination, for one process."""
        return _Near(self, entry.id)

    def close(self) -> None:
        """Let go of whoever still puts something."""
        for task in list(self._far):
            task.cancel()

    def serve(self, work: Coroutine[Any, Any, None]) -> None:
        """Let the far end of a put *work*, whatever becomes of the near one."""
        task = self._tasks.create_task(work)
        self._far[task] = None
        task.add_done_callback(self._far.pop)

    def fail(self, which: DestinationID) -> None:
        """Raise what the destination says for now, most of the time."""
        fault = self.faults.get(which)
        if fault is not None and self.random.random() < 0.8:
            raise DestinationError(Code.UNAVAILABLE, "planned", fault)


class _Wire:
    """What one put says to its far end: the content, as it is asked for, and how that ended."""

    def __init__(self, linger_s: float) -> None:
        self.ref: RemoteRef | None = None
        self.error: Exception | None = None
        self._linger_s = linger_s
        self._asked = asyncio.Event()  # for the next piece, or the far end is over
        self._given = asyncio.Event()
        self._piece: bytes | None = None
        self._is_cut = self._is_ended = False

    @property
    def is_over(self) -> bool:
        return self.ref is not None or self.error is not None

    async def asked(self) -> None:
        await self._asked.wait()
        self._asked.clear()

    def give(self, piece: bytes | None) -> None:
        """Give the next piece; ``None`` is the clean end."""
        self._piece, self._is_ended = piece, piece is None
        self._given.set()

    def cut(self) -> None:
        """Break the connection: an end that was said stays said."""
        self._is_cut = not self._is_ended
        self._given.set()

    async def views(self) -> AsyncGenerator[memoryview, None]:
        while True:
            self._asked.set()
            await self._given.wait()
            self._given.clear()
            if self._is_cut:
                await asyncio.sleep(self._linger_s)
                raise DestinationError(Code.PEER_GONE, "the connection broke", Fault.TEMPORARY)
            if self._piece is None:
                return
            yield memoryview(self._piece)

    def answer(self, ref: RemoteRef | None, error: Exception | None) -> None:
        self.ref, self.error = ref, error
        self._asked.set()


class _Near:
    def __init__(self, places: Places, which: DestinationID) -> None:
        self._places = places
        self._which = which
        self._inner = places.place(which)

    @property
    def abilities(self) -> Abilities:
        return self._inner.abilities

    async def put(
        self,
        name: RemoteName,
        content: AsyncIterator[memoryview],
        *,
        size: int,
        digest: bytes | None,
        resume_ref: str,
    ) -> RemoteRef:
        places = self._places
        places.fail(self._which)
        wire = _Wire(places.random.uniform(0, LINGER_S))

        async def far() -> None:
            try:
                ref = await self._inner.put(
                    name, wire.views(), size=size, digest=digest, resume_ref=resume_ref
                )
                await asyncio.sleep(places.random.uniform(0, places.tail_s))
                places.fail(self._which)  # it is there, and nobody is told
            except Exception as error:  # noqa: BLE001 - it goes back over the wire
                wire.answer(None, error)
            else:
                wire.answer(ref, None)

        places.serve(far())
        try:
            ref = await _sent(wire, content)
        except BaseException:
            wire.cut()
            raise
        places.succeeded.add((name.delivery, name.fence))
        return ref

    def close(self) -> None:
        """Do nothing: the far end stays."""


async def _sent(wire: _Wire, content: AsyncIterator[memoryview]) -> RemoteRef:
    while True:
        await wire.asked()
        if wire.error is not None:
            raise wire.error
        if wire.ref is not None:
            return wire.ref
        try:
            piece = bytes(await anext(content))
        except StopAsyncIteration:
            wire.give(None)
        else:
            wire.give(piece)
