"""``zentransfer up``: the whole system on one machine, from its folder to its last process.

The rule: nothing starts before everything that can be checked is checked, ready.json exists only
while every process serves, and no process outlives the launcher for longer than its drain.
"""

import asyncio
import os
import random
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

from ops import ports, preflight, ready
from ops.child import BackOff, Child
from ops.console import Console
from ops.logs import Logs
from ops.programs import Place, Plan, Preparation, overriding, toml
from ops.publisher import Publisher
from ops.rolling import Rolling, Terminal
from ops.running import Register
from ops.settings import UpSettings
from ops.supervisor import Care, Supervisor
from zentransfer import service
from zentransfer.limits import CHILD_START_S
from zentransfer.service import EXIT_FAULT, CannotStart, Service, Stage

TITLE: Final = "zentransfer up"
EXIT_HURRIED: Final = 130  # what a shell says of a program that Ctrl-C ended

_TRIM_S: Final = 5.0  # between two looks at the size of the logs
_LEFTOVER_POLL_S: Final = 0.25
_CONTROL_DRAIN_S: Final = 60.0


class Up:
    """One system on its way from start to end; its main is handed to :func:`service.run`."""

    def __init__(self, settings: UpSettings, place: Place, plan: Plan, console: Console) -> None:
        self._settings = settings
        self._place = place
        self._plan = plan
        self._console = console
        self.register = Register(place)
        self.was_hurried = False
        self.has_failed = False
        """Set when a process failed on its way out."""

    async def main(self, process: Service) -> None:
        """Start everything, keep it running until a signal, and register how it leaves."""
        settings = self._settings
        await self._await_leftovers()
        for preparation in self._plan.preparations:
            await _prepared(preparation)
        logs = Logs(self._place.folder / "log", settings.log_bytes_max)
        restart = settings.restart
        supervisor = Supervisor(
            self._plan.programs,
            logs,
            service.inherited,
            self._console.say,
            random.Random(),
            Care(
                BackOff(restart.first_s, restart.max_s, restart.reset_s),
                settings.start_deadline_s,
                settings.at_once_s,
            ),
        )
        publisher = Publisher(self._place, supervisor, self._console)
        rolling = Rolling(supervisor, self._plan.successors, self._console, settings.timeout_s)
        self._register(process, supervisor, publisher)
        process.tasks.create_task(supervisor.keep())
        process.tasks.create_task(self.register.keep(supervisor))
        process.tasks.create_task(_trim_for_ever(logs))
        process.tasks.create_task(publisher.keep())
        try:
            async with asyncio.timeout(settings.timeout_s):
                await publisher.is_published.wait()
        except TimeoutError:
            raise CannotStart(
                f"Not everything is ready after {settings.timeout_s:g} s: {publisher.why_not}.",
                f"The logs are in {self._place.folder}/log; --timeout gives it longer.",
                temporary=True,
            ) from None
        process.tasks.create_task(rolling.keep())
        terminal = Terminal()

        def hung_up() -> bool:
            return not terminal.is_gone() and rolling.begin()

        process.hung_up = hung_up
        process.ready()
        await process.until_stopping()

    def _register(self, process: Service, supervisor: Supervisor, publisher: Publisher) -> None:
        async def drain() -> None:
            self._console.say("Draining: running uploads may finish. Ctrl-C again ends it now.")
            await supervisor.stop()
            self.has_failed = supervisor.has_failed
            self._console.say("Everything has stopped.")

        async def end() -> None:
            if process.at_once.is_set():
                self.was_hurried = process.stopping.is_set()
                self._console.say("Ending everything now.")
            try:
                await supervisor.end_now()
            finally:
                self.has_failed = supervisor.has_failed
                supervisor.close()

        process.on_leave(Stage.STOP_ADMITTING, "ready.json", publisher.retire)
        process.on_leave(Stage.DRAIN, "processes", drain)
        # They get at_once_s, after a late drain too; what the kernel then needs is short.
        enough_s = self._settings.at_once_s + 5
        process.on_leave(Stage.CLOSE, "processes", end, enough_s, enough_s)
        # Again, for who skips the first stages; the newest of a stage is first.
        process.on_leave(Stage.CLOSE, "ready.json", publisher.retire)

    async def _await_leftovers(self) -> None:
        """Return when every port is free; raises :class:`CannotStart`.

        Processes that an earlier launcher of this folder left behind drain by themselves: it
        waits for them for a while.
        """
        deadline = asyncio.get_running_loop().time() + self._settings.leftover_wait_s
        said = False
        while taken := preflight.taken_ports(_ports(self._place), self._place.run_folder):
            is_late = asyncio.get_running_loop().time() >= deadline
            if is_late or not all(each.is_leftover for each in taken):
                raise preflight.ports_are_taken(taken, self._place)
            if not said:
                self._console.say("Waiting for processes of an earlier run, which drain: ")
                self._console.say("  " + "; ".join(map(str, taken)))
                said = True
            await asyncio.sleep(_LEFTOVER_POLL_S)


