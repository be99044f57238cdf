import json
from random import Random

import pytest
from sqlalchemy import text

from control.accounts.first import FirstAccount, first_account
from control.accounts.handlers import Tools
from control.accounts.model import CredentialKind
from control.accounts.signin import signed_in
from control.database import MemoryDatabase
from control.keystore import open_keystore
from tests.control.builders import NOW_MS
from tests.support.sim import simulate
from zentransfer.disk import read_all, write_atomic
from zentransfer.errors import Code, Error
from zentransfer.ids import IdMaker
from zentransfer.limits import FIRST_ACCOUNT_BYTES_MAX
from zentransfer.machine import Crashed
from zentransfer.memory_disk import MemoryDisk


async def started(
    database: MemoryDatabase, disk: MemoryDisk, seed: int
) -> tuple[FirstAccount, Tools]:
    """Start control on what is there, as a process with a seed of its own."""
    chance = Random(seed).randbytes
    kit = Tools(IdMaker(chance), await open_keystore(disk, chance), chance, ("/",))
    return await first_account(database, disk, "/srv/delivered", NOW_MS, kit), kit


def test_a_fresh_system_has_one_account_that_works() -> None:
    async def check() -> None:
        database = MemoryDatabase()
        first, kit = await started(database, MemoryDisk(Random(1)), 2)
        async with database.read() as uow:
            caller = await signed_in(first.api_token, uow, NOW_MS, kit.keys)
            assert caller.account_id == first.id
            (folder,) = await uow.workflows.destinations(first.id, 9)
            (plan,) = await uow.workflows.workflows(first.id, 9)
            api, ftp = sorted(await uow.accounts.credentials(first.id, 9), key=lambda c: c.kind)
            (member,) = await uow.connection.rows(text("SELECT * FROM member"))
        assert folder.address == "/srv/delivered"
        assert plan.plan.destinations == (folder.id,)
        assert (api.kind, ftp.kind) == (CredentialKind.API, CredentialKind.FTP)
        assert (ftp.name, ftp.workflow_id) == (first.ftp_name, plan.id)
        assert first.email.encode() not in json.dumps(dict(member), default=repr).encode()
        column = f"member.email_sealed:{first.member_id}"
        assert kit.keys.unseal(first.id, column, member["email_sealed"]) == first.email.encode()
        assert first.api_secret not in repr(first)

    simulate(check())


def test_the_next_start_has_the_same_account() -> None:
    async def check() -> None:
        database, disk = MemoryDatabase(), MemoryDisk(Random(1))
        first, _ = await started(database, disk, 2)
        again, kit = await started(database, disk.crash(), 3)
        assert again == first
        async with database.read() as uow:
            await signed_in(again.api_token, uow, NOW_MS, kit.keys)
            assert len(await uow.accounts.credentials(first.id, 9)) == 2

    simulate(check())


@pytest.mark.parametrize("operation", range(1, 20))
def test_a_start_that_is_cut_short_anywhere_is_taken_up_by_the_next(operation: int) -> None:
    async def check() -> None:
        database, disk = MemoryDatabase(), MemoryDisk(Random(operation))
        disk.crash_at(operation)
        with pytest.raises(Crashed):
            await started(database, disk, 2)
        first, kit = await started(database, disk.crash(), 3)
        async with database.read() as uow:
            caller = await signed_in(first.api_token, uow, NOW_MS, kit.keys)
            assert caller.account_id == first.id
            (count,) = await uow.connection.rows(text("SELECT count(*) AS n FROM account"))
        assert count["n"] == 1

    simulate(check())


@pytest.mark.reaches("FIRST_ACCOUNT_BYTES_MAX")
def test_a_damaged_file_is_named_and_nothing_is_made() -> None:
    async def check() -> None:
        database, disk = MemoryDatabase(), MemoryDisk(Random(1))
        first, _ = await started(MemoryDatabase(), disk, 2)
        good = read_all(disk, "first-account.json", FIRST_ACCOUNT_BYTES_MAX)
        for content in (b"", b"{}", b'{"id": 1}', b"[]"):
            await write_atomic(disk, "first-account.json", content)
            with pytest.raises(Error) as caught:
                await started(database, disk, 3)
            assert caught.value.code is Code.DAMAGED
        await write_atomic(disk, "first-account.json", good.ljust(FIRST_ACCOUNT_BYTES_MAX))
        assert (await started(database, disk, 4))[0] == first
        await write_atomic(disk, "first-account.json", good.ljust(FIRST_ACCOUNT_BYTES_MAX + 1))
        with pytest.raises(OSError, match="larger"):
            await started(database, disk, 5)

    simulate(check())
