import os
import stat
from pathlib import Path

import pytest

from ops.logs import Logs
from zentransfer.limits import CHILD_LAST_LINE_BYTES_MAX, CHILD_LOG_BYTES_MAX


def written(logs: Logs, name: str, data: bytes) -> int:
    descriptor = logs.open(name)
    os.write(descriptor, data)
    return descriptor


def test_a_log_is_private_and_appended_to(tmp_path: Path) -> None:
    logs = Logs(tmp_path, CHILD_LOG_BYTES_MAX)
    for text in (b"one\n", b"two\n"):
        os.close(written(logs, "control", text))
    assert logs.path("control").read_bytes() == b"one\ntwo\n"
    assert stat.S_IMODE(logs.path("control").stat().st_mode) == 0o600


def test_the_last_line_is_one_of_this_life(tmp_path: Path) -> None:
    logs = Logs(tmp_path, CHILD_LOG_BYTES_MAX)
    assert logs.last_line("control", 0) == ""
    descriptor = written(logs, "control", b"of an earlier life\n")
    since = logs.size("control")
    assert logs.last_line("control", since) == ""
    os.write(descriptor, b"first\nlast words\n\n")
    os.close(descriptor)
    assert logs.last_line("control", since) == "last words"


@pytest.mark.reaches("CHILD_LAST_LINE_BYTES_MAX")
def test_of_a_long_log_only_the_end_is_searched(tmp_path: Path) -> None:
    logs = Logs(tmp_path, CHILD_LOG_BYTES_MAX)
    os.close(written(logs, "control", b"found?\n" + b"\n" * CHILD_LAST_LINE_BYTES_MAX))
    assert logs.last_line("control", 0) == ""


def test_a_log_whose_copy_cannot_be_kept_is_cut_and_the_others_too(tmp_path: Path) -> None:
    logs = Logs(tmp_path, 10)
    for name in ("a", "b"):
        os.close(written(logs, name, b"x" * 11))
    (tmp_path / "a.log.1").mkdir()  # nothing can be copied there
    logs.trim()
    assert (logs.size("a"), logs.size("b")) == (0, 0)
    assert (tmp_path / "b.log.1").stat().st_size == 11


@pytest.mark.reaches("CHILD_LOG_BYTES_MAX")
def test_a_log_that_is_too_long_begins_again_and_its_writer_goes_on(tmp_path: Path) -> None:
    logs = Logs(tmp_path, CHILD_LOG_BYTES_MAX)
    descriptor = written(logs, "control", b"x" * CHILD_LOG_BYTES_MAX)
    logs.trim()
    assert logs.size("control") == CHILD_LOG_BYTES_MAX  # as long as it may be
    os.write(descriptor, b"y")
    logs.trim()
    os.write(descriptor, b"new\n")
    os.close(descriptor)
    assert logs.path("control").read_bytes() == b"new\n"
    assert (tmp_path / "control.log.1").stat().st_size == CHILD_LOG_BYTES_MAX + 1
    assert stat.S_IMODE((tmp_path / "control.log.1").stat().st_mode) == 0o600
    assert logs.last_line("control", since=CHILD_LOG_BYTES_MAX) == "new"
