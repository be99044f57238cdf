import asyncio
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, closing

import pytest

from edge.ftp.control import Control, Gone, farewell_s, prepare
from edge.ftp.data import DataChannel
from edge.ftp.lines import Command
from tests.support.ftp_door import dialled
from tests.support.real_loop import real_loop
from zentransfer.errors import Code, Error
from zentransfer.limits import (
    FTP_FAREWELL_MAX_S,
    FTP_FAREWELL_MIN_S,
    FTP_FAREWELL_S,
    FTP_KEEPALIVE_S,
    FTP_UNREAD_BYTES_MAX,
)


@asynccontextmanager
async def joined() -> AsyncGenerator[tuple[Control, asyncio.StreamWriter], None]:
    """Give a control connection and the client's end of it."""
    met = asyncio.get_running_loop().create_future()
    listener = socket.create_server(("127.0.0.1", 0))
    prepare(listener)
    server = await asyncio.start_server(lambda *ends: met.set_result(ends), sock=listener)
    _, writer = await dialled(listener.getsockname()[1])
    reader, own = await met
    server.close()
    try:
        yield Control(reader, own), writer
    finally:
        own.close()
        writer.close()


def run(test: Callable[[Control, asyncio.StreamWriter], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(20), joined() as (control, writer):
            await test(control, writer)

    real_loop(main())


async def silent(_: Command) -> None:
    """Answer nothing."""


def soon() -> float:
    return asyncio.get_running_loop().time() + 5


def test_commands_come_one_by_one_until_the_client_leaves() -> None:
    async def test(control: Control, writer: asyncio.StreamWriter) -> None:
        writer.write(b"PWD\r\nCWD a")
        assert await control.next(soon()) == Command("PWD", "")
        writer.write(b"b\r\nQUIT\r\n")
        assert await control.next(soon()) == Command("CWD", "ab")
        writer.close()
        assert await control.next(soon()) == Command("QUIT", "")
        with pytest.raises(Gone):
            await control.next(soon())

    run(test)


def test_a_wait_ends_at_its_time_or_when_it_is_hurried_and_loses_nothing() -> None:
    async def test(control: Control, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        writer.write(b"PW")
        with pytest.raises(TimeoutError):
            await control.next(loop.time() + 0.05)
        loop.call_later(0.05, control.hurry)
        with pytest.raises(TimeoutError):
            await control.next(loop.time() + 60)
        control.hurry()  # nobody waits
        writer.write(b"D\r\n")
        assert await control.next(soon()) == Command("PWD", "")

    run(test)


def test_abor_fails_the_transfer_and_what_came_with_it_is_kept() -> None:
    async def test(control: Control, writer: asyncio.StreamWriter) -> None:
        data = DataChannel()
        writer.write(b"PWD\r\nABOR\r\nABOR\r\nQUIT\r\n")
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(control.watch(data, 100, silent))
            with pytest.raises(Error) as raised:
                await data.readany()
            await asyncio.sleep(0.05)
            watch.cancel()
        assert raised.value.code is Code.PEER_GONE
        assert control.is_aborted
        assert [(await control.next(soon())).verb for _ in range(3)] == ["PWD", "ABOR", "QUIT"]

    run(test)


def test_what_can_be_said_at_once_never_overtakes() -> None:
    async def test(control: Control, writer: asyncio.StreamWriter) -> None:
        heard = list[str]()

        async def answer(command: Command) -> None:
            heard.append(command.verb)

        writer.write(b"NOOP\r\nSTAT\r\nPWD\r\nNOOP\r\n")
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(control.watch(DataChannel(), None, answer))
            await asyncio.sleep(0.05)
            watch.cancel()
        assert heard == ["NOOP", "STAT"]
        assert [(await control.next(soon())).verb for _ in range(2)] == ["PWD", "NOOP"]

    run(test)


@pytest.mark.parametrize(
    ("last", "announced", "fails"),
    [(b"", None, True), (b"QUIT\r\n", None, False), (b"", 100, False), (b"NOOP\r\n", None, True)],
)
def test_a_client_that_leaves_without_quit_fails_a_transfer_of_unknown_size(
    last: bytes, announced: int | None, fails: bool
) -> None:
    async def test(control: Control, writer: asyncio.StreamWriter) -> None:
        data = DataChannel()
        writer.write(last)
        writer.close()
        await control.watch(data, announced, silent)
        assert data.is_connected == fails, "a failure is all that could come of it"
        assert control.is_alone == (b"QUIT" not in last)

    run(test)


@pytest.mark.reaches("FTP_KEEPALIVE_S")
def test_every_connection_is_kept_alive_and_hears_urgent_data_in_its_place() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        prepare(listener)
        with closing(socket.create_connection(listener.getsockname())) as client:
            accepted, _ = listener.accept()
            with closing(accepted):
                assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                idle_s = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
                assert idle_s == FTP_KEEPALIVE_S
                client.sendall(b"ABOR\r\n", socket.MSG_OOB)
                # A read ends at the mark; without the option the byte behind it is never read.
                assert accepted.recv(100) + accepted.recv(100) == b"ABOR\r\n"


@pytest.mark.reaches("FTP_UNREAD_BYTES_MAX")
def test_who_takes_nothing_of_what_is_said_is_gone() -> None:
    async def test(control: Control, _: asyncio.StreamWriter) -> None:
        control.stream.put(bytes(FTP_UNREAD_BYTES_MAX))
        with pytest.raises(Gone):
            control.stream.put(bytes(16 * FTP_UNREAD_BYTES_MAX))  # more than kernels take
        assert control.stream.writer.transport.get_write_buffer_size() == 0

    run(test)


@pytest.mark.reaches("FTP_FAREWELL_MIN_S", "FTP_FAREWELL_MAX_S")
@pytest.mark.parametrize(
    ("address", "known_us", "wait_s"),
    [
        ("127.0.0.1", (40_000, 10_000), FTP_FAREWELL_S),
        ("192.0.2.1", (40_000, 10_000), 0.08),
        ("192.0.2.1", (100, 50), FTP_FAREWELL_MIN_S),
        ("192.0.2.1", (900_000, 400_000), FTP_FAREWELL_MAX_S),
        ("192.0.2.1", None, FTP_FAREWELL_MIN_S),
    ],
)
def test_the_end_of_a_distant_client_is_waited_for_as_long_as_it_may_take(
    address: str, known_us: tuple[int, int] | None, wait_s: float
) -> None:
    class Known:
        """A socket whose kernel knows the times of its answers, or nothing."""

        def getsockopt(self, _level: int, _option: int, size: int) -> bytes:
            info = b"" if known_us is None else bytes(68) + struct.pack("=II", *known_us)
            return info[:size]

    async def test(control: Control, _: asyncio.StreamWriter) -> None:
        assert control.farewell_s() == FTP_FAREWELL_S
        control.address = address
        assert farewell_s(Known()) == wait_s or address == "127.0.0.1"
        if address != "127.0.0.1":  # by the real socket, whose answers take microseconds
            assert control.farewell_s() == FTP_FAREWELL_MIN_S

    run(test)
