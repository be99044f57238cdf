import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ops import preflight
from ops.ports import Port
from ops.programs import Place
from tests.ops.system import ordinary_user
from zentransfer.ids import Region
from zentransfer.limits import DISK_FREE_BYTES_MIN, OPEN_FILES_MIN, PORT_BASE_MAX
from zentransfer.service import CannotStart


def test_the_folders_are_made_for_us_alone(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "var"
    preflight.make_folders(folder)
    preflight.make_folders(folder)
    preflight.check_room(folder)
    assert [*(folder / "run").iterdir()] == []
    assert oct((folder / "run").stat().st_mode)[-3:] == "700"


@pytest.mark.parametrize("check", [preflight.make_folders, preflight.check_rights])
def test_a_file_where_the_folder_should_be_is_named(
    tmp_path: Path, check: Callable[[Path], None]
) -> None:
    (tmp_path / "var").touch()
    with pytest.raises(CannotStart, match=f"{tmp_path}/var is not a folder. .*--dir"):
        check(tmp_path / "var")


@pytest.mark.parametrize("check", [preflight.make_folders, preflight.check_rights])
def test_a_folder_without_the_right_to_write_is_named(check: Callable[[Path], None]) -> None:
    def fails() -> str:
        with pytest.raises(CannotStart) as caught:
            check(Path("/zentransfer-of-nobody"))
        return str(caught.value)

    said = ordinary_user(fails)
    assert said.startswith("This user has no right to write in /zentransfer-of-nobody.")
    assert "chown" in said


def test_a_second_launcher_is_told_the_pid_of_the_first(tmp_path: Path) -> None:
    preflight.make_folders(tmp_path)
    held = preflight.lock(tmp_path)
    with pytest.raises(CannotStart, match=rf"pid {os.getpid()}\) already runs in {tmp_path}"):
        preflight.lock(tmp_path)
    os.close(held)
    os.close(preflight.lock(tmp_path))


@pytest.mark.reaches("OPEN_FILES_MIN")
def test_too_few_open_files_are_named_and_a_low_soft_limit_is_raised() -> None:
    def fails() -> str:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, OPEN_FILES_MIN))
        preflight.check_open_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == OPEN_FILES_MIN
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, OPEN_FILES_MIN - 1))
        with pytest.raises(CannotStart) as caught:
            preflight.check_open_files()
        return str(caught.value)

    said = ordinary_user(fails)
    assert f"may open {OPEN_FILES_MIN - 1} files at once (RLIMIT_NOFILE)" in said
    assert f"ulimit -n {OPEN_FILES_MIN}" in said


def test_a_taken_port_is_named_with_role_holder_and_cure(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = Port("us HTTP", server.getsockname()[1])
        taken = preflight.taken_ports([port], tmp_path)
    assert [(each.port, each.pid, each.is_leftover) for each in taken] == [
        (port, os.getpid(), False)
    ]
    place = Place(tmp_path, 8000, (Region.US,), 1.0)
    said = str(preflight.ports_are_taken(taken, place))
    assert f"Port {port.number} (us HTTP) is held by {taken[0].program} (pid {os.getpid()})" in said
    assert "Stop that program, or start with another base: zentransfer up --base " in said
    highest = Place(tmp_path, PORT_BASE_MAX, (Region.US,), 1.0)
    assert "another base: zentransfer up --base " in str(preflight.ports_are_taken(taken, highest))
    assert preflight.taken_ports([port], tmp_path) == []
    again = ("--dir", "my var", "--workers", "2")
    said = str(preflight.ports_are_taken(taken, replace(place, options=again)))
    assert "another base: zentransfer up --dir 'my var' --workers 2 --base " in said


def test_ports_of_another_system_of_ours_are_one_line(tmp_path: Path) -> None:
    preflight.make_folders(tmp_path / "one")
    held = preflight.lock(tmp_path / "one")
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("", 0)) as two:
        numbers = sorted(each.getsockname()[1] for each in (one, two))
        wanted = [Port("us HTTP", numbers[0]), Port("us FTP", numbers[1])]
        taken = preflight.taken_ports(wanted, tmp_path / "two" / "run")
    os.close(held)
    place = Place(tmp_path / "two", 8000, (Region.US,), 1.0, options=("--dir", "two"))
    said = str(preflight.ports_are_taken(taken, place))
    assert said.startswith(
        f"The system in {tmp_path}/one runs (launcher pid {os.getpid()}) and holds 2 of these"
        f" ports, from {numbers[0]} to {numbers[1]}. Stop it (kill {os.getpid()}), or start with"
        " another base: zentransfer up --dir two --base "
    )


