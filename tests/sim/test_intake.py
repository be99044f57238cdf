"""Uploads on a disk that loses its power at every operation, held to the laws by a small model."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from random import Random

import pytest

from edge.admission import Request
from edge.facts import Outcome, OutcomeState
from edge.intake import Intake, Taking
from edge.outcome import committed_outcome, maybe_outcome
from edge.pace import Patience
from edge.record import State, UploadRecord
from edge.settling import Settling, Unsettled
from tests.support.sim import simulate
from tests.support.taking import Node, Sender, file_named
from tests.support.writing import read_whole
from zentransfer.disk import make_durable_folder
from zentransfer.errors import Code, Error
from zentransfer.ids import OutcomeID, UploadID
from zentransfer.machine import Crashed
from zentransfer.memory_disk import MemoryDisk
from zentransfer.platter import keep_all

STEPS_MAX = 400
STRIDE = 10  # five seeds, each with and without a failed flush, crash everywhere


@dataclass
class Model:
    """What was sent, and what was promised to somebody."""

    whole: list[bytes] = field(default_factory=list[bytes])
    acked: dict[UploadID, bytes] = field(default_factory=dict[UploadID, bytes])

    def found(self, node: Node, contents: dict[UploadID, bytes]) -> None:
        """Hold what a restarted node *has* before it sweeps to what was acknowledged (law 2)."""
        told = {one.upload_id for one in node.outcomes() if one.state is OutcomeState.COMMITTED}
        for upload, content in self.acked.items():
            hold(contents.get(upload) == content, "an acknowledged upload is lost")
            hold(upload in told, "an acknowledged upload has no durable outcome")

    def swept(
        self,
        node: Node,
        contents: dict[UploadID, bytes],
        records: dict[UploadID, UploadRecord],
    ) -> None:
        """Hold what is there after the sweep to laws 1, 3 and 4."""
        told: dict[UploadID, list[Outcome]] = {}
        for outcome in node.outcomes():
            told.setdefault(outcome.upload_id, []).append(outcome)
        hold(all(len(ways) == 1 for ways in told.values()), "an upload has two outcomes")
        for upload, content in contents.items():
            hold(content in self.whole, "a part looks whole")
            hold(upload in told, "a whole upload has no outcome")
        for upload, record in records.items():
            hold(record.state in (State.COMMITTED, State.DESTROYED), f"left {record.state}")
            hold(not record.account or upload in told, "an upload has no outcome")
            if record.ending.outcome is not None:
                ids = [one.id for one in told.get(upload, [])]
                hold(ids == [record.ending.outcome], "the record's outcome is not the one told")
        for upload, (outcome,) in told.items():
            is_whole = outcome.state is OutcomeState.COMMITTED
            hold(is_whole == (upload in contents), "an outcome tells what is not so")


def hold(kept: bool, promise: str) -> None:
    if not kept:
        raise AssertionError(promise)


async def contents_of(node: Node) -> tuple[dict[UploadID, bytes], dict[UploadID, UploadRecord]]:
    contents: dict[UploadID, bytes] = {}
    records: dict[UploadID, UploadRecord] = {}
    for upload in (await node.left()).uploads:
        try:
            record = (await node.sink.record(upload)).value
        except Error:
            continue
        records[upload] = record
        if record.state is State.COMMITTED:
            contents[upload] = await read_whole(node.sink, upload, node.keys)
    return contents, records


class History:
    """One seed and one moment of the crash."""

    def __init__(
        self, seed: int, step: int, make: Callable[[MemoryDisk], Node], *, fails: bool = False
    ) -> None:
        self.random = Random(f"{seed} {step}")
        self.model = Model()
        self.step = step
        self.make = make
        self.fails = fails  # one flush fails too, some time
        self.is_over = False  # the crash lies behind the end: nothing more to try

    def content(self) -> bytes:
        data = self.random.randbytes(self.random.choice((1, 700, 9_000, 20_000)))
        self.model.whole.append(data)
        return data

    async def run(self) -> None:
        disk = MemoryDisk(self.random)
        await make_durable_folder(disk, "uploads")  # an earlier life made the sink's own folder
        node = await self.make(disk).start()
        disk.crash_at(self.step)
        if self.fails:
            disk.fail_flush(self.random.randint(1, 30))
        try:
            await self.life(node)
            self.is_over = True
        except Crashed:
            pass
        was_killed = self.random.random() < 0.3  # then the page cache outlives the process
        await self.afterwards(disk.crash(keep_all if was_killed else None))

    async def life(self, node: Node) -> None:
        """Several uploads, whole ones and cut ones, small ones and ones with a record."""
        await self.sent(node)
        await self.cut(node, flushes=False)
        await self.sent(node, flushes=True)
        await self.cut(node, flushes=True)
        await self.sent(node)

    async def sent(self, node: Node, *, flushes: bool = False) -> None:
        content = self.content()
        length = len(content) if self.random.random() < 0.5 else None
        try:
            async with node.intake.take(node.asked(length)) as taking:
                await taking.begin(file_named("x", length))
                await self.received(taking, content, flushes=flushes)
                outcome = await taking.commit()
        except Error:
            assert self.fails
        else:
            self.model.acked[outcome.upload_id] = content

    async def cut(self, node: Node, *, flushes: bool) -> None:
        content = self.content()
        self.model.whole.remove(content)
        with suppress(Error):
            async with node.intake.take(node.asked()) as taking:
                await taking.begin(file_named("x"))
                await self.received(taking, content, flushes=flushes)
                await taking.receive(Sender([], Error(Code.PEER_GONE)), Patience())

    async def received(self, taking: Taking, content: bytes, *, flushes: bool) -> None:
        half = len(content) // 2
        await taking.receive(Sender([content[:half]] if half else []), Patience())
        if flushes:
            assert taking._pump is not None
            await taking._pump.flush()
        await taking.receive(Sender([content[half:]]), Patience())

    async def afterwards(self, disk: MemoryDisk) -> None:
        """Restart, perhaps crash in the sweep too, and look at what is there."""
        if self.random.random() < 0.5:
            node = await self.make(disk).start()
            disk.crash_at(self.random.randint(1, 30))
            try:
                await node.sweep()
            except* Crashed:
                pass
            disk = disk.crash()
        node = await self.make(disk).start()
        contents, _ = await contents_of(node)
        self.model.found(node, contents)
        await node.sweep()
        contents, records = await contents_of(node)
        self.model.swept(node, contents, records)


def play_some(make: Callable[[MemoryDisk], Node]) -> None:
    for seed in range(STRIDE):
        play(seed, make)


def play(seed: int, make: Callable[[MemoryDisk], Node], *, fails: bool = False) -> None:
    """Crash at every STRIDE-th operation; so many seeds together crash at every one."""
    first = 1 + (seed + fails * STRIDE // 2) % STRIDE
    for step in range(first, STEPS_MAX, STRIDE):
        history = History(seed, step, make, fails=fails)
        try:
            simulate(history.run())
        except AssertionError as broken:
            raise AssertionError(f"seed {seed}, crash at {step}: {broken}") from broken
        if history.is_over:
            return
    pytest.fail("never got through")


@pytest.mark.parametrize("fails", [False, True], ids=["crash", "failed flush and crash"])
def test_whatever_crashes_the_laws_hold(seed: int, fails: bool) -> None:
    play(seed, Node, fails=fails)


# Each of these leaves out or turns round one step, and must be caught.


class TellsLater(Settling):
    """Says success before the outcome is durable."""

    async def tell(self, outcome: Outcome) -> None:
        self._wake(outcome.upload_id)


class TellsFirst(Intake):
    """Tells of a commit that is still to come."""

    def take(self, request: Request) -> Taking:
        taking = super().take(request)
        return TellingFirst(self, taking._admitted, taking._length)


class TellingFirst(Taking):
    async def commit(self) -> Outcome:
        assert self._pump is not None
        assert self._unborn is not None
        ending = self._ending()
        record = replace(self._unborn.record, ending=ending)
        written = self._pump._writer.written
        await self._intake.tell(committed_outcome(record, self._unborn.known, ending, written))
        return await super().commit()


class DestroysFirst(Settling):
    """Destroys what it should tell of."""

    async def settle(self, one: Unsettled) -> Outcome | None:
        record = await self._ended(one)
        if record is not None and record.manifest is None and record.state is State.DESTROYING:
            known = self.open(record)
            await self._sink.destroy(one.upload)
            outcome = maybe_outcome(record, known)
            if outcome is not None:
                await self.tell(outcome)
            return outcome
        return await super().settle(one)


class ForgetsTheId(Settling):
    """Tells an outcome again under another id."""

    async def tell(self, outcome: Outcome) -> None:
        await super().tell(replace(outcome, id=OutcomeID(self.outcome_id())))


class LooksAwayFromCommits(Settling):
    """Sweeps only what was cut."""

    async def settle(self, one: Unsettled) -> Outcome | None:
        record = await self._ended(one)
        if record is not None and record.manifest is not None and one.unborn is None:
            return None
        return await super().settle(one)


class AbortsInMemory(Settling):
    """Takes a cut upload for ended without saying so in its record."""

    async def settle(self, one: Unsettled) -> Outcome | None:
        if one.unborn is not None:
            return await self._settle_unborn(one)
        return await super().settle(one)


SETTLINGS = [TellsLater, DestroysFirst, ForgetsTheId, LooksAwayFromCommits, AbortsInMemory]


@pytest.mark.parametrize("mutation", SETTLINGS, ids=lambda one: one.__name__)
def test_a_mutation_of_the_end_is_caught(mutation: type[Settling]) -> None:
    with pytest.raises(AssertionError, match="seed"):
        play_some(lambda disk: Node(disk, settling_type=mutation))


def test_an_outcome_told_before_the_commit_is_caught() -> None:
    with pytest.raises(AssertionError, match="seed"):
        play_some(lambda disk: Node(disk, intake_type=TellsFirst))


def test_success_said_before_the_commit_is_caught() -> None:
    class Early(History):
        async def sent(self, node: Node, *, flushes: bool = False) -> None:
            content = self.content()
            async with node.intake.take(node.asked()) as taking:
                upload = await taking.begin(file_named("x"))
                await self.received(taking, content, flushes=flushes)
                self.model.acked[upload] = content
                await taking.commit()

    def play_early() -> None:
        for step in range(1, STEPS_MAX):
            simulate(Early(1, step, Node).run())

    with pytest.raises(AssertionError, match="an acknowledged upload"):
        play_early()
