"""What an upload does with bytes that come with a checksum of their own."""

import asyncio
import errno
import hashlib
from random import Random

import pytest

from edge.checks import TUS, Check
from edge.facts import OutcomeState
from edge.pace import Patience
from edge.record import State
from tests.support.sim import simulate
from tests.support.taking import Node, Sender, resumable
from tests.support.writing import read_whole
from zentransfer.errors import Code, Error
from zentransfer.ids import UploadID
from zentransfer.limits import MARK_EVERY_BYTES, UNLISTED_BYTES_MAX
from zentransfer.memory_disk import MemoryDisk

WRONG = Check("sha256", bytes(32))


def right(data: bytes, algorithm: str = "sha256") -> Check:
    hasher = Check(algorithm, b"").hasher()
    hasher.update(data)
    return Check(algorithm, hasher.digest())


def node(seed: int = 1) -> Node:
    return Node(MemoryDisk(Random(seed)))


async def refused(sending: object) -> Code:
    with pytest.raises(Error) as raised:
        await sending  # type: ignore[misc]
    return raised.value.code


async def whole(here: Node, upload: UploadID) -> bytes:
    return await read_whole(here.sink, upload, here.keys)


def test_checked_requests_go_on_in_one_segment_of_their_own() -> None:
    async def run() -> None:
        here = await node().start()
        upload = await here.create(9, [b"ab", b"c"], check=right(b"abc"))
        assert await here.append(upload, 3, [b"def"], check=right(b"def")) == 6
        assert await here.look(upload) == 6
        record = (await here.sink.record(upload)).value
        assert (record.fence, len(record.segments)) == (1, 1)
        assert await here.append(upload, 6, [b"ghi"], check=right(b"ghi")) == 9
        assert await whole(here, upload) == b"abcdefghi"
        assert [one.state for one in here.outcomes()] == [OutcomeState.COMMITTED]

    simulate(run())


@pytest.mark.parametrize("algorithm", TUS)
def test_a_mismatch_counts_for_nothing_and_the_upload_goes_on(algorithm: str) -> None:
    async def run() -> None:
        here = await node().start()
        upload = await here.create(6, [b"abc"])
        wrong = right(b"xxx", algorithm)
        assert await refused(here.append(upload, 3, [b"def"], check=wrong)) is (
            Code.CHECKSUM_MISMATCH
        )
        assert await here.look(upload) == 3
        assert here.outcomes() == []
        assert await here.append(upload, 3, [b"DEF"], check=right(b"DEF", algorithm)) == 6
        assert await whole(here, upload) == b"abcDEF"

    simulate(run())


@pytest.mark.parametrize("process", ["the same", "another", "after a crash"])
def test_a_cut_in_the_middle_of_checked_bytes_counts_for_nothing(process: str) -> None:
    async def run() -> None:
        here = await node().start()
        upload = await here.create(9, [b"abc"], check=right(b"abc"))
        sender = Sender([b"def"], Error(Code.PEER_GONE))
        assert await refused(here.append(upload, 3, sender, check=right(b"defghi"))) is (
            Code.PEER_GONE
        )
        if process == "another":
            here = await Node(here.disk.process(), process="ingest-1").start()
        elif process == "after a crash":
            here = await Node(here.disk.crash()).start()
        assert await here.look(upload) == 3
        assert await here.append(upload, 3, [b"DEFGHI"], check=right(b"DEFGHI")) == 9
        assert await whole(here, upload) == b"abcDEFGHI"

    simulate(run())


