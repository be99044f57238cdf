import stat
from pathlib import Path
from random import Random

import pytest

from control.keystore import KeyStore, open_keystore
from tests.support.real_loop import real_loop
from tests.support.sim import simulate
from zentransfer.disk import RealDisk, write_atomic
from zentransfer.errors import Code, Error
from zentransfer.ids import AccountID, Region, UploadID
from zentransfer.limits import ACCOUNT_KEYS_CACHED_MAX
from zentransfer.memory_disk import MemoryDisk
from zentransfer.sealed_name import FileName, seal

NINA, OLA = AccountID("ac_nina"), AccountID("ac_ola")
UPLOAD = UploadID("up_one")


async def fresh(disk: MemoryDisk | None = None, seed: int = 0) -> KeyStore:
    return await open_keystore(disk or memory(), Random(seed).randbytes)


def memory() -> MemoryDisk:
    return MemoryDisk(Random(1))


def test_a_name_is_opened_by_its_own_account_only() -> None:
    async def check() -> None:
        store = await fresh()
        key = await store.make_account(NINA)
        await store.make_account(OLA)
        sealed = seal(key.key, NINA, UPLOAD, FileName("match", "a.jpg"))
        assert store.open_name(NINA, UPLOAD, sealed) == FileName("match", "a.jpg")
        with pytest.raises(Error) as caught:
            store.open_name(OLA, UPLOAD, sealed)
        assert caught.value.code is Code.DAMAGED

    simulate(check())


def test_a_column_is_opened_in_its_own_place_only() -> None:
    async def check() -> None:
        store = await fresh()
        await store.make_account(NINA)
        await store.make_account(OLA)
        sealed = store.seal(NINA, "member.email", b"nina@example.org")
        assert b"nina" not in sealed
        assert store.seal(NINA, "member.email", b"nina@example.org") != sealed
        assert store.unseal(NINA, "member.email", sealed) == b"nina@example.org"
        for account, column in ((OLA, "member.email"), (NINA, "credential.inner")):
            with pytest.raises(Error) as caught:
                store.unseal(account, column, sealed)
            assert caught.value.code is Code.DAMAGED
        with pytest.raises(Error) as caught:
            store.unseal(NINA, "member.email", b"")
        assert caught.value.code is Code.DAMAGED

    simulate(check())


def test_every_key_survives_a_restart() -> None:
    async def check() -> None:
        disk = memory()
        store = await fresh(disk)
        key = await store.make_account(NINA)
        pepper = await store.pepper(Region.FR)
        again = await fresh(disk, seed=2)
        assert (await again.make_account(NINA)).key == again.public(NINA).key == key.key
        assert again.public(NINA).kid == key.kid
        assert await again.pepper(Region.FR) == pepper
        assert again.address_hash("a@b.no") == store.address_hash("a@b.no")

    simulate(check())


def test_a_key_is_durable_before_it_is_used() -> None:
    async def check() -> None:
        disk = memory()
        store = await fresh(disk)
        key = await store.make_account(NINA)
        pepper = await store.pepper(Region.US)
        again = await fresh(disk.crash(), seed=2)
        assert again.public(NINA).key == key.key
        assert await again.pepper(Region.US) == pepper

    simulate(check())


async def stays_shut(store: KeyStore, sealed: bytes) -> None:
    with pytest.raises(Error) as caught:
        store.unseal(NINA, "member.email", sealed)
    assert caught.value.code is Code.GONE
    with pytest.raises(Error):
        store.public(NINA)


def test_what_was_sealed_to_a_destroyed_key_stays_shut() -> None:
    async def check() -> None:
        disk = memory()
        store = await fresh(disk)
        await store.make_account(NINA)
        sealed = store.seal(NINA, "member.email", b"x")
        await store.destroy_account(NINA)
        await store.destroy_account(NINA)
        await stays_shut(store, sealed)
        await stays_shut(await fresh(disk.crash(), seed=3), sealed)

    simulate(check())


def test_a_key_that_is_half_destroyed_is_gone() -> None:
    async def check() -> None:
        disk = memory()
        store = await fresh(disk)
        await store.make_account(NINA)
        await write_atomic(disk, f"accounts/{NINA}", bytes(32))
        again = await fresh(disk, seed=2)
        with pytest.raises(Error) as caught:
            await again.make_account(NINA)
        assert caught.value.code is Code.GONE

    simulate(check())


def test_each_region_has_its_own_pepper() -> None:
    async def check() -> None:
        store = await fresh()
        peppers = [await store.pepper(region) for region in Region]
        assert len({pepper.key for pepper in peppers}) == len({one.kid for one in peppers}) == 3

    simulate(check())


def test_an_address_is_found_however_it_is_written() -> None:
    async def check() -> None:
        store, other = await fresh(), await fresh(seed=2)
        assert store.address_hash(" Nina@Example.org") == store.address_hash("nina@example.org")
        assert store.address_hash("nina@example.org") != store.address_hash("ola@example.org")
        assert store.address_hash("nina@example.org") != other.address_hash("nina@example.org")

    simulate(check())


@pytest.mark.reaches("ACCOUNT_KEYS_CACHED_MAX")
def test_keys_beyond_the_cache_are_read_again() -> None:
    async def check() -> None:
        disk = memory()
        store = await fresh(disk)
        names = [AccountID(f"ac_{number}") for number in range(ACCOUNT_KEYS_CACHED_MAX + 1)]
        for name in names:
            await store.make_account(name)
        for name in names:  # behind the cache's back: only what is held in memory is still there
            disk.unlink(f"accounts/{name}")
        gone = 0
        for name in reversed(names):
            try:
                store.public(name)
            except Error:
                gone += 1
        assert gone == 1

    simulate(check())


def test_the_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    async def make() -> None:
        disk = RealDisk(tmp_path)
        store = await open_keystore(disk, Random(0).randbytes)
        await store.make_account(NINA)
        await store.pepper(Region.SG)
        disk.close()

    real_loop(make())
    found = {path: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert {mode for path, mode in found.items() if path.is_file()} == {0o600}
    assert {mode for path, mode in found.items() if path.is_dir()} == {0o700}
    assert len([path for path in found if path.is_file()]) == 3
