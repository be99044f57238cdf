import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.sim import simulate
from zentransfer import log_facts
from zentransfer.limits import LEAVE_ACTION_S, LEAVE_AT_ONCE_S
from zentransfer.notifier import Notifier
from zentransfer.service import (
    EXIT_CANNOT_START,
    EXIT_CLEAN,
    EXIT_FAULT,
    EXIT_TRY_LATER,
    LIFELINE_VARIABLE,
    NOTIFY_VARIABLE,
    CannotStart,
    Main,
    Service,
    Stage,
    inherited,
    starting,
)
from zentransfer.settings import SettingsError

DRAIN_S = 900.0


async def seconds_of(service: Service, main: Main) -> float:
    """Live through *main* and return how long that took by the loop's clock."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    await service.live(main)
    return loop.time() - began


def a_service() -> Service:
    return Service(DRAIN_S, Notifier(None))


def signalled(service: Service, *after_s: float) -> None:
    """Let the signals of a person arrive at these times."""
    for moment in after_s:
        asyncio.get_running_loop().call_later(moment, service.stop)


@given(st.lists(st.sampled_from(Stage), max_size=12))
def test_stages_run_in_order_and_the_newest_of_a_stage_first(stages: list[Stage]) -> None:
    seen: list[tuple[Stage, int]] = []

    async def main(service: Service) -> None:
        for number, stage in enumerate(stages):

            async def action(what: tuple[Stage, int] = (stage, number)) -> None:
                seen.append(what)

            service.on_leave(stage, "noting", action)
        service.ready()
        signalled(service, 1)
        await service.until_stopping()

    service = a_service()
    simulate(service.live(main))
    assert seen == sorted(enumerate_(stages), key=lambda entry: (entry[0], -entry[1]))
    assert service.exit_code == EXIT_CLEAN


def enumerate_(stages: list[Stage]) -> list[tuple[Stage, int]]:
    return [(stage, number) for number, stage in enumerate(stages)]


def test_a_stage_that_fails_is_a_fault_and_stops_no_other() -> None:
    seen: list[str] = []

    async def fails() -> None:
        raise OSError("the disk is gone")

    async def closes() -> None:
        seen.append("closed")

    async def main(service: Service) -> None:
        service.on_leave(Stage.FLUSH_OUTBOX, "outbox", fails)
        service.on_leave(Stage.CLOSE, "sockets", closes)

    service = a_service()
    simulate(service.live(main))
    assert seen == ["closed"]
    assert service.exit_code == EXIT_FAULT


async def hangs() -> None:
    await asyncio.Event().wait()


@pytest.mark.reaches("LEAVE_ACTION_S")
def test_what_hangs_in_a_stage_is_left_behind_at_its_deadline() -> None:
    async def main(service: Service) -> None:
        service.on_leave(Stage.STOP_ADMITTING, "hanging", hangs)
        service.on_leave(Stage.FLUSH_OUTBOX, "hanging", hangs)

    service = a_service()
    assert simulate(seconds_of(service, main)) == pytest.approx(2 * LEAVE_ACTION_S)
    assert service.exit_code == EXIT_FAULT  # what was left behind is not done


def test_an_action_may_have_a_deadline_of_its_own() -> None:
    async def main(service: Service) -> None:
        service.on_leave(Stage.CLOSE, "children", hangs, deadline_s=65)

    service = a_service()
    assert simulate(seconds_of(service, main)) == pytest.approx(65)
    assert service.exit_code == EXIT_FAULT


def test_what_a_second_signal_cuts_is_no_fault() -> None:
    async def main(service: Service) -> None:
        service.on_leave(Stage.DRAIN, "uploads", hangs)
        service.ready()
        signalled(service, 1, 2)
        await service.until_stopping()

    service = a_service()
    assert simulate(seconds_of(service, main)) == pytest.approx(2)
    assert service.exit_code == EXIT_CLEAN


def test_the_drain_has_the_drains_own_deadline_once_for_all() -> None:
    async def main(service: Service) -> None:
        service.on_leave(Stage.DRAIN, "uploads by FTP", hangs)
        service.on_leave(Stage.DRAIN, "uploads by HTTP", hangs)

    # The second of them gets what an action gets at least: it still must park its uploads.
    assert simulate(seconds_of(a_service(), main)) == pytest.approx(DRAIN_S + LEAVE_ACTION_S)


@pytest.mark.reaches("LEAVE_AT_ONCE_S")
def test_a_second_signal_skips_to_the_last_stage_with_a_short_deadline() -> None:
    seen: list[str] = []

    async def flushes() -> None:
        seen.append("flushed")

    async def main(service: Service) -> None:
        service.on_leave(Stage.DRAIN, "uploads", hangs)
        service.on_leave(Stage.FLUSH_OUTBOX, "outbox", flushes)
        service.on_leave(Stage.CLOSE, "sockets", hangs)
        service.ready()
        signalled(service, 10, 15)
        await service.until_stopping()

    assert simulate(seconds_of(a_service(), main)) == pytest.approx(15 + LEAVE_AT_ONCE_S)
    assert seen == []


def test_a_second_signal_while_closing_leaves_the_close_its_short_deadline() -> None:
    async def main(service: Service) -> None:
        service.on_leave(Stage.CLOSE, "children", hangs, at_once_s=3)
        service.ready()
        signalled(service, 1, 2)
        await service.until_stopping()

    assert simulate(seconds_of(a_service(), main)) == pytest.approx(2 + 3)


def test_a_first_signal_before_ready_cancels_main_and_closes() -> None:
    seen: list[str] = []

    async def closes() -> None:
        seen.append("closed")

    async def main(service: Service) -> None:
        service.on_leave(Stage.CLOSE, "sockets", closes)
        signalled(service, 3)
        await hangs()

    service = a_service()
    assert simulate(seconds_of(service, main)) == pytest.approx(3)
    assert seen == ["closed"]
    assert service.exit_code == EXIT_CLEAN


def test_a_main_that_is_ready_and_does_not_come_back_is_cut_at_the_drains_deadline() -> None:
    async def main(service: Service) -> None:
        service.ready()
        signalled(service, 1)
        await hangs()

    assert simulate(seconds_of(a_service(), main)) == pytest.approx(1 + DRAIN_S)


def test_a_timeout_of_mains_own_is_its_error_and_not_a_signal() -> None:
    async def main(_: Service) -> None:
        async with asyncio.timeout(5):
            await hangs()

    with pytest.raises(ExceptionGroup) as caught:
        simulate(a_service().live(main))
    assert caught.group_contains(TimeoutError)


def test_tasks_beside_main_live_through_the_drain_and_end_after_the_last_stage() -> None:
    seen: list[str] = []

    async def link() -> None:
        try:
            await hangs()
        finally:
            seen.append("link ended")

    async def notes(what: str) -> None:
        seen.append(what)

    async def main(service: Service) -> None:
        service.tasks.create_task(link())
        service.on_leave(Stage.DRAIN, "uploads", lambda: notes("drained"))
        service.on_leave(Stage.CLOSE, "sockets", lambda: notes("closed"))
        await asyncio.sleep(0)

    simulate(a_service().live(main))
    assert seen == ["drained", "closed", "link ended"]


def test_a_task_that_crashes_ends_the_process_which_still_closes() -> None:
    seen: list[str] = []

    async def link() -> None:
        await asyncio.sleep(2)
        raise KeyError("unforeseen")

    async def notes(what: str) -> None:
        seen.append(what)

    async def main(service: Service) -> None:
        service.tasks.create_task(link())
        service.on_leave(Stage.DRAIN, "uploads", lambda: notes("drained"))
        service.on_leave(Stage.CLOSE, "sockets", lambda: notes("closed"))
        service.ready()
        await service.until_stopping()

    with pytest.raises(ExceptionGroup) as caught:
        simulate(a_service().live(main))
    assert caught.group_contains(KeyError)
    assert seen == ["closed"]


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (CannotStart("Port 1 is taken.", "Stop it."), EXIT_CANNOT_START, "Port 1 is taken. Stop"),
        (CannotStart("Not yet.", temporary=True), EXIT_TRY_LATER, "Not yet."),
        (SettingsError(["a: wrong", "b: wrong"]), EXIT_CANNOT_START, "a: wrong; b: wrong"),
        (
            ExceptionGroup("", [ExceptionGroup("", [CannotStart("Deep.")])]),
            EXIT_CANNOT_START,
            "Deep.",
        ),
    ],
)
def test_a_start_error_is_one_plain_line(
    error: Exception, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught, starting("ingest-0"):
        raise error
    assert caught.value.code == code
    said = capsys.readouterr().err
    assert said.startswith(f"ingest-0: {line}")
    assert said.count("\n") == 1


def test_the_log_knows_every_stage_by_name() -> None:
    field = log_facts.FACTS["process.leave_late"].fields["stage"]
    assert all(field.shown(stage.name.lower()) for stage in Stage)


def test_a_child_inherits_our_settings_and_nothing_strange() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZT_EDGE_NODE", "us-7")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        given_on = inherited()
        patch.setenv("ZT_CONTROL_PEPPER", "secret")
        of_edge = inherited("ZT_EDGE_")
    assert given_on["ZT_EDGE_NODE"] == of_edge["ZT_EDGE_NODE"] == "us-7"
    assert "PATH" in given_on.keys() & of_edge.keys()
    assert "ZT_CONTROL_PEPPER" not in of_edge
    assert "AWS_SECRET_ACCESS_KEY" not in given_on


# --- real processes -------------------------------------------------------------------------------

PROGRAM = """
import asyncio, os, resource, sys
from zentransfer import service
from zentransfer.service import CannotStart, Stage

