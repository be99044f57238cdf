"""How a process of ours lives: its loop, its signals, its readiness and the order of leaving.

The rule: nobody else knows uvloop, signals or the service manager. The first SIGTERM, SIGINT or
SIGHUP drains, the second ends now, the third is the kernel's (a process may give SIGHUP a meaning
of its own); a launcher that died counts as the first, so no process outlives it. Start errors that
no retry cures are one plain line and exit 78.
"""

import asyncio
import os
import resource
import signal
import sys
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, NoReturn, TextIO

from zentransfer import log
from zentransfer.limits import LEAVE_ACTION_S, LEAVE_AT_ONCE_S
from zentransfer.notifier import Notifier
from zentransfer.settings import SettingsError

EXIT_CLEAN: Final = 0
EXIT_FAULT: Final = 1  # ours: a traceback is in the log
EXIT_TRY_LATER: Final = 75  # EX_TEMPFAIL of sysexits.h
EXIT_CANNOT_START: Final = 78  # EX_CONFIG of sysexits.h

LIFELINE_VARIABLE: Final = "ZT_LIFELINE_FD"
NOTIFY_VARIABLE: Final = "NOTIFY_SOCKET"

_INHERITED: Final = frozenset(("PATH", "HOME", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV"))
_INHERITED_PREFIXES: Final = ("LC_", "PYTHON")

Action = Callable[[], Awaitable[None]]


class Stage(IntEnum):
    """The order of leaving; a stage ends before the next begins."""

    STOP_ADMITTING = 1
    DRAIN = 2
    FLUSH_OUTBOX = 3
    GIVE_BACK_LEASES = 4
    CLOSE = 5


class CannotStart(Exception):
    """What stands in the way of a start, and the cure, each a plain sentence for a person.

    *temporary* says that the same start may work later without anybody's help.
    """

    def __init__(self, message: str, cure: str = "", *, temporary: bool = False) -> None:
        super().__init__(f"{message} {cure}".strip())
        self.message = message
        self.cure = cure
        self.temporary = temporary


@dataclass(frozen=True)
class _Leaving:
    """One thing to do on leaving."""

    stage: Stage
    name: str
    action: Action
    deadline_s: float
    at_once_s: float


class _Left(Exception):
    """Every stage is done; what still runs in the background may be cancelled."""


class Service:
    """One process on its way from start to end; made by :func:`run`, handed to its main."""

    def __init__(self, drain_deadline_s: float, notify: Notifier) -> None:
        self.stopping = asyncio.Event()
        """Set by the first signal: admit nothing more and leave."""
        self.at_once = asyncio.Event()
        """Set by the second signal: skip to the last stage."""
        self.tasks = asyncio.TaskGroup()
        """What runs beside main; it lives through the drain and is cancelled after CLOSE."""
        self.hung_up: Callable[[], bool] | None = None
        """What a SIGHUP means here; returns whether that was it, else it is as a SIGTERM."""
        self._drain_deadline_s = drain_deadline_s
        self._notify = notify
        self._is_ready = False
        self._has_failed = False
        self._actions: list[_Leaving] = []
        self._patience: asyncio.Timeout | None = None  # bounds what runs now: main or an action
        self._at_once_s = 0.0  # what is left of it after a second signal

    def on_leave(
        self,
        stage: Stage,
        name: str,
        action: Action,
        deadline_s: float = LEAVE_ACTION_S,
        at_once_s: float = LEAVE_AT_ONCE_S,
    ) -> None:
        """Run *action* in *stage* of leaving, the newest registration of a stage first.

        Its deadline is the drain's for ``DRAIN`` and *deadline_s* seconds for the other stages.
        After a second signal only ``CLOSE`` is run, and *at_once_s* seconds are its deadline. An
        error in it, or its deadline, is logged, makes the exit code 1, and stops none of the
        others; what a second signal cuts is no fault. *name* tells the service manager what is
        waited for.
        """
        self._actions.append(_Leaving(stage, name, action, deadline_s, at_once_s))

    def ready(self) -> None:
        """Tell the service manager that this process does its work; call it once."""
        self._is_ready = True
        self._notify.send("READY=1", must_arrive=True)
        log.fact("process.ready")

    def status(self, text: str) -> None:
        """Show one line about the process to the service manager."""
        self._notify.send("STATUS=" + text.replace("\n", " "))

    async def until_stopping(self) -> None:
        """Return when the first signal came, or the launcher died."""
        await self.stopping.wait()

    def stop(self) -> None:
        """Do what a signal does: leave; called again, leave at once."""
        if not self.stopping.is_set():
            self.stopping.set()
            self._notify.send("STOPPING=1", must_arrive=True)
            log.fact("process.stopping")
            # A main that is not ready yet owes nothing to anybody: it is cancelled at once.
            self._lose_patience(self._drain_deadline_s if self._is_ready else 0)
        elif not self.at_once.is_set():
            self.at_once.set()
            log.fact("process.at_once")
            self._lose_patience(self._at_once_s)

    def _lose_patience(self, seconds: float) -> None:
        if self._patience is not None and not self._patience.expired():
            self._patience.reschedule(asyncio.get_running_loop().time() + seconds)

    async def live(self, main: "Main") -> None:
        """Run *main*, then every stage of leaving; raises what main or a task beside it raised."""
        try:
            async with self.tasks:
                await self._run_main(main)
                await self._leave(last=True)
        except* _Left:
            pass
        finally:
            if self._actions:  # main or a task failed: only what must be closed is closed
                self.at_once.set()
                await self._leave()

    async def _run_main(self, main: "Main") -> None:
        self._patience = patience = asyncio.timeout(None)
        try:
            async with patience:
                await main(self)
        except TimeoutError:
            if not patience.expired():
                raise
        finally:
            self._patience = None
        if not self.stopping.is_set():
            self.stop()  # a main that returns by itself leaves like any other

    async def _leave(self, *, last: bool = False) -> None:
        """Run what is registered, stage by stage; the *last* time ends the tasks beside main."""
        drain_ends = asyncio.get_running_loop().time() + self._drain_deadline_s
        for stage in Stage:
            for leaving in self._taken(stage):
                if self.at_once.is_set() and stage is not Stage.CLOSE:
                    continue
                self.status(f"leaving: {leaving.name}")
                await self._bounded(leaving, self._allowance(leaving, drain_ends))
        if last:
            raise _Left

    def _taken(self, stage: Stage) -> "Iterator[_Leaving]":
        """Take the actions of *stage* from the list, the newest first."""
        while found := [leaving for leaving in self._actions if leaving.stage is stage]:
            self._actions.remove(found[-1])
            yield found[-1]

    def _allowance(self, leaving: "_Leaving", drain_ends: float) -> float:
        """Return how many seconds an action gets."""
        if self.at_once.is_set():
            return leaving.at_once_s
        if leaving.stage is Stage.DRAIN:
            return max(drain_ends - asyncio.get_running_loop().time(), LEAVE_ACTION_S)
        return leaving.deadline_s

    async def _bounded(self, leaving: "_Leaving", seconds: float) -> None:
        self._at_once_s = leaving.at_once_s if leaving.stage is Stage.CLOSE else 0
        self._patience = patience = asyncio.timeout(seconds)
        try:
            async with patience:
                await leaving.action()
        except Exception as exc:  # noqa: BLE001 - one that fails must not stop the others
            stage = leaving.stage.name.lower()
            if patience.expired():
                is_cut = self.at_once.is_set() and leaving.stage is not Stage.CLOSE
                self._has_failed = self._has_failed or not is_cut
                log.fact("process.leave_late", stage=stage)
            else:
                self._has_failed = True
                log.error("process.leave_failed", exc, stage=stage)
        finally:
            self._patience = None

    @property
    def exit_code(self) -> int:
        """Return how a life without errors of main ends: clean, or with a failed stage."""
        return EXIT_FAULT if self._has_failed else EXIT_CLEAN


Main = Callable[[Service], Awaitable[None]]


@contextmanager
def starting(process: str) -> Generator[None]:
    """End the process by the rules of a start error that is raised inside.

    :class:`CannotStart` and :class:`SettingsError`, also inside a group of errors, become one
    plain line on stderr and exit code 78, or 75 if temporary. What else is raised is ours: it is
    logged with its traceback, exit code 1.
    """
    try:
        yield
    except Exception as exc:  # noqa: BLE001 - the process's own rim
        raise SystemExit(_explained(process, exc)) from None


def _explained(process: str, error: BaseException) -> int:
    """Say *error* where its kind is said, and return the exit code."""
    cause = _start_error(error)
    if cause is None:
        log.error("process.failed", error)
        return EXIT_FAULT
    line = "; ".join(str(cause).splitlines())
    print(f"{process}: {line}", file=sys.stderr, flush=True)  # noqa: T201 - for a person, no log
    is_temporary = isinstance(cause, CannotStart) and cause.temporary
    return EXIT_TRY_LATER if is_temporary else EXIT_CANNOT_START


def _start_error(error: BaseException) -> BaseException | None:
    """Return the first start error in *error* or in the group that it is, if any."""
    found: BaseException | None
    found = BaseExceptionGroup("", [error]).subgroup((CannotStart, SettingsError))
    while isinstance(found, BaseExceptionGroup):
        inner: tuple[BaseException, ...] = found.exceptions
        found = inner[0]
    return found


def run(
    main: Main,
    *,
    process: str,
    uvloop: bool,
    drain_deadline_s: float,
    log_to: TextIO | None = None,
    title: str = "",
) -> NoReturn:
    """Run *main* as the process named *process* until it has left, then exit.

    *main* starts things, registers what to do on leaving, calls ``ready()`` and awaits
    ``until_stopping()``; when it returns, the stages run. *drain_deadline_s* bounds ``DRAIN``.
    The log goes to stderr, or to *log_to*; a start error is said under *title*, or *process*. Exit
    codes: 0 clean, 1 our fault, 75 try later, 78 cannot start.
    """
    log.setup(process, log_to)
    with starting(title or process):
        _harden()
        with asyncio.Runner(loop_factory=_loop_factory(uvloop=uvloop)) as runner:
            code = runner.run(_lived(main, drain_deadline_s))
    raise SystemExit(code)


async def _lived(main: Main, drain_deadline_s: float) -> int:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_log_stray)
    notify = Notifier(os.environ.get(NOTIFY_VARIABLE))
    service = Service(drain_deadline_s, notify)
    _obey_signals(loop, service)
    lifeline = _hold_lifeline(loop, service)
    log.fact("process.started")
    try:
        await service.live(main)
    finally:
        if lifeline is not None:
            loop.remove_reader(lifeline)
            os.close(lifeline)
        notify.close()
    log.fact("process.left")
    return service.exit_code


def _obey_signals(loop: asyncio.AbstractEventLoop, service: Service) -> None:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def on_signal() -> None:
        service.stop()
        if service.at_once.is_set():
            for number in numbers:  # the third one is not ours any more: it ends us
                loop.remove_signal_handler(number)
                signal.signal(number, signal.SIG_DFL)

    def on_hangup() -> None:
        if service.stopping.is_set() or service.hung_up is None or not service.hung_up():
            on_signal()

    for number in numbers:
        loop.add_signal_handler(number, on_hangup if number is signal.SIGHUP else on_signal)


def _hold_lifeline(loop: asyncio.AbstractEventLoop, service: Service) -> int | None:
    """Watch the pipe whose other end the launcher holds; its end of file is a first signal."""
    text = os.environ.pop(LIFELINE_VARIABLE, "")  # our own children do not hang on it
    if not text:
        return None
    try:
        descriptor = int(text)
        os.set_inheritable(descriptor, False)
    except (ValueError, OSError):
        raise CannotStart(
            f"{LIFELINE_VARIABLE} does not name an open descriptor.", "Unset it."
        ) from None

    def on_readable() -> None:
        if not os.read(descriptor, 64):
            loop.remove_reader(descriptor)
            log.fact("process.orphaned")
            if not service.stopping.is_set():
                service.stop()

    os.set_blocking(descriptor, False)
    loop.add_reader(descriptor, on_readable)
    return descriptor


def _log_stray(_: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    """Log an error that no task carries; the loop's own text may name peers, so it stays out."""
    error = context.get("exception")
    unnamed = RuntimeError("the loop reported no exception")
    log.error("process.stray", error if isinstance(error, BaseException) else unnamed)


def _loop_factory(*, uvloop: bool) -> Callable[[], asyncio.AbstractEventLoop]:
    if not uvloop:
        return asyncio.new_event_loop
    import uvloop as fast  # noqa: PLC0415 - processes that do not run on it need not load it

    return fast.new_event_loop


def inherited(prefix: str = "ZT_") -> dict[str, str]:
    """Return the variables that a child of ours is given: its settings and what runs Python.

    Its settings are those that begin with *prefix*, in whatever case; another program's may hold
    secrets that are none of its business.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if name in _INHERITED
        or name.startswith(_INHERITED_PREFIXES)
        or name.upper().startswith(prefix)
    }


def taken_variable(name: str) -> str:
    """Return the environment variable *name*, empty if it is not set, and take it away."""
    return os.environ.pop(name, "")


def _harden() -> None:
    """Leave no trace on disk by accident: no core file with content in it, files for us only."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
