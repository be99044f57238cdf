"""Keeps programs running: starts them, starts them again, and makes them leave in order.

The rule: what happens to a process is decided by :mod:`ops.child`; this shell only carries it out.
Who takes bytes in leaves first and control last, so nobody is left talking to nobody.  A process
that is replaced keeps serving until its successor does.
"""

import asyncio
import os
import random
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from ops.child import BackOff, Child, State
from ops.doors import Doors
from ops.logs import Logs
from ops.notify import NotifySocket
from ops.process import Process
from ops.programs import Leaves, Program
from zentransfer import log
from zentransfer.limits import CHILD_AT_ONCE_S, CHILD_START_S
from zentransfer.service import NOTIFY_VARIABLE, CannotStart

_AT_ONCE_S: Final = 0.05  # a pause that nobody notices


@dataclass(frozen=True)
class Care:
    """How processes are treated; times in seconds."""

    back_off: BackOff = field(default_factory=BackOff)
    start_deadline_s: float = CHILD_START_S
    at_once_s: float = CHILD_AT_ONCE_S


class _Kept:
    """One program, its present process, and what is known of it."""

    def __init__(self, program: Program, moved: asyncio.Event, *, on_trial: bool = False) -> None:
        self.program = program
        self.moved = moved
        self.on_trial = on_trial
        self.child = Child()
        self.process: Process | None = None
        self.patience: asyncio.Timeout | None = None
        self.log_start = 0  # where in its log the present process began
        self.leaves = asyncio.Event()  # it is not to be started again
        self.ended = asyncio.Event()
        self.news = asyncio.Event()

    def become(self, child: Child) -> None:
        """Take the next state."""
        self.child = child
        self.news.set()
        self.moved.set()
        if child.state is State.ENDED:
            self.ended.set()

    def calm(self) -> None:
        """Wait without a deadline from now on: it is ready, or it leaves."""
        if self.patience is not None and not self.patience.expired():
            self.patience.reschedule(None)


