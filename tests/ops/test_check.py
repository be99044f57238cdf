import os
import sys
from pathlib import Path

import pytest

from ops import preflight
from ops.check import report
from ops.programs import Place, plan
from ops.settings import UpSettings
from tests.ops.system import free_base
from zentransfer.ids import Region
from zentransfer.service import CannotStart
from zentransfer.settings import load

pytestmark = pytest.mark.peer


def reported(folder: Path, base: int) -> str:
    chosen = load(UpSettings, None)
    place = Place(folder, base, (Region.FR,), chosen.drain_deadline_s)
    return "\n".join(report(chosen, place, plan(place, sys.executable)))


def test_a_check_prints_the_settings_of_all_and_leaves_nothing(tmp_path: Path) -> None:
    with free_base() as base:
        said = reported(tmp_path / "var", base)
    assert said.startswith("# All of this can start. Nothing was started in ")
    assert "# zentransfer up\n" in said
    assert said.count("# fr-ingest-0\n") == 1
    assert f"port = {base + 200}" in said
    assert f'address = "127.0.0.1:{base + 1}"' in said
    assert f'data_dir = "{tmp_path}/var/fr"' in said
    assert not (tmp_path / "var").exists()


def test_a_plane_refuses_its_own_variables(tmp_path: Path) -> None:
    with free_base() as base, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZT_EDGE_NOED", "us-1")
        with pytest.raises(CannotStart, match=r"would not start: .*ZT_EDGE_NOED: no such setting"):
            reported(tmp_path / "var", base)


def test_a_folder_with_a_launcher_is_refused_with_its_pid(tmp_path: Path) -> None:
    preflight.make_folders(tmp_path)
    held = preflight.lock(tmp_path)
    try:
        with free_base() as base, pytest.raises(CannotStart, match=rf"pid {os.getpid()}\) already"):
            reported(tmp_path, base)
    finally:
        os.close(held)
    preflight.check_lock(tmp_path)
    os.close(preflight.lock(tmp_path))  # the check keeps nothing


def test_a_folder_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "var").touch()
    with free_base() as base, pytest.raises(CannotStart, match="is not a folder"):
        reported(tmp_path / "var", base)
