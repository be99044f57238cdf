"""A restart that nobody notices: each process of the nodes is replaced, one after another.

The rule: the successor serves before the one it replaces is told to leave, so that no door is ever
without somebody behind it.  One that does not come up changes nothing: what serves goes on.

What has no door, a delivery process, is ended and started again: its work waits on the disk.
"""

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress

from ops import readiness
from ops.console import Console
from ops.programs import Program
from ops.supervisor import Supervisor
from zentransfer import log
from zentransfer.limits import READYZ_PAUSE_S


class Terminal:
    """The terminal that this process belongs to, if there is one."""

    def __init__(self) -> None:
        self._was_there = _has_terminal()

    def is_gone(self) -> bool:
        """Say whether it was there before and is no more: that is what a SIGHUP means then."""
        return self._was_there and not _has_terminal()


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:  # ENXIO: no controlling terminal (tty(4)); EIO: it hung up
        return False
    return True


class Rolling:
    """Replaces the processes of a supervisor that have a successor, when it is asked to."""

    def __init__(
        self,
        supervisor: Supervisor,
        successors: Mapping[str, Program],
        console: Console,
        patience_s: float,
    ) -> None:
        """Get ready; a successor has *patience_s* seconds from its start until /readyz is good."""
        self._supervisor = supervisor
        self._successors = successors
        self._console = console
        self._patience_s = patience_s
        self._wanted = asyncio.Event()

    def begin(self) -> bool:
        """Ask for one replacement of all, after the one that runs if one does; returns true."""
        self._wanted.set()
        return True

    async def keep(self) -> None:
        """Do what is asked for, for ever."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            await self._supervisor.until_left()  # the index of one that still drains is taken
            self._console.say("Replacing every process of the nodes, one after another.")
            # Who takes bytes in first, then who passes them on.
            for program in sorted(self._supervisor.programs, key=lambda each: each.leaves):
                if (successor := self._successors.get(program.name)) is not None:
                    await self._replace(program, successor)
            log.fact("launcher.replaced")
            self._console.say("Every process of the nodes was replaced; the old ones drain.")

    async def _replace(self, old: Program, successor: Program) -> None:
        supervisor = self._supervisor
        if successor.name == old.name:
            await supervisor.start_anew(old.name)
            return
        if await supervisor.try_out(successor) and await self._is_ready(successor):
            supervisor.hand_over(old.name, successor)
            return
        await supervisor.give_up(successor)
        log.fact("launcher.not_replaced", child=old.name)
        self._console.say(f"{successor.name} did not get ready: {old.name} goes on.")

    async def _is_ready(self, program: Program) -> bool:
        """Wait until *program* says that it is ready; false when it does not in time."""
        url = program.ready_url
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience_s):
                # Nobody tells us: it is another process's word.
                while url is not None and not (await readiness.ask_all([url]))[url].ready:  # noqa: ASYNC110
                    await asyncio.sleep(READYZ_PAUSE_S)
                return True
        return False
