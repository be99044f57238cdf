from dataclasses import replace

import pytest

from control.uploads.commands import Command, CommandKind, MemoryCommands
from tests.control.builders import FR_1, account, fixed, outcome
from tests.support.sim import simulate
from zentransfer.errors import Code, Error
from zentransfer.ids import CommandID, Kind, NodeID, Region
from zentransfer.limits import COMMANDS_QUEUED_MAX

ONE = outcome(account())
CANCEL = Command(
    CommandID(fixed(Kind.COMMAND, 0)),
    CommandKind.CANCEL,
    ONE.upload_id,
    ONE.account_id,
    ONE.upload_id,
    Region.FR,
    FR_1,
)


def test_commands_wait_for_their_region_in_order() -> None:
    second = replace(CANCEL, id=CommandID("co_2"), kind=CommandKind.RETRY)
    elsewhere = replace(CANCEL, id=CommandID("co_3"), region=Region.SG, node=NodeID("sg-1"))

    async def check() -> None:
        queue = MemoryCommands()
        for one in (CANCEL, second, elsewhere, CANCEL):
            await queue.send(one)
        assert queue.take(Region.FR) == [CANCEL, second]
        assert queue.take(Region.FR) == []
        assert queue.take(Region.SG) == [elsewhere]

    simulate(check())


@pytest.mark.reaches("COMMANDS_QUEUED_MAX")
def test_a_full_queue_says_so() -> None:
    async def check() -> None:
        queue = MemoryCommands()
        for number in range(COMMANDS_QUEUED_MAX):
            await queue.send(replace(CANCEL, id=CommandID(f"co_{number}")))
        with pytest.raises(Error) as caught:
            await queue.send(CANCEL)
        assert caught.value.code is Code.OVERLOADED
        assert caught.value.retry_after_s is not None

    simulate(check())
