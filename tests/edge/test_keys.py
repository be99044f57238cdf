import json
import os
import stat
from pathlib import Path
from random import Random

import grimp
import pytest

from edge.keys import PRIVATE_FOLDER, PUBLIC_FILE, RegionPublicKeys, load_public_keys
from edge.private_keys import KeyFiles, make_region_keys
from edge.seal.broken import Broken, Reason
from edge.seal.header import Header, Place
from tests.support.real_loop import real_loop
from tests.support.sim import simulate
from zentransfer.disk import RealDisk, read_all, write_atomic
from zentransfer.ids import Region
from zentransfer.limits import KEY_FILE_BYTES_MAX
from zentransfer.machine import Crashed
from zentransfer.memory_disk import MemoryDisk

KID = "fr-2026-11"
DEK = bytes(range(32))


def made(seed: int = 1) -> tuple[MemoryDisk, RegionPublicKeys]:
    disk = MemoryDisk(Random(seed))
    simulate(make_region_keys(disk, Region.FR, KID, Random(seed).randbytes))
    return disk, load_public_keys(disk)


def header(keys: RegionPublicKeys, kid: str = KID, upload: str = "up_a") -> Header:
    place = Place(kid, "ac_a", upload, "fr", 1, 0, 1, provisional=False, record_bytes=8_192)
    return Header.of(place, keys.seal(DEK, place.info()))


def test_what_the_public_half_seals_the_private_half_opens() -> None:
    disk, keys = made()
    assert (keys.region, keys.kid, keys.metadata_kid) == (Region.FR, KID, KID)
    assert simulate(KeyFiles(disk).open(header(keys))) == DEK


def test_two_seals_of_one_key_differ() -> None:
    _, keys = made()
    assert keys.seal(DEK, b"info") != keys.seal(DEK, b"info")


@pytest.mark.parametrize("kid", ["fr-2026-12", "", "../root/region", "a/b", "é"])
def test_a_key_that_is_not_held_opens_nothing(kid: str) -> None:
    disk, keys = made()
    with pytest.raises(Broken) as refused:
        simulate(KeyFiles(disk).open(header(keys, kid)))
    assert refused.value.reason is Reason.KEY


def test_a_sealed_key_opens_for_its_own_header_only() -> None:
    disk, keys = made()
    first, other = header(keys), header(keys, upload="up_b")
    for wrong in (
        Header.of(other.place, first.sealed_dek),
        Header.of(first.place, first.sealed_dek[:-1]),
        Header.of(first.place, b""),
    ):
        with pytest.raises(Broken) as refused:
            simulate(KeyFiles(disk).open(wrong))
        assert refused.value.reason is Reason.KEY


def test_another_regions_key_opens_nothing() -> None:
    _, keys = made()
    other, _ = made(seed=2)
    with pytest.raises(Broken):
        simulate(KeyFiles(other).open(header(keys)))


def test_an_origin_tag_is_good_for_its_message_and_region_only() -> None:
    _, keys = made()
    _, other = made(seed=2)
    tag = keys.tag(b"message")
    assert keys.is_ours(b"message", tag)
    assert not keys.is_ours(b"massage", tag)
    assert not keys.is_ours(b"message", tag[:-1])
    assert not other.is_ours(b"message", tag)


def test_keys_are_made_once() -> None:
    disk, keys = made()
    simulate(make_region_keys(disk, Region.FR, "fr-2026-12", Random(9).randbytes))
    assert load_public_keys(disk) == keys


def test_a_crash_at_any_step_leaves_no_keys_or_all_of_them() -> None:
    count, crashed = 1, True
    while crashed:
        disk = MemoryDisk(Random(count))
        disk.crash_at(count)
        crashed = False
        try:
            simulate(make_region_keys(disk, Region.FR, KID, Random(1).randbytes))
        except Crashed:
            crashed = True
        disk = disk.crash()
        simulate(make_region_keys(disk, Region.FR, KID, Random(2).randbytes))
        assert simulate(KeyFiles(disk).open(header(load_public_keys(disk)))) == DEK
        count += 1
    assert count > 10


def test_the_public_half_holds_nothing_that_opens() -> None:
    disk, keys = made()
    public = read_all(disk, PUBLIC_FILE, 1 << 16)
    for name in disk.names(PRIVATE_FOLDER):
        private = read_all(disk, f"{PRIVATE_FOLDER}/{name}", 64)
        assert private not in public
        assert private.hex() not in public.decode()
        assert private not in (keys.content, keys.destination, keys.origin, *keys.metadata.values())


def test_a_secret_is_not_in_the_text_of_the_keys() -> None:
    _, keys = made()
    assert repr(keys.origin) not in repr(keys)
    assert repr(keys.metadata[KID]) not in repr(keys)


def test_key_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    async def make() -> None:
        disk = RealDisk(tmp_path)
        await make_region_keys(disk, Region.FR, KID, os.urandom)
        assert await KeyFiles(disk).open(header(load_public_keys(disk))) == DEK
        disk.close()

    real_loop(make())
    for path in tmp_path.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_a_destination_key_belongs_to_its_public_half() -> None:
    disk, keys = made()
    private = KeyFiles(disk).destination_key(KID)
    assert private.public_key().public_bytes_raw() == keys.destination


@pytest.mark.reaches("KEY_FILE_BYTES_MAX")
def test_a_file_that_is_no_file_of_keys_is_refused() -> None:
    disk, _ = made()
    good = json.loads(read_all(disk, PUBLIC_FILE, 1 << 16))
    wrong = [
        b"not json",
        b"[]",
        b"{}",
        json.dumps({**good, "region": "de"}).encode(),
        json.dumps({**good, "origin": "AAAA"}).encode(),
        json.dumps({**good, "content": None}).encode(),
        json.dumps({**good, "metadata": []}).encode(),
        json.dumps({**good, "metadata_kid": "other"}).encode(),
    ]
    for text in wrong:
        simulate(write_atomic(disk, PUBLIC_FILE, text))
        with pytest.raises(ValueError, match="no file of public keys"):
            load_public_keys(disk)
    simulate(write_atomic(disk, PUBLIC_FILE, json.dumps(good).encode().ljust(KEY_FILE_BYTES_MAX)))
    load_public_keys(disk)
    simulate(write_atomic(disk, PUBLIC_FILE, b" " * (KEY_FILE_BYTES_MAX + 1)))
    with pytest.raises(OSError, match="larger"):
        load_public_keys(disk)


def test_ingest_does_not_import_the_half_that_opens() -> None:
    graph = grimp.build_graph("edge", cache_dir=None)
    for module in ("edge.ingest", "edge.sinks.log", "edge.sinks.directory", "edge.keys"):
        assert graph.find_shortest_chain(module, "edge.private_keys") is None, module
