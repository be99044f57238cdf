import errno
from contextlib import suppress
from dataclasses import replace
from random import Random

import pytest

from edge.facts import DeletionReason, DeletionReceipt, OutcomeState, unpack_fact
from edge.record import State
from tests.support.sim import simulate
from tests.support.taking import Node, Sender, file_named
from zentransfer.errors import Code, Error
from zentransfer.ids import UploadID
from zentransfer.machine import Crashed
from zentransfer.memory_disk import MemoryDisk


async def started(disk: MemoryDisk | None = None) -> Node:
    return await Node(disk or MemoryDisk(Random(1))).start()


def receipts(node: Node) -> list[DeletionReceipt]:
    """Return every receipt in the outbox, each once; one told in two ways is an error."""
    _, payloads = node.outbox.read(0, 10_000)
    facts = {fact for fact in map(unpack_fact, payloads) if isinstance(fact.body, DeletionReceipt)}
    assert len({fact.id for fact in facts}) == len(facts)
    return [fact.body for fact in facts if isinstance(fact.body, DeletionReceipt)]


def test_what_was_given_up_is_destroyed_and_then_told_to_be_gone() -> None:
    async def run() -> None:
        node = await started()
        upload = await node.create(9, [b"abc"])
        node.clock.advance(500)
        outcome = await node.terminate(upload)
        assert outcome is not None
        assert (outcome.state, outcome.size_bytes) == (OutcomeState.CANCELLED, 3)
        assert (outcome.announced_bytes, outcome.destroyed_ms) == (9, 0)
        (receipt,) = receipts(node)
        assert (receipt.upload_id, receipt.reason) == (upload, DeletionReason.UNFINISHED)
        assert (receipt.size_bytes, receipt.removed_ms) == (3, 1_000_500)
        assert (receipt.run_id, receipt.signature, receipt.root_key) == (None, b"", b"")
        record = (await node.sink.record(upload)).value
        assert record.state is State.DESTROYED
        assert not record.lacks_receipt()

    simulate(run())


def test_what_never_was_durable_is_gone_with_its_outcome() -> None:
    async def run() -> None:
        node = await started()
        with pytest.raises(Error):
            await node.send(Sender([b"abc"], Error(Code.PEER_GONE)), file_named("x"))
        (outcome,) = node.outcomes()
        assert (outcome.state, outcome.destroyed_ms) == (OutcomeState.FAILED, outcome.ended_ms)
        assert receipts(node) == []

    simulate(run())


def test_what_was_committed_is_gone_by_delivery_only() -> None:
    async def run() -> None:
        node = await started()
        upload = (await node.send([b"abc"])).upload_id
        await node.intake.tools.settling.tell_gone(upload)
        await node.intake.tools.settling.tell_gone(UploadID("up_" + "a" * 26))
        assert receipts(node) == []

    simulate(run())


async def one_life(step: int, shape: int) -> bool:
    """Let the power go at *step*; returns whether that lay behind the end."""
    disk = MemoryDisk(Random(f"{shape} {step}"))
    node = await started(disk)
    upload = await node.create(9, [b"abc"])
    operations = disk.operations
    if shape % 2:
        disk.fail_at(step, errno.EIO)
    else:
        disk.crash_at(step)
    with suppress(Error, Crashed):
        await node.terminate(upload)
    is_over = disk.operations - operations < step
    after = await started(disk.crash())
    await after.sweep()
    await after.sweep()
    record = (await after.sink.record(upload)).value
    if record.state is State.RECEIVING:
        await after.terminate(upload)
    (receipt,) = receipts(after)
    (outcome,) = after.outcomes()
    assert receipt.upload_id == outcome.upload_id == upload
    assert not (await after.sink.record(upload)).value.lacks_receipt()
    return is_over


@pytest.mark.parametrize("shape", range(4))
def test_wherever_it_is_cut_the_end_is_told_once_and_that_it_is_gone(shape: int) -> None:
    step = 1
    while not simulate(one_life(step, shape)):
        step += 1
    assert step > 5


def test_an_end_of_an_older_program_is_told_to_be_gone_at_the_next_start() -> None:
    async def run() -> None:
        node = await started()
        upload = await node.create(9, [b"abc"])
        await node.terminate(upload)
        found = await node.sink.record(upload)
        older = replace(found.value, gone_ms=0, is_gone_told=False)
        await node.sink.change(upload, found.version, older)
        before = len(node.outbox.read(0, 100)[1])
        node.clock.advance(7)
        await node.sweep()
        _, payloads = node.outbox.read(before, 100)
        (told,) = map(unpack_fact, payloads)
        assert isinstance(told.body, DeletionReceipt)
        assert told.at_ms == told.body.removed_ms == 1_000_007
        await node.sweep()
        assert len(node.outbox.read(before, 100)[1]) == 1, "once told, never again"

    simulate(run())
