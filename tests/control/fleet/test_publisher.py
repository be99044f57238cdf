import asyncio
from dataclasses import replace

import pytest

from control.accounts.handlers import (
    IssueCredential,
    MakeWorkflow,
    Tools,
    issue_credential,
    make_workflow,
    revoke_credential,
)
from control.accounts.model import CredentialKind
from control.accounts.workflows import Plan
from control.database import MemoryDatabase
from control.fleet.publisher import Publisher
from control.fleet.snapshot import CredentialEntry, Entity, applied
from tests.control.builders import NOW_MS, account, destination, tools
from tests.support.sim import simulate
from zentransfer.clock import ManualClock
from zentransfer.credential import inner_hash, verifier
from zentransfer.errors import Code, Error
from zentransfer.ids import Region
from zentransfer.limits import DATABASE_WAIT_S, SNAPSHOT_HISTORY_MAX, SNAPSHOT_RETRY_S

NINA = account("nina")


async def filled() -> tuple[MemoryDatabase, Tools]:
    database, kit = MemoryDatabase(), await tools()
    async with database.write() as uow:
        await uow.accounts.add(NINA)
        await kit.keys.make_account(NINA.id)
        await make_workflow(MakeWorkflow(NINA.id, Plan("All", "", (), ())), uow, NOW_MS, kit)
    return database, kit


def publisher(database: MemoryDatabase, kit: Tools) -> Publisher:
    return Publisher(database, kit.keys, ManualClock(NOW_MS))


async def add_destination(database: MemoryDatabase, name: object) -> None:
    async with database.write() as uow:
        await uow.workflows.add_destination(destination(NINA, name))


def test_a_change_is_a_new_version_and_no_change_is_none() -> None:
    async def check() -> None:
        database, kit = await filled()
        desk = publisher(database, kit)
        with pytest.raises(Error) as caught:
            desk.current(Region.FR)
        assert caught.value.code is Code.UNAVAILABLE
        assert await desk.refresh() == set(Region)
        assert await desk.refresh() == set()
        assert [desk.current(region).version for region in Region] == [1, 1, 1]
        old = desk.current(Region.US)
        await add_destination(database, "desk")
        assert await desk.refresh() == set(Region)
        new = desk.current(Region.US)
        assert new.version == 2
        delta = desk.maybe_delta(Region.US, 1)
        assert delta is not None
        assert applied(old, delta) == new
        assert desk.maybe_delta(Region.US, 2) is None
        assert desk.maybe_delta(Region.US, 99) is None

    simulate(check())


def test_a_pinned_account_changes_its_own_region_only() -> None:
    async def check() -> None:
        database, kit = await filled()
        desk = publisher(database, kit)
        await desk.refresh()
        async with database.write() as uow:
            await uow.accounts.put(replace(NINA, pin=Region.SG))
        assert await desk.refresh() == set(Region)
        assert desk.current(Region.FR).content == {}
        await add_destination(database, "desk")
        assert await desk.refresh() == {Region.SG}

    simulate(check())


def test_a_restart_keeps_the_version_of_the_same_content() -> None:
    async def check() -> None:
        database, kit = await filled()
        before, after = publisher(database, kit), publisher(database, kit)
        await before.refresh()
        await add_destination(database, "desk")
        await before.refresh()
        assert await after.refresh() == set(Region)
        for region in Region:
            assert after.current(region) == before.current(region)
        assert after.maybe_delta(Region.FR, 1) is None, "what it was is not known any more"

    simulate(check())


def test_versions_outrun_what_a_node_holds_after_an_old_backup() -> None:
    async def check() -> None:
        database, kit = await filled()
        desk = publisher(database, kit)
        await desk.refresh()
        await desk.outrun(Region.FR, 40)
        assert desk.current(Region.FR).version == 41
        await desk.outrun(Region.FR, 41)
        assert desk.current(Region.FR).version == 41
        assert desk.current(Region.US).version == 1
        await add_destination(database, "desk")
        await desk.refresh()
        assert desk.current(Region.FR).version == 42

    simulate(check())


