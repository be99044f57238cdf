import asyncio
import io
import os
import pty
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ops.child import BackOff
from ops.console import Console
from ops.logs import Logs
from ops.programs import Leaves, Program
from ops.rolling import Rolling, Terminal
from ops.supervisor import Care, Supervisor
from tests.support.programs import as_in_service
from tests.support.real_loop import real_loop

pytestmark = pytest.mark.peer

# Says READY=1, leaves when it is told to, and writes down both.
PROGRAM = """
import os, signal, socket, sys
name, path, *words = sys.argv[1:]
def tell(what):
    with open(path, "a") as file:
        file.write(f"{name} {what}\\n")
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
if "broken" in words:
    sys.exit(78)
manager = "\\0" + os.environ["NOTIFY_SOCKET"][1:]
tell("serves")
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", manager)
signal.sigwait({signal.SIGTERM, signal.SIGINT})
tell("leaves")
"""


class Rig:
    def __init__(self, folder: Path) -> None:
        self.told = folder / "told"
        self.logs = Logs(folder, 1_000_000)
        self.stream = io.StringIO()

    def program(self, name: str, *words: str, url: str | None = None) -> Program:
        command = (sys.executable, "-S", "-E", "-c", PROGRAM, name, str(self.told), *words)
        return Program(name, command, Leaves.FIRST, "ZT_TEST_", url)

    @asynccontextmanager
    async def rolling(
        self, programs: list[Program], turns: dict[str, Program]
    ) -> AsyncIterator[tuple[Supervisor, Rolling]]:
        supervisor = Supervisor(
            programs,
            self.logs,
            lambda _: {"PATH": os.defpath},
            lambda _: None,
            random.Random(1),
            Care(BackOff(first_s=0.01, max_s=0.2), start_deadline_s=15, at_once_s=0.5),
        )
        rolling = Rolling(supervisor, turns, Console(self.stream), 0.3)
        try:
            async with asyncio.timeout(40), asyncio.TaskGroup() as group:
                group.create_task(supervisor.keep())
                turning = group.create_task(rolling.keep())
                await until(lambda: supervisor.serving_pids() is not None)
                yield supervisor, rolling
                turning.cancel()
                await supervisor.stop()
        finally:
            await supervisor.end_now()
            supervisor.close()

    def rounds(self) -> int:
        return self.stream.getvalue().count("was replaced")


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


async def until(wanted: Callable[[], bool]) -> None:
    while not wanted():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def test_every_process_with_a_successor_is_replaced_each_time_and_they_take_turns(
    rig: Rig,
) -> None:
    a, b, c, d = (rig.program(name) for name in ("a", "b", "c", "d"))

    async def main() -> None:
        turns = {"a": b, "b": a, "d": d}
        async with rig.rolling([c, a, d], turns) as (supervisor, rolling):
            assert rolling.begin()
            await until(lambda: rig.rounds() == 1)
            assert [one.name for one in supervisor.programs] == ["c", "b", "d"]
            rolling.begin()
            rolling.begin()  # asked for twice before it began: once is enough
            await until(lambda: rig.rounds() == 2)
            assert [one.name for one in supervisor.programs] == ["c", "a", "d"]

    real_loop(main())
    told = rig.told.read_text().splitlines()
    assert told.count("c serves") == told.count("c leaves") == 1
    assert told.count("d serves") == told.count("d leaves") == 3
    assert told.index("b serves") < told.index("a leaves")


@pytest.mark.reaches("READYZ_PAUSE_S")
def test_what_serves_goes_on_when_its_successor_is_not_ready(rig: Rig) -> None:
    a = rig.program("a")
    broken = rig.program("b", "broken")
    silent = rig.program("c", url="http://127.0.0.1:1/readyz")  # where nobody answers

    async def main() -> None:
        turns = {"a": broken}
        async with rig.rolling([a], turns) as (supervisor, rolling):
            for successor in (broken, silent):
                turns["a"] = successor
                rolling.begin()
                said = f"{successor.name} did not get ready: a goes on."
                await until(lambda said=said: said in rig.stream.getvalue())  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            assert [one.name for one in supervisor.programs] == ["a"]
            assert "a leaves" not in rig.told.read_text()

    real_loop(main())


def test_a_terminal_that_hung_up_is_told_from_one_that_never_was() -> None:
    code = (
        "import sys\nfrom ops.rolling import Terminal\nterminal = Terminal()\n"
        "import signal, time\nsignal.signal(signal.SIGHUP, lambda *_: None)\n"
        "open(sys.argv[1], 'w').write(str(terminal.is_gone()))\n"
        "while not terminal.is_gone() and len(sys.argv) > 2: time.sleep(0.01)\n"
        "open(sys.argv[1], 'a').write(str(terminal.is_gone()))\n"
    )
    ours, theirs = pty.openpty()
    reading, writing = os.pipe()
    path = f"/proc/self/fd/{writing}"
    # setsid --ctty: the pseudo-terminal becomes its own.
    with subprocess.Popen(
        ["setsid", "--ctty", sys.executable, "-c", code, path, "waits"],
        stdin=theirs,
        env=as_in_service(),
        pass_fds=(writing,),
    ) as process:
        os.close(theirs)
        assert os.read(reading, 100) == b"False"
        os.close(ours)  # the window is closed
        assert os.read(reading, 100) == b"True"
        assert process.wait(30) == 0
    done = subprocess.run(
        ["setsid", "--wait", sys.executable, "-c", code, path],
        env=as_in_service(),
        pass_fds=(writing,),
        timeout=60,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0
    assert os.read(reading, 100) == b"FalseFalse"
    os.close(reading)
    os.close(writing)
    assert isinstance(Terminal().is_gone(), bool)
