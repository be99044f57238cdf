import errno
import os
from pathlib import Path
from random import Random

import pytest

from edge.snapshot import Knob, Snapshot
from edge.snapshot_file import CURRENT, PREVIOUS, SnapshotFile, open_snapshot_file
from tests.support.real_loop import real_loop
from tests.support.sim import simulate
from tests.support.snapshots import Customer
from zentransfer.disk import RealDisk
from zentransfer.errors import Code, Error
from zentransfer.ids import Region
from zentransfer.limits import SNAPSHOT_FILE_BYTES_MAX
from zentransfer.machine import Crashed
from zentransfer.memory_disk import MemoryDisk

FOLDER = "snapshot/ingest-0"
CUSTOMER = Customer()


def numbered(version: int) -> Snapshot:
    return CUSTOMER.snapshot(version, Knob("turn", version))


def opened(disk: MemoryDisk) -> SnapshotFile:
    return open_snapshot_file(disk, FOLDER, Region.FR)


def test_a_process_that_never_heard_of_control_knows_nothing_and_says_so() -> None:
    file = opened(MemoryDisk(Random(1)))
    assert file.current is None
    assert file.version == 0
    assert file.check() == (
        False,
        "waits for control: it has not told this node of any account yet",
    )


def test_the_last_snapshot_is_there_after_a_restart() -> None:
    disk = MemoryDisk(Random(1))
    file = opened(disk)
    simulate(file.keep(numbered(1)))
    simulate(file.keep(numbered(2)))
    found = opened(disk.crash())
    assert found.current == file.current
    assert found.version == 2
    assert found.check() == (True, "serves by version 2")


def test_a_snapshot_of_another_region_is_refused() -> None:
    file = opened(MemoryDisk(Random(1)))
    with pytest.raises(Error) as raised:
        simulate(file.keep(Customer(region=Region.US).snapshot()))
    assert raised.value.code is Code.MISDIRECTED
    assert file.current is None


def test_another_regions_file_is_not_believed() -> None:
    disk = MemoryDisk(Random(1))
    simulate(opened(disk).keep(numbered(1)))
    assert open_snapshot_file(disk, FOLDER, Region.US).current is None


@pytest.mark.parametrize("broken", [CURRENT, PREVIOUS])
def test_where_one_does_not_verify_the_other_serves(broken: str) -> None:
    disk = MemoryDisk(Random(1))
    file = opened(disk)
    simulate(file.keep(numbered(1)))
    simulate(file.keep(numbered(2)))
    handle = disk.open(f"{FOLDER}/{broken}", write=True)
    handle.write_at(b"\xff", 40)
    handle.close()
    found = opened(disk)
    assert found.version == (1 if broken == CURRENT else 2)
    simulate(found.keep(numbered(3)))
    assert opened(disk).version == 3


@pytest.mark.parametrize("version", [2, 3])
def test_a_crash_at_any_step_leaves_the_old_or_the_new(version: int) -> None:
    for step in range(1, 100):
        disk = MemoryDisk(Random(step))
        file = opened(disk)
        for kept in range(1, version):
            simulate(file.keep(numbered(kept)))
        disk.crash_at(step)
        try:
            simulate(file.keep(numbered(version)))
        except Crashed:
            found = opened(disk.crash())
            assert found.version in (version - 1, version)
            assert found.current is not None
            assert found.current.knob("turn", 0) == found.version
            continue
        assert opened(disk.crash()).version == version
        return
    pytest.fail("never got through")


def test_what_the_disk_would_not_take_is_not_in_force() -> None:
    for step in range(1, 100):
        disk = MemoryDisk(Random(step))
        file = opened(disk)
        simulate(file.keep(numbered(1)))
        disk.fail_at(step, errno.ENOSPC)
        try:
            simulate(file.keep(numbered(2)))
        except OSError:
            assert file.version == 1
            assert opened(disk.process()).version in (1, 2)
            simulate(file.keep(numbered(3)))
            assert opened(disk.crash()).version == 3
            continue
        return
    pytest.fail("never got through")


@pytest.mark.reaches("SNAPSHOT_FILE_BYTES_MAX")
def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir(parents=True)
    with (tmp_path / FOLDER / CURRENT).open("wb") as file:
        os.truncate(file.fileno(), SNAPSHOT_FILE_BYTES_MAX + 1)
    disk = RealDisk(tmp_path)
    assert open_snapshot_file(disk, FOLDER, Region.FR).current is None
    real_loop(open_snapshot_file(disk, FOLDER, Region.FR).keep(numbered(1)))
    assert open_snapshot_file(disk, FOLDER, Region.FR).version == 1
    disk.close()