async def main(process):
    async def says(what):
        print(what, flush=True)

    async def drains():
        await says("draining")
        await asyncio.sleep(60 if "slow" in sys.argv else 0)
        await says("drained")

    async def closes():
        await says("closing")
        if "stuck" in sys.argv:
            await asyncio.sleep(60)

    if "refuse" in sys.argv:
        raise CannotStart("Nothing works.", "Give up.")
    if "fault" in sys.argv:
        raise ValueError("203.0.113.9")
    core = resource.getrlimit(resource.RLIMIT_CORE)
    await says(f"up {type(asyncio.get_running_loop()).__module__} {core} {os.umask(0o077):o}")
    process.on_leave(Stage.DRAIN, "uploads", drains)
    process.on_leave(Stage.CLOSE, "sockets", closes, at_once_s=30)
    process.ready()
    await process.until_stopping()

service.run(main, process="ingest-0", uvloop="uvloop" in sys.argv, drain_deadline_s=60)
"""


class Running:
    """A process of PROGRAM and the service manager's end of its notify socket."""

    def __init__(self, *words: str, address: str = "", lifeline: int | None = None) -> None:
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.settimeout(20)
        self.manager.bind(address)  # "" takes a free abstract name
        name = self.manager.getsockname()
        shown = name if isinstance(name, str) else "@" + name[1:].decode()
        variables = inherited() | {NOTIFY_VARIABLE: shown}
        if lifeline is not None:
            variables[LIFELINE_VARIABLE] = str(lifeline)
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *words],
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=() if lifeline is None else (lifeline,),
            text=True,
        )

    def told(self) -> str:
        """Return the next message of sd_notify."""
        return self.manager.recv(4096).decode()

    def line(self) -> str:
        """Return the next line of its output."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def close(self) -> None:
        self.manager.close()
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def started() -> Iterator[list[Running]]:
    running: list[Running] = []
    yield running
    for each in running:
        each.close()


@pytest.mark.peer
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_first_signal_drains(started: list[Running], loop: str, number: signal.Signals) -> None:
    program = Running(loop)
    started.append(program)
    first = program.line()
    assert first.startswith(f"up {loop}")
    assert first.endswith(" (0, 0) 77")
    assert program.told() == "READY=1"
    program.process.send_signal(number)
    assert program.told() == "STOPPING=1"
    assert program.told() == "STATUS=leaving: uploads"
    assert [program.line() for _ in range(3)] == ["draining", "drained", "closing"]
    assert program.process.wait(20) == EXIT_CLEAN


@pytest.mark.peer
def test_the_second_signal_ends_now_and_the_third_is_the_kernels(started: list[Running]) -> None:
    program = Running("uvloop", "slow", "stuck")
    started.append(program)
    assert program.told() == "READY=1"
    program.line()
    program.process.send_signal(signal.SIGTERM)
    assert program.line() == "draining"
    program.process.send_signal(signal.SIGINT)
    assert program.line() == "closing"
    program.process.send_signal(signal.SIGTERM)
    assert program.process.wait(20) == -signal.SIGTERM


@pytest.mark.peer
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_launcher_that_dies_is_a_first_signal(started: list[Running], loop: str) -> None:
    ours, launchers = os.pipe()
    program = Running(loop, lifeline=ours)
    started.append(program)
    os.close(ours)
    assert program.told() == "READY=1"
    os.close(launchers)
    assert program.told() == "STOPPING=1"
    assert program.process.wait(20) == EXIT_CLEAN


@pytest.mark.peer
def test_a_notify_socket_with_a_path_works_as_well(started: list[Running], tmp_path: Path) -> None:
    program = Running("asyncio", address=str(tmp_path / "n"))
    started.append(program)
    assert program.told() == "READY=1"


@pytest.mark.peer
def test_a_lifeline_that_is_no_descriptor_is_named(started: list[Running]) -> None:
    program = Running("asyncio", lifeline=None)
    program.close()
    ours, launchers = os.pipe()
    os.close(launchers)
    variables = inherited() | {LIFELINE_VARIABLE: str(ours)}  # named, and not passed on
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    os.close(ours)
    assert done.returncode == EXIT_CANNOT_START
    assert LIFELINE_VARIABLE in done.stderr
    assert started == []


@pytest.mark.peer
def test_a_start_error_says_its_line_and_a_fault_says_no_data(started: list[Running]) -> None:
    refuses, fails = Running("refuse"), Running("fault")
    started += [refuses, fails]
    assert refuses.process.wait(20) == EXIT_CANNOT_START
    assert fails.process.wait(20) == EXIT_FAULT
    assert refuses.process.stderr is not None
    assert refuses.process.stderr.read().splitlines()[-1] == "ingest-0: Nothing works. Give up."
    assert fails.process.stderr is not None
    said = fails.process.stderr.read()
    assert "process.failed" in said
    assert "ValueError" in said
    assert "203.0.113.9" not in said
