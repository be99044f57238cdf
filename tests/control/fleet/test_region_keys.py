from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from control import tables
from control.accounts.destinations import Destination, DestinationKind
from control.accounts.handlers import (
    ChangeSecret,
    MakeDestination,
    Server,
    Tools,
    change_secret,
    make_destination,
    remove_destination,
)
from control.accounts.probe import BucketProbe, Probed, Probes
from control.database import MemoryDatabase
from control.fleet.introduction import Introduction, Use
from control.fleet.publisher import Publisher
from control.fleet.region_keys import RegionKey
from control.fleet.snapshot import DestinationEntry, Entity, TicketKeyEntry
from control.rpc import snapshot_wire
from tests.control.builders import FR_1, NOW_MS, account, destination, tools
from tests.support.sim import simulate
from zentransfer.clock import ManualClock
from zentransfer.errors import Code, Error
from zentransfer.ids import NodeID, Region
from zentransfer.sealed_secret import Bound, S3Secret, open_sealed, unpacked

NINA, OLA = account("nina"), account("ola")
PRIVATE = X25519PrivateKey.from_private_bytes(bytes(range(32)))
FR_KEY = RegionKey("fr-2026-11", PRIVATE.public_key().public_bytes_raw())
OTHER = RegionKey("fr-2026-12", bytes(range(32)))
SERVER = Server(None, "eu-west-3", "AKIANINA", "nina-secret")


async def desk() -> tuple[MemoryDatabase, Tools, Publisher, Destination]:
    """Return control with a bucket of Nina's, and a folder of hers."""
    database, kit = MemoryDatabase(), await tools()
    async with database.write() as uow:
        for each in (NINA, OLA):
            await uow.accounts.add(each)
            await kit.keys.make_account(each.id)
        await uow.workflows.add_destination(destination(NINA))
        bucket = await make_destination(
            MakeDestination(NINA.id, DestinationKind.S3, "B", "s3://desk/in", server=SERVER),
            uow,
            NOW_MS,
            kit,
        )
    return database, kit, Publisher(database, kit.keys, ManualClock(NOW_MS)), bucket


def entry(publisher: Publisher, of: Destination, region: Region = Region.FR) -> DestinationEntry:
    found = publisher.current(region).content[(Entity.DESTINATION, of.id)]
    assert isinstance(found, DestinationEntry)
    return found


def opened(of: DestinationEntry) -> S3Secret:
    bound = Bound(Region.FR, of.account_id, of.id, of.version)
    return unpacked(open_sealed(PRIVATE, bound, of.secret))


def test_a_secret_reaches_the_regions_whose_key_is_known_and_only_sealed() -> None:
    async def check() -> None:
        database, _, publisher, bucket = await desk()
        changes: list[int] = []
        introduction = Introduction(database, ManualClock(NOW_MS), lambda: changes.append(1))
        await publisher.refresh()
        assert entry(publisher, bucket).secret == b""
        for _ in range(2):
            await introduction.take(FR_1, FR_KEY)
        assert changes == [1]
        assert await publisher.refresh() == {Region.FR}
        found = entry(publisher, bucket)
        assert opened(found) == S3Secret("AKIANINA", "nina-secret")
        assert (found.endpoint, found.store_region, found.secret_kid) == (
            "https://s3.eu-west-3.amazonaws.com",
            "eu-west-3",
            FR_KEY.kid,
        )
        assert entry(publisher, bucket, Region.US).secret == b""
        sent = snapshot_wire.serialised(publisher.current(Region.FR))
        assert found.secret in sent
        assert b"nina-secret" not in sent
        assert b"AKIANINA" not in sent

    simulate(check())


def test_what_is_sealed_stays_so_and_makes_no_new_version() -> None:
    async def check() -> None:
        database, kit, publisher, bucket = await desk()
        await Introduction(database, ManualClock(NOW_MS), lambda: None).take(FR_1, FR_KEY)
        await publisher.refresh()
        assert await publisher.refresh() == set()
        other = Publisher(database, kit.keys, ManualClock(NOW_MS))  # after a restart
        await other.refresh()
        assert entry(other, bucket) == entry(publisher, bucket)
        assert other.current(Region.FR).version == publisher.current(Region.FR).version

    simulate(check())


def test_another_secret_is_another_version() -> None:
    async def check() -> None:
        database, kit, publisher, bucket = await desk()
        await Introduction(database, ManualClock(NOW_MS), lambda: None).take(FR_1, FR_KEY)
        await publisher.refresh()
        async with database.write() as uow:
            command = ChangeSecret(NINA.id, bucket.id, 1, "AKIANEW", "new")
            assert (await change_secret(command, uow, kit)).version == 2
            assert await code_of(change_secret(command, uow, kit)) is Code.CONFLICT
            foreign = ChangeSecret(OLA.id, bucket.id, 2, "a", "b")
            assert await code_of(change_secret(foreign, uow, kit)) is Code.NOT_FOUND
            folder = ChangeSecret(NINA.id, destination(NINA).id, 1, "a", "b")
            assert await code_of(change_secret(folder, uow, kit)) is Code.INVALID
            empty = ChangeSecret(NINA.id, bucket.id, 2, "", "b")
            assert await code_of(change_secret(empty, uow, kit)) is Code.INVALID
        assert await publisher.refresh() == set(Region)
        found = entry(publisher, bucket)
        assert (found.version, opened(found)) == (2, S3Secret("AKIANEW", "new"))

    simulate(check())


