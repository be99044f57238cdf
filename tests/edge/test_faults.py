"""What goes wrong around a file: the right code for it, and nobody else is touched."""

import os
import shutil
import signal
import sqlite3
import subprocess
import urllib.error
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.ingest_node import Answer
from tests.support.real_proof import Sent, prove, visible
from tests.support.real_system import System, made
from tests.support.strace import FLUSHES, failing
from tests.support.waiting import until

pytestmark = [pytest.mark.peer, pytest.mark.timeout(300)]

CHUNKED: Final = ("-H", "Transfer-Encoding: chunked")
ROOT: Final = os.geteuid() == 0


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    system = System(tmp_path)
    yield system
    system.close()


@contextmanager
def mounts(*commands: str) -> Iterator[subprocess.Popen[bytes]]:
    """Hold a mount namespace of its own, in which *commands* were done."""
    assert shutil.which("unshare"), "apt-get install util-linux"
    script = " && ".join((*commands, "echo done", "exec sleep 600"))
    rights = ["--mount"] if ROOT else ["--mount", "--map-root-user"]
    holder = subprocess.Popen(["unshare", *rights, "sh", "-ec", script], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        said = holder.stdout.readline()
        assert said == b"done\n", (
            "mounts are refused; run as root, or: sudo sysctl -w "
            "kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0"
        )
        yield holder
    finally:
        holder.kill()
        holder.communicate()


def inside(holder: subprocess.Popen[bytes]) -> tuple[str, ...]:
    """Return what runs a program among the mounts of *holder*."""
    assert shutil.which("nsenter"), "apt-get install util-linux"
    rights = ["--mount"] if ROOT else ["--user", "--preserve-credentials", "--mount"]
    return ("nsenter", "--target", str(holder.pid), *rights, "--")


def code(answer: Answer) -> tuple[int, str]:
    return answer.status, str(answer.json["code"])


# --- the node's own disk ---


@pytest.mark.lab
def test_a_full_disk_is_said_and_heals(tmp_path: Path) -> None:
    (tmp_path / "fr").mkdir()
    with mounts(f"mount -t tmpfs -o size=48m,mode=700 none {tmp_path}/fr") as holder:
        view = Path(f"/proc/{holder.pid}/root{tmp_path}")
        system = System(tmp_path, prefix=inside(holder), view=view)
        try:
            system.start_all()
            _fill_up(system, tmp_path)
        finally:
            system.close()


def _fill_up(system: System, folder: Path) -> None:
    token, sent = system.token, Sent()
    big, small = made(folder, "big", 64_000_000), made(folder, "small", 100_000)
    announced = system.put("big", big, token)
    assert announced.statuses == [507], "refused before the body"
    assert code(announced) == (507, "insufficient_storage")
    assert int(announced.headers["retry-after"]) > 0
    slow = system.sending("slow", small, token, "--limit-rate", "10k")
    until(lambda: _metric(system, "zt_uploads_in_flight") > 0, "the slow one is under way")
    grows = system.put("big", big, token, *CHUNKED)
    assert code(grows) == (507, "insufficient_storage")
    sent.took(Answer(slow.communicate(timeout=60)[0]), "slow", small)
    assert not sent.lacks("slow"), "another one is not touched"
    assert sent.add(system, "after", small, token) == 201

    filled = system.node / "filled"
    with filled.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(1 << 20)):
            pass
    until(lambda: sent.add(system, "x", small, token) == 507, "that there is no room")
    filled.unlink()
    until(lambda: sent.add(system, "healed", small, token) == 201, "that there is room")
    prove(system, sent)
    failed = {one["name"] for one in system.uploads() if one["outcome"] == "failed"}
    assert "big" in failed


# Counted in each thread that flushes, from the first ones of the work on, so that every kind is
# met: the flush of a record, of a segment, of a folder, of the outbox.
EIO: Final = {"every seventh": "10+7", "every eleventh": "12+11"}


