"""Listening sockets that a process is born with, by name, as systemd's socket activation has it.

The rule: who restarts a process keeps its doors open meanwhile.  Connections wait in the socket's
backlog until the next process takes them, so none is refused while nobody serves.

The form is that of sd_listen_fds(3): descriptors from 3 on, LISTEN_FDS counts them, LISTEN_FDNAMES
names them, and LISTEN_PID says whose they are where whoever passes them can know.
"""

import os
import socket
from collections.abc import Collection
from typing import Final

from zentransfer.health import listen
from zentransfer.service import CannotStart, taken_variable

FIRST: Final = 3  # SD_LISTEN_FDS_START of sd-daemon.h
COUNT_VARIABLE: Final = "LISTEN_FDS"
NAMES_VARIABLE: Final = "LISTEN_FDNAMES"
_PID_VARIABLE: Final = "LISTEN_PID"


class Listeners:
    """The sockets that this process was given; who needs one takes it, or opens its own."""

    def __init__(self, given: dict[str, socket.socket]) -> None:
        self._given = given

    def take(self, name: str, host: str, port: int, role: str) -> socket.socket:
        """Return the socket *name*, or one that listens as :func:`zentransfer.health.listen`.

        Raises :class:`CannotStart`.
        """
        given = self._given.pop(name, None)
        return listen(host, port, role) if given is None else given

    def has(self, name: str) -> bool:
        """Say whether a socket *name* was given and not taken yet."""
        return name in self._given

    def close(self) -> None:
        """Close what nobody took; idempotent."""
        for each in self._given.values():
            each.close()
        self._given.clear()


def inherited(names: Collection[str]) -> Listeners:
    """Return the listening sockets that this process was given, of these *names*.

    To be called once: the variables are taken away, so that no child takes them for its own.
    Raises :class:`CannotStart` for what is no listening TCP socket, and for another name.
    """
    count = taken_variable(COUNT_VARIABLE)
    told = taken_variable(NAMES_VARIABLE)
    pid = taken_variable(_PID_VARIABLE)
    if not count or pid not in ("", str(os.getpid())):
        return Listeners({})
    called = told.split(":") if told else []
    if not count.isdecimal() or int(count) != len(called):
        raise CannotStart(
            f"{COUNT_VARIABLE} and {NAMES_VARIABLE} do not name the same sockets.",
            f"Name each ({':'.join(names)}), or pass none.",
        )
    if len(set(called)) < len(called) or not set(called) <= set(names):
        raise CannotStart(
            f"{NAMES_VARIABLE} does not name each socket once by a name that is known here.",
            f"Known are {', '.join(names)} (FileDescriptorName= of a socket unit).",
        )
    return Listeners({name: _opened(FIRST + place, name) for place, name in enumerate(called)})


def _opened(descriptor: int, name: str) -> socket.socket:
    """Return the socket at *descriptor*, not to be inherited further."""
    try:
        os.set_inheritable(descriptor, False)
        found = socket.socket(fileno=descriptor)
        is_listening = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError:
        is_listening, found = False, None
    if found is None or not is_listening or found.type != socket.SOCK_STREAM:
        raise CannotStart(
            f"Descriptor {descriptor} ({name}) is no listening TCP socket.",
            f"Pass one, or unset {COUNT_VARIABLE}.",
        )
    found.setblocking(False)
    return found
