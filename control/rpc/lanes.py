"""What one stream carries beside heartbeats: facts to the intake, snapshots and traces to its node.

The rules: **an ack leaves when its facts are committed, and not before**; and a node is offered a
version until it has it, whatever was lost on the way.  No lane fills a stream's queue by itself.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from control.facts.apply import Applied
from control.facts.model import Batch
from control.rpc import facts, fleet_wire
from control.rpc.fleet_wire import Hello
from control.rpc.snapshots import Snapshots
from zentransfer import log
from zentransfer.clock import Clock
from zentransfer.errors import Code, Error
from zentransfer.ids import (
    CommandID,
    CredentialID,
    EpochID,
    IdMaker,
    Kind,
    NodeID,
    ProcessName,
    region_of,
)
from zentransfer.limits import (
    DATABASE_RETRY_AFTER_S,
    FLEET_CREDIT,
    FLEET_OFFER_S,
    FLEET_TRACES_AT_ONCE,
    TRACES_MAX,
)
from zentransfer.v1.facts_pb2 import FactBatch
from zentransfer.v1.fleet_pb2 import ConnectResponse, SnapshotAck, SnapshotNack

Push = Callable[[ConnectResponse], None]
"""Queues a message for the node, without waiting."""


class Intake(Protocol):
    """What takes facts for good; :class:`control.facts.intake.FactIntake` is the one there is."""

    async def take(self, batch: Batch, /) -> Applied:
        """Apply and commit *batch*; raises ``Error`` when that cannot be now."""
        ...

    async def resume(
        self, node: NodeID, process: ProcessName, epoch: EpochID, first_kept: int, /
    ) -> int:
        """Return the first sequence that is lacking of that outbox; raises ``Error``."""
        ...


class FactLane:
    """The batches of one stream, taken one after the other in their order."""

    def __init__(self, intake: Intake, hello: Hello, push: Push) -> None:
        self.clock_offset_ms = 0  # our clock minus the node's, as its heartbeats tell
        self._intake = intake
        self._identity = hello.identity
        self._epoch = hello.outbox
        self._push = push
        self._waiting: deque[Batch] = deque()
        self._filled = asyncio.Event()
        self._told_gap: int | None = None

    def put(self, message: FactBatch) -> None:
        """Queue a batch; raises ``Error(INVALID)`` for what is none of this outbox.

        What exceeds the credit is dropped, as if it never came: the node sends it again.
        """
        us = self._identity
        batch = facts.batch(message, us.node, us.process, self.clock_offset_ms)
        if batch.epoch != self._epoch:
            raise Error(Code.INVALID, "the batch is of another outbox than the hello named")
        if len(self._waiting) < FLEET_CREDIT:
            self._waiting.append(batch)
            self._filled.set()

    async def run(self) -> None:
        """Take what is queued, for ever, and ack what is committed."""
        while True:
            await self._filled.wait()
            while self._waiting:
                applied = await self._committed(self._waiting[0])
                self._waiting.popleft()
                self._answer(applied)
            self._filled.clear()

    async def _committed(self, batch: Batch) -> Applied:
        """Return what was committed, as soon as the database can."""
        is_told = False
        while True:
            try:
                return await self._intake.take(batch)
            except Error as later:
                if not is_told:
                    us, is_told = self._identity, True
                    log.fact(
                        "fleet.facts_wait", node=us.node, process=us.process, reason=later.code
                    )
                await asyncio.sleep(later.retry_after_s or DATABASE_RETRY_AFTER_S)

    def _answer(self, applied: Applied) -> None:
        """Ack; of one gap the node is told once, for all batches behind it say the same."""
        if applied.resume_from is not None and applied.resume_from == self._told_gap:
            return
        self._told_gap = applied.resume_from
        assert self._epoch is not None, "without an outbox no batch was queued"
        self._push(fleet_wire.acked(self._epoch, applied))


@dataclass(slots=True)
class _Offer:
    """What a node was offered and has not answered; it is offered again at ``again_s``."""

    nonce: str
    version: int
    is_delta: bool
    again_s: float


class SnapshotLane:
    """What one node has of its region's snapshot, and what it was offered."""

    def __init__(self, snapshots: Snapshots, hello: Hello, push: Push) -> None:
        self._snapshots = snapshots
        self._identity = hello.identity
        self._region = region_of(hello.identity.node)
        self._push = push
        self._version = hello.version
        # A version that another history of ours gave, that an older release understood in part, or
        # whose delta was refused, is no place to start a delta from.
        is_ours = snapshots.is_current(self._region, hello.version, hello.digest)
        self._is_strange = not is_ours and hello.version == snapshots.version(self._region)
        self._takes_deltas = True
        self._offer: _Offer | None = None
        self._count = 0

    def look(self, now_s: float) -> None:
        """Offer the newest version, unless the node has it or is busy with an offer."""
        newest = self._snapshots.version(self._region)
        if self._version == newest and not self._is_strange:
            return
        if self._offer is not None and now_s < self._offer.again_s:
            return
        self._count += 1
        is_known = self._takes_deltas and not self._is_strange and self._version > 0
        nonce = str(self._count)
        message = self._snapshots.offer(self._region, nonce, self._version if is_known else None)
        self._offer = _Offer(nonce, newest, message.HasField("delta"), now_s + FLEET_OFFER_S)
        self._push(message)

    def on_heartbeat(self, version: int, now_s: float) -> None:
        """Take which version serves at the node; what it is busy with changes that yet."""
        if self._offer is None or now_s >= self._offer.again_s:
            self._version = version
        self.look(now_s)

    def on_ack(self, ack: SnapshotAck, now_s: float) -> None:
        """Take that a version is on disk and in force there."""
        if self._offer is None or ack.nonce != self._offer.nonce:
            return
        self._version, self._offer, self._is_strange = self._offer.version, None, False
        us = self._identity
        log.fact("fleet.snapshot_acked", node=us.node, process=us.process, version=self._version)
        self.look(now_s)

    def on_nack(self, nack: SnapshotNack, now_s: float) -> None:
        """Take that an offer was refused: what a delta could not give, the whole may."""
        offer = self._offer
        if offer is None or nack.nonce != offer.nonce:
            return
        us = self._identity
        log.fact(
            "fleet.snapshot_nacked",
            node=us.node,
            process=us.process,
            version=offer.version,
            reason=nack.reason,
        )
        self._version = nack.serving_version
        self._is_strange = self._is_strange or offer.is_delta
        if offer.is_delta and nack.reason == Code.DAMAGED:
            self._takes_deltas = False  # it does not understand all that they hold
        if offer.is_delta or offer.version != self._snapshots.version(self._region):
            self._offer = None
            self.look(now_s)


