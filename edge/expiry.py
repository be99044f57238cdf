"""The end of unfinished uploads that nobody goes on with: a look at all of them, again and again.

The rules: an upload whose bytes are all there is committed, also when its sender was cut before the
answer; any other ends as expired when no byte came for UNFINISHED_S, and its content is destroyed.
An upload that a request has is left alone, and so is one that another living process of the node
took over: that one looks after it.
"""

import asyncio
from collections.abc import Callable, Container

from edge.record import State, UploadRecord
from edge.resumable import Resumables
from edge.sinks.base import UnknownUpload
from zentransfer import log
from zentransfer.errors import Error
from zentransfer.ids import UploadID
from zentransfer.limits import EXPIRY_PAUSE_S, UNFINISHED_S


def _nobody_else(_: str) -> bool:
    return False


class Expiry:
    """Looks after the unfinished uploads of one process."""

    def __init__(
        self,
        resumables: Resumables,
        by_length: Container[str],
        is_anothers: Callable[[str], bool] = _nobody_else,
    ) -> None:
        """In the dialects *by_length* an upload is whole when it is as long as was announced.

        *is_anothers* says of node and process whether that is another one, and lives.
        """
        self._resumables = resumables
        self._by_length = by_length
        self._is_anothers = is_anothers

    async def run(self) -> None:
        """Look at once, also for what was cut before its commit, then again and again."""
        await self.look(finishes=True)
        while True:
            await asyncio.sleep(EXPIRY_PAUSE_S)
            await self.look(finishes=False)

    async def look(self, *, finishes: bool) -> None:
        """Look at every unfinished upload; *finishes* commits what is whole, however young."""
        for upload in self._resumables.unfinished.uploads:
            try:
                await self._see_to(upload, finishes=finishes)
            except Error as failure:  # of one upload: the next look tries again
                log.error("upload.unsettled", failure, upload=upload)
            await asyncio.sleep(0)

    async def _see_to(self, upload: UploadID, *, finishes: bool) -> None:
        if not self._resumables.unfinished.held.is_idle(upload):
            return
        record = await self._maybe_open(upload)
        if record is None:
            self._resumables.unfinished.ended(upload)
            return
        is_old = self._idle_ms(record) >= UNFINISHED_S * 1000
        if record.state is State.PARTIAL:  # whole: it stays for as long as another needs it
            if is_old and not record.finals:
                await self._resumables.expire(upload)
            return
        has_length = record.length is not None or bool(record.partials)
        has_end = has_length and record.dialect in self._by_length
        is_whole = (is_old or finishes) and has_end and await self._resumables.finish(record)
        if is_old and not is_whole:
            await self._resumables.expire(upload)

    async def _maybe_open(self, upload: UploadID) -> UploadRecord | None:
        """Return the record of *upload* if it has no end yet and is nobody else's."""
        try:
            found = await self._resumables.intake.tools.sink.record(upload)
        except UnknownUpload:
            return None
        is_open = found.value.state in (State.RECEIVING, State.PARTIAL)
        taken_by = self._resumables.intake.tools.settling.open(found.value).taken_by
        return found.value if is_open and not self._is_anothers(taken_by) else None

    def _idle_ms(self, record: UploadRecord) -> int:
        """Return for how long no byte came, in milliseconds."""
        return self._resumables.intake.tools.clock.now_ms() - record.last_heard_ms
