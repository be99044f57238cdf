"""The knock at delivery's door: a datagram that says which upload became whole.

The rule: a knock is never needed.  It is sent after the upload's outcome is durable, it may be
lost, and delivery finds by itself what it was not told of.
"""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from zentransfer.ids import UploadID

SOCKET_FILE: Final = "delivery.sock"
"""The name of delivery's socket in the run folder of a node."""

Wake = Callable[[UploadID], None]
"""Tells delivery of an upload; never waits and never fails."""


class Knocker:
    """Sends to whoever listens at ``delivery.sock`` in one folder."""

    def __init__(self, folder: Path) -> None:
        """Stand in *folder*, which must exist; its path may be longer than an address may be."""
        self._folder = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._address = f"/proc/self/fd/{self._folder}/{SOCKET_FILE}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self.lost = 0
        """Knocks that nobody took: no delivery process, or one with its hands full."""

    def wake(self, upload: UploadID) -> None:
        """Say that *upload* is whole; without an answer."""
        try:
            self._socket.sendto(upload.encode("ascii"), self._address)
        except OSError:  # nobody is there, or its queue is full: it will look by itself
            self.lost += 1

    def close(self) -> None:
        """Leave; idempotent."""
        self._socket.close()
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1
