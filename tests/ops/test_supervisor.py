import asyncio
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ops.child import BackOff, State
from ops.logs import Logs
from ops.ports import Port
from ops.programs import Leaves, Program
from ops.supervisor import Care, Supervisor
from tests.support.ports import free_port
from tests.support.real_loop import real_loop
from zentransfer.limits import CHILD_AT_ONCE_S, CHILD_START_S
from zentransfer.service import CannotStart

pytestmark = pytest.mark.peer

# A program like ours, without our packages, so that it starts within some milliseconds.
PROGRAM = """
import os, pathlib, signal, socket, sys, threading, time
name, folder, *words = sys.argv[1:]
folder = pathlib.Path(folder)
if "missing" in words and not (folder / "needed").exists():
    print("The file needed is missing.", flush=True)
    sys.exit(78)
if "fails" in words:
    sys.exit(3)

def ended(why):
    with open(folder / "ends", "a") as file:
        file.write(f"{name} {why}\\n")
    os._exit(0)

def orphaned():
    os.read(int(os.environ["ZT_LIFELINE_FD"]), 1)
    ended("orphaned")

# Blocked and waited for: a handler of Python's would wait for the end of a sleep just begun.
signals = {signal.SIGTERM, signal.SIGINT}
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
threading.Thread(target=orphaned, daemon=True).start()
if "mute" not in words:
    manager = "\\0" + os.environ["NOTIFY_SOCKET"][1:]
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1\\nSTATUS=x", manager)
signal.sigwait(signals)
if "stubborn" in words:
    signal.sigwait(signals)
time.sleep(0.2 if "slow" in words else 0)
if "loses" in words:
    print("The outbox is lost.", flush=True)
    os._exit(1)
ended("told")
"""
CARE = Care(BackOff(first_s=0.01, max_s=0.2), start_deadline_s=15, at_once_s=0.5)


