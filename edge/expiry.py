"""The end of unfinished uploads that nobody goes on with: a look at all of them, again and again.

The rules: an upload whose bytes are all there is committed, also when its sender was cut before the
answer; any other ends as expired when no byte came for UNFINISHED_S, and its content is destroyed.
An upload that a request has is left alone.
"""

import asyncio
from collections.abc import Container

from edge.record import State, UploadRecord
from edge.resumable import Resumables
from edge.sinks.base import UnknownUpload
from zentransfer import log
from zentransfer.errors import Error
from zentransfer.ids import UploadID
from zentransfer.limits import EXPIRY_PAUSE_S, UNFINISHED_S


class Expiry:
    """Looks after the unfinished uploads of one process."""

    def __init__(self, resumables: Resumables, by_length: Container[str]) -> None:
        """In the dialects *by_length* an upload is whole when it is as long as was announced."""
        self._resumables = resumables
        self._by_length = by_length

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
        has_end = record.length is not None and record.dialect in self._by_length
        is_whole = (is_old or finishes) and has_end and await self._resumables.finish(record)
        if is_old and not is_whole:
            await self._resumables.expire(upload)

    async def _maybe_open(self, upload: UploadID) -> UploadRecord | None:
        """Return the record of *upload* if it has no end yet."""
        try:
            found = await self._resumables.intake.tools.sink.record(upload)
        except UnknownUpload:
            return None
        return found.value if found.value.state is State.RECEIVING else None

    def _idle_ms(self, record: UploadRecord) -> int:
        """Return for how long no byte came, in milliseconds."""
        clock = self._resumables.intake.tools.clock
        return clock.now_ms() - max(record.created_ms, record.heard_ms)
