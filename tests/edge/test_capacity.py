import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from edge.capacity import free_bytes, reserve_bytes, uploads_for
from zentransfer.limits import DISK_RESERVE_BYTES_MAX, OPEN_FILES_MAX, UPLOADS_IN_FLIGHT_MAX


@pytest.mark.reaches("DISK_RESERVE_BYTES_MAX")
def test_a_share_of_the_disk_stays_free_and_of_a_big_one_no_more_than_is_of_use() -> None:
    assert reserve_bytes(1_000_000) == 50_000
    assert reserve_bytes(1 << 60) == DISK_RESERVE_BYTES_MAX


def test_what_is_free_is_less_than_the_disk_has(tmp_path: Path) -> None:
    figures = os.statvfs(tmp_path)
    assert free_bytes(tmp_path) < figures.f_bavail * figures.f_frsize


@pytest.mark.reaches("OPEN_FILES_MAX")
def test_descriptors_bound_the_uploads() -> None:
    assert uploads_for(OPEN_FILES_MAX) == UPLOADS_IN_FLIGHT_MAX
    assert uploads_for(1_024) == 224
    assert uploads_for(10) == 1


def test_a_process_asks_for_as_many_files_as_it_may_have() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 2048))\n"
        "from edge.capacity import ask_for_files\n"
        "print(ask_for_files(), resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard == resource.RLIM_INFINITY or hard >= 2_048
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2048 (2048, 2048)"
