import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from edge.ftp.data import DataChannel, NoDataConnection
from tests.support.ftp_door import dialled, reset
from tests.support.real_loop import real_loop
from tests.support.sim import simulate
from zentransfer.errors import Code, Error
from zentransfer.limits import FTP_DATA_BUFFER_BYTES, FTP_DATA_WAIT_S

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
