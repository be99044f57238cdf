"""Finding what is whole: woken by ingest, and by looking through the sink again and again.

The rule: a wake-up only saves time.  What it would have told is found by the next look, and an
upload that two processes find at once gets one run, because a run is made once.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from edge.particulars import Particulars
from edge.record import State, UploadRecord
from edge.sinks.base import Conflict, Damaged, SinkError, UnknownUpload
from edge.workflow.index import Index
from edge.workflow.plan import planned
from edge.workflow.site import Site
from edge.workflow.store import UnknownRun
from zentransfer import log
from zentransfer.ids import UploadID
from zentransfer.limits import (
    DELIVERY_LOOK_BATCH,
    DELIVERY_LOOK_PAUSE_S,
    DELIVERY_OVER_KEPT,
    DELIVERY_PLANNERS,
    DELIVERY_WAKES_MAX,
)
from zentransfer.sealed_name import FileName

_OPEN = (State.RECEIVING, State.COMMITTED)


class Planner:
    """Lets every whole upload have a run, in one process."""

    def __init__(
        self,
        site: Site,
        index: Index,
        stir: Callable[[], None],
        wakes_max: int = DELIVERY_WAKES_MAX,
    ) -> None:
        """Put runs into *index*, and call *stir* for each; *wakes_max* wake-ups may wait."""
        self._site = site
        self._index = index
        self._stir = stir
        self._woken: asyncio.Queue[UploadID] = asyncio.Queue(wakes_max)
        self._over: dict[UploadID, None] = {}  # those that need no look; the oldest go first
        self._unplanned: set[UploadID] = set()  # said once in the log; bounded with the index
        self._is_leaving = False

    def wake(self, upload: UploadID) -> None:
        """Look at *upload* soon; what does not fit is found by looking."""
        with suppress(asyncio.QueueFull):
            self._woken.put_nowait(upload)

    def remember_over(self, upload: UploadID) -> None:
        """Look at *upload* no more: it has ended."""
        self._unplanned.discard(upload)
        self._over[upload] = None
        if len(self._over) > DELIVERY_OVER_KEPT:
            del self._over[next(iter(self._over))]

    def leave(self) -> None:
        """Plan nothing more."""
        self._is_leaving = True

    async def run(self) -> None:
        """Plan until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(DELIVERY_PLANNERS):
                group.create_task(self._plan_for_ever())
            while True:
                try:
                    await self._look()
                except SinkError as failure:
                    log.fact("delivery.hindered", reason=failure.code)
                await asyncio.sleep(self._site.timing.sweep_s)

    async def plan(self, upload: UploadID) -> bool:
        """Let *upload* have a run if it is whole; returns whether it has one in the index.

        Raises ``SinkError``.
        """
        if upload in self._index:
            return True
        with suppress(UnknownRun):
            await self._index.load(upload)
            return True
        record = await self._maybe_record(upload)
        if record is None or record.state is not State.COMMITTED:
            if record is not None and record.state not in _OPEN:
                self.remember_over(upload)
            return False
        return await self._create(record)

    async def _plan_for_ever(self) -> None:
        while True:
            upload = await self._woken.get()
            if self._is_leaving or self._index.is_full:
                continue
            try:
                if await self.plan(upload):
                    self._stir()
            except SinkError as failure:
                self._pass_over(upload, failure)
            except Exception as exc:  # noqa: BLE001 - the rim of a task: the others go on
                log.error("delivery.fault", exc)

    async def _look(self) -> None:
        """Look through the runs and the uploads once; raises ``SinkError``."""
        looked = 0
        async for upload in self._site.runs.uploads():
            if upload not in self._index and upload not in self._over and not self._index.is_full:
                await self._adopt(upload)
            looked = await self._breathe(looked)
        async for upload in self._site.sink.uploads():
            if upload not in self._index and upload not in self._over:
                await self._woken.put(upload)
            looked = await self._breathe(looked)

    async def _adopt(self, upload: UploadID) -> None:
        """Take a run that stands here into the index."""
        try:
            await self._index.load(upload)
            self._stir()
        except UnknownRun:
            pass
        except SinkError as failure:
            self._pass_over(upload, failure)

    def _pass_over(self, upload: UploadID, failure: SinkError) -> None:
        """Say that an upload cannot be read; one whose record is damaged is looked at no more."""
        log.fact("delivery.hindered", reason=failure.code)
        if not failure.temporary:
            self.remember_over(upload)

    async def _breathe(self, looked: int) -> int:
        """Let others have the loop; a look through very many records takes its time."""
        if looked and looked % DELIVERY_LOOK_BATCH == 0:
            await asyncio.sleep(DELIVERY_LOOK_PAUSE_S)
        return looked + 1

    async def _maybe_record(self, upload: UploadID) -> UploadRecord | None:
        try:
            return (await self._site.sink.record(upload)).value
        except UnknownUpload:
            return None

    async def _create(self, record: UploadRecord) -> bool:
        """Make the run of a whole upload; another process may be doing the same."""
        upload = record.upload
        known = self._particulars(record)
        ending, keep_ms = record.ending, self._site.keep_ms(record.account)
        if self._site.clock.now_ms() < known.waits_until_ms(ending.ended_ms):
            return False  # for its last name; it is looked at again
        workflow = None
        if ending.workflow is not None:
            workflow = self._site.workflow(ending.workflow, ending.workflow_version)
            is_late = self._site.clock.now_ms() >= ending.ended_ms + keep_ms
            if workflow is None and not is_late:
                self._say_unplanned(upload)
                return False
        try:
            await self._index.create(planned(record, workflow, known, keep_ms))
        except Conflict:
            await self._index.load(upload)
            return True
        # Between our look at the record and the making of the run, another process may have done
        # all of it; then the upload is gone by now, and this run is nobody's.
        now = await self._maybe_record(upload)
        if now is None or now.state is not State.COMMITTED:
            await self._index.remove(upload)
            return False
        self._unplanned.discard(upload)
        return True

    def _particulars(self, record: UploadRecord) -> Particulars:
        """Return what the record keeps sealed; without its names a run still ends by policy."""
        try:
            return self._site.particulars(record)
        except Damaged:
            return Particulars(name=FileName("", ""))

    def _say_unplanned(self, upload: UploadID) -> None:
        """Say once that the version of a workflow is not known here; it is looked for again."""
        if upload not in self._unplanned and len(self._unplanned) < DELIVERY_OVER_KEPT:
            self._unplanned.add(upload)
            log.fact("delivery.unplanned", upload=upload)
