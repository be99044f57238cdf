"""What a process says to its service manager: sd_notify(3), without waiting for it.

The rule: a manager that is slow or away holds nobody up, and what it must know is offered again.
"""

import asyncio
import socket
from typing import Final

from zentransfer import log
from zentransfer.limits import NOTIFY_RETRY_S

_PAUSE_S: Final = 0.02  # between two tries of a message that must arrive


class Notifier:
    """The service manager's datagram socket (sd_notify(3)); without one it says nothing."""

    def __init__(self, address: str | None) -> None:
        self._socket: socket.socket | None = None
        self._late: list[str] = []  # what must arrive and could not yet, oldest first
        self._retry: asyncio.TimerHandle | None = None
        if not address:
            return
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        # A leading @ stands for the zero byte of an abstract name.
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def send(self, state: str, *, must_arrive: bool = False) -> None:
        """Send one *state*; a manager that does not listen is no error of ours.

        One whose queue is full is asked again for ``NOTIFY_RETRY_S`` seconds if the state
        *must_arrive* (inside a running loop only); another state is dropped meanwhile.
        """
        if self._late:
            self._late += [state] if must_arrive else []
            return
        try:
            self._offer(state)
        except BlockingIOError as exc:
            if not must_arrive:
                log.error("process.notify_failed", exc)
                return
            self._late.append(state)
            self._try_again(asyncio.get_running_loop().time() + NOTIFY_RETRY_S)

    def _offer(self, state: str) -> None:
        """Send one *state*; raises ``BlockingIOError`` if the manager's queue is full."""
        if self._socket is None:
            return
        try:
            self._socket.sendto(state.encode(), self._address)
        except BlockingIOError:
            raise
        except OSError as exc:
            log.error("process.notify_failed", exc)

    def _try_again(self, until_s: float) -> None:
        """Send what is late, and come back for the rest *until_s* by the loop's clock."""
        loop = asyncio.get_running_loop()
        try:
            while self._late:
                self._offer(self._late[0])
                del self._late[0]
        except BlockingIOError as exc:
            if loop.time() < until_s:
                self._retry = loop.call_later(_PAUSE_S, self._try_again, until_s)
                return
            self._late.clear()
            log.error("process.notify_failed", exc)

    def close(self) -> None:
        """Close the socket; idempotent."""
        if self._retry is not None:
            self._retry.cancel()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
