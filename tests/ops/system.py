"""A real system of one region for tests: started on a block of ports that is nobody else's."""

import fcntl
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from ops import ports, preflight
from tests.support.ports import BASES
from tests.support.programs import as_in_service
from zentransfer.ids import Region

COMMAND = Path(sys.executable).parent / "zentransfer"
PATIENCE_S = 40.0  # for a machine that does much else


def ordinary_user(action: Callable[[], str]) -> str:
    """Run *action* in a child process without root's rights, and return what it returns."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = "the action failed"
        try:
            if os.getuid() == 0:
                os.setuid(65_534)
            said = action()
        finally:
            os.write(writing, said.encode())
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with open(reading, "rb") as pipe:
        return pipe.read().decode()


@contextmanager
def free_base(regions: tuple[Region, ...] = (Region.FR,)) -> Iterator[int]:
    """Yield a base whose ports are free and, while this holds it, no other test's."""
    bases = list(BASES)
    random.Random(os.getpid()).shuffle(bases)
    for base in bases:
        path = Path(tempfile.gettempdir()) / f"zentransfer-test-{os.getuid()}-{base}.lock"
        with path.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if preflight.taken_ports(ports.table(base, regions), path):
                continue
            yield base
            return
    raise AssertionError("no free block of ports")


class System:
    """One ``zentransfer up`` in *folder*, of region fr; ended in any case by :meth:`close`."""

    def __init__(
        self, folder: Path, base: int, *options: str, regions: str = "fr", **variables: str
    ) -> None:
        self.folder = folder
        self.base = base
        self.process = subprocess.Popen(
            [COMMAND, "up", "--dir", folder, "--base", str(base), "--regions", regions, *options],
            env=as_in_service() | {"ZT_UP_RESTART__FIRST_S": "0.05"} | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._seen: set[psutil.Process] = set()

    def until(self, wanted: Callable[[], bool]) -> None:
        """Wait until *wanted* holds, and remember what the launcher started."""
        deadline = time.perf_counter() + PATIENCE_S
        while not wanted():
            assert time.perf_counter() < deadline, "waited too long"
            self._remember()
            time.sleep(0.02)
        self._remember()

    def _remember(self) -> None:
        with suppress(psutil.Error):
            self._seen.update(psutil.Process(self.process.pid).children(recursive=True))

    def ready(self) -> dict[str, Any] | None:
        """Return what ready.json says, if it is there."""
        try:
            found: dict[str, Any] = json.loads((self.folder / "ready.json").read_text())
        except FileNotFoundError:
            return None
        return found

    def until_ready(self) -> dict[str, Any]:
        """Wait for ready.json and return it; fails with its output if it ends before."""
        self.until(lambda: self.ready() is not None or self.process.poll() is not None)
        document = self.ready()
        assert document is not None, self.process.communicate()[0]
        return document

    def until_greeted(self) -> str:
        """Wait for the last line of its greeting, and return all of it."""
        assert self.process.stdout is not None
        lines: list[str] = []
        while not lines or not lines[-1].startswith("Ctrl-C drains"):
            lines.append(self.process.stdout.readline())
            assert lines[-1], "it ended instead"
        return "".join(lines)

    def pids(self) -> dict[str, int]:
        """Return the pid of every process by name; empty while there is no ready.json."""
        document = self.ready()
        if document is None:
            return {}
        pids: dict[str, int] = document["edges"]["fr"]["pids"]
        return {"control": document["control"]["pid"], **pids}

    def left_over(self) -> list[psutil.Process]:
        """Return which of the processes that it started still run."""
        return [each for each in self._seen if each.is_running()]

    def ended(self) -> tuple[int, str]:
        """Wait for the launcher's end; return its exit code and all that it said."""
        said = self.process.communicate(timeout=PATIENCE_S)[0]
        return self.process.returncode, said

    def close(self) -> None:
        """Kill all of it."""
        self._remember()
        self.process.kill()
        for each in self._seen:
            with suppress(psutil.Error):
                each.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


@contextmanager
def started(folder: Path, **variables: str) -> Iterator[System]:
    """Start a system and wait until it is ready; end it in any case."""
    with free_base() as base:
        system = System(folder, base, **variables)
        try:
            system.until_ready()
            yield system
        finally:
            system.close()
