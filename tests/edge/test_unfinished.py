from random import Random

import pytest

from tests.support.sim import simulate
from tests.support.taking import Node
from zentransfer.errors import Code, Error
from zentransfer.ids import AccountID, Kind, UploadID
from zentransfer.limits import UNFINISHED_MAX, UNFINISHED_PER_ACCOUNT_MAX, UPLOADS_TOLD_KEPT
from zentransfer.memory_disk import MemoryDisk


async def started() -> Node:
    return await Node(MemoryDisk(Random(1))).start()


@pytest.mark.reaches("UNFINISHED_MAX", "UNFINISHED_PER_ACCOUNT_MAX")
@pytest.mark.parametrize("is_own", [True, False])
def test_too_many_unfinished_uploads_stop_new_ones_until_some_end(is_own: bool) -> None:
    async def run() -> None:
        node = await started()
        unfinished, own = node.resumables.unfinished, node.customer.account_id
        account = own if is_own else AccountID("ac_other")
        most = UNFINISHED_PER_ACCOUNT_MAX if is_own else UNFINISHED_MAX
        for number in range(most):
            unfinished.began(UploadID(f"up_{number}"), account)
        with pytest.raises(Error) as raised:
            await node.create(3)
        assert raised.value.code is Code.RATE_LIMITED
        assert node.intake.ended[Code.RATE_LIMITED] == 1
        unfinished.ended(UploadID("up_0"))
        upload = await node.create(3)
        assert unfinished.uploads[-1] == upload
        await node.append(upload, 0, [b"abc"])
        assert len(unfinished.uploads) == most - 1

    simulate(run())


def test_each_upload_counts_once() -> None:
    async def run() -> None:
        unfinished = (await started()).resumables.unfinished
        upload, account = UploadID("up_a"), AccountID("ac_a")
        for _ in range(2):
            unfinished.began(upload, account)
            assert unfinished.uploads == [upload]
        for _ in range(2):
            unfinished.ended(upload)
            assert unfinished.uploads == []

    simulate(run())


@pytest.mark.reaches("UPLOADS_TOLD_KEPT")
def test_what_is_known_to_be_told_is_told_once_and_forgotten_some_time() -> None:
    async def run() -> None:
        node = await started()
        unfinished = node.resumables.unfinished
        upload = await node.create(3, [b"abc"])
        record = (await node.sink.record(upload)).value

        def facts() -> int:
            return len(node.outbox.read(0, 10_000)[1])

        outcome = await unfinished.tell(record)
        assert facts() == 1
        for _ in range(UPLOADS_TOLD_KEPT):
            unfinished.was_told(UploadID(node.intake.new_id(Kind.UPLOAD)))
        assert await unfinished.tell(record) == outcome
        assert facts() == 2
        assert node.outcomes() == [outcome], "told again, it is the same"

    simulate(run())
