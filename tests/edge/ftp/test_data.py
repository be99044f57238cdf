import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from edge.ftp.data import DataChannel, NoDataConnection
from edge.ftp.tls import Entrance, Rules
from tests.edge.ftp.test_tunnel import Peer
from tests.support.ftp_door import dialled, reset
from tests.support.real_loop import real_loop
from tests.support.sim import simulate
from tests.support.tls_client import ftp_context
from zentransfer.errors import Code, Error
from zentransfer.limits import FTP_DATA_BUFFER_BYTES, FTP_DATA_WAIT_S, FTP_UNREAD_BYTES_MAX

LOOPS = pytest.mark.parametrize("uvloop", [False, True])


@asynccontextmanager
async def joined() -> AsyncGenerator[tuple[DataChannel, asyncio.StreamWriter], None]:
    """Give a channel and the client's end of it."""
    channel = DataChannel()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: channel, "127.0.0.1", 0)
    _, writer = await dialled(server.sockets[0].getsockname()[1])
    server.close()
    await channel.connected(10)
    try:
        yield channel, writer
    finally:
        channel.abort()
        writer.close()


def run(
    test: Callable[[DataChannel, asyncio.StreamWriter], Awaitable[None]], *, uvloop: bool
) -> None:
    async def main() -> None:
        async with asyncio.timeout(20), joined() as (channel, writer):
            await test(channel, writer)

    real_loop(main(), uvloop=uvloop)


async def whole(channel: DataChannel) -> bytes:
    parts = list[bytes]()
    while part := await channel.readany():
        parts.append(part)
    return b"".join(parts)


@LOOPS
def test_what_was_sent_before_anybody_reads_is_there_and_its_end_too(uvloop: bool) -> None:
    async def test(channel: DataChannel, writer: asyncio.StreamWriter) -> None:
        writer.write(b"abc")
        writer.write_eof()
        await asyncio.sleep(0.05)
        assert await whole(channel) == b"abc"
        assert await whole(channel) == b""
        assert channel.received == 3

    run(test, uvloop=uvloop)


@LOOPS
@pytest.mark.reaches("FTP_DATA_BUFFER_BYTES")
def test_nothing_is_read_ahead_but_one_buffer(uvloop: bool) -> None:
    async def test(channel: DataChannel, writer: asyncio.StreamWriter) -> None:
        content = bytes(range(256)) * 40_000  # 10 MB, more than the kernel's buffers hold
        writer.write(content)
        writer.write_eof()
        await asyncio.sleep(0.1)
        assert channel.received == 0, "nobody reads yet"
        first = await channel.readany()
        await asyncio.sleep(0.2)
        assert channel.received - len(first) == FTP_DATA_BUFFER_BYTES
        assert first + await whole(channel) == content

    run(test, uvloop=uvloop)


@LOOPS
@pytest.mark.parametrize("before", [b"", b"abc"])
def test_a_reset_is_no_end(before: bytes, uvloop: bool) -> None:
    async def test(channel: DataChannel, writer: asyncio.StreamWriter) -> None:
        writer.write(before)
        await asyncio.sleep(0.05)
        reset(writer)
        with pytest.raises(Error) as raised:
            await whole(channel)
        assert raised.value.code is Code.PEER_GONE

    run(test, uvloop=uvloop)


@LOOPS
def test_a_failure_counts_at_once_and_ends_the_connection(uvloop: bool) -> None:
    async def test(channel: DataChannel, writer: asyncio.StreamWriter) -> None:
        writer.write(b"abc")
        assert await channel.readany() == b"abc"
        writer.write(b"def")
        await asyncio.sleep(0.05)
        asyncio.get_running_loop().call_soon(channel.fail, Error(Code.DRAINING))
        await asyncio.sleep(0.02)
        with pytest.raises(Error) as raised:
            await channel.readany()
        assert raised.value.code is Code.DRAINING
        with suppress(ConnectionError):
            for _ in range(100):
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.01)
            raise AssertionError("it takes on and on")

    run(test, uvloop=uvloop)


@pytest.mark.reaches("FTP_DATA_WAIT_S")
def test_a_connection_that_never_comes_is_waited_for_in_vain() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        with pytest.raises(NoDataConnection):
            await DataChannel().connected(FTP_DATA_WAIT_S)
        return loop.time() - begun_s

    assert simulate(main()) == pytest.approx(FTP_DATA_WAIT_S)


def test_a_wait_ends_with_the_failure_that_it_is_given() -> None:
    async def main() -> None:
        channel = DataChannel()
        asyncio.get_running_loop().call_later(1.0, channel.fail, Error(Code.PEER_GONE))
        with pytest.raises(Error) as raised:
            await channel.connected(30.0)
        assert raised.value.code is Code.PEER_GONE

    simulate(main())


@LOOPS
def test_what_is_sent_waits_for_its_receiver_and_ends_with_a_fin(uvloop: bool) -> None:
    async def main() -> None:
        async with asyncio.timeout(20):
            content = bytes(range(256)) * 40_000  # 10 MB, more than the kernel's buffers hold
            channel = DataChannel()
            server = await asyncio.get_running_loop().create_server(lambda: channel, "127.0.0.1", 0)
            reader, writer = await dialled(server.sockets[0].getsockname()[1])
            server.close()
            await channel.connected(10)

            async def send() -> None:
                await channel.send(content)
                await channel.finish(10)

            async with asyncio.TaskGroup() as group:
                sending = group.create_task(send())
                await asyncio.sleep(0.1)
                assert not sending.done(), "nobody takes it yet"
                assert await reader.read() == content
                writer.close()

    real_loop(main(), uvloop=uvloop)


@LOOPS
def test_a_receiver_that_vanishes_ends_what_is_sent(uvloop: bool) -> None:
    async def test(channel: DataChannel, writer: asyncio.StreamWriter) -> None:
        async def send() -> None:
            for _ in range(100):
                await channel.send(bytes(100_000))
                await asyncio.sleep(0.01)

        reset(writer)
        with pytest.raises(Error) as raised:
            await send()
        assert raised.value.code is Code.PEER_GONE

    run(test, uvloop=uvloop)


def test_a_receiver_that_takes_nothing_is_not_waited_for_for_ever() -> None:
    async def test(channel: DataChannel, writer: asyncio.StreamWriter) -> None:
        assert channel._transport is not None
        channel._transport.write(bytes(20_000_000))
        with pytest.raises(Error) as raised:
            await channel.finish(0.1)
        assert raised.value.code is Code.TIMEOUT
        assert not writer.is_closing()

    run(test, uvloop=False)


class Stuck(asyncio.Transport):
    """The way to a client that takes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = 0
        self.is_aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.waiting += len(data)

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def is_closing(self) -> bool:
        return self.is_aborted

    def abort(self) -> None:
        self.is_aborted = True


def test_who_takes_nothing_of_what_tls_answers_is_gone(tmp_path: Path) -> None:
    async def test() -> None:
        channel, way = DataChannel(), Stuck()
        entrance = Entrance(ftp_context(tmp_path))
        privacy = Rules().privacy(entrance, "", "127.0.0.1", is_first=True)
        channel.protect(privacy)
        channel.connection_made(way)
        Peer(privacy.tunnel).shaken()
        await channel.send(bytes(FTP_UNREAD_BYTES_MAX // 2))
        assert not way.is_aborted, "the longest listing"
        with pytest.raises(Error) as raised:
            await channel.send(bytes(FTP_UNREAD_BYTES_MAX // 2))
        assert raised.value.code is Code.PEER_GONE
        assert way.is_aborted

    simulate(test())
