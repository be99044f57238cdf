"""The runs that one process knows: each as it was last seen, and when something is due.

The rule: the record decides and this only remembers.  A change starts from what is remembered; if
the record is another by then, it is read and the change is decided anew.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from edge.facts import DeliveryState
from edge.sinks.base import Conflict, SinkError, Versioned
from edge.workflow.receipt import change_fact
from edge.workflow.run import Run, Transition
from edge.workflow.site import Site
from edge.workflow.store import UnknownRun
from zentransfer.errors import Error
from zentransfer.ids import DeliveryID, DestinationID, UploadID
from zentransfer.limits import DELIVERY_INDEX_RUNS_MAX, RUN_CHANGE_TRIES

Parked = tuple[UploadID, DeliveryID]


@dataclass(slots=True)
class _Entry:
    """One run: ``due_ms`` is what the heap was told last; ``told`` what control was told by us."""

    at: Versioned[Run]
    due_ms: int = -1
    told: dict[DeliveryID, int] = field(default_factory=dict[DeliveryID, int])


class Index:
    """What one process knows of the region's runs."""

    def __init__(self, site: Site, runs_max: int = DELIVERY_INDEX_RUNS_MAX) -> None:
        """Know nothing yet; at most *runs_max* runs at a time."""
        self._site = site
        self._runs_max = runs_max
        self._entries: dict[UploadID, _Entry] = {}
        self._due: list[tuple[int, UploadID]] = []
        self._parked: dict[DestinationID, dict[Parked, None]] = {}
        self._untold: dict[UploadID, None] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, upload: object) -> bool:
        return upload in self._entries

    @property
    def is_full(self) -> bool:
        """Whether no further run fits; those that stay out are found again by listing."""
        return len(self._entries) >= self._runs_max

    def maybe(self, upload: UploadID) -> Run | None:
        """Return a run as it was last seen."""
        entry = self._entries.get(upload)
        return None if entry is None else entry.at.value

    def runs(self) -> Iterator[Run]:
        """Yield every run as it was last seen."""
        for entry in self._entries.values():
            yield entry.at.value

    async def load(self, upload: UploadID) -> Run:
        """Read a run; raises ``UnknownRun``, which forgets it, and ``SinkError``."""
        try:
            at = await self._site.runs.read(upload)
        except UnknownRun:
            self.forget(upload)
            raise
        self._remember(at)
        return at.value

    async def create(self, run: Run) -> Run:
        """Keep a new run; raises ``Conflict`` if the upload has one, ``SinkError``."""
        self._remember(await self._site.runs.create(run))
        return run

    async def change(self, upload: UploadID, transition: Transition) -> Run:
        """Change a run by *transition*, durably; returns what it is then.

        Raises what *transition* raises, ``UnknownRun`` and ``SinkError``: then whether it changed
        is known when it is read again.
        """
        for _ in range(RUN_CHANGE_TRIES):
            entry = self._entries.get(upload)
            at = entry.at if entry is not None else await self._site.runs.read(upload)
            to = transition(at.value)
            if to is at.value:
                self._remember(at)
                return to
            try:
                now = await self._site.runs.change(at, self._with_told(to))
            except Conflict:
                await self.load(upload)
                continue
            except UnknownRun:
                self.forget(upload)
                raise
            self._remember(now)
            return now.value
        raise SinkError("the run changes all the time", temporary=True)

    async def remove(self, upload: UploadID) -> None:
        """Forget a run for good; raises ``Conflict`` if another process has it, ``SinkError``."""
        entry = self._entries.get(upload)
        if entry is not None:
            await self._site.runs.remove(entry.at)
            self.forget(upload)

    def forget(self, upload: UploadID) -> None:
        """Remember nothing of a run; its record stays."""
        entry = self._entries.pop(upload, None)
        self._untold.pop(upload, None)
        if entry is not None:
            self._unpark(entry.at.value)

    async def tell(self, upload: UploadID) -> bool:
        """Tell what is news of a run's deliveries; returns whether nothing is left to be told.

        What cannot be told now is told at the next sweep, or at the end of the run.
        """
        entry = self._entries.get(upload)
        if entry is None:
            return True
        run = entry.at.value
        for delivery in run.deliveries:
            before = entry.told.get(delivery.id, delivery.told)
            if before >= delivery.changes:
                continue
            entry.told[delivery.id] = delivery.changes  # now, so that nobody else here tells it
            try:
                await self._site.tell(change_fact(run, delivery))
            except Error:  # the outbox has said why, once
                entry.told[delivery.id] = before
                self._untold[upload] = None
                return False
        self._untold.pop(upload, None)
        return True

    def untold(self) -> list[UploadID]:
        """Return the runs of which something could not be told."""
        return list(self._untold)

    def wake(self, upload: UploadID, at_ms: int) -> None:
        """Let a run be due at *at_ms*, whatever it says itself."""
        entry = self._entries.get(upload)
        if entry is not None:
            entry.due_ms = at_ms
            heapq.heappush(self._due, (at_ms, upload))

    def due(self, now_ms: int) -> Iterator[UploadID]:
        """Yield the runs of which something is due; each once, until it changes or is woken."""
        while self._due and self._due[0][0] <= now_ms:
            due_ms, upload = heapq.heappop(self._due)
            entry = self._entries.get(upload)
            if entry is not None and entry.due_ms == due_ms:
                entry.due_ms = -1
                yield upload

    def next_ms(self) -> int | None:
        """Return when something is due at the earliest; ``None`` for never."""
        while self._due:
            due_ms, upload = self._due[0]
            entry = self._entries.get(upload)
            if entry is not None and entry.due_ms == due_ms:
                return due_ms
            heapq.heappop(self._due)
        return None

    def retime(self) -> None:
        """Ask every run anew when something is due: the clock has gone back."""
        now_ms = self._site.clock.now_ms()
        for entry in self._entries.values():
            entry.due_ms = entry.at.value.next_ms(self._site.me, now_ms)
        self._due = [(entry.due_ms, upload) for upload, entry in self._entries.items()]
        heapq.heapify(self._due)

    def parked(self, destination: DestinationID, count: int) -> list[Parked]:
        """Return at most *count* deliveries that wait for *destination* to work again."""
        return list(islice(self._parked.get(destination, ()), count))

    def parked_at(self) -> list[DestinationID]:
        """Return the destinations that deliveries wait for."""
        return list(self._parked)

    def _remember(self, at: Versioned[Run]) -> None:
        run = at.value
        entry = self._entries.setdefault(run.upload, _Entry(at))
        if at.version < entry.at.version:  # somebody else here has seen more meanwhile
            return
        self._unpark(entry.at.value)
        entry.at = at
        for delivery in run.deliveries:
            if delivery.state is DeliveryState.PARKED:
                waiting = self._parked.setdefault(delivery.destination, {})
                waiting[run.upload, delivery.id] = None
        due_ms = run.next_ms(self._site.me, self._site.clock.now_ms())
        if entry.due_ms != due_ms:
            entry.due_ms = due_ms
            heapq.heappush(self._due, (due_ms, run.upload))

    def _unpark(self, run: Run) -> None:
        for delivery in run.deliveries:
            waiting = self._parked.get(delivery.destination, {})
            if (run.upload, delivery.id) in waiting:
                del waiting[run.upload, delivery.id]
                if not waiting:
                    del self._parked[delivery.destination]

    def _with_told(self, run: Run) -> Run:
        """Return *run* with what we know to be told written down: the write is made anyway."""
        entry = self._entries.get(run.upload)
        for which, changes in (entry.told if entry else {}).items():
            run = run.told(which, changes)
        return run
