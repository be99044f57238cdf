"""Random histories of one upload on a treacherous disk, held to the model after every step."""

import asyncio
import errno
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Final

from edge.record import State, UploadRecord, WrongState
from edge.record_codec import read_record
from edge.seal.header import HEADER_BLOCK_BYTES
from edge.seal.record import Walker
from edge.sinks.base import Damaged, Ended, Fenced, SinkError, UnknownUpload
from edge.sinks.log_writer import LogClaim, LogWriter
from edge.sinks.memory import MEMORY_RECORD_BYTES, MemorySink
from tests.support.region_keys import SeededKeys
from tests.support.sink_model import Fate, UploadModel, Violation
from tests.support.writing import fill, read_whole
from zentransfer.disk import read_all
from zentransfer.ids import AccountID, IdMaker, Kind, UploadID
from zentransfer.machine import Crashed
from zentransfer.memory_disk import MemoryDisk
from zentransfer.platter import keep_none

ACCOUNT: Final = AccountID("ac_aaaaaaaaaaaaaaaaaaaaaaaaaa")
LENGTHS: Final = (0, 1, 17, 64, 300, 4_000, 8_192, 12_000, 16_384, 20_000)
FILE_MAX: Final = 1 << 20
REFUSALS: Final = (SinkError, Fenced, WrongState)


@dataclass
class Active:
    """The writer that may write, and what is uncertain about it."""

    writer: LogWriter
    provisional: bool
    doubtful: bool = False  # a claim failed since: it may have been shut out, or not