@pytest.mark.parametrize("when", EIO.values(), ids=EIO)
def test_a_failed_flush_is_never_a_success(system: System, tmp_path: Path, when: str) -> None:
    statuses = _send_while_failing(system, tmp_path, when)
    assert 201 in statuses
    assert statuses - {201}, "the fault was met"


@pytest.mark.soak
@pytest.mark.parametrize("number", range(1, 41))
def test_any_one_failed_flush_is_never_a_success(
    system: System, tmp_path: Path, number: int
) -> None:
    """One in each thread; in the start it may end the process, which is started again."""
    assert 201 in _send_while_failing(system, tmp_path, str(number))


def _send_while_failing(system: System, folder: Path, when: str) -> set[int]:
    """Send files until each is taken, while flushes fail; returns the statuses that were met."""
    for name in ("control", "delivery"):
        system.start(name)
    system.launch("ingest", *failing(when, "EIO", FLUSHES))
    until(lambda: system.has_ended("ingest") or system.is_serving(), "ingest serves, or ended")
    if system.has_ended("ingest"):
        assert system.running["ingest"].returncode in (1, 75, 78)
        system.start("ingest")
        until(system.is_serving, "ingest serves")
    token, sent = system.token, Sent()
    content = {"small": made(folder, "small", 20_000), "big": made(folder, "big", 9_000_000)}
    statuses: set[int] = set()
    for number in range(12):
        kind = "big" if number % 4 == 3 else "small"
        while sent.lacks(f"{kind}-{number}"):  # bounded by the test's time
            statuses.add(sent.add(system, f"{kind}-{number}", content[kind], token))
    assert statuses <= {201, 500, 503, 507}
    assert not system.has_ended("ingest")
    system.end("ingest")
    system.start("ingest")
    prove(system, sent)
    return statuses


# --- the sender ---


def test_a_sender_who_may_not_is_told_why(system: System, tmp_path: Path) -> None:
    system.start_all()
    token, sent = system.token, Sent()
    content = made(tmp_path, "content", 300_000)
    slow = system.sending("slow", content, token, "--limit-rate", "50k")
    until(lambda: _in_flight(system), "another one is under way")

    for wrong in ("zt_abcdefgh_k7f3q2m9c4d8w5x6y2z3", "hunter2", token[:-1] + "~"):
        answer = system.put("wrong", content, wrong)
        assert (answer.statuses, answer.json["code"]) == ([401], "unauthenticated")
    (system.delivered / "gone").mkdir(parents=True)
    routed = system.route("gone", system.folder / "delivered" / "gone")
    until(lambda: system.put("x", content, routed).status == 201, "the credential is known")
    (credential,) = [one for one in _all(system, "credentials") if one["label"] == "gone"]
    assert _removed(system, f"/workflows/{credential['workflow']}") == 409, "it is in use"
    assert _removed(system, f"/credentials/{credential['id']}") == 204
    assert _removed(system, f"/workflows/{credential['workflow']}") == 204
    until(lambda: system.put("x", content, routed).status != 201, "it is gone at the edge")
    assert code(system.put("x", content, routed)) == (401, "unauthenticated")

    assert Answer(slow.communicate(timeout=60)[0]).status == 201
    assert sent.add(system, "content", content, token) == 201
    until(lambda: system.is_destroyed("slow") and system.is_destroyed("content"), "delivered")
    assert {"slow", "content"} <= visible(system).keys()


def _in_flight(system: System) -> bool:
    return bool(system.sealed_files()) or _metric(system, "zt_uploads_in_flight") > 0


def _metric(system: System, name: str) -> float:
    command = ["curl", "-s", f"http://127.0.0.1:{system.metrics}/metrics"]
    text = subprocess.run(command, capture_output=True, check=False).stdout.decode()
    found = [line for line in text.splitlines() if line.startswith(f"{name} ")]
    return float(found[0].split()[1]) if found else 0.0


