import os
from pathlib import Path

from ops import launcher, preflight
from ops.launcher import Launcher


def test_who_holds_the_lock_is_the_launcher(tmp_path: Path) -> None:
    assert launcher.maybe_of_folder(tmp_path) is None
    preflight.make_folders(tmp_path)
    held = preflight.lock(tmp_path)
    try:
        assert launcher.maybe_of_folder(tmp_path) == Launcher(os.getpid(), tmp_path)
        assert launcher.maybe_of_process(os.getpid()) == Launcher(os.getpid(), tmp_path)
    finally:
        os.close(held)
    assert launcher.maybe_of_folder(tmp_path) is None  # the number alone proves nothing
    assert launcher.maybe_of_process(os.getpid()) is None


def test_a_lock_file_without_a_number_names_nobody(tmp_path: Path) -> None:
    preflight.make_folders(tmp_path)
    (tmp_path / "run/lock").write_text("nobody")
    assert launcher.maybe_of_folder(tmp_path) is None
