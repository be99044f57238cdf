import asyncio
import errno
import hashlib
from random import Random

import pytest

from edge.facts import OutcomeState
from edge.held import Segment
from edge.pace import Patience
from edge.record import State
from edge.snapshot import AccountState
from edge.upload import OffsetMismatch
from tests.support.sim import simulate
from tests.support.snapshots import Customer
from tests.support.taking import Node, Sender, file_named, resumable
from tests.support.writing import read_whole
from zentransfer.errors import Code, Error
from zentransfer.ids import UploadID
from zentransfer.memory_disk import MemoryDisk


def node(**fields: object) -> Node:
    return Node(MemoryDisk(Random(1)), **fields)  # type: ignore[arg-type]


async def refused(sending: object) -> Code:
    with pytest.raises(Error) as raised:
        await sending  # type: ignore[misc]
    return raised.value.code


async def whole(here: Node, upload: UploadID) -> bytes:
    return await read_whole(here.sink, upload, here.keys)


def test_one_process_goes_on_in_one_segment_without_a_claim() -> None:
    async def run() -> None:
        here = await node().start()
        upload = await here.create(9, [b"abc"])
        assert await here.append(upload, 3, [b"def"]) == 6
        assert await here.look(upload) == 6
        assert await here.append(upload, 6, [b"ghi"]) == 9
        record = (await here.sink.record(upload)).value
        assert (record.fence, len(record.segments)) == (1, 1)
        assert await whole(here, upload) == b"abcdefghi"
        (outcome,) = here.outcomes()
        assert (outcome.state, outcome.size_bytes) == (OutcomeState.COMMITTED, 9)
        assert here.woken == [upload]
        assert here.intake.in_flight == 0
        assert here.disk.held == 1, "only the outbox has a file open"

    simulate(run())


def test_another_process_claims_and_the_first_one_s_segment_is_over() -> None:
    async def run() -> None:
        here = await node().start()
        upload = await here.create(9, [b"abc"])
        other = await Node(here.disk.process(), process="ingest-1").start()
        assert await other.append(upload, 3, [b"def"]) == 6
        record = (await here.sink.record(upload)).value
        assert (record.fence, len(record.segments)) == (2, 2)
        assert here.intake.tools.settling.open(record).taken_by == "fr-1/ingest-1"
        assert await refused(here.append(upload, 3, [b"x"])) is Code.OFFSET_MISMATCH
        assert await here.append(upload, 6, [b"ghi"]) == 9
        assert await whole(here, upload) == b"abcdefghi"
        assert len(here.outcomes()) == 1
        assert await other.look(upload) == 9, "what was found whole is told again, the same"
        assert other.outcomes() == here.outcomes()

    simulate(run())


def test_a_writer_that_was_shut_out_adds_nothing() -> None:
    async def run() -> None:
        here = await node().start()
        upload = await here.create(9, [b"abc"])
        other = await Node(here.disk.process(), process="ingest-1").start()
        async with asyncio.TaskGroup() as group:
            late = group.create_task(
                refused(here.append(upload, 3, Sender([b"def", b"ghi"], pause_s=5)))
            )
            await asyncio.sleep(7)
            assert await other.look(upload) == 3
        assert late.result() is Code.FENCED
        assert await other.append(upload, 3, [b"DEFGHI"]) == 9
        assert await whole(here, upload) == b"abcDEFGHI"

    simulate(run())


@pytest.mark.parametrize("code", [Code.PEER_GONE, Code.INVALID])
def test_what_came_before_a_break_is_kept(code: Code) -> None:
    async def run() -> None:
        here = await node().start()
        upload = await here.create(9)
        assert await refused(here.append(upload, 0, Sender([b"abc"], Error(code)))) is code
        assert await here.look(upload) == 3
        assert here.outcomes() == []

    simulate(run())


def test_a_cancelled_request_keeps_what_is_durable() -> None:
    async def run() -> None:
        here = await node().start()
        upload = await here.create(9, [b"abc"])
        async with asyncio.TaskGroup() as group:
            sender = Sender([b"def"], goes_silent=True)
            sending = group.create_task(here.append(upload, 3, sender))
            await asyncio.sleep(1)
            sending.cancel()
        assert await here.look(upload) == 3
        assert await here.append(upload, 3, [b"defghi"]) == 9

    simulate(run())


def test_a_slow_sender_is_cut_and_loses_nothing() -> None:
    async def run() -> None:
        here = await node().start()
        upload = await here.create(9)
        sending = here.append(upload, 0, Sender([b"abc"], goes_silent=True), Patience(idle_s=5))
        assert await refused(sending) is Code.TIMEOUT
        assert await here.look(upload) == 3

    simulate(run())


