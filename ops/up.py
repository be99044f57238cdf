"""``zentransfer up``: the whole system on one machine, from its folder to its last process.

The rule: nothing starts before everything that can be checked is checked, ready.json exists only
while the system is ready, and no process outlives the launcher for longer than its drain.
"""

import asyncio
import os
import random
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

from ops import ports, preflight, readiness, ready
from ops.child import BackOff, State
from ops.console import Console
from ops.logs import Logs
from ops.programs import Place, Plan, overriding, toml
from ops.settings import UpSettings
from ops.supervisor import Care, Supervisor
from zentransfer import log, service
from zentransfer.disk import RealDisk, write_atomic
from zentransfer.service import CannotStart, Service, Stage

TITLE: Final = "zentransfer up"
EXIT_HURRIED: Final = 130  # what a shell says of a program that Ctrl-C ended

_POLL_S: Final = 0.2  # between two looks at what is not ready yet
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
        self._is_published = asyncio.Event()
        self._why_not = "no process has started"  # what is waited for, while it is
        self.was_hurried = False

    async def main(self, process: Service) -> None:
        """Start everything, keep it running until a signal, and register how it leaves."""
        settings = self._settings
        await self._await_leftovers()
        logs = Logs(self._place.folder / "log", settings.log_bytes_max)
        restart = settings.restart
        supervisor = Supervisor(
            self._plan.programs,
            logs,
            service.inherited(),
            self._console.say,
            random.Random(),
            Care(
                BackOff(restart.first_s, restart.max_s, restart.reset_s),
                settings.start_deadline_s,
                settings.at_once_s,
            ),
        )
        self._register(process, supervisor)
        process.tasks.create_task(supervisor.keep())
        process.tasks.create_task(_trim_for_ever(logs))
        process.tasks.create_task(self._publish_for_ever(supervisor))
        try:
            async with asyncio.timeout(settings.timeout_s):
                await self._is_published.wait()
        except TimeoutError:
            raise CannotStart(
                f"Not everything is ready after {settings.timeout_s:g} s: {self._why_not}.",
                f"The logs are in {self._place.folder}/log; --timeout gives it longer.",
                temporary=True,
            ) from None
        process.ready()
        await process.until_stopping()

    def _register(self, process: Service, supervisor: Supervisor) -> None:
        async def unpublish() -> None:
            self._ready_path.unlink(missing_ok=True)

        async def drain() -> None:
            self._console.say("Draining: running uploads may finish. Ctrl-C again ends it now.")
            await supervisor.stop()
            self._console.say("Everything has stopped.")

        async def end() -> None:
            await unpublish()
            if process.at_once.is_set():
                self.was_hurried = process.stopping.is_set()
                self._console.say("Ending everything now.")
            await supervisor.end_now()
            supervisor.close()

        process.on_leave(Stage.STOP_ADMITTING, "ready.json", unpublish)
        process.on_leave(Stage.DRAIN, "processes", drain)
        # A second signal's deadline is at_once_s; what the kernel then needs to end them is short.
        process.on_leave(Stage.CLOSE, "processes", end, at_once_s=self._settings.at_once_s + 5)

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

    @property
    def _ready_path(self) -> Path:
        return self._place.folder / ready.FILE_NAME

    async def _publish_for_ever(self, supervisor: Supervisor) -> None:
        """Write ready.json whenever everything is ready with other processes than before."""
        published: dict[str, int] | None = None
        while True:
            await supervisor.changed.wait()
            supervisor.changed.clear()
            pids = supervisor.serving_pids()
            self._why_not = _waiting_for(supervisor)
            if pids is None or pids == published:
                continue
            if await self._all_answer(supervisor):
                await self._publish(pids)
                published = pids

    async def _all_answer(self, supervisor: Supervisor) -> bool:
        """Return true when every /readyz is good, or false as soon as a process changed."""
        names = {each.ready_url: each.name for each in self._plan.programs if each.ready_url}
        while not supervisor.changed.is_set():
            answers = await readiness.ask_all(names)
            bad = [f"{names[url]} ({a.detail})" for url, a in answers.items() if not a.ready]
            if not bad:
                return not supervisor.changed.is_set()
            self._why_not = ", ".join(bad)
            await asyncio.sleep(_POLL_S)
        return False

    async def _publish(self, pids: dict[str, int]) -> None:
        document = ready.document(self._place, pids)
        disk = RealDisk(self._place.folder)
        try:
            await write_atomic(disk, ready.FILE_NAME, ready.text(document).encode())
        finally:
            disk.close()
        log.fact("launcher.system_ready")
        if not self._is_published.is_set():
            self._is_published.set()
            _greet(self._console, document, self._ready_path)
        else:
            self._console.say("Everything is ready again.", "green")


def _waiting_for(supervisor: Supervisor) -> str:
    late = [n for n, child in supervisor.children.items() if child.state is not State.SERVING]
    return f"still starting: {', '.join(late)}" if late else "every process has started"


def _ports(place: Place) -> tuple[ports.Port, ...]:
    return ports.table(place.base, place.regions)


async def _trim_for_ever(logs: Logs) -> None:
    while True:
        await asyncio.sleep(_TRIM_S)
        with suppress(OSError):  # a full disk: the processes see it too, and say it
            logs.trim()


def _greet(console: Console, document: ready.Ready, path: Path) -> None:
    """Say where everything is, and what there is not yet."""
    console.say("")
    rows = [("control", "HTTP", document["control"]["url"])]
    rows.append(("control", "gRPC", document["control"]["grpc"]))
    for name, edge in document["edges"].items():
        rows.append((name, "HTTP", edge["http"]))
        rows.append((name, "metrics", edge["metrics"]))
    console.table(("where", "door", "address"), rows)
    console.say("")
    console.say(f"Everything is ready. Addresses and pids: {path}", "bold green")
    console.say("There are no accounts and no sign-in yet: the processes live and report.")
    console.say("Ctrl-C drains and stops.")


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


def run(settings: UpSettings, place: Place, plan: Plan) -> NoReturn:
    """Check everything, run the system until it is stopped, and exit.

    Exit codes: 0 after a clean drain, 130 after a hurried one, 78 for what a person must change,
    75 when not everything got ready in time, 1 for our own fault.
    """
    with service.starting(TITLE):
        check_variables(place, plan)
        preflight.make_folders(place.folder)
        held = preflight.lock(place.folder)
        preflight.check_room(place.folder)
        preflight.check_open_files()
        with preflight.using(place.folder):
            (place.folder / ready.FILE_NAME).unlink(missing_ok=True)
            output = Logs(place.folder / "log", settings.log_bytes_max).open("launcher")
        write_settings(plan, place.run_folder)
    up = Up(settings, place, plan, Console(sys.stdout))
    with os.fdopen(output, "w", encoding="utf-8") as log_to:
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
            is_hurried = up.was_hurried and not exc.code
            raise SystemExit(EXIT_HURRIED if is_hurried else exc.code) from None
        finally:
            os.close(held)
