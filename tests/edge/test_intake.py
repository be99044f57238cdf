import asyncio
import dataclasses
import errno
import hashlib
from random import Random

import pytest

from edge.facts import Outcome, OutcomeState
from edge.pace import Patience
from edge.record import State
from edge.sinks.base import UnknownUpload
from edge.snapshot import Limits, snapshot_of
from tests.support.sim import simulate
from tests.support.snapshots import Customer
from tests.support.taking import Node, Sender, file_named
from tests.support.writing import read_whole
from zentransfer.errors import Code, Error
from zentransfer.ids import Kind, Region, UploadID
from zentransfer.limits import (
    SETTLE_PAUSE_S,
    UNLISTED_BYTES_MAX,
    UPLOADS_UNSETTLED_MAX,
)
from zentransfer.memory_disk import MemoryDisk
from zentransfer.sealed_name import FileName, open_sealed

BIG = [bytes(1 << 20)] * (UNLISTED_BYTES_MAX // (1 << 20) + 1)  # listed before its end


def node(**fields: object) -> Node:
    return Node(MemoryDisk(Random(1)), **fields)  # type: ignore[arg-type]


async def refused(sending: object) -> Code:
    with pytest.raises(Error) as raised:
        await sending  # type: ignore[misc]
    return raised.value.code


async def state_of(here: Node, upload: UploadID) -> State | None:
    try:
        return (await here.sink.record(upload)).value.state
    except UnknownUpload:
        return None


def test_a_whole_upload_is_durable_told_and_announced_to_delivery() -> None:
    async def run() -> None:
        here = await node().start()
        outcome = await here.send([b"abc", b"def"], file_named("IMG 1.jpg", 6))
        record = (await here.sink.record(outcome.upload_id)).value
        assert await read_whole(here.sink, outcome.upload_id, here.keys) == b"abcdef"
        assert here.outcomes() == [outcome]
        assert here.woken == [outcome.upload_id]
        assert (outcome.state, outcome.size_bytes) == (OutcomeState.COMMITTED, 6)
        assert (record.ending.workflow, record.ending.workflow_version) == (
            here.customer.workflow_id,
            1,
        )
        assert record.ending.outcome == outcome.id
        assert (record.door, record.dialect) == ("http", "plain")
        assert here.intake.in_flight == 0

    simulate(run())


def test_control_gets_the_name_sealed_to_the_account_and_the_node_reads_it_in_the_record() -> None:
    async def run() -> None:
        here = await node(customer=Customer(folder="desk/fr")).start()
        outcome = await here.send([b"abc"], file_named("IMG 1.jpg"))
        record = (await here.sink.record(outcome.upload_id)).value
        name = FileName("desk/fr", "IMG 1.jpg")
        assert outcome.name is not None
        customer = here.customer
        opened = open_sealed(
            customer.private_key,
            customer.account_id,
            outcome.upload_id,
            outcome.name.ciphertext,
        )
        known = here.intake.tools.settling.open(record)
        assert opened == known.name == name
        assert known.taken_by == "fr-1/ingest-0"

    simulate(run())


@pytest.mark.parametrize("parts", [[b"abc"], BIG], ids=["small", "big"])
@pytest.mark.parametrize("code", [Code.PEER_GONE, Code.INVALID])
def test_a_cut_upload_never_looks_whole_and_has_one_outcome(parts: list[bytes], code: Code) -> None:
    async def run() -> None:
        here = await node().start()
        assert await refused(here.send(Sender(parts, Error(code)))) is code
        (outcome,) = here.outcomes()
        assert (outcome.state, outcome.error) == (OutcomeState.FAILED, code)
        assert await state_of(here, outcome.upload_id) in (None, State.DESTROYED)
        assert here.woken == []
        assert here.intake.in_flight == 0
        assert here.disk.held == 1, "only the outbox has a file open"

    simulate(run())


@pytest.mark.parametrize("parts", [[b"abc"], BIG], ids=["small", "big"])
def test_a_cancelled_upload_is_mended_in_the_background(parts: list[bytes]) -> None:
    async def run() -> None:
        here = await node().start()
        async with asyncio.TaskGroup() as group:
            mending = group.create_task(here.intake.mend())
            sending = group.create_task(here.send(Sender(parts, goes_silent=True)))
            await asyncio.sleep(10)
            sending.cancel()
            await asyncio.sleep(2 * SETTLE_PAUSE_S)
            mending.cancel()
        (outcome,) = here.outcomes()
        assert (outcome.state, outcome.error) == (OutcomeState.FAILED, Code.INTERNAL)
        assert await state_of(here, outcome.upload_id) in (None, State.DESTROYED)

    simulate(run())


def test_what_was_admitted_is_asked_again_at_the_end() -> None:
    async def run() -> None:
        here = await node().start()
        revoked = snapshot_of(Region.FR, 2, 0, [here.customer.account()])

        class Revoking(Sender):
            async def readany(self) -> bytes:
                part = await super().readany()
                if not part:
                    await here.snapshots.keep(revoked)
                return part

        assert await refused(here.send(Revoking([b"abc"]))) is Code.UNAUTHENTICATED
        (outcome,) = here.outcomes()
        assert outcome.error is Code.UNAUTHENTICATED
        assert await state_of(here, outcome.upload_id) in (None, State.DESTROYED)

    simulate(run())


def test_the_newest_workflow_is_stamped() -> None:
    async def run() -> None:
        here = await node().start()
        newer = here.customer.snapshot(2, here.customer.workflow(9))

        class Editing(Sender):
            async def readany(self) -> bytes:
                part = await super().readany()
                if not part:
                    await here.snapshots.keep(newer)
                return part

        outcome = await here.send(Editing([b"abc"]))
        record = (await here.sink.record(outcome.upload_id)).value
        assert outcome.workflow_version == record.ending.workflow_version == 9

    simulate(run())


def test_an_announced_digest_decides() -> None:
    async def run() -> None:
        here = await node().start()
        right = hashlib.sha256(b"abc").digest()
        outcome = await here.send([b"abc"], file_named("x", digest=right))
        assert outcome.digest == right
        wrong = file_named("x", digest=bytes(32))
        assert await refused(here.send([b"abc"], wrong)) is Code.CHECKSUM_MISMATCH
        assert [one.error for one in here.outcomes()] == [None, Code.CHECKSUM_MISMATCH]
        assert (await here.send([b"abc"])).digest is None

    simulate(run())


def test_a_size_limit_holds_for_what_was_not_announced() -> None:
    async def run() -> None:
        here = await node(customer=Customer(limits=Limits(upload_bytes_max=5))).start()
        assert await refused(here.send([b"abc", b"def"])) is Code.TOO_LARGE
        assert (await here.send([b"abc", b"de"])).size_bytes == 5

    simulate(run())


def test_refusals_leave_nothing_behind() -> None:
    async def run() -> None:
        here = await node(is_admitting=False).start()
        before = here.disk.operations
        assert await refused(here.send([b"abc"])) is Code.DRAINING
        assert here.disk.operations == before
        assert here.intake.ended[Code.DRAINING] == 1
        assert here.outcomes() == []

    simulate(run())


def test_uploads_at_once_are_bounded() -> None:
    async def run() -> None:
        here = await node(in_flight_max=2).start()
        async with asyncio.TaskGroup() as group:
            slow = [group.create_task(here.send(Sender([b"x"], pause_s=20))) for _ in range(2)]
            await asyncio.sleep(1)
            assert await refused(here.send([b"abc"])) is Code.OVERLOADED
            assert here.intake.in_flight == 2
        assert all(one.result().size_bytes == 1 for one in slow)
        await here.send([b"abc"])

    simulate(run())


def test_an_account_is_bounded_by_itself() -> None:
    async def run() -> None:
        here = await node(customer=Customer(limits=Limits(uploads_in_flight_max=1))).start()
        async with asyncio.TaskGroup() as group:
            group.create_task(here.send(Sender([b"x"], pause_s=20)))
            await asyncio.sleep(1)
            assert await refused(here.send([b"abc"])) is Code.RATE_LIMITED
        await here.send([b"abc"])

    simulate(run())


def test_what_is_announced_is_room_that_is_taken() -> None:
    async def run() -> None:
        here = await node(free_bytes=1_000).start()
        async with asyncio.TaskGroup() as group:
            sender = Sender([bytes(100)] * 6, pause_s=5)
            group.create_task(here.send(sender, file_named("x", 600)))
            await asyncio.sleep(2)
            for length, code in ((400, Code.INSUFFICIENT_STORAGE), (1_000, None)):
                if code is not None:
                    sending = here.send([bytes(length)], file_named("y", length))
                    assert await refused(sending) is code
            await here.send([bytes(300)], file_named("z", 300))
        await here.send([bytes(900)], file_named("w", 900))

    simulate(run())


def test_a_drain_lets_what_runs_finish_and_cuts_what_is_late() -> None:
    async def run() -> None:
        here = await node().start()
        async with asyncio.TaskGroup() as group:
            fast = group.create_task(here.send(Sender([b"x"], pause_s=10)))
            late = group.create_task(refused(here.send(Sender([b"x"], goes_silent=True))))
            await asyncio.sleep(1)
            here.is_admitting = False
            assert await refused(here.send([b"abc"])) is Code.DRAINING
            await asyncio.sleep(20)
            assert fast.result().size_bytes == 1
            here.intake.cut(Code.DRAINING)
            async with asyncio.timeout(1):
                await here.intake.until_idle()
        assert late.result() is Code.DRAINING
        ends = {(one.state, one.error) for one in here.outcomes()}
        assert ends == {(OutcomeState.COMMITTED, None), (OutcomeState.FAILED, Code.DRAINING)}

    simulate(run())


def test_a_cut_before_the_first_byte_counts_too() -> None:
    async def run() -> None:
        here = await node().start()

        async def send() -> Outcome:
            async with here.intake.take(here.asked()) as taking:
                taking.cut(Code.DRAINING)
                await taking.begin(file_named("x"))
                await taking.receive(Sender([b"x"]), Patience())
                return await taking.commit()

        assert await refused(send()) is Code.DRAINING
        assert [one.error for one in here.outcomes()] == [Code.DRAINING]

    simulate(run())


def test_an_end_that_the_disk_would_not_take_is_told_when_it_heals() -> None:
    """Each operation of a commit fails once, and the next ones for a while: one outcome, always."""
    for step in range(1, 60):

        async def run(step: int = step) -> bool:
            here = await Node(MemoryDisk(Random(step))).start()
            for more in range(6):
                here.disk.fail_at(step + more, errno.EIO)
            before = here.disk.operations
            code: Code | None = None
            async with asyncio.TaskGroup() as group:
                mending = group.create_task(here.intake.mend())
                try:
                    await here.send([b"abc"])
                except Error as failure:
                    code = failure.code
                was_hit = here.disk.operations - before >= step
                await asyncio.sleep(10 * SETTLE_PAUSE_S)
                mending.cancel()
            here.disk._machine.failures.clear()
            (outcome,) = here.outcomes()
            is_whole = await state_of(here, outcome.upload_id) is State.COMMITTED
            assert is_whole == (outcome.state is OutcomeState.COMMITTED)
            assert code is None or code in (Code.SINK_UNAVAILABLE, Code.INSUFFICIENT_STORAGE)
            assert is_whole or code is not None, "success is said for what is whole only"
            assert here.woken == ([outcome.upload_id] if is_whole else [])
            return was_hit

        if not simulate(run()):
            return
    pytest.fail("never got through")


@pytest.mark.reaches("UPLOADS_UNSETTLED_MAX", "SETTLE_PAUSE_S")
def test_too_many_open_ends_stop_new_uploads_until_they_are_told() -> None:
    async def run() -> None:
        here = await node().start()
        async with here.intake.take(here.asked()) as taking:
            await taking.begin(file_named("x"))
            await taking.receive(Sender([b"x"]), Patience())
            await taking.commit()
            one = taking._unsettled(Code.INTERNAL)
        ids = [UploadID(here.intake.new_id(Kind.UPLOAD)) for _ in range(UPLOADS_UNSETTLED_MAX)]
        for upload in ids:
            here.intake.left_open(dataclasses.replace(one, upload=upload, unborn=None))
        await asyncio.sleep(1)
        assert await refused(here.send([b"abc"])) is Code.INSUFFICIENT_STORAGE
        async with asyncio.TaskGroup() as group:
            mending = group.create_task(here.intake.mend())
            await asyncio.sleep(SETTLE_PAUSE_S - 1)
            assert await refused(here.send([b"abc"])) is Code.INSUFFICIENT_STORAGE
            await asyncio.sleep(100)
            mending.cancel()
        await here.send([b"abc"])

    simulate(run())