class History:
    """One seed, one history."""

    def __init__(
        self,
        seed: int,
        sink: type[MemorySink] = MemorySink,
        disk: type[MemoryDisk] = MemoryDisk,
    ) -> None:
        self.random = Random(seed)
        self.keys = SeededKeys()
        self._sink_type, self._disk_type = sink, disk
        self.disk = disk(self.random)
        self.sink = sink(self.disk, self.keys.public, self.random)
        self.ids = IdMaker(self.random.randbytes)
        self.model = UploadModel()
        self.upload = self._new_id()
        self.active: Active | None = None
        self.zombies: list[Active] = []
        self.donor: list[bytes] = []  # whole records of another upload
        self.log: list[str] = []

    async def run(self, steps: int) -> None:
        """Play *steps* steps and then see that the upload can be finished and read."""
        await self._make_donor()
        await self._create()
        weighted = self._steps()
        for _ in range(steps):
            (step,) = self.random.choices(
                [step for step, _ in weighted], [weight for _, weight in weighted]
            )
            if self.active is None and self.random.random() < 0.7:
                step = self._attach
            await self._safely(step)
        await self._to_the_end()

    def _steps(self) -> list[tuple[Callable[[], Awaitable[None]], int]]:
        return [
            (self._attach, 8),
            (self._append, 28),
            (self._accept, 4),
            (self._flush, 18),
            (self._zombie, 12),
            (self._race, 5),
            (self._head, 3),
            (self._finish, 1),
            (self._read, 1),
            (self._destroy, 1),
            (self._plan_fault, 4),
            (self._forget_cache, 3),
            (self._crash, 3),
            (self._crash_inside, 2),
            (self._kill, 2),
        ]

    async def _safely(self, step: Callable[[], Awaitable[None]]) -> None:
        self.log.append(step.__name__)
        try:
            await step()
        except Crashed:
            await self._crash()

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
            self.disk = self._disk_type(self.random, machine=self.disk._machine)
            self.sink = self._sink_type(self.disk, self.keys.public, self.random)
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
        try:
            fill(self.active.writer, data)
        except (SinkError, Fenced):
            self._lost_writer()

    async def _accept(self) -> None:
        if self.active is None or not self.active.provisional:
            return
        self.model.accepted()
        try:
            self.active.writer.accept(self.active.writer.written)
        except (SinkError, Fenced):
            self._lost_writer()

    async def _flush(self) -> None:
        if self.active is None:
            return
        if self.random.random() < 0.15 and not self._is_fault_planned():
            self.disk.fail_flush(1)  # that of the content: the first of the flushes in this one
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
        else:
            raise Violation(f"a writer that was shut out told {told}")

    async def _race(self) -> None:
        """A claim comes while the writer's flush is under way."""
        if self.active is None or not self.model.born:
            return
        writer, told = self.active.writer, list[int]()
        process = self._disk_type(self.random, machine=self.disk._machine)
        other = self._sink_type(process, self.keys.public, self.random)
        claims = list[LogClaim | None]()

        async def flush() -> None:
            with suppress(*REFUSALS):
                told.append(await writer.flush(mark=self.random.random() < 0.5))

        async def claim() -> None:
            await asyncio.sleep(self.random.uniform(0, 0.03))
            claims.append(await self._claim_by(other))

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(flush())
                group.create_task(claim())
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        await self._raced(told, claims[0])

    async def _raced(self, told: list[int], claim: LogClaim | None) -> None:
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
        """Destroy, through crashes and failures, until it is done; then begin another upload."""
        if self.model.fate is not Fate.COMMITTED and self.random.random() < 0.7:
            return
        self.model.fate = Fate.MAYBE_GONE
        while self.model.fate is Fate.MAYBE_GONE:
            try:
                await self.sink.destroy(self.upload)
                self.model.fate = Fate.GONE
            except SinkError:
                self._heal()
            except Crashed:
                await self._crash()
        await self._zombie()
        if self.random.random() < 0.5:
            await self._crash()
        await self._see_that_it_is_gone()
        self.active = None
        self.zombies.clear()
        await self._create()

    async def _plan_fault(self) -> None:
        """Let one operation soon fail; one at a time."""
        if self._is_fault_planned():
            return
        if self.random.random() < 0.6:
            self.disk.fail_flush(self.random.randint(1, 4))
        else:
            code = self.random.choice((errno.EIO, errno.ENOSPC))
            self.disk.fail_at(self.random.randint(1, 12), code)

    async def _forget_cache(self) -> None:
        """Memory gets tight, and the kernel drops pages that are clean in its eyes."""
        for path in self._segment_paths():
            file = self.disk.open(path)
            file.drop_cache()
            file.close()

    async def _crash(self) -> None:
        """Lose the power; sometimes recycled blocks show what another upload left in them."""
        self.disk = self._disk_type(self.random, machine=self.disk.crash()._machine)
        self._begin_process()
        if self.random.random() < 0.5:
            await self._plant()

    async def _crash_inside(self) -> None:
        """Lose the power in the middle of some later operation."""
        self.disk.crash_at(self.random.randint(1, 25))

    async def _kill(self) -> None:
        """Kill the newest process; the page cache stays."""
        self.disk.kill()
        self.disk = self._disk_type(self.random, machine=self.disk._machine)
        self._begin_process()

    # What the steps stand on.

    async def _claim(self) -> LogClaim | None:
        return await self._claim_by(self.sink)

    async def _claim_by(self, sink: MemorySink) -> LogClaim | None:
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

    async def _open(self, claim: LogClaim) -> None:
        provisional = self.random.random() < 0.25
        try:
            self.active = Active(await claim.writer(provisional=provisional), provisional)
        except SinkError:
            self.active = None

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
        self.sink = self._sink_type(self.disk, self.keys.public, self.random)
        self.active = None
        self.zombies = [zombie for zombie in self.zombies if self.random.random() < 0.5]

    def _is_fault_planned(self) -> bool:
        machine = self.disk._machine
        return bool(machine.failures or machine.flush_failures)

    def _heal(self) -> None:
        machine = self.disk._machine
        machine.failures.clear()
        machine.flush_failures.clear()
        machine.crash_at = 0

    async def _see_that_it_is_gone(self) -> None:
        await self.sink.destroy(self.upload)
        if not self.model.born and not self.disk.exists(self._folder()):
            return
        record = (await self.sink.record(self.upload)).value
        if record.state is not State.DESTROYED or record.names or record.segments:
            raise Violation("a tombstone that tells too much")
        if self._segment_paths():
            raise Violation("a segment outlives its upload")
        try:
            await read_whole(self.sink, self.upload, self.keys)
        except Damaged:
            return
        raise Violation("a destroyed upload is readable")

    async def _to_the_end(self) -> None:
        """Heal everything; then the upload can be finished, and is what was sent, for good."""
        self._heal()
        await self._safely(self._crash)
        self._heal()
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
        self.disk = self._disk_type(self.random, machine=self.disk.crash(keep_none)._machine)
        self._begin_process()
        await self._read()
        await self._destroy()

    async def _make_donor(self) -> None:
        """Write another upload, whose records may turn up in recycled blocks."""
        upload = self._new_id()
        record = UploadRecord(upload, ACCOUNT, self.keys.region, created_ms=1)
        writer = await (await self.sink.create(record)).writer()
        sizes = [self.random.randint(1, 900) for _ in range(4)]
        for size in sizes:
            fill(writer, self.random.randbytes(size))
            await writer.flush()
        (path,) = self._segment_paths(upload)
        data = read_all(self.disk, path, FILE_MAX)
        at = HEADER_BLOCK_BYTES
        for size in sizes:
            self.donor.append(data[at : at + size + 25])
            at += size + 25
        await writer.close()

    async def _plant(self) -> None:
        """Let the first block behind the newest segment's end hold a record of the donor."""
        path, end = self._end_of_newest()
        donor = self.random.choice(self.donor)
        if path is None or len(donor) > MEMORY_RECORD_BYTES - end % MEMORY_RECORD_BYTES:
            return
        file = self.disk.open(path, write=True)
        file.write_at(donor, end)
        await file.flush()
        file.close()

    def _end_of_newest(self) -> tuple[str | None, int]:
        """Return the newest segment and where its whole records end, if a claim would look."""
        try:
            record, _ = read_record(read_all(self.disk, f"{self._folder()}/record", FILE_MAX))
        except OSError:
            return None, 0
        if record.state is not State.RECEIVING or record.mark is None or record.mark.is_end:
            return None, 0
        newest = record.segments[-1]
        path = f"{self._folder()}/{newest.number}-{newest.fence}.seg"
        data = memoryview(bytearray(read_all(self.disk, path, FILE_MAX)))
        seed = self.sink.rules.seed(newest.header_hash)
        walker = Walker(seed, MEMORY_RECORD_BYTES, record.mark.walked)
        more = True
        while more:
            position, count = walker.wants()
            more = walker.take(data[position : position + count])
        return path, walker.walked.position

    def _segment_paths(self, upload: UploadID | None = None) -> list[str]:
        folder = self._folder(upload)
        if not self.disk.exists(folder):
            return []
        return [f"{folder}/{name}" for name in self.disk.names(folder) if ".seg" in name]

    def _folder(self, upload: UploadID | None = None) -> str:
        upload = upload or self.upload
        return f"uploads/{upload[3:5]}/{upload}"

    def _new_id(self) -> UploadID:
        return UploadID(self.ids.make(Kind.UPLOAD))