def test_a_newer_request_ends_the_one_before_at_once() -> None:
    async def run() -> None:
        here = await node(in_flight_max=1, customer=Customer()).start()
        upload = await here.create(9)
        async with asyncio.TaskGroup() as group:
            older = group.create_task(
                refused(here.append(upload, 0, Sender([b"abc"], goes_silent=True)))
            )
            await asyncio.sleep(1)
            begun_s = asyncio.get_running_loop().time()
            assert await here.look(upload) == 3, "it needs no place beside the one that it ends"
            assert asyncio.get_running_loop().time() - begun_s < 0.05
        assert older.result() is Code.SUPERSEDED
        assert await here.append(upload, 3, [b"defghi"]) == 9
        assert await whole(here, upload) == b"abcdefghi"

    simulate(run())


def test_a_newer_request_waits_for_a_commit() -> None:
    async def run() -> None:
        here = await node().start()
        upload = await here.create(3)
        here.disk.freeze()
        async with asyncio.TaskGroup() as group:
            committing = group.create_task(here.append(upload, 0, [b"abc"]))
            await asyncio.sleep(1)
            looking = group.create_task(here.look(upload))
            await asyncio.sleep(1)
            assert not looking.done()
            here.disk.thaw()
        assert (committing.result(), looking.result()) == (3, 3)
        assert len(here.outcomes()) == 1

    simulate(run())


def test_a_drain_cuts_a_request_and_keeps_the_upload() -> None:
    async def run() -> None:
        here = await node().start()
        upload = await here.create(9)
        async with asyncio.TaskGroup() as group:
            late = group.create_task(
                refused(here.append(upload, 0, Sender([b"abc"], goes_silent=True)))
            )
            await asyncio.sleep(1)
            here.intake.cut(Code.DRAINING)
            await here.intake.until_idle()
        assert late.result() is Code.DRAINING
        assert here.outcomes() == []
        assert await here.look(upload) == 3

    simulate(run())


def test_a_length_may_come_later_and_never_changes() -> None:
    async def run() -> None:
        here = await node().start()
        upload = await here.create(None, [b"abc"])
        async with here.attach(upload, adds=True) as taking:
            assert (taking.length, taking.is_complete) == (None, False)
            assert await refused(taking.announce(2)) is Code.INCONSISTENT_LENGTH
            await taking.announce(5)
            await taking.announce(5)
            assert await refused(taking.announce(6)) is Code.INCONSISTENT_LENGTH
            assert await refused(taking.receive(Sender([b"def"]), Patience())) is Code.SIZE_EXCEEDED
        assert (await here.sink.record(upload)).value.length == 5
        assert await here.append(upload, 3, [b"de"]) == 5
        async with here.attach(upload) as taking:
            assert await refused(taking.announce(6)) is Code.INCONSISTENT_LENGTH

    simulate(run())


def test_what_the_sender_wants_to_read_again_is_kept_with_the_upload() -> None:
    async def run() -> None:
        here = await node().start()
        upload = await here.create(3, [], resumable(3, metadata="filename YQ=="))
        again = await Node(here.disk.crash()).start()
        for parts in ([], [b"abc"]):
            async with again.attach(upload, adds=True) as taking:
                assert taking.metadata == "filename YQ=="
                assert (taking.expires_ms is None) == taking.is_complete
                await again.finish(taking, parts)
        async with again.attach(upload) as taking:
            assert (taking.metadata, taking.expires_ms) == ("filename YQ==", None)

    simulate(run())


def test_a_whole_upload_answers_and_takes_nothing_more() -> None:
    async def run() -> None:
        here = await node().start()
        upload = await here.create(3, [b"abc"])
        assert await here.append(upload, 3, []) == 3
        assert await refused(here.append(upload, 3, [b"d"])) is Code.SIZE_EXCEEDED
        with pytest.raises(OffsetMismatch) as raised:
            await here.append(upload, 0, [b"abc"])
        assert raised.value.expected == 3
        assert await refused(here.terminate(upload)) is Code.FORBIDDEN
        assert len(here.outcomes()) == 1

    simulate(run())


def test_a_termination_is_one_outcome_and_destroys() -> None:
    async def run() -> None:
        here = await node().start()
        upload = await here.create(9, [b"abc"])
        outcome = await here.terminate(upload)
        assert outcome is not None
        assert (outcome.state, outcome.error) == (OutcomeState.CANCELLED, Code.GONE)
        assert here.outcomes() == [outcome]
        assert (await here.sink.record(upload)).value.state is State.DESTROYED
        for again in (here.look(upload), here.append(upload, 3, [b"x"]), here.terminate(upload)):
            assert await refused(again) is Code.GONE
        assert here.resumables.unfinished.uploads == []

    simulate(run())


def test_a_termination_that_the_disk_refuses_is_mended_and_told_once() -> None:
    async def run() -> None:
        here = await node().start()
        upload = await here.create(9, [b"abc"])
        for step in range(1, 8):
            here.disk.fail_at(step, errno.EIO)
        assert await refused(here.terminate(upload)) is Code.UNAVAILABLE
        here.disk._machine.failures.clear()
        async with asyncio.TaskGroup() as group:
            mending = group.create_task(here.intake.mend())
            await asyncio.sleep(20)
            mending.cancel()
        assert [one.state for one in here.outcomes()] == [OutcomeState.CANCELLED]
        assert await refused(here.look(upload)) is Code.GONE

    simulate(run())


