import asyncio
import io
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from tests.support.real_loop import real_loop
from tests.support.stream_suite import Far, Fleet, Silent, dialler, echo, nothing, number, request
from zentransfer import log
from zentransfer.errors import TABLE, Code
from zentransfer.limits import (
    RPC_CLOSE_S,
    RPC_DIAL_S,
    RPC_HANDLER_S,
    RPC_STOP_S,
    RPC_STREAMS_MAX,
)
from zentransfer.rpc import channel, server
from zentransfer.rpc_stream import Dialler
from zentransfer.stream import Handler, StreamClosed
from zentransfer.v1.fleet_pb2 import ConnectRequest, ConnectResponse


@asynccontextmanager
async def fleet(handler: Handler) -> AsyncIterator[Dialler[ConnectRequest, ConnectResponse]]:
    async with server("127.0.0.1:0", Fleet(handler).register) as port, dialler(port) as to:
        yield to


# --- dialling ---


@pytest.mark.parametrize("wait_s", [0.0, 0.3])
def test_a_failed_dial_does_not_slow_the_next_one(wait_s: float) -> None:
    async def main() -> None:
        async with server("127.0.0.1:0", Fleet(echo).register) as port:
            pass
        async with dialler(port) as to:
            for _ in range(3):
                with pytest.raises(StreamClosed, match="cannot be reached") as end:
                    await to.dial()
                assert end.value.code is None
            async with server(f"127.0.0.1:{port}", Fleet(echo).register):
                await asyncio.sleep(wait_s)
                async with asyncio.timeout(1):
                    stream = await to.dial()
                await stream.close()

    real_loop(main())


@pytest.mark.peer
@pytest.mark.reaches("RPC_DIAL_S")
def test_a_dial_that_nobody_answers_ends() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with server("127.0.0.1:0", Silent().register) as port, dialler(port) as to:
            began = loop.time()
            with pytest.raises(StreamClosed, match="did not answer in time"):
                await to.dial()
            assert RPC_DIAL_S - 0.1 < loop.time() - began < RPC_DIAL_S + 1

    real_loop(main())


@pytest.mark.reaches("RPC_STREAMS_MAX")
def test_a_process_dials_so_many_streams_and_no_more() -> None:
    async def main() -> None:
        async with fleet(nothing) as to:
            streams = [await to.dial() for _ in range(RPC_STREAMS_MAX)]
            with pytest.raises(StreamClosed) as end:
                await to.dial()
            assert end.value.code == Code.OVERLOADED
            await streams.pop().close()
            await asyncio.sleep(0.05)
            await to.dial()

    real_loop(main())


# --- the end of a stream ---


def test_a_handler_hears_that_its_peer_was_cut() -> None:
    async def main() -> None:
        heard = asyncio.Event()

        async def handler(stream: Far) -> None:
            await stream.receive()
            with pytest.raises(StreamClosed):
                await stream.receive()
            heard.set()

        async with server("127.0.0.1:0", Fleet(handler).register) as port:
            async with dialler(port) as to:
                stream = await to.dial()
                await stream.send(request(1))
                await asyncio.sleep(0.1)
            async with asyncio.timeout(2):
                await heard.wait()
            with pytest.raises(StreamClosed):
                await stream.receive()

    real_loop(main())


@pytest.mark.peer
@pytest.mark.reaches("RPC_HANDLER_S")
def test_a_handler_that_goes_on_after_the_end_is_cancelled() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        took: asyncio.Queue[float] = asyncio.Queue()

        async def handler(_: Far) -> None:
            began = loop.time()
            try:
                await asyncio.sleep(3600)
            finally:
                took.put_nowait(loop.time() - began)

        async with server("127.0.0.1:0", Fleet(handler).register) as port:
            async with dialler(port) as to:
                await to.dial()
            assert RPC_HANDLER_S - 0.1 < await took.get() < RPC_HANDLER_S + 2

    real_loop(main())


@pytest.mark.reaches("RPC_STOP_S")
def test_a_server_that_stops_ends_its_streams_and_waits_for_their_handlers() -> None:
    async def main() -> None:
        heard: list[str] = []

        async def handler(stream: Far) -> None:
            await nothing(stream)
            await asyncio.sleep(0.5)
            heard.append("the end")

        loop = asyncio.get_running_loop()
        async with AsyncExitStack() as later:
            async with server("127.0.0.1:0", Fleet(handler).register) as port:
                stream = await (await later.enter_async_context(dialler(port))).dial()
                began = loop.time()
            assert RPC_STOP_S + 0.4 < loop.time() - began < RPC_STOP_S + 2
            assert heard == ["the end"]
            with pytest.raises(StreamClosed):
                await stream.receive()

    real_loop(main())


