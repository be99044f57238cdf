"""Delivery's end of the knock: a datagram socket in the node's run folder.

The rule: what comes in is a hint and nothing more.  It is looked at only if it has the form of an
upload's id, and the upload itself says whether there is anything to do.
"""

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from edge.wakeup import SOCKET_FILE
from zentransfer.errors import Error
from zentransfer.ids import Kind, UploadID, parse
from zentransfer.limits import WAKES_PER_TURN

_BYTES: Final = 64  # an id has 29; what is longer is cut, and is none


class Listener:
    """Listens in one folder until it is closed; who came last has the name."""

    def __init__(self, folder: Path, wake: Callable[[UploadID], None]) -> None:
        """Listen in *folder*, which must exist, and call *wake* for each knock.

        Raises ``OSError``.  Needs a running loop.
        """
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        # The folder's own path may be longer than an address may be.
        within = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with suppress(FileNotFoundError):  # of an earlier life
                os.unlink(SOCKET_FILE, dir_fd=within)
            self._socket.bind(f"/proc/self/fd/{within}/{SOCKET_FILE}")
            os.chmod(SOCKET_FILE, 0o600, dir_fd=within)
        except BaseException:
            self._socket.close()
            raise
        finally:
            os.close(within)
        self._loop.add_reader(self._socket, self._on_readable)

    def close(self) -> None:
        """Listen no more; idempotent.  The name stays for the next life."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _on_readable(self) -> None:
        """Take the knocks that are there; the others wait for the loop's next turn."""
        for _ in range(WAKES_PER_TURN):
            try:
                said = self._socket.recv(_BYTES)
            except OSError:  # none left
                return
            with suppress(Error, UnicodeDecodeError):
                self._wake(UploadID(parse(Kind.UPLOAD, said.decode("ascii"))))
