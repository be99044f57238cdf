"""The ports for data connections: shared listeners, and who is expected at which.

The rules: a listener once opened stays, because opening one for each file is what makes small files
slow; a connection belongs to the reservation of its port **and** its sender's address (or less of
it, where a front or a NAT changes that), the first one takes it, and whoever is not expected is
dropped at once; a port is never shared with another process, which would steal its connections.
"""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import cast

from edge.ftp.addresses import Nat, plain_address
from edge.ftp.data import DataChannel
from zentransfer import log
from zentransfer.errors import Code, Error
from zentransfer.limits import FTP_PORT_TRIES_MAX, FTP_RESERVED_S, LISTEN_BACKLOG


class NoDataPort(Error):
    """Every port that was tried is taken; it is the client's to try again."""

    def __init__(self) -> None:
        super().__init__(Code.OVERLOADED)


@dataclass(frozen=True, slots=True)
class Reservation:
    """A port at which one client is expected, and its connection; to be ended by its owner."""

    port: int
    data: DataChannel
    _end: Callable[[], None]

    def end(self) -> None:
        """Expect the client no more, and end its connection if that lives; idempotent."""
        self._end()
        self.data.abort()


class PassivePorts:
    """The ports of one process for data connections."""

    def __init__(self, host: str, ports: range, random: Random, nat: Nat | None = None) -> None:
        """Use *ports* of the numeric address *host*; *random* draws, so that none is guessed."""
        self.nat = nat or Nat()
        self._host = host
        self._ports = ports
        self._random = random
        self._listeners: dict[int, asyncio.Server] = {}
        self._expected: dict[tuple[int, str], DataChannel] = {}
        self._timers: dict[DataChannel, asyncio.TimerHandle] = {}

    async def reserve(self, address: str) -> Reservation:
        """Expect *address* at a port that was drawn, for FTP_RESERVED_S.

        Raises ``NoDataPort`` when FTP_PORT_TRIES_MAX ports were tried in vain.
        """
        peer = self.nat.expected(address)
        for _ in range(FTP_PORT_TRIES_MAX):
            port = self._random.choice(self._ports)
            if await self._is_open(port) and (port, peer) not in self._expected:
                data = self._expected[port, peer] = DataChannel()
                # Who never comes and never ends keeps no port; one that was claimed is another's.
                release = partial(self._release, port, peer, data)
                loop = asyncio.get_running_loop()
                self._timers[data] = loop.call_later(FTP_RESERVED_S, release)
                return Reservation(port, data, release)
        log.fact("ftp.no_data_port")
        raise NoDataPort

    def claim(self, port: int, address: str) -> DataChannel | None:
        """Return the connection that *address* was expected with at *port*; only once."""
        data = self._expected.pop((port, self.nat.expected(address)), None)
        if data is not None:
            self._timers.pop(data).cancel()
        return data

    def close(self) -> None:
        """Listen no more."""
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()
        self._expected.clear()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _release(self, port: int, peer: str, data: DataChannel) -> None:
        if self._expected.get((port, peer)) is data:
            del self._expected[port, peer]
            self._timers.pop(data).cancel()

    async def _is_open(self, port: int) -> bool:
        """Listen at *port* if nobody else does, and say whether we do."""
        if port in self._listeners:
            return True
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self._host, port))
            server = await asyncio.get_running_loop().create_server(
                lambda: _Arrival(self, port), sock=listener, backlog=LISTEN_BACKLOG
            )
        except OSError:  # taken by another program, or too many are open: another one will do
            listener.close()
            return False
        self._listeners[port] = server
        return True


class _Arrival(asyncio.Protocol):
    """A connection at a port of ours that has not been told yet whose it is."""

    def __init__(self, ports: PassivePorts, port: int) -> None:
        self._ports = ports
        self._port = port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hand it over to whoever expects it, or drop it."""
        given = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        peer: tuple[str, int] | None = given.get_extra_info("peername")
        channel = self._ports.claim(self._port, plain_address(peer[0])) if peer else None
        if channel is None:
            given.abort()
            return
        given.set_protocol(channel)
        channel.connection_made(given)
