"""The launcher's end of sd_notify(3): what its processes say of themselves.

The rule: the kernel tells who spoke, so no process can say READY=1 for another.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Final

from zentransfer.limits import NOTIFY_BYTES_MAX

_TURNS: Final = 64  # messages at one go; the loop comes back at once while there are more
_CREDENTIALS: Final = struct.Struct("=iII")  # struct ucred of unix(7): pid, uid, gid


class NotifySocket:
    """A datagram socket with an abstract name; calls *heard* with a pid and its lines.

    Abstract, because a path in a deep folder can be longer than an address may be (108 bytes).
    """

    def __init__(self, heard: Callable[[int, frozenset[str]], None]) -> None:
        self._heard = heard
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind("")  # the kernel chooses a free name: unix(7), autobind
        name: bytes = self._socket.getsockname()
        self.address = "@" + name[1:].decode()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._on_readable)

    def _on_readable(self) -> None:
        # The kernel's queue is short (10), and who finds it full has to wait: empty it.
        for _ in range(_TURNS):
            if not self._take_one():
                return

    def _take_one(self) -> bool:
        """Hear one message; false if there is none, or nobody hears any more."""
        if self._socket.fileno() < 0:
            return False
        try:
            data, extras, _, _ = self._socket.recvmsg(
                NOTIFY_BYTES_MAX, socket.CMSG_SPACE(_CREDENTIALS.size)
            )
        except (BlockingIOError, InterruptedError):
            return False
        for level, kind, content in extras:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                pid = int(_CREDENTIALS.unpack(content[: _CREDENTIALS.size])[0])
                self._heard(pid, frozenset(data.decode(errors="replace").splitlines()))
        return True

    def close(self) -> None:
        """Hear nothing more; idempotent."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()
