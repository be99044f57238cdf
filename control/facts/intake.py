"""Where a node's facts come in: the one place that opens the transaction and ends it.

The rule: what ``take`` returns is committed.  So its caller sends the ack, and nothing sooner.
"""

from collections import Counter

from control.facts.apply import Applied, apply_batch, resume
from control.facts.model import Batch, Reason
from control.unit_of_work import Database
from control.uploads.feed import EventFeed
from control.uploads.model import Outcome
from control.uploads.receiving import ReceivingBook
from zentransfer import log
from zentransfer.clock import Clock
from zentransfer.ids import EpochID, NodeID, ProcessName


class FactIntake:
    """Takes batches of facts for good, and tells whoever watches an account."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        feed: EventFeed,
        receiving: ReceivingBook | None = None,
    ) -> None:
        """Take what ends out of *receiving*, if somebody keeps that."""
        self._database = database
        self._clock = clock
        self._feed = feed
        self._receiving = ReceivingBook() if receiving is None else receiving

    async def take(self, batch: Batch) -> Applied:
        """Apply and commit *batch*; returns what to ack.

        Raises ``Error`` when the database cannot commit now: then nothing is applied, and the node
        sends it again.
        """
        async with self._database.write() as uow:
            applied = await apply_batch(uow, batch, self._clock.now_ms())
        for reason, count in Counter(one.reason for one in applied.aside).items():
            _log_aside(batch.node, batch.process, reason, count)
        bodies = (fact.body for fact in batch.facts)
        self._receiving.ended(body.upload_id for body in bodies if isinstance(body, Outcome))
        self._feed.notify(applied.accounts)
        return applied

    async def resume(
        self, node: NodeID, process: ProcessName, epoch: EpochID, first_kept: int
    ) -> int:
        """Return the sequence from which that outbox shall send; raises ``Error``.

        *first_kept* is the first fact that it still has, as its hello says.
        """
        async with self._database.write() as uow:
            held = await uow.facts.cursor(node, epoch, process)
            first = await resume(uow, node, process, epoch, first_kept, self._clock.now_ms())
        if first > held.sequence + 1:
            _log_aside(node, process, Reason.LOST, first - held.sequence - 1)
        return first


def _log_aside(node: NodeID, process: ProcessName, reason: Reason, count: int) -> None:
    log.fact("facts.set_aside", node=node, process=process, reason=reason, count=count)
