"""One running process of another program: its start, its signals, its end.

The rule: its end is seen through a pidfd, so nothing polls, no thread waits, and no other process
that got its number later is ever signalled in its place.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress


class Process:
    """A started process, in a session of its own so that a terminal's Ctrl-C stays with us."""

    def __init__(
        self, command: Sequence[str], variables: Mapping[str, str], output: int, lifeline: int
    ) -> None:
        """Start *command*; *output* takes stdout and stderr, *lifeline* is passed on by number.

        Raises ``OSError`` if the kernel cannot start it or let us watch it; nothing runs then.
        """
        self._loop = asyncio.get_running_loop()
        self._process = subprocess.Popen(  # noqa: S603 - our own command lines, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=variables,
            start_new_session=True,
            pass_fds=(lifeline,),
        )
        self._ended = asyncio.Event()
        try:
            self._pidfd = self._watched()
        except OSError:
            self.kill()
            self._process.wait()
            raise

    def _watched(self) -> int:
        """Return a pidfd whose end the loop tells us; raises ``OSError`` and keeps none open."""
        pidfd = os.pidfd_open(self._process.pid)
        try:
            self._loop.add_reader(pidfd, self._on_end)
        except OSError:
            os.close(pidfd)
            raise
        return pidfd

    def _on_end(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._process.wait()  # it has ended: this only collects the code
        self._ended.set()

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Say whether it ended; its code is collected then."""
        return self._ended.is_set()

    async def ended(self) -> int:
        """Return its exit code when it has ended, negative if a signal ended it."""
        await self._ended.wait()
        return self._process.returncode

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