def test_what_is_removed_leaves_no_secret() -> None:
    async def check() -> None:
        database, _, publisher, bucket = await desk()
        await Introduction(database, ManualClock(NOW_MS), lambda: None).take(FR_1, FR_KEY)
        await publisher.refresh()
        async with database.write() as uow:
            assert not await uow.workflows.remove_destination(OLA.id, bucket.id, NOW_MS)
            assert list(await uow.region_keys.sealed(Region.FR)) == [bucket.id]
            await remove_destination(NINA.id, bucket.id, uow, NOW_MS)
            assert await uow.region_keys.sealed(Region.FR) == {}
        dumped = await dump(database)
        assert bucket.secret_sealed is not None
        assert bucket.secret_sealed not in dumped

    simulate(check())


async def dump(database: MemoryDatabase) -> list[Any]:
    async with database.read() as uow:
        rows = await uow.connection.rows(tables.destination.select())
    return [row["secret_sealed"] for row in rows]


def test_the_first_key_of_a_region_stays() -> None:
    async def check() -> None:
        database, _, _, _ = await desk()
        changes: list[int] = []
        for _ in range(2):  # also after a restart
            introduction = Introduction(database, ManualClock(NOW_MS), lambda: changes.append(1))
            await introduction.take(FR_1, FR_KEY)
            await introduction.take(NodeID("fr-2"), OTHER)
        assert changes == [1]
        async with database.read() as uow:
            assert await uow.region_keys.maybe(Region.FR) == FR_KEY
            assert await uow.region_keys.maybe(Region.US) is None

    simulate(check())


def test_what_verifies_a_region_s_tickets_reaches_every_region_and_the_first_one_stays() -> None:
    async def check() -> None:
        database, kit, publisher, _ = await desk()
        await publisher.refresh()
        changes: list[int] = []
        for _ in range(2):  # also after a restart
            introduction = Introduction(database, ManualClock(NOW_MS), lambda: changes.append(1))
            await introduction.take(FR_1, FR_KEY, Use.TICKETS)
            await introduction.take(NodeID("fr-2"), OTHER, Use.TICKETS)
        assert changes == [1]
        assert await publisher.refresh() == set(Region)
        for region in Region:
            found = publisher.current(region).entries(Entity.TICKET_KEY)
            assert found == [TicketKeyEntry(FR_KEY.kid, Region.FR, FR_KEY.key)]
        async with database.read() as uow:
            assert await uow.region_keys.maybe(Region.FR) is None, "it is no key for secrets"
        again = Publisher(database, kit.keys, ManualClock(NOW_MS))
        await again.refresh()
        assert again.current(Region.SG).digest == publisher.current(Region.SG).digest

    simulate(check())


def test_a_secret_that_cannot_be_opened_any_more_is_not_sent() -> None:
    async def check() -> None:
        database, kit, publisher, bucket = await desk()
        async with database.write() as uow:
            other = await make_destination(
                MakeDestination(OLA.id, DestinationKind.S3, "B", "s3://ola", server=SERVER),
                uow,
                NOW_MS,
                kit,
            )
        await Introduction(database, ManualClock(NOW_MS), lambda: None).take(FR_1, FR_KEY)
        await kit.keys.destroy_account(OLA.id)
        await publisher.refresh()
        assert entry(publisher, bucket).secret
        assert (Entity.DESTINATION, other.id) not in publisher.current(Region.FR).content

    simulate(check())


def test_a_trial_of_a_bucket_says_what_is_known_and_dials_nobody() -> None:
    async def check() -> None:
        database, _, _, bucket = await desk()

        async def never(_: Destination, /) -> Probed:
            raise AssertionError

        probes = Probes(never, BucketProbe(database))
        found = await probes(bucket)
        assert (found.code, found.tried) == (Code.UNAVAILABLE, False)
        introduction = Introduction(database, ManualClock(NOW_MS), lambda: None)
        for node in ("us-1", "fr-1", "sg-1"):
            assert (await probes(bucket)).code is Code.UNAVAILABLE
            await introduction.take(NodeID(node), FR_KEY)
        found = await probes(bucket)
        assert (found.code, found.tried) == (None, False)
        assert found.detail

    simulate(check())


def test_a_folder_has_no_server() -> None:
    async def check() -> None:
        database, kit, _, _ = await desk()
        async with database.write() as uow:
            wrong = MakeDestination(NINA.id, DestinationKind.FOLDER, "F", "/srv/a", server=SERVER)
            assert await code_of(make_destination(wrong, uow, NOW_MS, kit)) is Code.INVALID

    simulate(check())


async def code_of(work: Any) -> Code | None:
    try:
        await work
    except Error as wrong:
        return wrong.code
    return None