class Rig:
    """A supervisor of small programs, and what it said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.logs = Logs(folder, 1_000_000)
        (folder / "program.py").write_text(PROGRAM)

    def program(self, name: str, *words: str, leaves: Leaves = Leaves.FIRST) -> Program:
        """Return the program *name* that behaves as the *words* say."""
        command = (sys.executable, "-S", "-E", str(self.folder / "program.py"))
        return Program(name, (*command, name, str(self.folder), *words), leaves, "ZT_TEST_")

    def variables(self, prefix: str) -> dict[str, str]:
        """Return the environment of a program whose settings begin with *prefix*."""
        return {"PATH": os.defpath, f"{prefix}OWN": "1"}

    @asynccontextmanager
    async def keeping(self, *programs: Program, care: Care = CARE) -> AsyncIterator[Supervisor]:
        """Keep *programs* running, and end them in any case."""
        supervisor = Supervisor(
            programs, self.logs, self.variables, self.said.append, random.Random(1), care
        )
        try:
            async with asyncio.timeout(40), asyncio.TaskGroup() as group:
                group.create_task(supervisor.keep())
                yield supervisor
                await supervisor.stop()
        finally:
            await supervisor.end_now()
            supervisor.close()

    def ends(self) -> list[str]:
        """Return which programs ended, and why, in order."""
        path = self.folder / "ends"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


async def until(wanted: Callable[[], bool]) -> None:
    """Return when *wanted* holds; processes that are not ours set no event of ours."""
    while not wanted():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def environment_of(pid: int | None) -> list[bytes]:
    return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def serves(supervisor: Supervisor, name: str, other_than: int | None = None) -> bool:
    child = supervisor.children[name]
    return child.state is State.SERVING and child.pid != other_than


def test_a_killed_process_is_started_again_and_the_others_stay(rig: Rig) -> None:
    async def main() -> None:
        async with rig.keeping(rig.program("a"), rig.program("b")) as supervisor:
            await until(lambda: supervisor.serving_pids() is not None)
            before = supervisor.serving_pids()
            assert before is not None
            os.kill(before["a"], signal.SIGKILL)
            await until(lambda: serves(supervisor, "a", other_than=before["a"]))
            after = supervisor.serving_pids()
            assert after is not None
            assert after["b"] == before["b"]

    real_loop(main())
    assert any("a: was ended by SIGKILL; it starts again at once" in line for line in rig.said)


def test_who_refuses_at_its_first_start_ends_all_with_its_last_words(rig: Rig) -> None:
    async def main() -> None:
        async with rig.keeping(rig.program("a"), rig.program("b", "missing")):
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as caught:
        real_loop(main())
    assert caught.group_contains(CannotStart, match="b cannot start: The file needed is missing.")
    assert caught.group_contains(CannotStart, match=r"Its log is .*/b\.log")


def test_who_served_once_and_then_refuses_is_tried_again_at_the_longest_pause(rig: Rig) -> None:
    async def main() -> None:
        (rig.folder / "needed").touch()
        async with rig.keeping(rig.program("a", "missing")) as supervisor:
            await until(lambda: serves(supervisor, "a"))
            first = supervisor.children["a"].pid
            (rig.folder / "needed").unlink()
            assert first is not None
            os.kill(first, signal.SIGKILL)
            await until(lambda: sum("exit code 78" in line for line in rig.said) >= 2)
            (rig.folder / "needed").touch()
            await until(lambda: serves(supervisor, "a"))

    real_loop(main())
    refusals = [line for line in rig.said if "exit code 78" in line]
    assert all("(The file needed is missing.); it starts again in 0.2 s" in r for r in refusals)


@pytest.mark.reaches("CHILD_START_S")
def test_who_is_not_ready_in_time_is_killed_and_started_again(rig: Rig) -> None:
    assert Care().start_deadline_s == CHILD_START_S

    async def main() -> None:
        care = replace(CARE, start_deadline_s=0.3)
        async with rig.keeping(rig.program("a", "mute"), care=care) as supervisor:
            await until(lambda: supervisor.children["a"].failures >= 2)
            assert not serves(supervisor, "a")

    real_loop(main())
    assert rig.said.count("a: is not ready after 0.3 s and is killed") >= 2


def test_ready_of_a_stranger_is_not_heard(rig: Rig) -> None:
    async def main() -> None:
        async with rig.keeping(rig.program("a", "mute")) as supervisor:
            await until(lambda: supervisor.children["a"].state is State.STARTING)
            pid = supervisor.children["a"].pid
            address = next(v for v in environment_of(pid) if v.startswith(b"NOTIFY_SOCKET=@"))[15:]
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
                stranger.sendto(b"READY=1", b"\0" + address)
            await asyncio.sleep(0.2)
            assert supervisor.children["a"].state is State.STARTING

    real_loop(main())


def test_who_fails_again_and_again_is_not_started_without_a_pause(rig: Rig) -> None:
    async def main() -> None:
        care = replace(CARE, back_off=BackOff(first_s=0.4, max_s=0.4))
        async with rig.keeping(rig.program("a", "fails"), care=care) as supervisor:
            await asyncio.sleep(1)
            assert 1 <= supervisor.children["a"].failures < 40

    real_loop(main())


def test_a_program_that_cannot_be_started_is_said_and_tried_again(rig: Rig) -> None:
    async def main() -> None:
        broken = Program("a", (str(rig.folder / "nothing"),), Leaves.FIRST, "ZT_TEST_")
        async with rig.keeping(broken) as supervisor:
            await until(lambda: supervisor.children["a"].failures >= 2)

    real_loop(main())
    assert "a: cannot be started: No such file or directory" in rig.said


def test_they_leave_in_order_each_rank_after_the_one_before(rig: Rig) -> None:
    programs = [
        rig.program("control", leaves=Leaves.LAST),
        rig.program("ingest", "slow"),
        rig.program("delivery", "slow", leaves=Leaves.THEN),
    ]

    async def main() -> None:
        async with rig.keeping(*programs) as supervisor:
            await until(lambda: supervisor.serving_pids() is not None)
            await supervisor.stop()
            states = {child.state for child in supervisor.children.values()}
            assert states == {State.ENDED}

    real_loop(main())
    assert rig.ends() == ["ingest told", "delivery told", "control told"]


def test_who_fails_on_its_way_out_is_told_and_remembered(rig: Rig) -> None:
    async def main() -> bool:
        async with rig.keeping(rig.program("a", "loses"), rig.program("b")) as supervisor:
            await until(lambda: supervisor.serving_pids() is not None)
            assert not supervisor.has_failed
        return supervisor.has_failed

    assert real_loop(main())
    assert "a: ended with exit code 1 (The outbox is lost.) while it was leaving" in rig.said
    assert not any("while it was leaving" in line for line in rig.said if line.startswith("b"))


def test_who_is_killed_while_it_drains_has_failed(rig: Rig) -> None:
    async def main() -> bool:
        async with rig.keeping(rig.program("a", "stubborn")) as supervisor:
            await until(lambda: serves(supervisor, "a"))
            pid = supervisor.children["a"].pid
            assert pid is not None
            asyncio.get_running_loop().call_later(0.2, os.kill, pid, signal.SIGKILL)
            await supervisor.stop()
        return supervisor.has_failed

    assert real_loop(main())
    assert "a: was ended by SIGKILL while it was leaving" in rig.said


def test_a_program_gets_the_variables_of_its_own_settings(rig: Rig) -> None:
    async def main() -> None:
        async with rig.keeping(rig.program("a")) as supervisor:
            await until(lambda: serves(supervisor, "a"))
            assert b"ZT_TEST_OWN=1" in environment_of(supervisor.children["a"].pid)

    real_loop(main())


def test_none_is_left_when_the_end_itself_is_cut(rig: Rig) -> None:
    async def main() -> None:
        care = replace(CARE, at_once_s=60)
        async with rig.keeping(rig.program("a"), care=care) as supervisor:
            await until(lambda: serves(supervisor, "a"))
            pid = supervisor.children["a"].pid
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await supervisor.end_now()
            await until(lambda: not exists(pid))
            assert not supervisor.has_failed  # it was hurried

    real_loop(main())


def test_a_stop_before_anything_started_starts_nothing(rig: Rig) -> None:
    async def main() -> None:
        async with rig.keeping(rig.program("a")):
            pass

    real_loop(main())
    assert not rig.logs.path("a").exists()


def test_a_stop_while_one_waits_for_its_next_start_ends_that_one_too(rig: Rig) -> None:
    async def main() -> None:
        care = replace(CARE, back_off=BackOff(first_s=30, max_s=30))
        async with rig.keeping(rig.program("a", "fails"), care=care) as supervisor:
            await until(lambda: supervisor.children["a"].failures == 1)

    real_loop(main())


@pytest.mark.reaches("CHILD_AT_ONCE_S")
def test_who_hangs_is_killed_when_it_must_end_now(rig: Rig) -> None:
    assert Care().at_once_s == CHILD_AT_ONCE_S
    care = replace(CARE, at_once_s=2)

    async def main() -> None:
        programs = rig.program("hangs"), rig.program("stubborn", "stubborn"), rig.program("c")
        async with rig.keeping(*programs, care=care) as supervisor:
            await until(lambda: supervisor.serving_pids() is not None)
            pids = supervisor.serving_pids()
            assert pids is not None
            os.kill(pids["hangs"], signal.SIGSTOP)
            loop = asyncio.get_running_loop()
            began = loop.time()
            await supervisor.end_now()
            assert care.at_once_s <= loop.time() - began < care.at_once_s + 5
            assert not any(map(exists, pids.values()))

    real_loop(main())
    # Two signals that arrive together count as two: the stubborn one obeyed the second.
    assert sorted(rig.ends()) == ["c told", "stubborn told"]


def test_a_supervisor_that_is_gone_lets_its_processes_know(rig: Rig) -> None:
    async def main() -> None:
        supervisor = Supervisor(
            [rig.program("a")], rig.logs, rig.variables, rig.said.append, random.Random(1), CARE
        )
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            group.create_task(supervisor.keep())
            await until(lambda: serves(supervisor, "a"))
            supervisor._give_no_more_lives()
            supervisor.close()

    real_loop(main())
    assert rig.ends() == ["a orphaned"]


def test_a_successor_serves_before_the_one_that_it_replaces_leaves(rig: Rig) -> None:
    async def main() -> None:
        async with rig.keeping(rig.program("a", "slow"), rig.program("b")) as supervisor:
            await until(lambda: supervisor.serving_pids() is not None)
            before = supervisor.serving_pids()
            fresh = rig.program("c")
            assert await supervisor.try_out(fresh)
            assert supervisor.serving_pids() == before, "one on trial counts for nothing yet"
            assert rig.ends() == []
            supervisor.hand_over("a", fresh)
            pids = supervisor.serving_pids()
            assert pids is not None, "there is no gap"
            assert set(pids) == {"b", "c"}
            assert [each.name for each in supervisor.programs] == ["c", "b"]
            await supervisor.until_left()
            assert rig.ends() == ["a told"]
            os.kill(pids["c"], signal.SIGKILL)  # it is kept running as the one before was
            await until(lambda: (supervisor.serving_pids() or pids)["c"] != pids["c"])
        assert not supervisor.has_failed

    real_loop(main())
    assert sorted(rig.ends()) == ["a told", "b told", "c told"]


@pytest.mark.parametrize("word", ["missing", "fails", "mute"])
def test_a_successor_that_does_not_come_up_changes_nothing(rig: Rig, word: str) -> None:
    async def main() -> None:
        care = replace(CARE, start_deadline_s=1.5)
        async with rig.keeping(rig.program("a"), care=care) as supervisor:
            await until(lambda: serves(supervisor, "a"))
            before = supervisor.serving_pids()
            fresh = rig.program("b", word)
            assert not await supervisor.try_out(fresh)
            await supervisor.give_up(fresh)
            assert supervisor.serving_pids() == before
            await supervisor.until_left()

    real_loop(main())
    assert "a told" in rig.ends()


def test_one_without_a_successor_is_ended_and_started_again(rig: Rig) -> None:
    async def main() -> None:
        async with rig.keeping(rig.program("a")) as supervisor:
            await until(lambda: serves(supervisor, "a"))
            before = supervisor.serving_pids()
            await supervisor.start_anew("a")
            assert supervisor.serving_pids() not in (None, before)
            assert rig.ends() == ["a told"]

    real_loop(main())
    assert rig.ends() == ["a told", "a told"]


def test_a_stop_in_the_middle_of_a_replacement_ends_both(rig: Rig) -> None:
    async def main() -> None:
        async with rig.keeping(rig.program("a")) as supervisor:
            await until(lambda: serves(supervisor, "a"))
            async with asyncio.TaskGroup() as group:
                trial = group.create_task(supervisor.try_out(rig.program("b", "mute")))
                await until(lambda: len(supervisor._all) == 2 and bool(supervisor._all[1].process))
                await supervisor.stop()
            assert trial.result() is False
            await supervisor.give_up(rig.program("b", "mute"))
            supervisor.hand_over("a", rig.program("b", "mute"))
            await supervisor.start_anew("a")

    real_loop(main())
    assert "a told" in rig.ends()


def test_a_door_stays_open_while_nobody_is_behind_it_and_shuts_at_a_stop(rig: Rig) -> None:
    async def main() -> None:
        number = free_port()
        program = replace(rig.program("a"), listeners={"http": Port("test HTTP", number)})
        async with rig.keeping(program) as supervisor:
            await until(lambda: serves(supervisor, "a"))
            pid = supervisor.children["a"].pid
            assert b"LISTEN_FDNAMES=http" in environment_of(pid)
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await until(lambda: not serves(supervisor, "a"))
            socket.create_connection(("127.0.0.1", number)).close()
            await supervisor.stop()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", number))

    real_loop(main())
