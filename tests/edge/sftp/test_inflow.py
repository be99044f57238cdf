import asyncio

import pytest

from edge.sftp.inflow import Inflow
from tests.support.sim import simulate
from zentransfer.errors import Code, Error
from zentransfer.limits import SFTP_INFLOW_BYTES_MAX


def test_parts_come_out_together_and_then_the_end() -> None:
    async def main() -> None:
        inflow = Inflow()
        await inflow.put([b"a", b"b"])
        await inflow.put([b"c"])
        inflow.end()
        assert await inflow.readany() == b"abc"
        assert await inflow.readany() == b""

    simulate(main())


@pytest.mark.reaches("SFTP_INFLOW_BYTES_MAX")
def test_a_write_waits_until_there_is_room() -> None:
    async def main() -> None:
        inflow = Inflow()
        await inflow.put([bytes(SFTP_INFLOW_BYTES_MAX - 1)])
        async with asyncio.TaskGroup() as group:
            write = group.create_task(inflow.put([b"x"]))
            await asyncio.sleep(1)
            assert not write.done()
            assert len(await inflow.readany()) == SFTP_INFLOW_BYTES_MAX
            await write

    simulate(main())


def test_a_failure_reaches_both_sides_and_the_first_one_counts() -> None:
    async def main() -> None:
        inflow = Inflow()
        async with asyncio.TaskGroup() as group:
            write = group.create_task(_code(inflow.put([bytes(SFTP_INFLOW_BYTES_MAX)])))
            await asyncio.sleep(1)
            inflow.fail(Error(Code.TIMEOUT))
            inflow.fail(Error(Code.INTERNAL))
            inflow.end()
            assert await write is Code.TIMEOUT
        with pytest.raises(Error) as failed:
            await inflow.readany()
        assert failed.value.code is Code.TIMEOUT

    async def _code(work: object) -> Code:
        with pytest.raises(Error) as failed:
            await work  # type: ignore[misc]
        return failed.value.code

    simulate(main())