def test_each_failing_operation_of_a_request_leaves_an_upload_that_goes_on() -> None:
    """Whatever the disk refuses once, the next requests finish it, with one outcome."""
    for step in range(1, 60):

        async def run(step: int = step) -> bool:
            here = await Node(MemoryDisk(Random(step))).start()
            upload = await here.create(6, [b"abc"])
            before = here.disk.operations
            here.disk.fail_at(step, errno.EIO)
            code: Code | None = None
            try:
                await here.append(upload, 3, [b"def"])
            except Error as failure:
                code = failure.code
            was_hit = here.disk.operations - before >= step
            here.disk._machine.failures.clear()
            assert code in (None, Code.SINK_UNAVAILABLE)
            offset = await here.look(upload)
            assert offset in (3, 6)
            assert await here.append(upload, offset, [b"def"[offset - 3 :]]) == 6
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


def test_an_upload_that_nobody_was_told_of_ends_with_its_request() -> None:
    async def run() -> None:
        here = await node().start()
        sender = Sender([b"abc"], Error(Code.PEER_GONE))
        assert await refused(here.create(9, sender)) is Code.PEER_GONE
        (outcome,) = here.outcomes()
        assert (outcome.state, outcome.error) == (OutcomeState.FAILED, Code.PEER_GONE)
        assert here.resumables.unfinished.uploads == []
        assert here.disk.held == 1, "only the outbox has a file open"

    simulate(run())


def test_it_is_found_by_its_own_account_and_in_its_own_dialect_only() -> None:
    async def run() -> None:
        here = await node().start()
        mine, plain = await here.create(9), await here.send([b"abc"], file_named("x"))
        assert await refused(here.look(plain.upload_id)) is Code.FORBIDDEN
        other = Customer(seed=9)
        other.pepper = here.customer.pepper
        entries = [*here.customer.entries(), *other.entries()]
        await here.snapshots.keep(here.customer.snapshot(2, *other.entries()))
        assert len(entries) == 8
        here.customer = other
        assert await refused(here.look(mine)) is Code.NOT_FOUND
        assert await refused(here.look(UploadID("up_" + "a" * 26))) is Code.NOT_FOUND

    simulate(run())


def test_a_suspended_account_may_finish_what_is_on_its_way() -> None:
    async def run() -> None:
        here = await node().start()
        upload = await here.create(3)
        here.customer.state = AccountState.SUSPENDED
        await here.snapshots.keep(here.customer.snapshot(2))
        assert await refused(here.create(3)) is Code.FORBIDDEN
        assert await here.append(upload, 0, [b"abc"]) == 3

    simulate(run())


def test_what_was_damaged_is_told_once_and_never_rewound() -> None:
    async def run() -> None:
        here = await node().start()
        upload = await here.create(9, [b"abc"])
        await here.resumables.unfinished.held.close()
        folder = f"uploads/{upload[3:5]}/{upload}"
        (name,) = [one for one in here.disk.names(folder) if one.endswith(".seg")]
        file = here.disk.open(f"{folder}/{name}", write=True)
        file.truncate(file.size() - 1)
        file.close()
        assert await refused(here.look(upload)) is Code.DAMAGED
        (outcome,) = here.outcomes()
        assert (outcome.state, outcome.error) == (OutcomeState.FAILED, Code.DAMAGED)
        assert await refused(here.look(upload)) is Code.GONE

    simulate(run())


@pytest.mark.parametrize("process", ["the same", "another"])
@pytest.mark.parametrize("is_right", [True, False])
def test_an_announced_digest_decides_where_all_bytes_passed(process: str, is_right: bool) -> None:
    async def run() -> None:
        here = await node().start()
        digest = hashlib.sha256(b"abcdef" if is_right else b"other").digest()
        what = file_named("x", 6, digest=digest)
        object.__setattr__(what, "dialect", "tus")
        upload = await here.create(6, [b"abc"], what)
        if process == "another":  # it did not see the first bytes: delivery compares
            here = await Node(here.disk.crash()).start()
            assert await here.append(upload, 3, [b"def"]) == 6
            manifest = await here.sink.manifest(upload, here.keys)
            assert (manifest.digest, manifest.expected) == (None, {"sha-256": digest})
        elif is_right:
            assert await here.append(upload, 3, [b"def"]) == 6
            assert (await here.sink.manifest(upload, here.keys)).digest == digest
        else:
            assert await refused(here.append(upload, 3, [b"def"])) is Code.CHECKSUM_MISMATCH
            assert [one.error for one in here.outcomes()] == [Code.CHECKSUM_MISMATCH]
            assert await refused(here.look(upload)) is Code.GONE

    simulate(run())


def test_a_segment_is_the_record_and_the_way_in() -> None:
    async def run() -> None:
        here = await node().start()
        upload = await here.create(9, [b"abc"])
        segment = here.resumables.unfinished.held.of(upload).segment
        assert isinstance(segment, Segment)
        assert (segment.record.upload, segment.pump.upload.offset) == (upload, 3)

    simulate(run())
