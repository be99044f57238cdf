import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.support.real_loop import real_loop
from tests.support.sim import simulate
from zentransfer.limits import NOTIFY_RETRY_S
from zentransfer.notifier import Notifier


@contextmanager
def busy_manager() -> Iterator[tuple[socket.socket, Notifier]]:
    """Yield a service manager whose queue is full, and what talks to it."""
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger,
    ):
        manager.bind("")
        manager.setblocking(False)
        stranger.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                stranger.sendto(b"x", manager.getsockname())
        notifier = Notifier("@" + manager.getsockname()[1:].decode())
        try:
            yield manager, notifier
        finally:
            notifier.close()


def heard(manager: socket.socket) -> list[bytes]:
    """Return what the queue holds, without the stranger's."""
    found: list[bytes] = []
    with suppress(BlockingIOError):
        while True:
            found.append(manager.recv(100))
    return [each for each in found if each != b"x"]


def test_what_must_arrive_waits_for_room_and_keeps_its_order() -> None:
    async def main() -> list[bytes]:
        with busy_manager() as (manager, notifier):
            notifier.send("READY=1", must_arrive=True)
            notifier.send("STATUS=x")
            notifier.send("STOPPING=1", must_arrive=True)
            await asyncio.sleep(0.1)
            assert heard(manager) == []
            await asyncio.sleep(0.2)
            return heard(manager)

    assert real_loop(main()) == [b"READY=1", b"STOPPING=1"]


@pytest.mark.reaches("NOTIFY_RETRY_S")
def test_a_manager_that_never_listens_is_given_up() -> None:
    async def main() -> tuple[list[bytes], list[bytes]]:
        with busy_manager() as (manager, notifier):
            notifier.send("READY=1", must_arrive=True)
            await asyncio.sleep(NOTIFY_RETRY_S + 1)
            lost = heard(manager)
            await asyncio.sleep(1)
            notifier.send("STOPPING=1", must_arrive=True)
            return lost, heard(manager)

    assert simulate(main()) == ([], [b"STOPPING=1"])


def test_what_shows_only_a_state_is_dropped_and_a_closed_one_says_nothing() -> None:
    with busy_manager() as (manager, notifier):
        notifier.send("STATUS=x")
        notifier.close()
        notifier.close()
        heard(manager)
        notifier.send("STATUS=y")
        assert heard(manager) == []
    Notifier(None).send("READY=1", must_arrive=True)
