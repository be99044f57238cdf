"""Uploads that are cut, resumed and crashed at every step, on one process or two: laws 1 to 4."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import pytest

from edge.admission import Request
from edge.facts import Outcome, OutcomeState
from edge.held import Segment
from edge.record import State, UploadRecord
from edge.resumable import Resumables
from edge.resuming import Resuming, Wanted
from edge.upload import OffsetMismatch
from tests.support.sim import simulate
from tests.support.taking import Node, Sender
from tests.support.writing import read_whole
from zentransfer.disk import make_durable_folder
from zentransfer.errors import Code, Error
from zentransfer.ids import UploadID
from zentransfer.machine import Crashed
from zentransfer.memory_disk import MemoryDisk
from zentransfer.platter import keep_all

HISTORIES = 10  # of each seed
REQUESTS_MAX = 400
GONE = (Code.GONE, Code.NOT_FOUND)


def hold(kept: bool, promise: str) -> None:
    if not kept:
        raise AssertionError(promise)


@dataclass
class Sent:
    """One file, and what its sender was told of it."""

    content: bytes
    upload: UploadID | None = None
    told: int = 0
    sent: int = 0
    is_acked: bool = False
    is_ending: bool = False
    is_cancelled: bool = False

    def heard(self, offset: int) -> None:
        hold(offset >= self.told, "an offset went back")
        hold(offset <= self.sent, "an offset counts what was never sent")
        self.told = offset

    @property
    def is_over(self) -> bool:
        return self.is_acked or self.is_cancelled


class History:
    """One seed: some files, sent to one or two processes that die now and then."""

    def __init__(self, seed: str, make: Callable[..., Node], *, fails: bool = False) -> None:
        self.random = Random(seed)
        self.make = make
        self.fails = fails
        self.files = [self.file() for _ in range(self.random.randint(1, 3))]
        self.processes = self.random.choice((1, 2))

    def file(self) -> Sent:
        return Sent(self.random.randbytes(self.random.choice((0, 1, 900, 9_000, 30_000))))

    async def run(self) -> None:
        disk = MemoryDisk(self.random)
        await make_durable_folder(disk, "uploads")  # an earlier life made the sink's own folder
        for _ in range(self.random.randint(0, 4)):
            disk = await self.life(disk, crash_at=self.random.randint(1, 150))
        disk = await self.life(disk, crash_at=0)
        await self.check(disk)

    async def life(self, disk: MemoryDisk, crash_at: int) -> MemoryDisk:
        """Serve until all is sent or the power goes; returns the disk as it is found then."""
        nodes: list[Node] = []
        try:
            if crash_at:
                disk.crash_at(crash_at)
            for index in range(self.processes):
                own = disk if index == 0 else disk.process()
                nodes.append(await self.make(own, process=f"ingest-{index}").start())
            if crash_at and self.fails:
                disk.fail_flush(self.random.randint(1, 60))
            if self.random.random() < 0.5:
                await nodes[0].sweep(*[node.process for node in nodes[1:]])
                await nodes[0].look_after(finishes=True)
            await self.serve(nodes, to_the_end=not crash_at)
        except (Crashed, BaseExceptionGroup) as end:
            hold(is_crash(end), f"failed: {end!r}")
        was_killed = self.random.random() < 0.3  # then the page cache outlives the process
        return disk.crash(keep_all if was_killed else None)

    async def serve(self, nodes: list[Node], *, to_the_end: bool) -> None:
        for _ in range(REQUESTS_MAX):
            open_files = [file for file in self.files if not file.is_over]
            if not open_files:
                return
            file, node = self.random.choice(open_files), self.random.choice(nodes)
            try:
                await self.request(node, file)
            except OffsetMismatch:
                pass  # the answer before was lost: the next request asks
            except Error as error:
                file.is_cancelled = error.code is Code.GONE and file.is_ending
                if file.is_cancelled:
                    continue
                hold(error.code not in GONE, f"an upload whose address was told is {error.code}")
                hold(error.code is not Code.DAMAGED, "told bytes are gone")
                hold(self.fails or error.code in (Code.PEER_GONE, Code.FENCED), f"{error}")
        hold(not to_the_end, "never got through")

    async def request(self, node: Node, file: Sent) -> None:
        if file.upload is None:
            await self.create(node, file)
        elif self.random.random() < 0.25:
            file.heard(await node.look(file.upload))
            file.is_acked = file.told == len(file.content)
        elif self.random.random() < 0.05:
            await self.terminate(node, file)
        else:
            await self.append(node, file)

    async def create(self, node: Node, file: Sent) -> None:
        count = self.random.choice((0, 0, len(file.content) // 2, len(file.content)))
        file.sent = max(file.sent, count)
        made = await node.create(len(file.content), [file.content[:count]] if count else [])
        file.upload, file.told, file.sent = made, count, count
        file.is_acked = count == len(file.content)

    async def append(self, node: Node, file: Sent) -> None:
        assert file.upload is not None
        rest = file.content[file.told :]
        count = self.random.randint(0, len(rest)) if self.random.random() < 0.5 else len(rest)
        size = self.random.choice((100, 3_000, 20_000))
        parts = [rest[at : min(at + size, count)] for at in range(0, count, size)]
        is_cut = self.random.random() < 0.3
        end = file.told + count
        file.sent = max(file.sent, end)
        sender = Sender(parts, Error(Code.PEER_GONE) if is_cut else None)
        file.heard(await node.append(file.upload, file.told, sender))
        hold(file.told == end, "bytes of a good request are missing")
        file.is_acked = file.told == len(file.content)

    async def terminate(self, node: Node, file: Sent) -> None:
        assert file.upload is not None
        file.is_ending = True
        try:
            outcome = await node.terminate(file.upload)
        except Error as error:
            file.is_acked = error.code is Code.FORBIDDEN  # the answer to the last byte was lost
            if not file.is_acked:
                raise
        else:
            is_so = outcome is not None and outcome.state is OutcomeState.CANCELLED
            hold(is_so, "it ended in another way")
            file.is_cancelled = True

    async def check(self, disk: MemoryDisk) -> None:
        """Hold what a last process finds to laws 2, 3 and 4."""
        node = await self.make(disk).start()
        others = []
        if self.processes > 1:
            others.append(await self.make(disk.process(), process="ingest-1").start())
        told: dict[UploadID, set[Outcome]] = {}
        acked = {file.upload for file in self.files if file.is_acked}
        known = {one.upload_id for each in (node, *others) for one in each.outcomes()}
        hold(acked <= known, "an acknowledged upload has no durable outcome")
        await node.sweep()
        await node.look_after(finishes=True)
        for each in (node, *others):
            for outcome in each.outcomes():
                told.setdefault(outcome.upload_id, set()).add(outcome)
        hold(all(len(ways) == 1 for ways in told.values()), "an upload has two outcomes")
        for file in self.files:
            assert file.upload is not None
            hold(file.upload in told, "an upload has no outcome")
            record = (await node.sink.record(file.upload)).value
            if file.is_acked:
                content = await read_whole(node.sink, file.upload, node.keys)
                hold(content == file.content, "the content is not what was sent")
            else:
                hold(record.state is State.DESTROYED, f"a cancelled upload is {record.state}")


def is_crash(end: BaseException) -> bool:
    if isinstance(end, BaseExceptionGroup):
        return all(is_crash(each) for each in end.exceptions)
    return isinstance(end, Crashed)


def play(seed: object, make: Callable[..., Node] = Node, *, fails: bool = False) -> None:
    for count in range(HISTORIES):
        name = f"{seed} {count} {fails}"
        try:
            simulate(History(name, make, fails=fails).run())
        except AssertionError as broken:
            raise AssertionError(f"seed {name}: {broken}") from broken


@pytest.mark.parametrize("fails", [False, True], ids=["crash", "failed flush and crash"])
def test_offsets_are_true_and_the_end_is_what_was_sent(seed: int, fails: bool) -> None:
    play(seed, fails=fails)


# Each of these leaves out one step, and must be caught.


class Mutated(Resumables):
    """Makes requests of another kind."""

    kind: type[Resuming] = Resuming

    def create(self, request: Request) -> Resuming:
        made = super().create(request)
        return self.kind(self.unfinished, made._admitted, made._length, None)

    def attach(self, request: Request, wanted: Wanted) -> Resuming:
        made = super().attach(request, wanted)
        return self.kind(self.unfinished, made._admitted, made._length, wanted)


class TellsAhead(Resuming):
    """Tells what it took, not what is durable."""

    async def keep(self) -> int:
        self._is_told = True
        return self._pumped()._writer.written if self._whole is None else self.offset


class TellsTheAddressFirst(Resuming):
    """Tells of an upload that is not durable yet."""

    async def keep(self) -> int:
        if self._whole is None and self.offset == 0 and not self._pumped().has_unflushed:
            self._is_told = True
            return 0
        return await super().keep()


class TrustsItsSegment(Resuming):
    """Goes on with an open segment without asking whose the upload is by now."""

    async def _is_current(self, segment: Segment) -> bool:
        return True


class ForgetsCommits(Resuming):
    """Says that an upload is whole without telling its outcome."""

    async def _found_ended(self, record: UploadRecord) -> None:
        self._whole = record


MUTATIONS = [TellsAhead, TellsTheAddressFirst, TrustsItsSegment, ForgetsCommits]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.__name__)
def test_a_mutation_is_caught(mutation: type[Resuming]) -> None:
    kind = type("Kind", (Mutated,), {"kind": mutation})

    def make(disk: MemoryDisk, process: str = "ingest-0") -> Node:
        return Node(disk, process=process, resumables_type=kind)

    def play_many() -> None:
        for seed in range(30):
            play(f"mutated {seed}", make)

    with pytest.raises(AssertionError, match="seed"):
        play_many()
