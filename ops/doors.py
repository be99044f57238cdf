"""The listening sockets of a system: opened once by the launcher, passed on to who serves there.

The rule: a door stays open while a process behind it is replaced or dies.  At a stop the launcher
lets go of it first, so that it shuts with the last process and a new connection is refused at once.
"""

import socket
from collections.abc import Iterable, Mapping

from ops import ports
from ops.programs import Program
from zentransfer import health


class Doors:
    """The sockets of some programs, by port; none is open before :meth:`open`."""

    def __init__(self) -> None:
        self._open: dict[int, socket.socket] = {}

    def open(self, programs: Iterable[Program]) -> None:
        """Listen where *programs* do; raises :class:`zentransfer.service.CannotStart`."""
        for port in [port for each in programs for port in each.listeners.values()]:
            if port.number not in self._open:
                self._open[port.number] = health.listen(ports.LOOPBACK, port.number, port.role)

    def of(self, program: Program) -> Mapping[str, int]:
        """Return the descriptors that *program* is given, by the names of its listeners."""
        return {
            name: self._open[port.number].fileno()
            for name, port in program.listeners.items()
            if port.number in self._open
        }

    def close(self) -> None:
        """Let go of all of them; idempotent."""
        for each in self._open.values():
            each.close()
        self._open.clear()
