from random import Random

import pytest

from edge.facts import OutcomeState
from edge.pace import Patience
from edge.record import State
from tests.support.sim import simulate
from tests.support.taking import Node, Sender, file_named
from zentransfer.errors import Code
from zentransfer.ids import UploadID
from zentransfer.limits import SWEEP_AT_ONCE
from zentransfer.memory_disk import MemoryDisk


def node(process: str = "ingest-0", disk: MemoryDisk | None = None) -> Node:
    return Node(disk or MemoryDisk(Random(1)), process=process)


async def died_receiving(here: Node, *, has_record: bool, dialect: str = "plain") -> UploadID:
    """Begin an upload, and die."""
    taking = here.intake.take(here.asked())
    what = file_named("x")
    object.__setattr__(what, "dialect", dialect)
    upload = await taking.begin(what)
    await taking.receive(Sender([b"abc"]), Patience())
    assert taking._pump is not None
    if has_record:
        await taking._pump.flush()
    here.disk.kill()
    return upload


async def died_untold(here: Node) -> UploadID:
    """Commit an upload, and die before its outcome is told."""
    taking = here.intake.take(here.asked())
    upload = await taking.begin(file_named("x"))
    await taking.receive(Sender([b"abc"]), Patience())
    assert taking._pump is not None
    await taking._pump.finish(taking._ending())
    here.disk.kill()
    return upload


def test_a_cut_upload_with_a_record_is_destroyed_with_one_outcome() -> None:
    async def run() -> None:
        here = await node().start()
        upload = await died_receiving(here, has_record=True)
        again = await node(disk=here.disk.process()).start()
        assert (await again.sweep()).settled == 1
        (outcome,) = again.outcomes()
        assert (outcome.upload_id, outcome.state, outcome.error) == (
            upload,
            OutcomeState.FAILED,
            Code.INTERNAL,
        )
        assert outcome.size_bytes == 3
        assert outcome.name is not None
        assert (await again.sink.record(upload)).value.state is State.DESTROYED
        assert (await again.sweep()).settled == 0, "a second sweep finds nothing"
        assert again.outcomes() == [outcome]

    simulate(run())


def test_an_upload_that_never_was_leaves_nothing_and_is_not_told() -> None:
    async def run() -> None:
        here = await node().start()
        upload = await died_receiving(here, has_record=False)
        again = await node(disk=here.disk.process()).start()
        await again.sweep("delivery-0")
        assert again.outcomes() == []
        record = (await again.sink.record(upload)).value
        assert (record.state, record.account) == (State.DESTROYED, "")

    simulate(run())


def test_a_commit_that_was_not_told_is_told_the_same_however_often() -> None:
    async def run() -> None:
        here = await node().start()
        upload = await died_untold(here)
        disk = here.disk
        for _ in range(3):
            disk = disk.process()
            again = await node(disk=disk).start()
            await again.sweep()
            (outcome,) = again.outcomes()
            assert (outcome.upload_id, outcome.state) == (upload, OutcomeState.COMMITTED)
            assert again.woken == [upload], "delivery is woken for what it may not know of"

    simulate(run())


@pytest.mark.parametrize("has_record", [True, False])
def test_what_a_living_process_takes_is_left_alone(has_record: bool) -> None:
    async def run() -> None:
        other = await node("ingest-1").start()
        taking = other.intake.take(other.asked())
        async with taking:
            upload = await taking.begin(file_named("x"))
            await taking.receive(Sender([b"abc"]), Patience())
            assert taking._pump is not None
            if has_record:
                await taking._pump.flush()
            here = await node("ingest-0", other.disk.process()).start()
            assert (await here.sweep("ingest-1")).settled == 0
            outcome = await taking.commit()
        assert outcome.upload_id == upload
        assert (await here.sink.record(upload)).value.state is State.COMMITTED
        assert here.outcomes() == []

    simulate(run())


def test_what_a_dead_one_beside_us_left_is_seen_to() -> None:
    async def run() -> None:
        other = await node("ingest-1").start()
        upload = await died_receiving(other, has_record=True)
        here = await node("ingest-0", other.disk.process()).start()
        await here.sweep("ingest-2")
        assert [one.upload_id for one in here.outcomes()] == [upload]

    simulate(run())


def test_an_upload_that_its_sender_may_go_on_with_stays() -> None:
    async def run() -> None:
        here = await node().start()
        upload = await died_receiving(here, has_record=True, dialect="tus")
        again = await node(disk=here.disk.process()).start()
        await again.sweep()
        assert (await again.sink.record(upload)).value.state is State.RECEIVING
        assert again.outcomes() == []

    simulate(run())


@pytest.mark.reaches("SWEEP_AT_ONCE")
def test_many_are_seen_to_some_at_a_time() -> None:
    async def run() -> None:
        here = await node().start()
        count = 2 * SWEEP_AT_ONCE + 3
        for _ in range(count):
            await here.send([b"abc"])
        here.disk.kill()
        again = await node(disk=here.disk.process()).start()
        before = again.disk.operations
        assert (await again.sweep()).settled == count
        assert len(again.outcomes()) == count
        flushes_each = (again.disk.operations - before) / count
        assert flushes_each < 8, "flushes are shared"

    simulate(run())


def test_a_disk_that_fails_in_the_sweep_is_tried_again() -> None:
    async def run() -> None:
        here = await node().start()
        upload = await died_receiving(here, has_record=True)
        again = await node(disk=here.disk.process()).start()
        again.disk.fail_at(3, 5)
        await again.sweep()
        await again.intake.settle(*again.intake._unsettled.values())
        (outcome,) = again.outcomes()
        assert outcome.upload_id == upload

    simulate(run())
