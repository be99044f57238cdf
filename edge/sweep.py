"""What dead processes left: looked at once, at the start of the next one, and brought to its end.

The rules: an outcome that may not have been told is told again, the same; what its sender can never
go on with is aborted, with one outcome; and nothing of a living process is touched.
"""

import asyncio
from collections.abc import Callable, Container

from edge.facts import OutcomeState
from edge.intake import Intake
from edge.particulars import Fate
from edge.place import Left
from edge.record import State, UploadRecord
from edge.settling import Unsettled
from edge.sinks.base import SinkError, UnknownUpload
from zentransfer import log
from zentransfer.errors import Code
from zentransfer.ids import AccountID, NodeID, UploadID
from zentransfer.limits import SWEEP_AT_ONCE


def _leave_alone(_: UploadID, __: AccountID) -> None:
    """Leave an unfinished upload to its sender."""


class Sweep:
    """One look at what was in the sink when this process started."""

    def __init__(
        self,
        intake: Intake,
        left: Left,
        node: NodeID,
        fleeting: Container[str],
        unfinished: Callable[[UploadID, AccountID], None] = _leave_alone,
    ) -> None:
        """See to what *left* names; *fleeting* are the dialects that no sender ever continues.

        *unfinished* is told of what senders may go on with.
        """
        self._intake = intake
        self._left = left
        self._node = node
        self._fleeting = fleeting
        self._unfinished = unfinished
        takers = [process for process in left.living if process.startswith("ingest-")]
        self._living = frozenset(f"{node}/{process}" for process in takers)
        self.settled = 0
        """Uploads that were given their end, or whose outcome was told again."""

    async def run(self) -> None:
        """See to every upload, some at a time; what the disk refuses is left to ``mend``."""
        uploads = self._left.uploads
        for begin in range(0, len(uploads), SWEEP_AT_ONCE):
            async with asyncio.TaskGroup() as group:
                for upload in uploads[begin : begin + SWEEP_AT_ONCE]:
                    group.create_task(self._see_to(upload))
        log.fact("sweep.ended", uploads=len(uploads), settled=self.settled)

    async def _see_to(self, upload: UploadID) -> None:
        try:
            found = await self._intake.tools.sink.record(upload)
        except UnknownUpload:
            # Without a record nobody knows whose it is: a living process may be at it.
            if not self._living:
                await self._settle(upload)
        except SinkError as failure:
            log.error("upload.unsettled", failure, upload=upload)
        else:
            if self._is_left(found.value):
                await self._settle(upload)

    def _is_left(self, record: UploadRecord) -> bool:
        """Say whether *record* waits for somebody like us: of this node, and of no living one."""
        if record.state is State.DESTROYED:
            return record.lacks_receipt()  # told twice it is the same, whoever tells it
        if record.state is State.DESTROYING and not record.account:
            return True  # what never was, on its way out
        taken_by = self._intake.tools.settling.open(record).taken_by
        if not taken_by.startswith(f"{self._node}/") or taken_by in self._living:
            return False
        is_open = record.state in (State.RECEIVING, State.PARTIAL)
        if is_open and record.dialect not in self._fleeting:
            self._unfinished(record.upload, record.account)
            return False
        return True

    async def _settle(self, upload: UploadID) -> None:
        self.settled += 1
        tools = self._intake.tools
        await self._intake.settle(
            Unsettled(
                upload=upload,
                fate=Fate(OutcomeState.FAILED, Code.INTERNAL),
                outcome=tools.settling.outcome_id(),
                ended_ms=tools.clock.now_ms(),
            )
        )