@pytest.mark.parametrize("end", ["mismatch", "cancel", "silence"])
def test_flushed_and_marked_bytes_without_their_checksum_count_for_nothing(end: str) -> None:
    """Progress is flushed long before the check; the flush must not let it count."""

    async def run() -> None:
        here = await node().start()
        upload = await here.create(None)
        size = max(UNLISTED_BYTES_MAX, 1 << 20)
        assert size < MARK_EVERY_BYTES
        parts = [bytes(1 << 20)] * (size // (1 << 20) + 2)
        if end == "mismatch":
            sending = here.append(upload, 0, parts, check=WRONG)
            assert await refused(sending) is Code.CHECKSUM_MISMATCH
        else:
            sender = Sender(parts, goes_silent=True)
            sending = here.append(upload, 0, sender, Patience(idle_s=5), WRONG)
            async with asyncio.TaskGroup() as group:
                task = group.create_task(sending if end == "cancel" else refused(sending))
                await asyncio.sleep(3)
                assert (await here.sink.record(upload)).value.segments, "it was flushed"
                if end == "cancel":
                    task.cancel()
        assert await here.look(upload) == 0
        assert await here.append(upload, 0, [b"abc"]) == 3

    simulate(run())


def test_what_comes_without_a_checksum_counts_in_a_checked_segment_too() -> None:
    async def run() -> None:
        here = await node().start()
        upload = await here.create(12, [b"abc"], check=right(b"abc"))
        assert await here.append(upload, 3, [b"def"]) == 6
        cut = Sender([b"ghi"], Error(Code.PEER_GONE))
        assert await refused(here.append(upload, 6, cut)) is Code.PEER_GONE
        assert await here.look(upload) == 9, "without a checksum all that came is kept"
        assert await here.append(upload, 9, [b"jkl"]) == 12
        assert await whole(here, upload) == b"abcdefghijkl"
        record = (await here.sink.record(upload)).value
        assert (record.fence, len(record.segments)) == (1, 1)

    simulate(run())


def test_the_digest_of_the_whole_never_counts_what_was_discarded() -> None:
    async def run() -> None:
        here = await node().start()
        data = b"abcdef"
        upload = await here.create(
            6, [b"abc"], resumable(6, digest=hashlib.sha256(data).digest()), right(b"abc")
        )
        wrong = here.append(upload, 3, [b"xyz"], check=right(b"def"))
        assert await refused(wrong) is Code.CHECKSUM_MISMATCH
        assert await here.append(upload, 3, [b"def"], check=right(b"def")) == 6
        manifest = await here.sink.manifest(upload, here.keys)
        digests = {manifest.digest, manifest.expected.get("sha-256")}
        assert digests == {None, hashlib.sha256(data).digest()}, "delivery compares it"

    simulate(run())


def test_the_digest_of_the_whole_outlives_a_change_to_checked_bytes() -> None:
    async def run() -> None:
        here = await node().start()
        what = resumable(6, digest=hashlib.sha256(b"abcdef").digest())
        upload = await here.create(6, [b"abc"], what)
        assert await here.append(upload, 3, [b"def"], check=right(b"def")) == 6
        manifest = await here.sink.manifest(upload, here.keys)
        assert manifest.digest == hashlib.sha256(b"abcdef").digest()
        assert len(manifest.segments) == 2

    simulate(run())


def test_a_creation_with_a_wrong_checksum_ends_what_nobody_was_told_of() -> None:
    async def run() -> None:
        here = await node().start()
        assert await refused(here.create(3, [b"abc"], check=WRONG)) is Code.CHECKSUM_MISMATCH
        (outcome,) = here.outcomes()
        assert (outcome.state, outcome.error) == (OutcomeState.FAILED, Code.CHECKSUM_MISMATCH)
        assert here.resumables.unfinished.uploads == []
        assert here.disk.held == 1

    simulate(run())


def test_each_failing_operation_of_a_checked_request_loses_and_invents_nothing() -> None:
    for step in range(1, 60):

        async def run(step: int = step) -> bool:
            here = await node(step).start()
            upload = await here.create(6, [b"abc"])
            before = here.disk.operations
            here.disk.fail_at(step, errno.EIO)
            try:
                await here.append(upload, 3, [b"def"], check=right(b"def"))
            except Error as failure:
                assert failure.code is Code.SINK_UNAVAILABLE  # noqa: PT017 - or none at all
            was_hit = here.disk.operations - before >= step
            here.disk._machine.failures.clear()
            offset = await here.look(upload)
            assert offset in (3, 6)
            rest = b"def"[offset - 3 :]
            assert await here.append(upload, offset, [rest], check=right(rest)) == 6
            assert await whole(here, upload) == b"abcdef"
            async with asyncio.TaskGroup() as group:
                mending = group.create_task(here.intake.mend())
                await asyncio.sleep(20)
                mending.cancel()
            assert [one.state for one in here.outcomes()] == [OutcomeState.COMMITTED]
            return was_hit

        if not simulate(run()):
            return
    pytest.fail("never got through")


@pytest.mark.parametrize("stage", ["begun", "told", "ended without a claim", "whole"])
def test_an_upload_can_be_failed_by_its_door_with_one_outcome(stage: str) -> None:
    async def run() -> None:
        here = await node().start()
        if stage == "begun":
            async with here.resumables.create(here.asked(9)) as taking:
                upload = await taking.begin(resumable(9))
                await taking.fail(Code.SIZE_EXCEEDED)
        else:
            upload = await here.create(3, [b"abc"] if stage == "whole" else [b"a"])
            claims = stage != "ended without a claim"
            if not claims:
                await here.resumables.unfinished.held.close()
            async with here.attach(upload, claims=claims) as taking:
                await taking.fail(Code.SIZE_EXCEEDED)
                await taking.fail(Code.INVALID)
        (outcome,) = here.outcomes()
        if stage == "whole":
            assert outcome.state is OutcomeState.COMMITTED
            return
        assert (outcome.state, outcome.error) == (OutcomeState.FAILED, Code.SIZE_EXCEEDED)
        if stage == "begun":  # it has no record: nothing of it was durable
            assert await refused(here.look(upload)) is Code.NOT_FOUND
        else:
            assert (await here.sink.record(upload)).value.state is State.DESTROYED
            assert await refused(here.look(upload)) is Code.GONE
        assert here.resumables.unfinished.uploads == []

    simulate(run())


class _History:
    """One upload under random requests, cuts, takeovers and crashes; what counts is known."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.here = node(seed)
        self.kept = b""

    async def play(self, steps: int) -> None:
        await self.here.start()
        first = self.piece()
        upload = await self.here.create(None, [first], check=right(first))
        self.kept = first
        for _ in range(steps):
            await self.random.choice(
                [self.right, self.wrong, self.cut, self.plain, self.plain_cut, self.move]
            )(upload)
            assert await self.here.look(upload) == len(self.kept)
        async with self.here.attach(upload, adds=True) as taking:
            await taking.announce(len(self.kept))
            await taking.commit()
        assert await whole(self.here, upload) == self.kept
        told = [one.state for one in self.here.outcomes() if one.upload_id == upload]
        assert told == [OutcomeState.COMMITTED]

    def piece(self) -> bytes:
        return self.random.randbytes(self.random.choice([0, 1, 100, 40_000, 100_000]))

    async def right(self, upload: UploadID) -> None:
        piece = self.piece()
        check = right(piece, self.random.choice(TUS))
        parts = [piece] if piece else []
        assert await self.here.append(upload, len(self.kept), parts, check=check) == len(
            self.kept
        ) + len(piece)
        self.kept += piece

    async def wrong(self, upload: UploadID) -> None:
        sending = self.here.append(upload, len(self.kept), [b"x" * 50_000], check=right(b"y"))
        assert await refused(sending) is Code.CHECKSUM_MISMATCH

    async def cut(self, upload: UploadID) -> None:
        sender = Sender([b"x" * 50_000], Error(Code.PEER_GONE))
        sending = self.here.append(upload, len(self.kept), sender, check=right(b"x" * 50_000))
        assert await refused(sending) is Code.PEER_GONE

    async def plain(self, upload: UploadID) -> None:
        piece = self.piece()
        await self.here.append(upload, len(self.kept), [piece] if piece else [])
        self.kept += piece

    async def plain_cut(self, upload: UploadID) -> None:
        piece = self.piece() or b"x"
        sender = Sender([piece], Error(Code.PEER_GONE))
        assert await refused(self.here.append(upload, len(self.kept), sender)) is Code.PEER_GONE
        self.kept += piece

    async def move(self, upload: UploadID) -> None:
        disk = self.here.disk.crash() if self.random.random() < 0.5 else self.here.disk.process()
        self.here = await Node(disk, process=f"ingest-{self.random.randrange(99)}").start()


@pytest.mark.parametrize("number", range(25))
def test_random_histories_of_checked_requests_keep_exactly_what_was_told(number: int) -> None:
    simulate(_History(number).play(steps=25))
