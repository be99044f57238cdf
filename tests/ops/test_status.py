import io
import os
import subprocess
from pathlib import Path

import pytest

from ops import ready, status
from ops.console import Console
from ops.programs import Place
from tests.ops.system import free_base
from zentransfer.ids import Region
from zentransfer.limits import READY_FILE_BYTES_MAX


def written(folder: Path, base: int, pid: int) -> None:
    place = Place(folder, base, (Region.FR,), 1.0)
    pids = {"control": pid, "fr-ingest-0": pid, "fr-delivery-0": pid}
    (folder / ready.FILE_NAME).write_text(ready.text(ready.document(place, pids)))


def test_without_a_system_it_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(status.CannotTell, match=f"zentransfer up --dir {tmp_path}"):
        status.read(tmp_path)


@pytest.mark.reaches("READY_FILE_BYTES_MAX")
@pytest.mark.parametrize("text", ["", "{}", "[]", '{"control": 1}', "\xff", "longer"])
def test_a_file_that_is_not_ours_is_said_to_be(tmp_path: Path, text: str) -> None:
    written(tmp_path, 9000, 1)
    path = tmp_path / ready.FILE_NAME
    path.write_text(text if text != "longer" else " " * READY_FILE_BYTES_MAX + path.read_text())
    with pytest.raises(status.CannotTell, match="is not a document of ours"):
        status.read(tmp_path)


def test_what_does_not_answer_and_what_does_not_run_is_named(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    stream = io.StringIO()
    with free_base() as base:
        written(tmp_path, base, gone.pid)
        assert not status.show(status.read(tmp_path), Console(stream))
    assert [line.split(maxsplit=2)[::2] for line in stream.getvalue().splitlines()[1:]] == [
        ["control", "not ready  does not answer"],
        ["fr-ingest-0", "not ready  does not answer"],
        ["fr-delivery-0", "not ready  does not run"],
    ]


def test_a_process_without_a_listener_is_ready_when_it_runs(tmp_path: Path) -> None:
    stream = io.StringIO()
    with free_base() as base:
        written(tmp_path, base, os.getpid())
        status.show(status.read(tmp_path), Console(stream))
    assert "ready      runs; it has no listener to ask" in stream.getvalue()