class Supervisor:
    """The processes of one system; made inside a running loop, which :meth:`close` lets go of."""

    def __init__(
        self,
        programs: Sequence[Program],
        logs: Logs,
        variables: Callable[[str], Mapping[str, str]],
        tell: Callable[[str], None],
        chance: random.Random,
        care: Care | None = None,
    ) -> None:
        """Get ready to run *programs*; *tell* gets a person's lines.

        *variables* returns the environment of a program, given the prefix of its settings.
        """
        self._care = care or Care()
        self._logs = logs
        self._tell = tell
        self._chance = chance
        self.moved = asyncio.Event()
        """As ``changed``, and also set when a process is told to leave."""
        self._kept = [_Kept(program, self.moved) for program in programs]
        self._beside: list[_Kept] = []  # those replaced, which drain, and one on trial
        self._group: asyncio.TaskGroup | None = None
        self._stopping = asyncio.Event()
        self._doors = Doors()
        self._notify = NotifySocket(self._heard)
        # The pipe is never written: that its other end is gone tells a process that we are.
        self._lifeline, self._held = os.pipe()
        self._variables = variables
        self._our_variables = {NOTIFY_VARIABLE: self._notify.address}
        self._is_hurried = False
        self.has_failed = False
        """Set when a process failed on its way out, unless it was hurried."""
        self.changed = asyncio.Event()
        """Set at each change of a process; who waits for it clears it."""

    @property
    def children(self) -> dict[str, Child]:
        """Return every child by its program's name, but none that was replaced."""
        return {kept.program.name: kept.child for kept in self._kept}

    @property
    def programs(self) -> list[Program]:
        """Return the programs that are kept running now."""
        return [kept.program for kept in self._kept]

    def serving_pids(self) -> dict[str, int] | None:
        """Return the pid of every program by name, or ``None`` unless all of them serve."""
        pids = {
            name: child.pid
            for name, child in self.children.items()
            if child.state is State.SERVING and child.pid is not None
        }
        return pids if len(pids) == len(self._kept) else None

    async def keep(self) -> None:
        """Start every program and keep it running until :meth:`stop`.

        Raises :class:`CannotStart` for a door that is not free, and, inside a group, when a program
        says at its first start that starting it is no use.
        """
        self._doors.open(self.programs)
        async with asyncio.TaskGroup() as self._group:
            for kept in self._kept:
                self._group.create_task(self._keep(kept))

    async def try_out(self, program: Program) -> bool:
        """Start *program* beside the others; returns true when it serves, false if it cannot.

        It is tried for as long as a start may take; then comes :meth:`hand_over`, or
        :meth:`give_up`.
        """
        if self._stopping.is_set():
            return False
        assert self._group is not None, "keep first"
        kept = _Kept(program, self.moved, on_trial=True)
        self._beside.append(kept)
        self._group.create_task(self._keep(kept))
        return await self._settled(kept)

    async def give_up(self, program: Program) -> None:
        """End *program*, which was tried out, and return when it is gone."""
        for kept in [kept for kept in self._beside if kept.program == program]:
            await self._let_go(kept)

    def hand_over(self, name: str, program: Program) -> None:
        """Let *program*, which was tried out and serves, take the place of the one called *name*.

        That one drains from now on; nobody waits for it but :meth:`until_left` and a stop.
        """
        if self._stopping.is_set():  # then both leave
            return
        fresh, old = self._found(program.name), self._found(name)
        fresh.on_trial = False
        self._beside.remove(fresh)
        self._kept[self._kept.index(old)] = fresh
        self._beside.append(old)
        self._dismiss(old)
        self.changed.set()

    async def start_anew(self, name: str) -> None:
        """End the program called *name*, start it again when it has left, and see it serve."""
        assert self._group is not None, "keep first"
        old = self._found(name)
        fresh = _Kept(old.program, self.moved)
        await self._let_go(old)
        if self._stopping.is_set():
            return
        self._kept[self._kept.index(old)] = fresh
        self._group.create_task(self._keep(fresh))
        await self._settled(fresh)

    async def until_left(self) -> None:
        """Return when every process that was replaced has drained and left."""
        for kept in list(self._beside):
            await kept.ended.wait()

    def _found(self, name: str) -> _Kept:
        return next(kept for kept in self._all if kept.program.name == name)

    @property
    def _all(self) -> list[_Kept]:
        return [*self._kept, *self._beside]

    async def _let_go(self, kept: _Kept) -> None:
        self._dismiss(kept)
        await kept.ended.wait()

    async def _settled(self, kept: _Kept) -> bool:
        """Wait until *kept* serves or cannot, no longer than a start may take; return whether."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._care.start_deadline_s):
                while kept.child.state not in (State.SERVING, State.ENDED):
                    kept.news.clear()
                    await kept.news.wait()
        return kept.child.state is State.SERVING

    def _dismiss(self, kept: _Kept) -> None:
        """Let one drain and leave, never to be started again."""
        kept.leaves.set()
        self._tell_to_leave(kept, signal.SIGTERM)

    async def _keep(self, kept: _Kept) -> None:
        try:
            await self._keep_running(kept)
        finally:
            if kept in self._beside:
                self._beside.remove(kept)

    async def _keep_running(self, kept: _Kept) -> None:
        pause_s = 0.0
        while not await _leaves_within(kept, pause_s):
            code = await self._one_life(kept)
            kept.become(kept.child.exited(code, self._now(), self._care.back_off))
            self.changed.set()
            if kept.child.state is State.ENDED:
                self._look_after(kept, code)
                return
            if kept.child.is_hopeless and kept.on_trial:
                break
            if kept.child.is_hopeless:
                said = self._logs.last_line(kept.program.name, kept.log_start)
                raise CannotStart(
                    f"{kept.program.name} cannot start: {said or 'it does not say why.'}",
                    f"Its log is {self._logs.path(kept.program.name)}.",
                )
            pause_s = 0.0 if kept.leaves.is_set() else self._mourned(kept, code)
        kept.become(kept.child.told_to_stop())
        self.changed.set()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _one_life(self, kept: _Kept) -> int:
        """Start the program, and return its exit code when it has ended."""
        kept.log_start = self._logs.size(kept.program.name)
        try:
            process = self._started(kept)
        except OSError as exc:
            self._tell(f"{kept.program.name}: cannot be started: {exc.strerror}")
            return os.EX_OSERR
        kept.patience = asyncio.timeout(self._care.start_deadline_s)
        try:
            async with kept.patience:
                return await process.ended()
        except TimeoutError:
            seconds = self._care.start_deadline_s
            self._tell(f"{kept.program.name}: is not ready after {seconds:g} s and is killed")
            log.fact("launcher.child_late", child=kept.program.name)
            process.kill()
            return await process.ended()
        finally:
            kept.patience = None

    def _started(self, kept: _Kept) -> Process:
        output = self._logs.open(kept.program.name)
        try:
            variables = {**self._variables(kept.program.prefix), **self._our_variables}
            listeners = self._doors.of(kept.program)
            process = Process(kept.program.command, variables, output, self._lifeline, listeners)
        finally:
            os.close(output)
        kept.process = process
        kept.become(kept.child.started(process.pid, self._now()))
        log.fact("launcher.child_started", child=kept.program.name)
        self.changed.set()
        return process

    def _mourned(self, kept: _Kept, code: int) -> float:
        """Say that a process ended, and return after how many seconds it is started again."""
        pause_s = kept.child.pause_s(self._care.back_off, self._chance)
        name = kept.program.name
        status, word = _how_ended(code)
        log.fact("launcher.child_ended", child=name, status=status, signal=word, pause_s=pause_s)
        again = f"in {pause_s:.1f} s" if pause_s >= _AT_ONCE_S else "at once"
        self._tell(f"{name}: {self._reason(kept, code)}; it starts again {again}")
        return pause_s

    def _look_after(self, kept: _Kept, code: int) -> None:
        """Say that a process which was told to leave failed instead, if it did."""
        # One that had no time to care for signals yet ends by the very one that we sent.
        if code in (0, -signal.SIGTERM) or self._is_hurried:
            return
        self.has_failed = True
        name = kept.program.name
        status, word = _how_ended(code)
        log.fact("launcher.child_failed", child=name, status=status, signal=word)
        self._tell(f"{name}: {self._reason(kept, code)} while it was leaving")

    def _reason(self, kept: _Kept, code: int) -> str:
        """Return how a process ended, with its last words unless a signal took them."""
        _, word = _how_ended(code)
        if word:
            return f"was ended by {word}"
        said = self._logs.last_line(kept.program.name, kept.log_start)
        return f"ended with exit code {code}" + (f" ({said})" if said else "")

    def _heard(self, pid: int, lines: frozenset[str]) -> None:
        """Take what the process *pid* says; strangers are not heard."""
        for kept in self._all:
            if kept.child.pid == pid and "READY=1" in lines:
                kept.calm()
                was = kept.child.state
                kept.become(kept.child.ready())
                if was is State.STARTING:
                    self._tell(f"{kept.program.name}: ready (pid {pid})")
                self.changed.set()

    async def stop(self) -> None:
        """Let every process drain and leave, in order; returns when the last one has ended."""
        self._give_no_more_lives()
        for rank in Leaves:
            leaving = [kept for kept in self._all if kept.program.leaves is rank]
            for kept in leaving:
                if kept.child.state is not State.STOPPING:  # a second signal would hurry it
                    self._tell_to_leave(kept, signal.SIGTERM)
            for kept in leaving:
                await kept.ended.wait()

    def _give_no_more_lives(self) -> None:
        """Start nothing again, and shut our side of the doors."""
        self._stopping.set()
        self._doors.close()
        for kept in self._all:
            kept.leaves.set()

    def _tell_to_leave(self, kept: _Kept, number: signal.Signals) -> None:
        """Send a signal that means to leave; a program between two lives ends by itself."""
        kept.calm()
        if kept.child.pid is not None and kept.process is not None:
            kept.become(kept.child.told_to_stop())
            kept.process.send(number)

    async def end_now(self) -> None:
        """Give every process the second signal, and the kernel's own to those that stay.

        Also right after :meth:`keep` failed or was cancelled: it looks at the processes alone.
        """
        self._give_no_more_lives()
        self._is_hurried = True
        for kept in self._all:
            if kept.child.state is not State.STOPPING:
                self._tell_to_leave(kept, signal.SIGTERM)
            # Another number, because two of the same that wait are one.
            self._tell_to_leave(kept, signal.SIGINT)
        alive = [kept.process for kept in self._all if kept.process and not kept.process.has_ended]
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._care.at_once_s):
                    for process in alive:
                        await process.ended()
        finally:  # also when we are cancelled: none outlives us
            for process in alive:
                process.kill()
        for process in alive:
            await process.ended()

    def close(self) -> None:
        """Let go of the loop and of the pipe; whoever still runs drains by itself."""
        self._doors.close()
        self._notify.close()
        for descriptor in (self._lifeline, self._held):
            os.close(descriptor)


async def _leaves_within(kept: _Kept, seconds: float) -> bool:
    """Wait *seconds*; return early, and true, if the program is not to be started again."""
    if seconds <= 0:
        return kept.leaves.is_set()
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await kept.leaves.wait()
    return kept.leaves.is_set()


def _how_ended(code: int) -> tuple[int | None, str | None]:
    """Return the exit status, or the name of the signal that ended a process."""
    if code < 0:
        with suppress(ValueError):
            return None, signal.Signals(-code).name
    return code, None
