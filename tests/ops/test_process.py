import asyncio
import errno
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ops.process import Process
from tests.support.real_loop import real_loop

pytestmark = pytest.mark.peer


@asynccontextmanager
async def started(command: str, output: Path) -> AsyncIterator[Process]:
    """Run a line of shell, and end it in any case."""
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    lifeline, held = os.pipe()
    process = Process(["/bin/sh", "-c", command], {"PATH": os.defpath}, descriptor, lifeline)
    try:
        yield process
    finally:
        process.kill()
        await process.ended()
        for each in (descriptor, lifeline, held):
            os.close(each)


def test_its_output_is_kept_and_its_code_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        async with started("echo out; echo err >&2; exit 7", tmp_path / "log") as process:
            assert await process.ended() == 7
            assert process.has_ended
            assert await process.ended() == 7
            process.send(signal.SIGTERM)  # to nobody, and no error

    real_loop(main())
    assert (tmp_path / "log").read_text() == "out\nerr\n"


def test_a_signal_that_ends_it_is_its_negative_code(tmp_path: Path) -> None:
    async def main() -> None:
        async with started("sleep 60", tmp_path / "log") as process:
            process.send(signal.SIGTERM)
            assert await process.ended() == -signal.SIGTERM

    real_loop(main())


def test_it_has_a_session_of_its_own_and_no_input(tmp_path: Path) -> None:
    async def main() -> None:
        async with started("cat; sleep 60", tmp_path / "log") as process:
            assert os.getsid(process.pid) == process.pid != os.getsid(0)

    real_loop(main())


def is_alive(pid: str) -> bool:
    """Say whether a process runs; one that nobody has collected yet does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def test_what_it_started_itself_is_killed_with_it(tmp_path: Path) -> None:
    output = tmp_path / "log"

    async def main() -> None:
        async with started("sleep 60 & echo $!; wait", output) as process:
            async with asyncio.timeout(10):
                while not output.read_text():  # noqa: ASYNC110 - a shell sets no event of ours
                    await asyncio.sleep(0.01)
                process.kill()
                assert await process.ended() == -signal.SIGKILL
                while is_alive(output.read_text().strip()):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

    real_loop(main())


class Blind(asyncio.SelectorEventLoop):
    """A loop at the kernel's limit of watched descriptors (epoll_ctl(2), ENOSPC)."""

    def add_reader(self, fd: object, callback: object, *args: object) -> None:
        """Refuse."""
        raise OSError(errno.ENOSPC, "no watch left")


def test_one_that_cannot_be_watched_is_not_left_running(tmp_path: Path) -> None:
    log = tmp_path / "log"

    async def main() -> None:
        lifeline, held = os.pipe()
        open_before = set(os.listdir("/proc/self/fd"))
        script = f"echo $$ >{log}; exec sleep 60"
        with pytest.raises(OSError, match="no watch left"):
            Process(["/bin/sh", "-c", script], {"PATH": os.defpath}, lifeline, lifeline)
        assert set(os.listdir("/proc/self/fd")) == open_before
        os.close(lifeline)
        os.close(held)

    with asyncio.Runner(loop_factory=Blind) as runner:
        runner.run(main())
    # Killed at once, so it may not even have come to write its number.
    number = log.read_text().strip() if log.exists() else ""
    assert not Path(f"/proc/{number or 'none'}").exists()  # and it is collected


def test_a_program_that_is_not_there_is_an_error_of_the_kernel(tmp_path: Path) -> None:
    async def main() -> None:
        lifeline, held = os.pipe()
        with pytest.raises(FileNotFoundError):
            Process([str(tmp_path / "nothing")], {}, lifeline, lifeline)
        os.close(lifeline)
        os.close(held)

    real_loop(main())


def test_listeners_are_passed_on_by_name_and_nothing_else_is(tmp_path: Path) -> None:
    """As of sd_listen_fds(3): from descriptor 3 on, whatever numbers they have here."""
    log = tmp_path / "log"
    tell = "echo $LISTEN_FDS $LISTEN_FDNAMES $ZT_LIFELINE_FD $LISTEN_PID; ls -l /proc/$$/fd"

    async def main() -> None:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        lifeline, held = os.pipe()
        os.set_inheritable(held, True)  # by accident, as one that a shell left open
        here = ("127.0.0.1", 0)
        with socket.create_server(here) as http, socket.create_server(here) as ftp:
            # The lower number comes second: neither copy overwrites what is still to be copied.
            given = {"ftp": ftp.fileno(), "http": http.fileno()}
            command = ["/bin/sh", "-c", tell]
            process = Process(command, {"PATH": os.defpath}, descriptor, lifeline, given)
            assert await process.ended() == 0
            inodes = [os.fstat(each).st_ino for each in given.values()]
        pipe = f"pipe:[{os.fstat(held).st_ino}]"
        for each in (descriptor, lifeline, held):
            os.close(each)
        first, *listed = log.read_text().splitlines()
        assert first.split() == ["2", "ftp:http", "5"]
        open_there = {line.split()[-3]: line.split()[-1] for line in listed if "->" in line}
        assert [open_there["3"], open_there["4"]] == [f"socket:[{inode}]" for inode in inodes]
        assert [number for number, what in open_there.items() if what == pipe] == ["5"]

    real_loop(main())
