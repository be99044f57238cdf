"""A node's notices between its own processes, where no Redis is named: datagrams in its run folder.

The rule: nothing waits and nothing is kept.  A notice that finds nobody, or a full queue, is lost;
and each process has a socket of its own name, which the lock of its place makes the only one.
"""

import asyncio
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

from edge.region_state import Hear, Told, maybe_notice, packed
from zentransfer.ids import ProcessName
from zentransfer.limits import REGION_LOCAL_LOOK_S, REGION_NOTICE_BYTES_MAX, WAKES_PER_TURN

_SUFFIX: Final = ".notices"


class LocalRegionState:
    """A :class:`edge.region_state.RegionState` of the processes that share one folder."""

    def __init__(self, folder: Path, name: ProcessName) -> None:
        """Stand in *folder*, which must exist, as the process *name*; raises ``OSError``."""
        self._own = f"{name}{_SUFFIX}"
        # The folder's own path may be longer than an address may be.
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self._hears: list[Hear] = []
        self._others: list[str] = []
        self._look_at_s = float("-inf")
        self._is_listening = False
        self.lost = 0
        """Notices that somebody did not take: one that ended, or has its hands full."""

    def tell(self, told: Told) -> None:
        """Tell the others; never waits and never fails."""
        data = packed(told)
        for name in self._names():
            try:
                self._socket.sendto(data, self._address(name))
            except OSError:
                self.lost += 1

    def listen(self, hear: Hear) -> None:
        """Call *hear* with what others tell."""
        self._hears.append(hear)

    async def is_first(self, nonce: bytes, for_s: float) -> bool | None:
        """Say that nobody here can tell for the region: a node's processes share a folder."""
        del nonce, for_s
        return None

    def check(self) -> tuple[bool, str]:
        """Say whether notices are carried."""
        return self._is_listening, "the processes of this node"

    async def run(self) -> None:
        """Listen until cancelled; raises ``OSError`` when there is no place for a socket."""
        loop = asyncio.get_running_loop()
        with suppress(FileNotFoundError):  # of an earlier life
            os.unlink(self._own, dir_fd=self._folder)
        self._socket.bind(self._address(self._own))
        os.chmod(self._own, 0o600, dir_fd=self._folder)
        loop.add_reader(self._socket, self._on_readable)
        self._is_listening = True
        try:
            await asyncio.Event().wait()
        finally:
            self._is_listening = False
            loop.remove_reader(self._socket)
            self._socket.close()
            with suppress(OSError):
                os.unlink(self._own, dir_fd=self._folder)

    def _names(self) -> list[str]:
        """Return the names of the others' sockets, looked at now and then."""
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._look_at_s:
            self._look_at_s = now_s + REGION_LOCAL_LOOK_S
            names = os.listdir(self._folder)
            self._others = [one for one in names if one.endswith(_SUFFIX) and one != self._own]
        return self._others

    def _address(self, name: str) -> str:
        return f"/proc/self/fd/{self._folder}/{name}"

    def _on_readable(self) -> None:
        """Take the notices that are there; the others wait for the loop's next turn."""
        for _ in range(WAKES_PER_TURN):
            try:
                data = self._socket.recv(REGION_NOTICE_BYTES_MAX + 1)
            except OSError:  # none left
                return
            told = maybe_notice(data) if len(data) <= REGION_NOTICE_BYTES_MAX else None
            if told is not None:
                for hear in self._hears:
                    hear(told)
