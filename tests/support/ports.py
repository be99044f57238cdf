"""Ports for the programs that tests start: no two tests beside each other are given one.

The ranges lie below what the kernel gives out by itself (32,768 and more), so that no client's
socket takes a port between its choice and the program that listens there, or while that program
is started again.  They are disjoint: bases of whole systems, data connections, single ports.
"""

import os
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import cycle
from random import Random
from socket import socket
from typing import Final

BASES: Final = range(9_000, 16_600, 400)  # of a system's block: its highest port is base + 390
DATA: Final = range(17_000, 24_400)  # of FTP doors, which go on to the next port if one is taken
_SINGLE: Final = range(24_400, 32_000)
_SHARES: Final = 16


def _share() -> Iterator[int]:
    """Walk this process's share round and round, from some place in it."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % _SHARES  # noqa: TID251
    mine = _SINGLE[worker::_SHARES]
    first = Random().randrange(len(mine))
    return cycle([*mine[first:], *mine[:first]])


_LEFT: Final = _share()


def free_ports(count: int) -> list[int]:
    """Return *count* ports of the loopback address that are free and stay so."""
    found: list[int] = []
    for port in _LEFT:
        with closing(socket()) as tried, suppress(OSError):
            tried.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("unreachable: the walk has no end")


def free_port() -> int:
    """Return one port as of :func:`free_ports`."""
    return free_ports(1)[0]
