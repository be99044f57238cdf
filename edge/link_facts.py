"""Sends facts from the outbox under control's credit, until it has committed them.

The rule: **a fact is sent again until it is acked, and forgotten only then** (law 6).  Where the
two sides disagree, control's cursor decides: it knows what it has committed.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from edge import facts_wire
from edge.begun import Receiving
from edge.facts import unpack_fact
from edge.link_state import Acked, Position, Terms
from edge.seal.packing import Malformed
from zentransfer import log
from zentransfer.errors import Error
from zentransfer.ids import EpochID, NodeID
from zentransfer.limits import LINK_ACK_S, LINK_CREDIT_MAX, RECEIVING_PAUSE_S
from zentransfer.stream import StreamClosed
from zentransfer.v1.facts_pb2 import FactBatch, UnderWay


class FactSource(Protocol):
    """What the sender needs of :class:`edge.outbox.Outbox`."""

    epoch: EpochID
    changed: asyncio.Event

    @property
    def first_kept(self) -> int:
        """Return the lowest sequence that can still be read."""
        ...

    @property
    def durable(self) -> int:
        """Return the highest sequence that is durable."""
        ...

    def read(self, after: int, count: int = ..., /) -> tuple[int, list[bytes]]:
        """Return (first sequence, payloads) of durable facts above *after*."""
        ...

    async def acked(self, sequence: int, /) -> None:
        """Forget facts up to *sequence*."""
        ...


class FactSender:
    """One stream's way from the outbox to control; without a welcome it sends nothing."""

    def __init__(self, outbox: FactSource, node: NodeID) -> None:
        self._outbox = outbox
        self._node = node
        self._credit = 0
        self._acked = 0
        self._sent = 0  # the highest sequence that is on its way, or acked
        self._in_flight: deque[int] = deque()  # the last sequence of each batch; credit bounds it
        self._again_s = 0.0  # when what is in flight is sent again
        self._rest_until_s = 0.0  # after a read that failed
        self._is_told = False  # that they were sent again, since the last ack

    async def begin(self, terms: Terms, now_s: float) -> None:
        """Take the terms of a stream's welcome: from where to send, and how much at once."""
        resume = terms.resume_from
        if resume is None or resume.epoch != self._outbox.epoch:
            return  # control takes no facts, or not ours
        if resume.sequence > self._outbox.durable + 1:
            # Facts under these sequences are at control, and others are here: the disk is older
            # than what it told.  Sending them would lose them, as control has had those numbers.
            log.fact("link.outbox_behind", node=self._node)
            return
        self._credit = min(terms.credit, LINK_CREDIT_MAX)
        self._sent = self._acked = resume.sequence - 1
        self._again_s = now_s
        await self._forget()

    async def watch(self, wake: Callable[[], None]) -> None:
        """Call *wake* whenever there may be something to send, for ever."""
        while True:
            self._outbox.changed.clear()
            wake()
            await self._outbox.changed.wait()

    def due_s(self, now_s: float) -> float | None:
        """Return when :meth:`maybe_batch` is to be asked without a wake, if at all."""
        if now_s < self._rest_until_s:
            return self._rest_until_s
        return self._again_s if self._in_flight else None

    def is_done(self) -> bool:
        """Whether control has committed every fact, or takes none."""
        return not self._credit or self._acked >= self._outbox.durable

    def maybe_batch(self, now_s: float) -> FactBatch | None:
        """Return the next batch to send, or ``None`` when there is none or no credit is left."""
        if self._in_flight and now_s >= self._again_s:
            if not self._is_told:  # once: a control that cannot commit may last
                log.fact("link.facts_again", node=self._node, count=self._sent - self._acked)
            self._is_told = True
            self._rewind(now_s)
        is_full = len(self._in_flight) >= self._credit
        if is_full or self._sent >= self._outbox.durable or now_s < self._rest_until_s:
            return None
        try:
            first, payloads = self._outbox.read(self._sent)
        except (OSError, Error) as failed:
            log.error("link.outbox_failed", failed, node=self._node)
            self._rest_until_s = now_s + LINK_ACK_S
            return None
        if not payloads:
            return None
        if not self._in_flight:
            self._again_s = now_s + LINK_ACK_S
        self._sent = first + len(payloads) - 1
        self._in_flight.append(self._sent)
        return facts_wire.batch(self._outbox.epoch, first, payloads)

    async def on_ack(self, ack: Acked, now_s: float) -> None:
        """Take what control has committed; raises :class:`StreamClosed` where only a hello helps.

        An older ack, and one for another outbox, changes nothing.
        """
        if ack.upto.epoch != self._outbox.epoch or not self._credit:
            return
        if ack.upto.sequence > self._outbox.durable:
            raise StreamClosed("control acknowledges facts that were never made")
        if ack.upto.sequence > self._acked:
            self._acked, self._is_told = ack.upto.sequence, False
            self._sent = max(self._sent, self._acked)
            self._again_s = now_s + LINK_ACK_S
            while self._in_flight and self._in_flight[0] <= self._acked:
                self._in_flight.popleft()
            await self._forget()
        if ack.again_from == self._acked + 1 and self._in_flight:
            if self._acked + 1 < self._outbox.first_kept:
                raise StreamClosed("control lacks facts that are no longer kept")
            self._rewind(now_s)

    def _rewind(self, now_s: float) -> None:
        self._sent = self._acked
        self._in_flight.clear()
        self._again_s = now_s + LINK_ACK_S

    async def _forget(self) -> None:
        try:
            await self._outbox.acked(self._acked)
        except OSError as failed:  # it stays on the disk for now, and costs its room
            log.error("link.outbox_failed", failed, node=self._node)


class ReceivingSource(Protocol):
    """What the reporter needs of :class:`edge.begun.Begun`."""

    def forget(self) -> None:
        """Say everything anew."""
        ...

    async def news(self) -> list[Receiving]:
        """Return what is new, as soon as there is any."""
        ...


class Reporter:
    """One stream's reports of what is being received; one lost with its stream is said anew."""

    def __init__(self, source: ReceivingSource) -> None:
        self._source = source
        self._waiting: UnderWay | None = None
        self._is_taken = asyncio.Event()

    async def watch(self, wake: Callable[[], None]) -> None:
        """Call *wake* whenever there is something to send, with a pause in between, for ever."""
        self._source.forget()
        while True:
            self._waiting = facts_wire.under_way(await self._source.news())
            wake()
            await self._is_taken.wait()
            self._is_taken.clear()
            await asyncio.sleep(RECEIVING_PAUSE_S)

    def maybe_report(self) -> UnderWay | None:
        """Return the report that waits, which is sent now."""
        report, self._waiting = self._waiting, None
        if report is not None:
            self._is_taken.set()
        return report


def position(outbox: FactSource) -> Position:
    """Return where *outbox* begins, as a hello says it."""
    return Position(outbox.epoch, outbox.first_kept)


def oldest_ms(outbox: FactSource, acked: int) -> int | None:
    """Return when the oldest fact above *acked* happened; ``None`` without one, or one to read."""
    if acked >= outbox.durable:
        return None
    try:
        _, payloads = outbox.read(acked, 1)
        return unpack_fact(payloads[0]).at_ms if payloads else None
    except (OSError, Error, Malformed):
        return None