async def _prepared(preparation: Preparation) -> None:
    """Run *preparation* to its end; raises :class:`CannotStart` with its last words."""
    ran = await asyncio.create_subprocess_exec(
        *preparation.command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=service.inherited(preparation.prefix),
    )
    try:
        async with asyncio.timeout(CHILD_START_S):
            _, said = await ran.communicate()
    except TimeoutError:
        raise CannotStart(
            f"{preparation.name} does not end within {CHILD_START_S:g} s.",
            "Try again when this machine has less to do.",
            temporary=True,
        ) from None
    finally:
        if ran.returncode is None:
            ran.kill()
            await ran.wait()
    if ran.returncode:
        last = said.decode(errors="replace").strip().rpartition("\n")[2]
        raise CannotStart(f"{preparation.name} failed: {last or f'exit code {ran.returncode}'}")


def _ports(place: Place) -> tuple[ports.Port, ...]:
    return ports.table(place.base, place.regions, place.workers)


async def _trim_for_ever(logs: Logs) -> None:
    while True:
        await asyncio.sleep(_TRIM_S)
        logs.trim()


def check_variables(place: Place, plan: Plan) -> None:
    """Raise :class:`CannotStart` for a variable that overrides what the launcher decides."""
    names = overriding(service.inherited(), plan)
    if names:
        raise CannotStart(
            f"{', '.join(names)} would override what the launcher decides for {place.folder}.",
            f"Unset {'it' if len(names) == 1 else 'them'}; ports and folders follow --base and"
            " --dir.",
        )


def write_settings(plan: Plan, folder: Path) -> None:
    """Write the settings files of *plan* to *folder*; raises :class:`CannotStart`."""
    with preflight.using(folder):
        for name, table in plan.files.items():
            (folder / name).touch(mode=0o600)
            (folder / name).write_text(toml(table), encoding="utf-8")


def _check_before_a_folder_is_made(place: Place) -> None:
    """Raise :class:`CannotStart` for what a folder that is not there yet cannot cure."""
    if place.run_folder.exists():
        return  # then it is asked for with the lock held
    preflight.check_rights(place.folder)
    preflight.check_free(place.folder)
    taken = preflight.taken_ports(_ports(place), place.run_folder)
    if not all(each.is_leftover for each in taken):
        raise preflight.ports_are_taken(taken, place)


def run(settings: UpSettings, place: Place, plan: Plan) -> NoReturn:
    """Check everything, run the system until it is stopped, and exit.

    Exit codes: 0 after a clean drain, 130 after a hurried one, 78 for what a person must change,
    75 when not everything got ready in time, 1 for our own fault and when a process failed on its
    way out or did not leave in time.
    """
    with service.starting(TITLE):
        check_variables(place, plan)
        _check_before_a_folder_is_made(place)
        preflight.make_folders(place.folder)
        held = preflight.lock(place.folder)
        preflight.check_room(place.folder)
        preflight.check_open_files()
        with preflight.using(place.folder):
            (place.folder / ready.FILE_NAME).unlink(missing_ok=True)
            output = Logs(place.folder / "log", settings.log_bytes_max).open("launcher")
        write_settings(plan, place.run_folder)
    up = Up(settings, place, plan, Console(sys.stdout))
    log_to = os.fdopen(output, "w", encoding="utf-8")
    up.register.write({program.name: Child() for program in plan.programs})
    try:
        service.run(
            up.main,
            process="launcher",
            uvloop=False,
            # Ingest and delivery drain one after the other, control has little to finish.
            drain_deadline_s=2 * settings.drain_deadline_s + _CONTROL_DRAIN_S,
            log_to=log_to,
            title=TITLE,
        )
    except SystemExit as exc:
        raise SystemExit(_exit_code(up, exc.code)) from None
    finally:
        with suppress(OSError):  # what a full disk did not take is lost, and no fault of the system
            log_to.close()
        up.register.remove()
        os.close(held)


def _exit_code(up: Up, code: str | int | None) -> str | int | None:
    """Return what the launcher ends with, given what :func:`service.run` ended with."""
    if code:
        return code
    if up.was_hurried:
        return EXIT_HURRIED
    return EXIT_FAULT if up.has_failed else code
