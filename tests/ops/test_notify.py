import asyncio
import os
import socket
import subprocess
import sys
from contextlib import suppress

import pytest

from ops.notify import NotifySocket
from tests.support.real_loop import real_loop
from zentransfer.limits import NOTIFY_BYTES_MAX

SAYS_READY = """
import socket, sys
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", "\\0" + sys.argv[1][1:])
"""


def send(address: str, data: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(data, "\0" + address[1:])


async def heard_after(*messages: bytes) -> list[tuple[int, frozenset[str]]]:
    heard: list[tuple[int, frozenset[str]]] = []
    hears = asyncio.Event()

    def hear(pid: int, lines: frozenset[str]) -> None:
        heard.append((pid, lines))
        hears.set()

    notify = NotifySocket(hear)
    try:
        for message in messages:
            hears.clear()
            send(notify.address, message)
            async with asyncio.timeout(5):
                await hears.wait()
    finally:
        notify.close()
        notify.close()
    return heard


def test_what_is_said_comes_with_the_pid_of_who_said_it() -> None:
    heard = real_loop(heard_after(b"READY=1\nSTATUS=up", b"\xff\xfe"))
    assert heard[0] == (os.getpid(), frozenset({"READY=1", "STATUS=up"}))
    assert len(heard) == 2


def test_a_full_queue_is_emptied_at_one_go() -> None:
    async def main() -> int:
        heard: list[frozenset[str]] = []
        notify = NotifySocket(lambda _, lines: heard.append(lines))
        sent = 0
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            with suppress(BlockingIOError):
                while sent < 50:
                    sender.sendto(b"STATUS=x", "\0" + notify.address[1:])
                    sent += 1
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        notify.close()
        return sent - len(heard)

    assert real_loop(main()) == 0


def test_who_hears_may_close_the_socket() -> None:
    async def main() -> int:
        heard: list[int] = []
        hears = asyncio.Event()

        def hear(pid: int, _: frozenset[str]) -> None:
            heard.append(pid)
            hears.set()
            notify.close()

        notify = NotifySocket(hear)
        send(notify.address, b"READY=1")
        send(notify.address, b"READY=1")
        async with asyncio.timeout(5):
            await hears.wait()
        return len(heard)

    assert real_loop(main()) == 1


@pytest.mark.reaches("NOTIFY_BYTES_MAX")
def test_a_message_that_is_too_long_is_cut() -> None:
    heard = real_loop(heard_after(b"x" * (NOTIFY_BYTES_MAX + 1000)))
    assert [*heard[0][1]] == ["x" * NOTIFY_BYTES_MAX]


@pytest.mark.peer
def test_another_process_is_named_by_the_kernel_and_not_by_itself() -> None:
    async def main() -> None:
        heard = asyncio.Event()
        pids: list[int] = []

        def hear(pid: int, _: frozenset[str]) -> None:
            pids.append(pid)
            heard.set()

        notify = NotifySocket(hear)
        with subprocess.Popen([sys.executable, "-c", SAYS_READY, notify.address]) as peer:  # noqa: ASYNC220
            async with asyncio.timeout(20):
                await heard.wait()
            assert pids == [peer.pid]
        notify.close()

    real_loop(main())