def test_a_verifier_is_right_in_its_own_region_only() -> None:
    async def check() -> None:
        database, kit = await filled()
        desk = publisher(database, kit)
        async with database.write() as uow:
            ask = IssueCredential(NINA.id, CredentialKind.FTP, "Z9")
            issued = await issue_credential(ask, uow, NOW_MS, kit)
        await desk.refresh()
        found: dict[Region, bytes] = {}
        for region in Region:
            (entry,) = desk.current(region).entries(Entity.CREDENTIAL)
            assert isinstance(entry, CredentialEntry)
            pepper = await kit.keys.pepper(region)
            assert entry.verifier == verifier(pepper, inner_hash(issued.secret))
            assert entry.pepper_kid == pepper.kid
            found[region] = entry.verifier
        assert len(set(found.values())) == 3
        async with database.write() as uow:
            await revoke_credential(NINA.id, issued.credential.id, uow, NOW_MS)
        await desk.refresh()
        delta = desk.maybe_delta(Region.FR, 1)
        assert delta is not None
        assert delta.removals == ((Entity.CREDENTIAL, issued.credential.id),)

    simulate(check())


def test_an_account_whose_key_is_destroyed_leaves_every_region() -> None:
    async def check() -> None:
        database, kit = await filled()
        desk = publisher(database, kit)
        async with database.write() as uow:
            ask = IssueCredential(NINA.id, CredentialKind.FTP, "Z9")
            await issue_credential(ask, uow, NOW_MS, kit)
        await desk.refresh()
        await kit.keys.destroy_account(NINA.id)
        await desk.refresh()
        assert all(desk.current(region).content == {} for region in Region)

    simulate(check())


@pytest.mark.reaches("SNAPSHOT_RETRY_S")
def test_what_changes_is_published_and_told_also_when_the_database_could_not_at_first() -> None:
    async def check() -> None:
        database, kit = await filled()
        desk, told = publisher(database, kit), list[set[Region]]()
        loop, heard = asyncio.get_running_loop(), asyncio.Event()

        def tell(regions: set[Region]) -> None:
            told.append(regions)
            heard.set()

        async with asyncio.TaskGroup() as group:
            running = group.create_task(desk.run(tell))
            desk.touch()
            await asyncio.sleep(0.1)
            assert told == [set(Region)]
            desk.touch()
            await asyncio.sleep(0.1)
            assert told == [set(Region)], "nothing changed, so nobody is told"
            async with database.write() as uow:  # the publisher waits too long for its turn
                await uow.workflows.add_destination(destination(NINA, "desk"))
                begin_s = loop.time()
                desk.touch()
                await asyncio.sleep(DATABASE_WAIT_S + SNAPSHOT_RETRY_S / 2)
            assert len(told) == 1
            heard.clear()
            await heard.wait()
            assert loop.time() - begin_s == pytest.approx(DATABASE_WAIT_S + SNAPSHOT_RETRY_S, abs=1)
            running.cancel()
        assert desk.current(Region.FR).version == 2

    simulate(check())


@pytest.mark.reaches("SNAPSHOT_HISTORY_MAX")
def test_deltas_start_from_the_last_versions_only() -> None:
    async def check() -> None:
        database, kit = await filled()
        desk = publisher(database, kit)
        for number in range(SNAPSHOT_HISTORY_MAX + 2):
            await add_destination(database, number)
            await desk.refresh()
        newest = desk.current(Region.FR).version
        assert newest == SNAPSHOT_HISTORY_MAX + 2
        oldest = newest - SNAPSHOT_HISTORY_MAX + 1
        assert desk.maybe_delta(Region.FR, oldest) is not None
        assert desk.maybe_delta(Region.FR, oldest - 1) is None

    simulate(check())
