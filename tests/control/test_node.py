"""Control as a real process: what it keeps, and what it says when it cannot."""

import json
import signal
import sqlite3
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.ports import free_ports
from tests.support.programs import as_in_service
from tests.support.waiting import until

pytestmark = [pytest.mark.peer, pytest.mark.timeout(180)]


class Control:
    """A control and its folder; it may be started again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "control"
        self.http, self.grpc = free_ports(2)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, extra: str = "") -> subprocess.Popen[bytes]:
        """Start it, and return when it is ready or has ended."""
        settings = self.folder / "control.toml"
        settings.write_text(
            f'data_dir = "{self.data}"\nfolder_roots = ["{self.folder}/delivered"]\n{extra}\n'
            f"[http]\nport = {self.http}\n[grpc]\nport = {self.grpc}\n"
        )
        with (self.folder / "log").open("ab") as log:
            process = self.process = subprocess.Popen(
                [sys.executable, "-m", "control", "--settings", str(settings)],
                stdin=subprocess.DEVNULL,
                env=as_in_service(),
                stderr=log,
            )
        until(lambda: process.poll() is not None or self.get("/readyz")[0] == 200, "it is up")
        return process

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(30) == 0
            self.process = None

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def get(self, path: str, token: str = "") -> tuple[int, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http}{path}", headers={"Authorization": f"Bearer {token}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as answer:
            with answer:
                return answer.code, None
        except (urllib.error.URLError, OSError):
            return 0, None

    def said(self) -> str:
        return (self.folder / "log").read_text()


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    control = Control(tmp_path)
    yield control
    control.close()


def test_a_fresh_control_makes_one_account_and_writes_it_down_once(control: Control) -> None:
    control.start()
    path = control.data / "first-account.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    account = json.loads(path.read_text())
    assert set(account) == {"id", "email", "api_token", "ftp_user", "ftp_password"}
    status, page = control.get("/api/v1/destinations", account["api_token"])
    assert status == 200
    (folder,) = page["items"]
    assert folder["address"] == str(control.folder / "delivered")
    assert (control.folder / "delivered").is_dir()
    assert control.get("/api/v1/destinations", "zt_nobody")[0] == 401
    for secret in (account["api_token"], account["ftp_password"], account["ftp_user"]):
        assert secret not in control.said()

    before = path.stat()
    control.stop()
    control.start()
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert control.get("/api/v1/destinations", account["api_token"])[0] == 200


def test_without_a_first_account_there_is_nothing_to_sign_in_with(control: Control) -> None:
    control.start("first_account = false")
    assert not (control.data / "first-account.json").exists()
    assert not (control.folder / "delivered").exists()
    assert control.get("/api/v1/uploads", "zt_abcdefgh_" + 20 * "a")[0] == 401


def test_a_database_that_this_release_cannot_use_is_named_with_its_cure(control: Control) -> None:
    control.start()
    control.stop()
    database = control.data / "control.db"
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'r9999'")
    connection.close()
    assert control.start().wait(30) == 78
    assert f"{database} was written by a newer release" in control.said()
    database.write_bytes(b"this is no database" * 1_000)
    assert control.start().wait(30) != 0
    assert f"{database} cannot be opened" in control.said()
