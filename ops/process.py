"""One running process of another program: its start, its signals, its end.

The rule: its end is seen through a pidfd, so nothing polls, no thread waits, and no other process
that got its number later is ever signalled in its place.  What it inherits is what it is given:
its output, the lifeline, and listening sockets in the form of :mod:`zentransfer.listeners`.
"""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from fcntl import F_DUPFD_CLOEXEC, fcntl
from types import MappingProxyType
from typing import Final

from zentransfer.listeners import COUNT_VARIABLE, FIRST, NAMES_VARIABLE
from zentransfer.service import LIFELINE_VARIABLE

_NO_LISTENERS: Final[Mapping[str, int]] = MappingProxyType({})
# Above every number that a descriptor gets in the child, so that none is overwritten before it is
# copied: its listeners are few.
_ABOVE: Final = 64
_OURS_ONLY: Final = (signal.SIGPIPE, signal.SIGXFSZ)  # which Python ignores, and a child need not


class Process:
    """A started process, in a session of its own so that a terminal's Ctrl-C stays with us."""

    def __init__(
        self,
        command: Sequence[str],
        variables: Mapping[str, str],
        output: int,
        lifeline: int,
        listeners: Mapping[str, int] = _NO_LISTENERS,
    ) -> None:
        """Start *command*; *output* takes stdout and stderr, *listeners* are passed on by name.

        Raises ``OSError`` if the kernel cannot start it or let us watch it; nothing runs then.
        """
        self._loop = asyncio.get_running_loop()
        self._pid = _spawned(command, variables, output, lifeline, listeners)
        self._code = 0
        self._ended = asyncio.Event()
        try:
            self._pidfd = self._watched()
        except OSError:
            os.killpg(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            raise

    def _watched(self) -> int:
        """Return a pidfd whose end the loop tells us; raises ``OSError`` and keeps none open."""
        pidfd = os.pidfd_open(self._pid)
        try:
            self._loop.add_reader(pidfd, self._on_end)
        except OSError:
            os.close(pidfd)
            raise
        return pidfd

    def _on_end(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        _, status = os.waitpid(self._pid, 0)  # it has ended: this only collects the code
        self._code = os.waitstatus_to_exitcode(status)
        self._ended.set()

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._pid

    @property
    def has_ended(self) -> bool:
        """Say whether it ended; its code is collected then."""
        return self._ended.is_set()

    async def ended(self) -> int:
        """Return its exit code when it has ended, negative if a signal ended it."""
        await self._ended.wait()
        return self._code

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if not self.has_ended:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def kill(self) -> None:
        """Let the kernel end it and what it started itself."""
        if not self.has_ended:  # not collected yet, so the number is still its own
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)


def _spawned(
    command: Sequence[str],
    variables: Mapping[str, str],
    output: int,
    lifeline: int,
    listeners: Mapping[str, int],
) -> int:
    """Return the pid of *command*; raises ``OSError``.

    By posix_spawn(3): nothing of ours runs between the fork and the program, and each descriptor
    gets the number that its reader expects.
    """
    told = {LIFELINE_VARIABLE: str(FIRST + len(listeners))}
    if listeners:
        told |= {COUNT_VARIABLE: str(len(listeners)), NAMES_VARIABLE: ":".join(listeners)}
    with ExitStack() as copies:

        def above(descriptor: int) -> int:
            copy: int = fcntl(descriptor, F_DUPFD_CLOEXEC, _ABOVE)
            copies.callback(os.close, copy)
            return copy

        wanted = [above(output), *map(above, (*listeners.values(), lifeline))]
        places = [1, *range(FIRST, FIRST + len(listeners) + 1)]
        return os.posix_spawnp(
            command[0],
            list(command),
            {**variables, **told},
            file_actions=[
                *((os.POSIX_SPAWN_CLOSE, each) for each in _inheritable()),
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, wanted[0], 2),
                *((os.POSIX_SPAWN_DUP2, *pair) for pair in zip(wanted, places, strict=True)),
            ],
            setsid=True,
            setsigdef=_OURS_ONLY,
        )


def _inheritable() -> list[int]:
    """Return the descriptors, beside the first three, that a child would be given by accident."""
    found: list[int] = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # that of the listing itself is closed by now
            if int(name) > 2 and os.get_inheritable(int(name)):  # noqa: PLR2004 - stderr
                found.append(int(name))
    return found
