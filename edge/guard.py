"""The guarded dialler: where connections to owners' addresses are made, and refused.

The rule: **the address that was judged is the address that is dialled**.  A name is resolved once,
one bad address refuses the name, the connection goes to an address of that answer and to nothing
else, and what it was connected to is compared afterwards.  So a name server that answers otherwise
the next time changes nothing.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final

from zentransfer.limits import GUARD_ADDRESSES_MAX, GUARD_DIAL_S, GUARD_READ_BYTES, GUARD_RESOLVERS
from zentransfer.reachable import Address, is_public, maybe_literal

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""Returns the addresses of a name as text; raises ``OSError`` when there are none."""

PORTS: Final = (443, 8443)


class Blocked(Exception):
    """The place is one that we never dial, in words for its owner."""


class Unreachable(Exception):
    """The place has no address for now, or nobody takes the connection."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What may be dialled beside our table of special addresses.

    ``networks`` are refused too: our own.  ``is_lab`` opens everything, on one machine.
    """

    ports: tuple[int, ...] = PORTS
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    is_lab: bool = False

    def check(self, address: Address, port: int) -> None:
        """Raise :class:`Blocked` unless *address* and *port* may be dialled."""
        if self.is_lab:
            return
        if port not in self.ports:
            raise Blocked("connections to that port are not made from here")
        # A mapped address is the IPv4 one to a socket, so it is to every rule.
        mapped = getattr(address, "ipv4_mapped", None)
        if not is_public(address) or any((mapped or address) in each for each in self.networks):
            raise Blocked("the address is in a private network, which we do not deliver to")


class Guard:
    """Dials what *policy* lets through."""

    def __init__(self, policy: Policy, resolve: Resolve) -> None:
        """Judge by *policy* the addresses that *resolve* gives."""
        self._policy = policy
        self._resolve = resolve

    async def addresses(self, host: str, port: int) -> list[Address]:
        """Return the addresses of *host*, all of which may be dialled at *port*.

        Raises :class:`Blocked`, :class:`Unreachable`.
        """
        literal = maybe_literal(host)
        found = [literal] if literal is not None else await self._resolved(host)
        for address in found:
            self._policy.check(address, port)
        return found

    async def dial(self, host: str, port: int) -> Connection:
        """Return a connection to *host*; raises :class:`Blocked`, :class:`Unreachable`."""
        for address in await self.addresses(host, port):
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(GUARD_DIAL_S):
                    return await _connected(address, port)
        raise Unreachable("nobody takes a connection there")

    async def _resolved(self, host: str) -> list[Address]:
        # A name with a dot in it is complete: the resolver's search list has no say.
        name = f"{host.rstrip('.')}." if "." in host else host
        try:
            async with asyncio.timeout(GUARD_DIAL_S):
                texts = await self._resolve(name)
            found = [ip_address(text) for text in dict.fromkeys(texts)]
        except (OSError, ValueError) as wrong:  # a timeout is an OSError
            raise Unreachable("the name of the server has no address") from wrong
        if not 0 < len(found) <= GUARD_ADDRESSES_MAX:
            raise Unreachable("the name of the server has no address, or far too many")
        return found


class Resolver:
    """The machine's own resolver, in threads: one that hangs holds up nobody but who asks it."""

    def __init__(self) -> None:
        """Start the threads when they are needed."""
        self._threads = ThreadPoolExecutor(GUARD_RESOLVERS, thread_name_prefix="resolve")

    async def __call__(self, name: str) -> Sequence[str]:
        """Return the addresses of *name* as text; raises ``OSError``."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, _looked_up, name)

    def close(self) -> None:
        """End the threads as soon as they can; idempotent."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _looked_up(name: str) -> list[str]:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except UnicodeError as wrong:  # a label that is too long
        raise OSError("that is no name") from wrong
    return [str(each[4][0]) for each in found]


async def _connected(address: Address, port: int) -> Connection:
    """Return a connection to just that address; raises ``OSError``."""
    reader, writer = await asyncio.open_connection(str(address), port, limit=GUARD_READ_BYTES)
    peer = writer.get_extra_info("peername")
    if peer is None or ip_address(str(peer[0])) != address or peer[1] != port:
        writer.close()
        raise OSError("the connection leads elsewhere")
    return reader, writer
