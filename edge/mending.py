"""The ends of a process's uploads: brought about at once, or again and again until the disk lets.

The rule: an end that was begun is never given up; too many of them stop new uploads instead.
"""

import asyncio
from collections import Counter

from edge.facts import Outcome, OutcomeState
from edge.settling import Settling, Unsettled
from edge.sinks.base import SinkError
from zentransfer import log
from zentransfer.errors import Code, Error
from zentransfer.ids import UploadID
from zentransfer.limits import SETTLE_PAUSE_S


class Mending:
    """The ends that one process brings about, and how many of each it told."""

    def __init__(self, settling: Settling) -> None:
        self.ended = Counter[Code | OutcomeState]()
        """How uploads ended and why others were refused, since the start."""
        self.committed_bytes = 0
        self._settling = settling
        self._unsettled: dict[UploadID, Unsettled] = {}
        self._in_hand = set[UploadID]()  # of the unsettled ones
        self._has_unsettled = asyncio.Event()

    @property
    def unsettled(self) -> int:
        """Return how many ends wait for the disk."""
        return len(self._unsettled)

    async def mend(self) -> None:
        """Settle, again and again, what the disk would not let end; runs until cancelled."""
        while True:
            await self._has_unsettled.wait()
            await asyncio.sleep(SETTLE_PAUSE_S)
            for one in list(self._unsettled.values()):
                await self.settle(one)

    async def settle(self, one: Unsettled) -> Outcome | None:
        """Bring *one* to its end, or keep it for :meth:`mend`; returns its outcome if told now.

        That its content is gone may still be left to :meth:`mend` then.
        """
        if one.upload in self._in_hand:
            return None
        self.left_open(one)  # first of all: whoever is cancelled here has left it to mend
        self._in_hand.add(one.upload)
        outcome = None
        try:
            outcome = await self._settling.settle(one)
            if outcome is not None:
                self._count(outcome)
            await self._settling.tell_gone(one.upload)
        except Exception as failure:  # noqa: BLE001 - a fault in one upload stops no other
            if not isinstance(failure, Error) or _is_lasting(failure):
                log.error("upload.unsettled", failure, upload=one.upload)
                self._forget(one)
            return outcome
        finally:
            self._in_hand.discard(one.upload)
        self._forget(one)
        return outcome

    def left_open(self, one: Unsettled) -> None:
        """Keep *one*, whose end nobody can wait for now, for :meth:`mend`."""
        self._unsettled[one.upload] = one
        self._has_unsettled.set()

    async def tell(self, outcome: Outcome) -> None:
        """Make *outcome* durable; raises as :meth:`edge.settling.Settling.tell`."""
        await self._settling.tell(outcome)
        self._count(outcome)

    # -- inside ----------------------------------------------------------------------------------

    def _forget(self, one: Unsettled) -> None:
        self._unsettled.pop(one.upload, None)
        if not self._unsettled:
            self._has_unsettled.clear()

    def _count(self, outcome: Outcome) -> None:
        self.ended[outcome.error or outcome.state] += 1
        if outcome.state is OutcomeState.COMMITTED:
            self.committed_bytes += outcome.size_bytes
        else:
            log.fact(
                "upload.aborted",
                upload=outcome.upload_id,
                reason=outcome.error,
                size_bytes=outcome.size_bytes,
            )


def _is_lasting(failure: Error) -> bool:
    return isinstance(failure, SinkError) and not failure.temporary
