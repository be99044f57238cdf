import asyncio
import io
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ops.child import BackOff
from ops.console import Console
from ops.logs import Logs
from ops.programs import Leaves, Place, Plan, Program
from ops.publisher import Publisher
from ops.supervisor import Care, Supervisor
from tests.support.ports import free_port
from tests.support.real_loop import real_loop
from zentransfer.service import CannotStart

pytestmark = pytest.mark.peer

# Says READY=1; answers /livez always, and /readyz while there is no file of its name.
PROGRAM = """
import http.server, os, pathlib, socket, sys
drained = pathlib.Path(sys.argv[1])

class Doors(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if self.path == "/readyz" and drained.exists() else 200)
        self.end_headers()

server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[2])), Doors)
manager = "\\0" + os.environ["NOTIFY_SOCKET"][1:]
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", manager)
server.serve_forever()
"""
CARE = Care(BackOff(first_s=0.01, max_s=0.2), start_deadline_s=15, at_once_s=0.5)


class Rig:
    """A system of one program with a publisher, in *folder*."""

    def __init__(self, folder: Path, port: int) -> None:
        self.stream = io.StringIO()
        self.drained = folder / "drained"
        self.place = Place(folder, 9_000, (), 1.0)
        command = (sys.executable, "-S", "-E", "-c", PROGRAM, str(self.drained), str(port))
        url = f"http://127.0.0.1:{port}/readyz"
        self.plan = Plan((), (Program("control", command, Leaves.LAST, "ZT_TEST_", url),), {}, ())
        self.supervisor = Supervisor(
            self.plan.programs,
            Logs(folder, 1_000_000),
            lambda _: {"PATH": os.defpath},
            lambda _: None,
            random.Random(1),
            CARE,
        )
        self.publisher = Publisher(self.place, self.supervisor, Console(self.stream), again_s=0.2)
        self.path = self.publisher.path

    def pid(self) -> int | None:
        """Return what ready.json says, if it is there."""
        try:
            found: int = json.loads(self.path.read_text())["control"]["pid"]
        except FileNotFoundError:
            return None
        return found


@pytest.fixture
def port() -> int:
    return free_port()


@asynccontextmanager
async def rigged(folder: Path, port: int) -> AsyncIterator[Rig]:
    """Keep a system running, and end it in any case."""
    rig = Rig(folder, port)
    try:
        async with asyncio.timeout(40), asyncio.TaskGroup() as group:
            group.create_task(rig.supervisor.keep())
            publishing = group.create_task(rig.publisher.keep())
            yield rig
            await rig.supervisor.stop()
            publishing.cancel()
    finally:
        await rig.supervisor.end_now()
        rig.supervisor.close()


async def until(wanted: Callable[[], bool]) -> None:
    """Return when *wanted* holds; files set no event of ours."""
    while not wanted():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def killed(pid: int | None) -> int:
    """Kill *pid* and return it."""
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    return pid


def test_the_file_goes_with_a_process_and_comes_back_with_it(tmp_path: Path, port: int) -> None:
    async def main() -> None:
        async with rigged(tmp_path, port) as rig:
            rig.drained.touch()
            await until(lambda: "answered 503" in rig.publisher.why_not)
            assert rig.pid() is None  # the first time every /readyz must be good
            rig.drained.unlink()
            await until(rig.publisher.is_published.is_set)
            rig.drained.touch()  # an operator drains it: that is no reason to be away
            before = killed(rig.pid())
            await until(lambda: rig.pid() is None)
            await until(lambda: "ready again" in rig.stream.getvalue())
            assert rig.pid() not in (None, before)

    real_loop(main())


def test_a_file_that_cannot_be_written_ends_the_start_with_its_reason(
    tmp_path: Path, port: int
) -> None:
    async def main() -> None:
        (tmp_path / "ready.json").mkdir()
        async with rigged(tmp_path, port):
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as caught:
        real_loop(main())
    assert caught.group_contains(CannotStart, match="cannot be used: Is a directory")


def test_a_file_that_cannot_be_written_later_is_told_once_and_tried_again(
    tmp_path: Path, port: int
) -> None:
    async def main() -> str:
        async with rigged(tmp_path, port) as rig:
            await until(rig.publisher.is_published.is_set)
            killed(rig.pid())
            await until(lambda: rig.pid() is None)
            rig.path.mkdir()
            await until(lambda: "cannot be written" in rig.stream.getvalue())
            await asyncio.sleep(0.5)
            rig.path.rmdir()
            await until(lambda: "ready again" in rig.stream.getvalue())
            assert rig.pid() is not None
            return rig.stream.getvalue()

    said = real_loop(main())
    assert said.count("ready.json cannot be written: ") == 1
    assert "It is tried again every 0.2 s." in said
    assert "Everything is ready again." in said


def test_once_retired_it_writes_nothing_any_more(tmp_path: Path, port: int) -> None:
    async def main() -> str:
        async with rigged(tmp_path, port) as rig:
            await until(rig.publisher.is_published.is_set)
            before = killed(rig.pid())
            await rig.publisher.retire()
            await until(lambda: rig.supervisor.serving_pids() not in (None, {"control": before}))
            await asyncio.sleep(0.3)
            assert rig.pid() is None
            return rig.stream.getvalue()

    assert "ready again" not in real_loop(main())
