import asyncio
from random import Random

import pytest

from edge.ftp.doors import FtpDoor
from edge.ftp.passive import PassivePorts
from edge.ftp.view import Entry, Stands
from tests.support.ftp_door import QUICK
from tests.support.ports import DATA
from tests.support.sim import simulate
from tests.support.snapshots import Customer
from tests.support.taking import Node
from zentransfer.ids import CredentialID, UploadID
from zentransfer.limits import FTP_GHOSTS_LOOK_S
from zentransfer.memory_disk import MemoryDisk


@pytest.mark.reaches("FTP_GHOSTS_LOOK_S")
def test_what_a_client_may_look_at_no_more_is_forgotten_within_a_minute() -> None:
    async def act() -> None:
        node = await Node(MemoryDisk(Random(1)), Customer()).start()
        door = FtpDoor(
            node.resumables, PassivePorts("127.0.0.1", DATA, Random()), node.clock, QUICK
        )
        views = door._verbs.stores.views
        snapshot = node.snapshots.current
        assert snapshot is not None
        known = snapshot.names[node.customer.shown.name].id
        entry = Entry(UploadID("up_x"), 1, node.clock.now_ms(), 0, Stands.WHOLE)
        for credential in (known, CredentialID("cr_gone")):
            views.of(credential).note(("x",), entry)
        async with asyncio.TaskGroup() as group:
            tending = group.create_task(door.tend())
            await asyncio.sleep(FTP_GHOSTS_LOOK_S - 1)
            assert len(list(views)) == 2
            await asyncio.sleep(2)
            tending.cancel()
        assert list(views) == [known], "the account was erased, and so are its names"

    simulate(act())
