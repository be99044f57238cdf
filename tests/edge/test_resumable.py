from random import Random

from edge.facts import OutcomeState
from edge.pace import Patience
from edge.snapshot import snapshot_of
from tests.support.sim import simulate
from tests.support.taking import Node, Sender
from zentransfer.errors import Code
from zentransfer.ids import Region, UploadID
from zentransfer.memory_disk import MemoryDisk


async def cut_before_the_commit() -> tuple[Node, UploadID]:
    """Take all bytes of an upload, and be killed before its commit; returns the next process."""
    node = await Node(MemoryDisk(Random(1))).start()
    upload = await node.create(6, [b"abc"])
    taking = await node.attach(upload, adds=True).__aenter__()
    await taking.receive(Sender([b"def"]), Patience())
    await taking.keep()
    node.disk.kill()
    return await Node(node.disk.process()).start(), upload


def test_what_is_whole_is_finished_by_its_first_credential() -> None:
    async def run() -> None:
        node, upload = await cut_before_the_commit()
        record = (await node.sink.record(upload)).value
        assert await node.resumables.finish(record)
        (outcome,) = node.outcomes()
        assert (outcome.state, outcome.size_bytes) == (OutcomeState.COMMITTED, 6)

    simulate(run())


def test_a_credential_that_is_void_by_now_finishes_nothing() -> None:
    async def run() -> None:
        node, upload = await cut_before_the_commit()
        await node.snapshots.keep(snapshot_of(Region.FR, 2, 0, [node.customer.account()]))
        record = (await node.sink.record(upload)).value
        assert not await node.resumables.finish(record)
        assert node.outcomes() == []

    simulate(run())


def test_what_is_not_whole_is_left_for_its_sender() -> None:
    async def run() -> None:
        node = await Node(MemoryDisk(Random(1))).start()
        upload = await node.create(6, [b"abc"])
        assert not await node.resumables.finish((await node.sink.record(upload)).value)
        assert node.outcomes() == []
        assert await node.append(upload, 3, [b"def"]) == 6

    simulate(run())


def test_an_upload_expires_once_and_with_a_reason() -> None:
    async def run() -> None:
        node = await Node(MemoryDisk(Random(1))).start()
        upload = await node.create(6, [b"abc"])
        for _ in range(2):
            await node.resumables.expire(upload)
        (outcome,) = node.outcomes()
        assert (outcome.state, outcome.error) == (OutcomeState.EXPIRED, Code.TIMEOUT)
        assert outcome.size_bytes == 3

    simulate(run())