def _all(system: System, what: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = system.api("GET", f"/{what}")["items"]
    return found


def _removed(system: System, path: str) -> int:
    try:
        system.api("DELETE", path)
    except urllib.error.HTTPError as refused:
        with refused:
            return int(refused.code)
    return 204


def test_what_is_too_large_for_its_account_is_refused(system: System, tmp_path: Path) -> None:
    system.start("control")
    system.stop("control")
    with closing(sqlite3.connect(system.node.parent / "control" / "control.db")) as books, books:
        books.execute("UPDATE account SET limits = json_set(limits, '$.upload_bytes_max', 2000000)")
    system.start_all()
    token, sent = system.token, Sent()
    right, large = made(tmp_path, "right", 2_000_000), made(tmp_path, "large", 2_000_001)
    slow = system.sending("slow", right, token, "--limit-rate", "400k")
    until(lambda: _metric(system, "zt_uploads_in_flight") > 0, "another one is under way")
    announced = system.put("large", large, token)
    assert (announced.statuses, announced.json["code"]) == ([413], "too_large")
    assert code(system.put("large", large, token, *CHUNKED)) == (413, "too_large")
    sent.took(Answer(slow.communicate(timeout=60)[0]), "slow", right)
    assert sent.add(system, "right", right, token, *CHUNKED) == 201
    assert not sent.lacks("slow"), "another one is not touched"
    prove(system, sent)
    failed = [one["name"] for one in system.uploads() if one["outcome"] == "failed"]
    assert failed == ["large"], "of the one that was refused at once there is nothing to tell"


# --- the destination ---


def is_stuck(system: System, name: str, error: str) -> bool:
    found = system.upload(name)
    return found is not None and [one["error"] for one in found["deliveries"]] == [error]


def test_a_missing_folder_holds_up_its_own_files_only(system: System, tmp_path: Path) -> None:
    system.start_all()
    folder = system.delivered / "away"
    folder.mkdir(parents=True)
    token = system.route("away", folder)
    content = made(tmp_path, "content", 300_000)
    until(lambda: system.put("first", content, token).status == 201, "the credential is known")
    until(lambda: system.is_destroyed("first"), "delivered")
    folder.rename(tmp_path / "elsewhere")
    sent = Sent()
    assert sent.add(system, "held", content, token) == 201
    until(lambda: is_stuck(system, "held", "not_found"), "the API says why")
    assert sent.add(system, "content", content, system.token) == 201
    until(lambda: system.is_destroyed("content"), "another destination is not touched")
    (tmp_path / "elsewhere").rename(folder)
    held = system.upload("held")
    assert held is not None
    system.api("POST", f"/deliveries/{held['deliveries'][0]['id']}/retry")
    until(lambda: system.is_destroyed("held"), "delivered after all")
    assert {"content", "away/first", "away/held"} <= visible(system).keys()


MOUNTED: Final = {
    "a read-only folder": ("mount --bind {0} {0} && mount -o remount,bind,ro {0}", "forbidden"),
    "a full disk": ("mount -t tmpfs -o size=128k none {0}", "insufficient_storage"),
}


@pytest.mark.lab
@pytest.mark.parametrize(("mount", "error"), MOUNTED.values(), ids=MOUNTED)
def test_a_destination_that_takes_nothing_is_told_of(
    system: System, tmp_path: Path, mount: str, error: str
) -> None:
    """Delivery alone has the mount, so it ends with its process: as when an owner makes room."""
    system.start("control")
    system.start("ingest")
    until(system.is_serving, "ingest serves")
    folder = system.delivered / "shut"
    folder.mkdir(parents=True)
    token, sent = system.route("shut", folder), Sent()
    content = made(tmp_path, "content", 300_000)
    with mounts(mount.format(folder)) as holder:
        system.start("delivery", *inside(holder))
        until(system.knows, "delivery knows")
        until(lambda: sent.add(system, "shut/held", content, token) == 201, "it is known")
        until(lambda: is_stuck(system, "held", error), "the API says why")
        assert sent.add(system, "content", content, system.token) == 201
        until(lambda: system.is_destroyed("content"), "another destination is not touched")
        assert not system.is_destroyed("held")
        system.stop("delivery", signal.SIGTERM)
    system.start("delivery")
    until(lambda: system.is_destroyed("held"), "there is room again")
    assert "content" in visible(system)