@pytest.mark.peer
def test_a_port_of_a_process_of_an_earlier_run_is_known_as_that(tmp_path: Path) -> None:
    code = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1],"
    words = [f"{code} flush=True); input()", "--settings", f"{tmp_path}/run/us.toml"]
    with subprocess.Popen(
        [sys.executable, "-c", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as left:
        assert left.stdout is not None
        port = Port("us HTTP", int(left.stdout.readline()))
        (mine,) = preflight.taken_ports([port], tmp_path / "run")
        (other,) = preflight.taken_ports([port], tmp_path / "other")
        left.communicate(b"\n")
    assert mine.is_leftover
    assert "left over from an earlier run" in str(mine)
    assert not other.is_leftover


def test_a_holder_that_may_not_be_seen_is_another_users() -> None:
    taken = preflight.Taken(Port("us HTTP", 8100), None, None, is_leftover=False)
    assert str(taken) == "port 8100 (us HTTP) is held by a program of another user"


def test_a_missing_right_to_a_port_is_named() -> None:
    limit = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text(encoding="ascii")
    if int(limit) == 0:
        pytest.skip("this machine lets everybody have every port")

    def fails() -> str:
        with pytest.raises(CannotStart) as caught:
            preflight.taken_ports([Port("control HTTP", 1)], Path("/tmp"))
        return str(caught.value)

    said = ordinary_user(fails)
    assert said.startswith("This user has no right to listen on port 1 (control HTTP).")
    assert "--base 8000" in said


CHECKS_ROOM = """
import pathlib, sys
from ops import preflight
folder = pathlib.Path(sys.argv[1])

def looks():
    preflight.check_rights(folder)
    preflight.check_free(folder)

def starts():
    preflight.make_folders(folder)
    preflight.check_room(folder)

for tries in looks, starts:
    try:
        tries()
        print("room")
    except preflight.CannotStart as exc:
        print(exc)
"""


@pytest.mark.lab
@pytest.mark.reaches("DISK_FREE_BYTES_MIN")
@pytest.mark.parametrize(
    ("options", "fill", "expected"),
    [
        ("size=1m", False, "is full: 1.0 MiB are free and 64 MiB are needed."),
        ("size=1m", True, "is full: 0.0 MiB are free and 64 MiB are needed."),
        (f"size={DISK_FREE_BYTES_MIN - 4096}", False, "is full: 6"),
        (f"size={DISK_FREE_BYTES_MIN + 65536}", False, "room"),
        ("size=1m,ro", False, "is on a disk that is mounted read-only."),
    ],
)
def test_a_disk_without_room_is_named(
    tmp_path: Path, options: str, expected: str, *, fill: bool
) -> None:
    assert shutil.which("unshare"), "apt-get install util-linux"
    (tmp_path / "disk").mkdir()
    script = f"mount -t tmpfs -o {options} none {tmp_path}/disk && "
    script += f"(cat /dev/zero >{tmp_path}/disk/fill 2>/dev/null; true) && " if fill else ""
    script += f'exec {sys.executable} -c "$CODE" {tmp_path}/disk/var'
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script],
        env={"CODE": CHECKS_ROOM, "PATH": os.defpath + ":/usr/sbin:/sbin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    said = done.stdout.splitlines()
    assert len(said) == 2, done.stderr
    assert all(expected in line for line in said), said
