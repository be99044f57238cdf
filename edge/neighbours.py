"""The other processes of the region, as far as uploads go: whose request is the newest.

The rule: a claim alone shuts an older writer out, whether it hears of it or not.  What is told here
only makes its end come at once, so that a client that lost its connection is not kept waiting by a
request that can no longer count; and the upload's record is asked before anybody is cut.
"""

import asyncio

from edge.held import HeldUploads
from edge.intake import Intake
from edge.record import State
from edge.region_state import Event, Notice, RegionState, Share, Told
from edge.shares import Shares
from edge.sinks.base import Sink, UnknownUpload
from edge.unfinished import Unfinished
from zentransfer import log
from zentransfer.errors import Code, Error
from zentransfer.ids import UploadID
from zentransfer.limits import REGION_NOTICES_MAX, SHARE_PAUSE_S


class Neighbours:
    """What one process tells the others of its claims, and does about theirs."""

    def __init__(self, state: RegionState, unfinished: Unfinished, sink: Sink, me: str) -> None:
        """Tell and hear by *state* as the process *me* of a node, such as ``fr-1/ingest-0``."""
        self._state = state
        self._shares = Shares(me, asyncio.get_running_loop().time)
        unfinished.intake.elsewhere = self._shares.of
        self._held: HeldUploads = unfinished.held
        self._sink = sink
        self._heard = asyncio.Queue[Notice](REGION_NOTICES_MAX)
        unfinished.on_claim = self._tell_claim
        unfinished.on_keep = lambda upload: state.tell(Notice(Event.KEPT, upload, 0))
        self._unfinished = unfinished
        state.listen(self._hear)

    async def run(self) -> None:
        """End what others took over, and say what is under way here, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._give_up_for_ever())
            group.create_task(self._share_for_ever(self._unfinished.intake))

    async def _share_for_ever(self, intake: Intake) -> None:
        while True:
            for share in self._shares.news(intake.of_account):
                self._state.tell(share)
            await asyncio.sleep(SHARE_PAUSE_S)

    async def _give_up_for_ever(self) -> None:
        while True:
            notice = await self._heard.get()
            try:
                await self._give_up(notice)
            except Error as failure:  # the sink is away: the next flush finds out all the same
                log.error("upload.unsettled", failure, upload=notice.upload)

    def _tell_claim(self, upload: UploadID, fence: int) -> None:
        self._state.tell(Notice(Event.TAKEN, upload, fence))

    def _hear(self, notice: Told) -> None:
        if isinstance(notice, Share):
            self._shares.heard(notice)
            return
        if notice.event is Event.CUT:
            self._held.cuts.note(notice.upload, notice.fence)
        if notice.event is Event.KEPT:
            self._unfinished.heard_of(notice.upload)
        if notice.event is not Event.TAKEN or self._heard.full():
            return
        fence = self._held.fence(notice.upload)
        if fence is not None and fence < notice.fence:
            self._heard.put_nowait(notice)

    async def _give_up(self, notice: Notice) -> None:
        """Let go of the upload of *notice*, if its record says so too."""
        fence = self._held.fence(notice.upload)
        if fence is None:
            return
        try:
            record = (await self._sink.record(notice.upload)).value
            if record.fence == fence and record.state is State.RECEIVING:
                return  # whoever said that was wrong
        except UnknownUpload:
            pass
        user = self._held.user(notice.upload)
        if user is not None:
            user.cut(Code.SUPERSEDED)
            self._held.cuts.note(notice.upload, notice.fence)
            self._state.tell(Notice(Event.CUT, notice.upload, notice.fence))
        elif self._held.is_idle(notice.upload):
            await self._held.forget(notice.upload)
