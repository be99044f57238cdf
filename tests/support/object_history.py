"""Random histories of one upload in a bucket far away, held to the model after every step."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Final

from edge.record import State, UploadRecord, WrongState
from edge.sinks.base import Damaged, Ended, Fenced, SinkError, UnknownUpload
from edge.sinks.memory import MEMORY_RECORD_BYTES
from edge.sinks.objects import ObjectSink
from edge.sinks.objects_memory import Failure, MemoryBucket
from edge.sinks.objects_writer import ObjectClaim, ObjectWriter
from tests.support.region_keys import SeededKeys
from tests.support.sink_model import Fate, UploadModel, Violation
from tests.support.writing import fill, read_whole
from zentransfer.clock import ManualClock
from zentransfer.ids import AccountID, IdMaker, Kind, UploadID

ACCOUNT: Final = AccountID("ac_aaaaaaaaaaaaaaaaaaaaaaaaaa")
LENGTHS: Final = (0, 1, 17, 64, 300, 4_000, 8_192, 12_000, 20_000, 50_000)
OBJECT_BYTES: Final = 24_576
REFUSALS: Final = (SinkError, Fenced, WrongState)
LONG_AFTER_MS: Final = 10**12


@dataclass
class Active:
    """The writer that may write, and what is uncertain about it."""

    writer: ObjectWriter
    provisional: bool
    doubtful: bool = False  # a claim failed since: it may have been shut out, or not


class ObjectHistory:
    """One seed, one history."""

    def __init__(
        self,
        seed: int,
        sink: type[ObjectSink] = ObjectSink,
        bucket: type[MemoryBucket] = MemoryBucket,
    ) -> None:
        self.random = Random(seed)
        self.keys = SeededKeys()
        self._sink_type = sink
        self.bucket = bucket(self.random, page=4)
        self.sink = self._sink(self.bucket)
        self.ids = IdMaker(self.random.randbytes)
        self.model = UploadModel()
        self.upload = self._new_id()
        self.active: Active | None = None
        self.zombies: list[Active] = []

    async def run(self, steps: int) -> None:
        """Play *steps* steps and then see that the upload can be finished and read."""
        await self._create()
        weighted = self._steps()
        for _ in range(steps):
            (step,) = self.random.choices(
                [step for step, _ in weighted], [weight for _, weight in weighted]
            )
            if self.active is None and self.random.random() < 0.7:
                step = self._attach
            await step()
        await self._to_the_end()

    def _steps(self) -> list[tuple[Callable[[], Awaitable[None]], int]]:
        return [
            (self._attach, 8),
            (self._append, 28),
            (self._accept, 4),
            (self._flush, 18),
            (self._zombie, 12),
            (self._race, 6),
            (self._head, 3),
            (self._finish, 1),
            (self._read, 1),
            (self._destroy, 1),
            (self._plan_fault, 8),
            (self._kill, 3),
            (self._pause, 3),
        ]

    # Steps.

    async def _create(self) -> None:
        """Begin a new upload, now or lazily."""
        self.upload, self.model = self._new_id(), UploadModel()
        lazily = self.random.random() < 0.3
        record = UploadRecord(self.upload, ACCOUNT, self.keys.region, created_ms=1)
        try:
            claim = await self.sink.create(record, lazily=lazily)
        except SinkError:
            self.active = None
            return
        self.model.born = not lazily
        await self._open(claim)

    async def _attach(self) -> None:
        """A new request: it claims, often in another process, and the newest wins."""
        if self.random.random() < 0.5:  # the old one is in the middle of something
            await self._append()
        if self.random.random() < 0.4:
            self._begin_process()
        claim = await self._claim()
        if claim is not None:
            await self._open(claim)

    async def _head(self) -> None:
        """Ask for the offset, and leave."""
        await self._claim()

    async def _append(self) -> None:
        if self.active is None:
            return
        data = self.random.randbytes(self.random.choice(LENGTHS))
        self.model.appended(data, counts=not self.active.provisional)
        fill(self.active.writer, data)
        if self.random.random() < 0.3:
            await asyncio.sleep(self.random.uniform(0, 0.05))

    async def _accept(self) -> None:
        if self.active is None or not self.active.provisional:
            return
        self.model.accepted()
        self.active.writer.accept(self.active.writer.written)

    async def _flush(self) -> None:
        if self.active is None:
            return
        try:
            told = await self.active.writer.flush(mark=self.random.random() < 0.5)
        except SinkError:
            self._lost_writer()
        except (Fenced, WrongState):
            self._must_be_doubtful()
        else:
            self.model.flushed(told)

    async def _zombie(self) -> None:
        """A writer that was shut out wakes up, and must not be believed by anybody."""
        if not self.zombies:
            return
        zombie = self.random.choice(self.zombies)
        writer = zombie.writer
        try:
            fill(writer, self.random.randbytes(self.random.choice(LENGTHS)))
            if zombie.provisional:
                writer.accept(writer.written)
            if self.random.random() < 0.3:
                await writer.finish(None)
                raise Violation("a writer that was shut out committed")
            told = await writer.flush(mark=self.random.random() < 0.5)
        except REFUSALS:
            self.zombies.remove(zombie)
            if self.random.random() < 0.7:
                await writer.close()
        else:
            raise Violation(f"a writer that was shut out told {told}")

    async def _race(self) -> None:
        """A claim comes while the writer's flush is under way."""
        if self.active is None or not self.model.born:
            return
        writer, told = self.active.writer, list[int]()
        claims = list[ObjectClaim | None]()

        async def flush() -> None:
            with suppress(*REFUSALS):
                told.append(await writer.flush(mark=self.random.random() < 0.5))

        async def claim() -> None:
            await asyncio.sleep(self.random.uniform(0, 0.15))
            claims.append(await self._claim_by(self._sink(self.bucket.process())))

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(flush())
                group.create_task(claim())
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        await self._raced(told, claims[0])

    async def _raced(self, told: list[int], claim: ObjectClaim | None) -> None:
        if claim is None:
            if told:
                self.model.flushed(told[0])
            return
        if told and told[0] > claim.offset:
            raise Violation(f"told {told[0]} beside a claim that told {claim.offset}")
        await self._open(claim)

    async def _finish(self) -> None:
        if self.active is None or self.model.countable != len(self.model.sent):
            return
        self.model.finishing()
        try:
            manifest = await self.active.writer.finish(None)
        except SinkError:
            self._lost_writer()
        except (Fenced, WrongState):
            self._must_be_doubtful()
            self.model.fenced_at_finish()
        else:
            self.active = None
            self.model.finished(manifest.total)

    async def _read(self) -> None:
        if self.model.fate is not Fate.COMMITTED:
            return
        try:
            self.model.read(await read_whole(self.sink, self.upload, self.keys))
        except Damaged as refused:
            raise Violation(f"a committed upload is refused: {refused}") from refused
        except SinkError:
            pass

    async def _destroy(self) -> None:
        """Destroy, through failures, until it is done; then begin another upload."""
        if self.model.fate is not Fate.COMMITTED and self.random.random() < 0.7:
            return
        self.model.fate = Fate.MAYBE_GONE
        while self.model.fate is Fate.MAYBE_GONE:
            try:
                await self.sink.destroy(self.upload)
                self.model.fate = Fate.GONE
            except SinkError:
                self.bucket.heal()
        await self._zombie()
        await self._see_that_it_is_gone()
        self.active = None
        self.zombies.clear()
        await self._create()

    async def _plan_fault(self) -> None:
        """Let one request soon fail, in one of the ways there are; one at a time."""
        if not self.bucket.is_fault_planned:
            failure = self.random.choice(list(Failure))
            self.bucket.fail_at(self.random.randint(1, 8), failure)

    async def _pause(self) -> None:
        """Let whatever is late arrive."""
        await asyncio.sleep(self.random.uniform(0, 15))

    async def _kill(self) -> None:
        """Kill the newest process; its requests may still arrive."""
        self._begin_process()
        self.active = None
        self.zombies = [zombie for zombie in self.zombies if self.random.random() < 0.5]

    # What the steps stand on.

    async def _claim(self) -> ObjectClaim | None:
        return await self._claim_by(self.sink)

    async def _claim_by(self, sink: ObjectSink) -> ObjectClaim | None:
        """Claim by *sink*; the writer so far is shut out, unless the claim failed."""
        try:
            claim = await sink.claim(self.upload)
        except Damaged as refused:
            raise Violation(f"damage without a fault that does damage: {refused}") from refused
        except Fenced:
            raise Violation("nobody else claims") from None
        except SinkError:
            if self.active is not None:
                self.active.doubtful = True
            return None
        except UnknownUpload:
            self.model.unknown()
            self.active = None
            self.zombies.clear()
            await self._create()
            return None
        except Ended as ended:
            self.model.ended(ended.record.state)
            self._lost_writer()
            return None
        self.model.claimed(claim.offset)
        self._lost_writer()
        return claim

    async def _open(self, claim: ObjectClaim) -> None:
        provisional = self.random.random() < 0.25
        self.active = Active(await claim.writer(provisional=provisional), provisional)

    def _lost_writer(self) -> None:
        """The writer so far is no longer the rightful one; it may still be running."""
        if self.active is not None:
            self.zombies.append(self.active)
            self.active = None

    def _must_be_doubtful(self) -> None:
        assert self.active is not None
        if not self.active.doubtful:
            raise Violation("the rightful writer was shut out")
        self._lost_writer()

    def _begin_process(self) -> None:
        self.bucket = self.bucket.process()
        self.sink = self._sink(self.bucket)

    def _sink(self, bucket: MemoryBucket) -> ObjectSink:
        public, chance = self.keys.public, self.random.randbytes
        return self._sink_type(bucket, public, chance, MEMORY_RECORD_BYTES, OBJECT_BYTES)

    async def _see_that_it_is_gone(self) -> None:
        """See that nothing opens any more, and that what came late goes too."""
        self.bucket.heal()
        await asyncio.sleep(20)
        await self.sink.remove_orphans(ManualClock(LONG_AFTER_MS))
        if any(self.upload in key and key.startswith("segments/") for key in self.bucket.keys):
            raise Violation("a segment outlives its upload")
        try:
            record = (await self.sink.record(self.upload)).value
        except UnknownUpload:
            if self.model.born:
                raise Violation("an upload without a tombstone") from None
            return
        if record.state is not State.DESTROYED or record.names or record.segments:
            raise Violation("a tombstone that tells too much")

    async def _to_the_end(self) -> None:
        """Heal everything; then the upload can be finished, and is what was sent, for good."""
        self.bucket.heal()
        while self.model.fate is not Fate.COMMITTED:
            claim = await self._claim()
            if claim is None:
                continue
            writer = await claim.writer()
            data = self.random.randbytes(self.random.choice(LENGTHS))
            fill(writer, data)
            self.model.appended(data, counts=True)
            self.model.finishing()
            self.model.finished((await writer.finish(None)).total)
        self._begin_process()
        await self._read()
        await self._destroy()

    def _new_id(self) -> UploadID:
        return UploadID(self.ids.make(Kind.UPLOAD))
