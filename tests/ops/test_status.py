import io
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from ops import preflight, ready, status
from ops.child import BackOff, Child
from ops.console import Console
from ops.programs import Place
from ops.running import Register
from tests.ops.system import free_base
from tests.support.waiting import until
from zentransfer.ids import Region
from zentransfer.limits import READY_FILE_BYTES_MAX


def written(folder: Path, base: int, pid: int) -> None:
    place = Place(folder, base, (Region.FR,), 1.0)
    pids = {"control": pid, "fr-ingest-0": pid, "fr-delivery-0": pid}
    (folder / ready.FILE_NAME).write_text(ready.text(ready.document(place, pids)))


def test_without_a_system_it_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(
        status.CannotTell, match=f"^Nothing runs in .*: zentransfer up --dir {tmp_path}$"
    ):
        status.read(tmp_path)


@pytest.mark.reaches("READY_FILE_BYTES_MAX")
@pytest.mark.parametrize("text", ["", "{}", "[]", '{"control": 1}', "\xff", "longer"])
def test_a_file_that_is_not_ours_is_said_to_be(tmp_path: Path, text: str) -> None:
    written(tmp_path, 9000, 1)
    path = tmp_path / ready.FILE_NAME
    path.write_text(text if text != "longer" else " " * READY_FILE_BYTES_MAX + path.read_text())
    with pytest.raises(status.CannotTell, match="is not a document of ours"):
        status.read(tmp_path)


def registered(folder: Path, base: int, pid: int) -> None:
    """Let control have ended, ingest be starting as *pid*, and delivery serve as *pid*."""
    preflight.make_folders(folder)
    starting = Child().started(pid, 0.0)
    children = {
        "control": starting.exited(1, 1.0, BackOff()),
        "fr-ingest-0": starting,
        "fr-delivery-0": starting.ready(),
    }
    Register(Place(folder, base, (Region.FR,), 1.0)).write(children)


def test_while_one_is_away_it_says_what_runs(tmp_path: Path) -> None:
    stream = io.StringIO()
    settings = f"{tmp_path}/run/fr.toml"
    words = ("edge", "delivery", "--index", "0", "--settings", settings)
    with free_base() as base, running(tmp_path, *words) as pid:
        registered(tmp_path, base, pid)
        held = preflight.lock(tmp_path)
        try:
            assert not status.show(status.read(tmp_path), tmp_path, Console(stream))
        finally:
            os.close(held)
    assert [line.split(maxsplit=1) for line in stream.getvalue().splitlines()[1:]] == [
        ["control", "away      ended; the launcher starts it again"],
        ["fr-ingest-0", f"{pid}  starting  does not say yet that it is ready"],
        ["fr-delivery-0", f"{pid}  runs"],
    ]


def test_what_a_launcher_left_behind_that_was_killed_is_not_believed(tmp_path: Path) -> None:
    registered(tmp_path, 9000, os.getpid())
    with pytest.raises(status.CannotTell, match="Nothing runs in"):
        status.read(tmp_path)
    os.close(preflight.lock(tmp_path))  # its number is in the lock, which nobody holds
    with pytest.raises(status.CannotTell, match="Nothing runs in"):
        status.read(tmp_path)


def test_nodes_without_a_process_that_takes_bytes_are_not_sent_to(tmp_path: Path) -> None:
    place = Place(tmp_path, 9000, (Region.FR, Region.US), 1.0, workers=2)
    names = [f"{region}-ingest-{index}" for region in ("fr", "us") for index in (0, 1)]
    document = ready.document(place, dict.fromkeys(["control", *names], 1))
    away = dict.fromkeys(("control", "us-ingest-0", "fr-ingest-0", "fr-ingest-1"), "away")
    system = status.System(document, away)
    assert system.doors() == ["http://127.0.0.1:9100"]
    assert status.System(document).doors() == ["http://127.0.0.1:9200", "http://127.0.0.1:9100"]


def test_what_does_not_answer_and_what_does_not_run_is_named(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    stream = io.StringIO()
    with free_base() as base:
        written(tmp_path, base, gone.pid)
        assert not status.show(status.read(tmp_path), tmp_path, Console(stream))
    assert [line.split(maxsplit=2)[::2] for line in stream.getvalue().splitlines()[1:]] == [
        ["control", "not ready  does not run"],
        ["fr-ingest-0", "not ready  does not run"],
        ["fr-delivery-0", "not ready  does not run"],
    ]


def said_of(folder: Path, pid: int) -> dict[str, str]:
    """Return what status says of each process by name, if all of them were *pid*."""
    stream = io.StringIO()
    with free_base() as base:
        written(folder, base, pid)
        status.show(status.read(folder), folder, Console(stream))
    lines = [line.split(maxsplit=2) for line in stream.getvalue().splitlines()[1:]]
    return {name: rest for name, _, rest in lines}


@contextmanager
def running(folder: Path, *words: str) -> Iterator[int]:
    """Run something with the command line of one of ours, and yield its pid."""
    (folder / "run").mkdir(parents=True, exist_ok=True)
    command = ["sh", "-c", "echo; read x", "-P", "-m", *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


def test_one_that_runs_and_does_not_answer_is_not_ready(tmp_path: Path) -> None:
    settings = f"{tmp_path}/run/fr.toml"
    with running(tmp_path, "edge", "ingest", "--index", "0", "--settings", settings) as pid:
        said = said_of(tmp_path, pid)
    assert said["fr-ingest-0"] == "not ready  does not answer"
    assert said["control"] == "not ready  does not run; its pid is another program's"


def test_a_process_without_a_listener_is_said_to_run(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "var")
    settings = f"{tmp_path}/link/run/fr.toml"  # the same folder, by another path
    words = ("edge", "delivery", "--index", "0", "--settings", settings)
    with running(tmp_path / "var", *words) as pid:
        assert said_of(tmp_path / "var", pid)["fr-delivery-0"].split(maxsplit=1) == ["runs"]
        os.kill(pid, signal.SIGSTOP)
        until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, "the stop")
        stopped = said_of(tmp_path / "var", pid)["fr-delivery-0"]
        os.kill(pid, signal.SIGCONT)
    assert stopped.split(maxsplit=1) == ["stopped", f"kill -CONT {pid} lets it go on"]


def test_a_number_that_another_program_got_is_not_ours(tmp_path: Path) -> None:
    assert set(said_of(tmp_path, os.getpid()).values()) == {
        "not ready  does not run; its pid is another program's"
    }


def test_a_process_of_another_folder_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "other/run").mkdir(parents=True)
    settings = f"{tmp_path}/other/run/fr.toml"
    with running(
        tmp_path / "var", "edge", "delivery", "--index", "0", "--settings", settings
    ) as pid:
        assert "another program's" in said_of(tmp_path / "var", pid)["fr-delivery-0"]