@pytest.mark.reaches("RPC_CLOSE_S")
def test_a_close_does_not_wait_long_for_a_peer_that_does_not_receive() -> None:
    async def main() -> None:
        may_end = asyncio.Event()

        async def handler(_: Far) -> None:
            await may_end.wait()

        async with fleet(handler) as to:
            stream = await to.dial()
            await stream.send(request(1))
            await stream.send(request(2))
            loop = asyncio.get_running_loop()
            began = loop.time()
            await stream.close()
            assert RPC_CLOSE_S - 0.1 < loop.time() - began < RPC_CLOSE_S + 1
            may_end.set()

    real_loop(main())


def test_a_fault_in_a_handler_is_logged_and_told_without_detail() -> None:
    lines = io.StringIO()
    log.setup("control-0", lines)

    async def handler(_: Far) -> None:
        raise LookupError("secret-of-ours")

    async def main() -> None:
        async with fleet(handler) as to:
            with pytest.raises(StreamClosed) as end:
                await (await to.dial()).receive()
            assert end.value.code == Code.INTERNAL
            assert end.value.detail == TABLE[Code.INTERNAL].reason

    real_loop(main())
    assert '"rpc.failed"' in lines.getvalue()
    assert "LookupError" in lines.getvalue()
    assert "secret-of-ours" not in lines.getvalue()


NOT_A_MESSAGE = b"\xff\xff"


def test_a_dialler_that_sends_what_cannot_be_read_loses_its_stream() -> None:
    async def main() -> None:
        heard: asyncio.Queue[str] = asyncio.Queue()

        async def handler(stream: Far) -> None:
            with pytest.raises(StreamClosed) as end:
                await stream.receive()
            heard.put_nowait(end.value.detail)

        async with (
            server("127.0.0.1:0", Fleet(handler).register) as port,
            channel(f"127.0.0.1:{port}") as to,
        ):
            call = to.stream_stream("/zentransfer.v1.FleetService/Connect")()
            await call.write(NOT_A_MESSAGE)
            assert await heard.get() == "the peer sent what cannot be read"
            assert await call.read() is grpc.aio.EOF

    real_loop(main())


def test_a_server_that_sends_what_cannot_be_read_loses_its_stream() -> None:
    async def connect(_: Any, context: Any) -> None:
        await context.send_initial_metadata((("zt-accepted", "1"),))
        await context.write(NOT_A_MESSAGE)
        await asyncio.sleep(3600)

    def register(to: grpc.aio.Server) -> None:
        method = grpc.stream_stream_rpc_method_handler(connect)
        to.add_generic_rpc_handlers(
            [
                grpc.method_handlers_generic_handler(
                    "zentransfer.v1.FleetService", {"Connect": method}
                )
            ]
        )

    async def main() -> None:
        async with server("127.0.0.1:0", register) as port, dialler(port) as to:
            stream = await to.dial()
            with pytest.raises(StreamClosed, match="cannot be read"):
                await stream.receive()

    real_loop(main())


# --- a peer that dies ---


async def started(*words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.stream_peer", *words, stdout=asyncio.subprocess.PIPE
    )


async def killed(process: asyncio.subprocess.Process) -> None:
    process.kill()
    await process.communicate()


@pytest.mark.peer
def test_a_stopped_peer_is_noticed_within_twenty_seconds() -> None:
    """The server is stopped under a client of ours, a client under a server of ours."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        dialled = asyncio.Event()
        noticed: asyncio.Queue[float] = asyncio.Queue()

        async def handler(stream: Far) -> None:
            await stream.receive()
            dialled.set()
            await nothing(stream)
            noticed.put_nowait(loop.time())

        far_server = await started("serve")
        assert far_server.stdout is not None
        far_port = int(await far_server.stdout.readline())
        async with server("127.0.0.1:0", Fleet(handler).register) as port, dialler(far_port) as to:
            far_client = await started("dial", str(port))
            stream = await to.dial()
            await stream.send(request(1))
            assert number(await stream.receive()) == 1
            await dialled.wait()
            for process in (far_server, far_client):
                process.send_signal(signal.SIGSTOP)
            stopped = loop.time()
            with pytest.raises(StreamClosed, match="cannot be reached"):
                await stream.receive()
            assert 5 < loop.time() - stopped < 20
            assert 5 < await noticed.get() - stopped < 20
            for process in (far_server, far_client):
                await killed(process)

    real_loop(main())


@pytest.mark.peer
def test_a_killed_peer_is_noticed_at_once() -> None:
    async def main() -> None:
        far_server = await started("serve")
        assert far_server.stdout is not None
        async with dialler(int(await far_server.stdout.readline())) as to:
            stream = await to.dial()
            await stream.send(request(1))
            assert number(await stream.receive()) == 1
            await killed(far_server)
            async with asyncio.timeout(2):
                with pytest.raises(StreamClosed, match="cannot be reached"):
                    await stream.receive()

    real_loop(main())