class TraceLane:
    """The traces that one ingest process shall open or end, a few at a time, as it answers."""

    def __init__(
        self, ids: IdMaker, clock: Clock, command: Callable[[CommandID, ConnectResponse], None]
    ) -> None:
        self._ids = ids
        self._clock = clock
        self._command = command
        self._due: dict[CredentialID, int] = {}  # what is to be asked: until when, UTC ms
        self._asked: set[CommandID] = set()  # and was not answered

    def ask(self, wanted: Mapping[CredentialID, int]) -> None:
        """Have each credential of *wanted* traced for its milliseconds from now; 0 ends it."""
        now_ms = self._clock.now_ms()
        for credential, lasts_ms in wanted.items():
            if credential not in self._due and len(self._due) >= TRACES_MAX:
                # The one that is over first: its node ends it by itself.
                del self._due[min(self._due, key=self._due.__getitem__)]
            self._due[credential] = now_ms + lasts_ms
        self._go_on()

    def on_done(self, name: CommandID) -> None:
        """Take note that the process answered the command *name*, if it was one of these."""
        if name in self._asked:
            self._asked.remove(name)
            self._go_on()

    def _go_on(self) -> None:
        now_ms = self._clock.now_ms()
        while self._due and len(self._asked) < FLEET_TRACES_AT_ONCE:
            credential = next(iter(self._due))
            lasts_ms = self._due.pop(credential) - now_ms
            name = CommandID(self._ids.make(Kind.COMMAND))
            self._asked.add(name)
            self._command(name, fleet_wire.trace(name, credential, lasts_ms))
