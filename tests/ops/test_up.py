import os
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops import status
from ops.settings import UpSettings
from ops.up import EXIT_HURRIED
from tests.ops.system import COMMAND, PATIENCE_S, System, free_base, started
from zentransfer.limits import LEFTOVER_WAIT_S
from zentransfer.service import EXIT_CANNOT_START, EXIT_FAULT, EXIT_TRY_LATER, inherited
from zentransfer.settings import load

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with started(tmp_path_factory.mktemp("system") / "var") as running:
        yield running


def up(*words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run ``zentransfer up`` to its end, which must come soon."""
    return subprocess.run(
        [COMMAND, "up", *words],
        env=inherited() | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


def test_ready_json_is_private_and_says_where_everything_is(system: System) -> None:
    document = system.until_ready()
    assert stat.S_IMODE((system.folder / "ready.json").stat().st_mode) == 0o600
    assert document["control"]["url"] == f"http://localhost:{system.base}"
    assert document["edges"]["fr"]["http"] == f"http://127.0.0.1:{system.base + 200}"
    for name, pid in system.pids().items():
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
        assert name.partition("-")[0].encode() in line


def test_everything_that_is_kept_is_private(system: System) -> None:
    found = [path for path in system.folder.rglob("*") if path.is_file()]
    assert {path.name for path in found} >= {"control.log", "fr-ingest-0.log", "fr.toml", "lock"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in found} == {0o600}


def test_a_camera_is_encrypted_by_every_door_that_can(system: System, tmp_path: Path) -> None:
    document = system.until_ready()
    edge, account = document["edges"]["fr"], document["account"]
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(os.urandom(300_000))
    curl = [
        "curl",
        "-sSk",
        "-T",
        str(picture),
        "-u",
        f"{account['ftp_user']}:{account['ftp_password']}",
    ]
    explicit = [*curl, "--ssl-reqd", f"ftp://{edge['ftp']}/explicit.jpg"]
    implicit = [*curl, f"ftps://{edge['ftps']}/implicit.jpg"]
    for command in (explicit, implicit):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
    with socket.create_connection(("127.0.0.1", int(edge["sftp"].rpartition(":")[2]))) as line:
        assert line.recv(8) == b"SSH-2.0-"
    arrived = [system.folder / "delivered" / name for name in ("explicit.jpg", "implicit.jpg")]
    system.until(lambda: all(path.exists() for path in arrived))
    assert {path.read_bytes() for path in arrived} == {picture.read_bytes()}


@pytest.mark.parametrize("name", ["control", "ingest-0", "delivery-0"])
def test_a_killed_process_comes_back_and_ready_json_has_its_pid(system: System, name: str) -> None:
    system.until_ready()
    before = system.pids()
    os.kill(before[name], signal.SIGKILL)
    system.until(lambda: system.ready() is None)  # one is down: nobody is sent to it
    known = status.read(system.folder)  # and the others are known all the same
    assert len(list(status.rows(known.document))) == len(before)
    assert known.document["account"] is not None
    system.until(lambda: system.pids().get(name, before[name]) != before[name])
    after = system.pids()
    assert {each for each in after if after[each] != before[each]} == {name}


def test_a_second_launcher_of_the_folder_is_refused_with_the_pid(system: System) -> None:
    done = up("--dir", system.folder, "--base", str(system.base))
    assert done.returncode == EXIT_CANNOT_START
    assert f"zentransfer up: A launcher (pid {system.process.pid}) already runs" in done.stderr
    assert system.ready() is not None


def test_a_taken_port_is_named_before_anything_starts(system: System, tmp_path: Path) -> None:
    done = up("--dir", tmp_path / "var", "--base", str(system.base), "--regions", "fr")
    assert done.returncode == EXIT_CANNOT_START
    assert f"The system in {system.folder} runs (launcher pid {system.process.pid})" in done.stderr
    assert f"from {system.base} to " in done.stderr
    assert f"zentransfer up --dir {tmp_path}/var --regions fr --base " in done.stderr
    assert not (tmp_path / "var").exists()


def test_status_says_that_all_is_ready(system: System) -> None:
    system.until_ready()
    done = subprocess.run(
        [COMMAND, "status", "--dir", system.folder],
        env=inherited(),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "process",
        "control",
        "fr-ingest-0",
        "fr-delivery-0",
    ]


def test_workers_share_the_doors_and_each_is_asked_at_its_own_listener(tmp_path: Path) -> None:
    with free_base() as base:
        system = System(tmp_path / "var", base, "--workers", "2")
        try:
            document = system.until_ready()
            edge = document["edges"]["fr"]
            assert set(edge["pids"]) == {"ingest-0", "ingest-1", "delivery-0"}
            assert set(edge["readyz"]) == {"ingest-0", "ingest-1"}
            done = subprocess.run(
                [COMMAND, "status", "--dir", system.folder],
                env=inherited(),
                capture_output=True,
                text=True,
                check=False,
                timeout=PATIENCE_S,
            )
            assert done.returncode == 0, done.stdout
            assert done.stdout.count("ready") >= 3
            os.kill(edge["pids"]["ingest-0"], signal.SIGKILL)  # the other one serves on
            # Else the launcher hears of it while it stops, and blames the stop.
            system.until(lambda: system.ready() is None)
            token = document["account"]["api_token"]
            sent = urllib.request.Request(
                f"{edge['http']}/in/x.txt",
                data=b"content",
                method="PUT",
                headers={"Authorization": f"Bearer {token}"},
            )
            with urllib.request.urlopen(sent, timeout=PATIENCE_S) as answer:
                assert answer.status == 201
            system.process.send_signal(signal.SIGTERM)
            code, said = system.ended()
            assert code == 0, said
            assert system.left_over() == []
        finally:
            system.close()


def test_ctrl_c_drains_and_leaves_nothing(tmp_path: Path) -> None:
    with started(tmp_path / "var") as system:
        assert "API token: zt_" in system.until_greeted()
        system.process.send_signal(signal.SIGINT)
        code, said = system.ended()
        assert code == 0, said
        assert "Draining" in said
        assert "Everything has stopped." in said
        assert "Traceback" not in said
        assert system.ready() is None
        assert not (system.folder / "run/system.json").exists()
        assert system.left_over() == []


@pytest.mark.parametrize("name", ["ingest-0", "control"])
def test_a_second_ctrl_c_ends_it_though_a_process_hangs(tmp_path: Path, name: str) -> None:
    with started(tmp_path / "var", ZT_UP_AT_ONCE_S="1") as system:
        os.kill(system.pids()[name], signal.SIGSTOP)
        system.process.send_signal(signal.SIGTERM)
        system.until(lambda: system.ready() is None)
        time.sleep(0.3)
        assert system.process.poll() is None  # it drains, and waits for the one that hangs
        assert "draining" in status.read(system.folder).states.values()
        began = time.perf_counter()
        system.process.send_signal(signal.SIGINT)
        code, said = system.ended()
        assert time.perf_counter() - began < 10
        assert code == EXIT_HURRIED, said
        assert system.left_over() == []


def test_a_killed_launcher_leaves_no_orphan_and_a_new_one_starts(tmp_path: Path) -> None:
    with started(tmp_path / "var") as system:
        pid = system.pids()["control"]
        os.kill(pid, signal.SIGSTOP)  # one that is slow to leave, and holds its ports
        system.process.kill()
        system.process.wait()
        again = System(system.folder, system.base)
        try:
            line = ""
            while "Waiting for processes of an earlier run" not in line:
                assert again.process.stdout is not None
                line = again.process.stdout.readline()
                assert line, "it ended"
            os.kill(pid, signal.SIGCONT)
            again.until_ready()
            system.until(lambda: system.left_over() == [])
            again.process.send_signal(signal.SIGINT)
            assert again.ended()[0] == 0
        finally:
            again.close()


def test_who_refuses_to_start_ends_all_with_its_own_words(tmp_path: Path) -> None:
    folder = tmp_path / "var"
    folder.mkdir()
    (folder / "fr").touch()  # a file where the node wants its folder
    with free_base() as base:
        done = up("--dir", folder, "--base", str(base), "--regions", "fr")
    assert done.returncode == EXIT_CANNOT_START, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert "zentransfer up: fr-" in line
    assert f"Cannot make the region's keys in {folder}/fr/keys: Not a directory." in line
    assert not (folder / "ready.json").exists()


def test_what_is_not_ready_in_time_is_named(tmp_path: Path) -> None:
    with free_base() as base:
        words = ("--base", str(base), "--regions", "fr", "--timeout", "0.05")
        done = up("--dir", tmp_path / "var", *words)
    assert done.returncode == EXIT_TRY_LATER, done.stdout + done.stderr
    assert "Not everything is ready after 0.05 s: still starting: control" in done.stderr
    assert "--timeout" in done.stderr


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("ZT_UP_BSE", "did you mean ZT_UP_BASE"),
        ("ZT_EDGE_HTTP__PORT", "ZT_EDGE_HTTP__PORT would override what the launcher decides"),
    ],
)
def test_a_wrong_variable_is_named(tmp_path: Path, variable: str, text: str) -> None:
    done = up("--dir", tmp_path / "var", **{variable: "9000"})
    assert done.returncode == EXIT_CANNOT_START
    assert text in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "var").exists()


def test_a_wrong_key_in_the_folders_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "zentransfer.toml").write_text("bas = 9000\n")
    done = up("--dir", tmp_path)
    assert done.returncode == EXIT_CANNOT_START
    assert f"{tmp_path}/zentransfer.toml: bas: no such setting (did you mean base?)" in done.stderr


@pytest.mark.reaches("LEFTOVER_WAIT_S")
def test_a_port_that_an_earlier_run_does_not_give_back_is_named_after_a_while(
    tmp_path: Path,
) -> None:
    assert load(UpSettings, None).leftover_wait_s == LEFTOVER_WAIT_S
    folder = tmp_path / "var"
    hangs = "import socket, sys; s = socket.create_server(('127.0.0.1', int(sys.argv[1])))"
    hangs += "; print(flush=True); input()"
    with free_base() as base:
        words = [str(base), "--settings", f"{folder}/run/control.toml"]
        with subprocess.Popen(
            [sys.executable, "-c", hangs, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as left:
            assert left.stdout is not None
            left.stdout.readline()
            words = ["--dir", str(folder), "--base", str(base), "--regions", "fr"]
            done = up(*words, ZT_UP_LEFTOVER_WAIT_S="0.5")
            left.communicate(b"\n")
    assert done.returncode == EXIT_CANNOT_START
    assert "Waiting for processes of an earlier run" in done.stdout
    assert f"(pid {left.pid}, left over from an earlier run)" in done.stderr


def test_a_reader_of_its_output_that_goes_away_stops_nothing(tmp_path: Path) -> None:
    with started(tmp_path / "var") as system:
        assert system.process.stdout is not None
        system.process.stdout.close()
        before = system.pids()["delivery-0"]
        os.kill(before, signal.SIGKILL)
        system.until(lambda: system.pids().get("delivery-0", before) != before)
        system.process.send_signal(signal.SIGTERM)
        assert system.process.wait(PATIENCE_S) == 0


def test_a_process_that_does_not_leave_in_time_is_killed_and_told_by_the_exit_code(
    tmp_path: Path,
) -> None:
    with started(tmp_path / "var", ZT_UP_AT_ONCE_S="1") as system:
        os.kill(system.pids()["delivery-0"], signal.SIGKILL)
        log = tmp_path / "var/log/launcher.log"
        system.until(lambda: log.read_text().count("launcher.system_ready") == 2)
        pid = system.pids()["ingest-0"]
        os.kill(pid, signal.SIGSTOP)
        system.process.send_signal(signal.SIGTERM)
        system.until(lambda: system.ready() is None)
        os.kill(pid, signal.SIGKILL)  # it fails while it drains
        code, said = system.ended()
        assert code == EXIT_FAULT, said
        assert "fr-ingest-0: was ended by SIGKILL while it was leaving" in said
        assert said.count("Everything is ready again.") == 1
        assert system.ready() is None
        assert system.left_over() == []


@pytest.mark.lab
def test_a_full_disk_is_named_before_anything_starts(tmp_path: Path) -> None:
    script = f"mount -t tmpfs -o size=1m none {tmp_path} && exec {sys.executable} -m ops up --dir"
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", f"{script} {tmp_path}/var"],
        env=inherited() | {"PATH": os.defpath + ":/usr/sbin:/sbin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == EXIT_CANNOT_START
    assert "zentransfer up: The disk of" in done.stderr
    assert "is full: 1.0 MiB are free and 64 MiB are needed. Make room" in done.stderr
