"""The system that the demo is a customer of: ``zentransfer up``, and somebody's S3 server."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing, suppress
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, cast

from ops import ports, preflight, ready
from zentransfer.ids import Region
from zentransfer.limits import PORT_BASE_MAX
from zentransfer.service import inherited

BUCKET: Final = "agency"
PATIENCE_S: Final = 60.0
"""How long one step may take, on a machine that does much else; all of it takes less."""

_BIN: Final = Path(sys.executable).parent
_NOBODY: Final = "a" * 26  # the address of an upload that never was
_POLL_S: Final = 0.05
_BASE_STEP: Final = 1_000
# The customer places its clients itself, and its S3 server stands on this very machine.
_LAB: Final = {
    f"ZT_{plane}_LAB__{switch}": "true"
    for plane in ("EDGE", "CONTROL")
    for switch in ("CLIENT_HEADER", "ALLOW_PRIVATE_DESTINATIONS")
}


class DemoFailed(Exception):
    """Something that the demo promises does not hold; the text says what was seen instead."""


Json = dict[str, Any]


class World:
    """A running system and an S3 server, both of this demo's own; ended with the ``with``."""

    def __init__(self, folder: Path, base: int | None, *, keep: bool) -> None:
        """Keep all data in *folder*; with *keep* everything goes on running at the end."""
        self.folder = folder
        self._base = base
        self._keep = keep
        self._programs: list[subprocess.Popen[bytes]] = []
        self.ready: ready.Ready
        self.s3_url = ""

    def __enter__(self) -> Self:
        """Start both, and wait until they are ready; raises :class:`DemoFailed`."""
        try:
            self._start_s3()
            self._start_system()
        except BaseException:
            self._end()  # half a system is of use to nobody, not even to be kept
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End both, unless they are to be kept."""
        if not self._keep:
            self._end()

    @property
    def pids(self) -> list[int]:
        """Return the processes to be ended by whoever kept them."""
        return [each.pid for each in self._programs]

    def edge(self, region: Region) -> ready.EdgePart:
        """Return where the node of *region* is."""
        return self.ready["edges"][region]

    def account(self) -> dict[str, str]:
        """Return how one signs in."""
        account = self.ready["account"]
        assert account is not None, "a system that is ready has its first account"
        return account

    def api(self, method: str, path: str, body: Json | None = None) -> Json:
        """Call control's API; raises :class:`DemoFailed` for what it refuses."""
        request = urllib.request.Request(  # noqa: S310 - the address is of ready.json
            f"{self.ready['control']['url']}/api/v1{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.account()['api_token']}"}
            | ({} if body is None else {"Content-Type": "application/json"}),
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - as above
                return cast("Json", json.loads(answer.read()))
        except urllib.error.HTTPError as refused:
            with refused:
                said = refused.read().decode(errors="replace")
            raise DemoFailed(f"{method} {path}: {refused.code} {said}") from refused

    def pages(self, path: str) -> list[Json]:
        """Return all items of a list of the API."""
        found: list[Json] = []
        cursor: str | None = ""
        while cursor is not None:
            page = self.api("GET", f"{path}?cursor={cursor}" if cursor else path)
            found += page["items"]
            cursor = page["next"]
        return found

    def is_open(self) -> bool:
        """Whether control sends clients to every region."""
        url = f"{self.ready['control']['url']}/route"
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - of ready.json
            return not json.loads(answer.read())["marks"]

    def knows(self, region: Region, token: str) -> bool:
        """Whether the node of *region* knows *token*: it then says that there is no such upload."""
        nobody = f"{self.edge(region)['http']}/files/{_NOBODY}"
        headers = {"Authorization": f"Bearer {token}", "Tus-Resumable": "1.0.0"}
        request = urllib.request.Request(nobody, method="HEAD", headers=headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=10):  # noqa: S310 - of ready.json
                return True
        except urllib.error.HTTPError as answer:
            with answer:
                return answer.code != HTTPStatus.UNAUTHORIZED

    def kill_ingest(self, region: Region) -> int:
        """Kill the process that takes bytes in *region*, as a fault would; returns its pid."""
        pid = self.edge(region)["pids"]["ingest-0"]
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return pid

    def _start_s3(self) -> None:
        with closing(socket.socket()) as probe:
            probe.bind((ports.LOOPBACK, 0))
            port = probe.getsockname()[1]
        self.s3_url = f"http://{ports.LOOPBACK}:{port}"
        self._start("s3-server", [_BIN / "moto_server", "-H", ports.LOOPBACK, "-p", str(port)])
        until(self._has_bucket, "the S3 server answers")

    def _has_bucket(self) -> bool:
        request = urllib.request.Request(f"{self.s3_url}/{BUCKET}", method="PUT")  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=5):  # noqa: S310 - our own server
                return True
        except OSError:
            return False

    def _start_system(self) -> None:
        base = self._base if self._base is not None else free_base(self.folder)
        words: list[str | Path] = [_BIN / "zentransfer", "up", "--dir", self.folder]
        words += ["--base", str(base)]
        system = self._start("system", words)
        path = self.folder / ready.FILE_NAME

        def is_ready() -> bool:
            if system.poll() is not None:
                said = (self.folder / "demo" / "system.log").read_text(errors="replace")
                raise DemoFailed(f"the system did not start:\n{said}")
            return path.exists()

        until(is_ready, "the system is ready")
        self.ready = json.loads(path.read_text())

    def _start(self, name: str, words: list[str | Path]) -> subprocess.Popen[bytes]:
        folder = self.folder / "demo"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{name}.log").open("wb") as log:
            program = subprocess.Popen(  # noqa: S603 - our own command lines, no shell
                words,
                env=inherited() | _LAB,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._programs.append(program)
        return program

    def _end(self) -> None:
        for program in reversed(self._programs):
            program.terminate()
            try:
                program.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()
        self._programs.clear()


def free_base(folder: Path) -> int:
    """Return a base whose ports are all free; raises :class:`DemoFailed`."""
    for base in range(8_000, PORT_BASE_MAX + 1, _BASE_STEP):
        if not preflight.taken_ports(ports.table(base, tuple(Region)), folder / "run"):
            return base
    raise DemoFailed("no block of ports is free: name one with BASE=...")


def until(is_so: Callable[[], bool], what: str, within_s: float = PATIENCE_S) -> None:
    """Return when *is_so*; raises :class:`DemoFailed` that says *what* did not come."""
    ends = time.perf_counter() + within_s
    while not is_so():
        if time.perf_counter() > ends:
            raise DemoFailed(f"waited {within_s:g} s, and still not: {what}")
        time.sleep(_POLL_S)
