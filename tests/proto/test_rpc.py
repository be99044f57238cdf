import asyncio
import io
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio
import pytest

from tests.support.real_loop import real_loop
from tests.support.stream_suite import (
    Answer,
    Fleet,
    Silent,
    dialler,
    echo,
    nothing,
    request,
)
from zentransfer import log
from zentransfer.errors import TABLE, Code, Error, may_wait
from zentransfer.limits import (
    RPC_CALLS_MAX,
    RPC_CODE_CHARS_MAX,
    RPC_DEADLINE_S,
    RPC_RETRY_AFTER_S_MAX,
    RPC_RETURN_S,
    RPC_WORK_S_MIN,
)
from zentransfer.rpc import (
    CODE_KEY,
    CONTROL_SERVER,
    NODE_CHANNEL,
    RETRY_AFTER_KEY,
    Options,
    ask,
    ask_parts,
    channel,
    closed_by,
    error_of,
    refusal,
    server,
)
from zentransfer.service import CannotStart
from zentransfer.stream import StreamClosed
from zentransfer.v1.fleet_pb2 import (
    EnrollRequest,
    FetchSnapshotRequest,
    FetchSnapshotResponse,
    RenewRequest,
    RenewResponse,
)
from zentransfer.v1.fleet_pb2_grpc import FleetServiceStub


def with_status(pairs: dict[str, str]) -> grpc.aio.Metadata:
    return grpc.aio.Metadata(*pairs.items())


# --- addresses and ports ---


@pytest.mark.parametrize("address", ["192.0.2.1:8001", "[2001:db8::1]:8001", "0.0.0.0:0", "fr:1"])
def test_plaintext_stays_on_this_machine(address: str) -> None:
    async def main() -> None:
        with pytest.raises(CannotStart, match=r"no credentials.*certificate"):
            channel(address)
        with pytest.raises(CannotStart, match=r"no credentials.*certificate"):
            async with server(address, lambda _: None):
                pass

    real_loop(main())


@pytest.mark.parametrize("address", ["", "8001", ":8001", "127.0.0.1", "127.0.0.1:", "h:65536"])
def test_a_malformed_address_is_named(address: str) -> None:
    async def main() -> None:
        with pytest.raises(CannotStart, match=f'"{address}" is malformed.*host:port'):
            channel(address)

    real_loop(main())


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:0", "localhost:0"])
def test_every_loopback_address_serves(address: str) -> None:
    async def main() -> None:
        async with (
            server(address, Fleet(echo).register) as port,
            channel(address.removesuffix("0") + str(port)) as to,
        ):
            await ask(FleetServiceStub(to).Renew, RenewRequest())

    real_loop(main())


def test_a_taken_port_is_named() -> None:
    async def refused(port: int) -> None:
        with pytest.raises(CannotStart, match=rf"Port {port} on 127\.0\.0\.1 is taken.*Stop"):
            async with server(f"127.0.0.1:{port}", Fleet(echo).register):
                pass

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            await refused(other.getsockname()[1])
        async with server("127.0.0.1:0", Fleet(echo).register) as port:
            await refused(port)  # gRPC's own default would share it

    real_loop(main())


def test_credentials_are_for_any_address() -> None:
    async def main() -> None:
        async with channel("192.0.2.1:1", grpc.ssl_channel_credentials()):
            pass
        with pytest.raises(CannotStart, match="malformed"):
            channel("192.0.2.1", grpc.ssl_channel_credentials())

    real_loop(main())


@pytest.mark.reaches("RPC_CALLS_MAX")
def test_a_server_takes_so_many_calls_and_no_more() -> None:
    async def main() -> None:
        async with (
            server("127.0.0.1:0", Silent().register) as port,
            channel(f"127.0.0.1:{port}") as to,
        ):
            stub = FleetServiceStub(to)
            calls = [stub.Connect() for _ in range(RPC_CALLS_MAX)]
            for call in calls:
                await call.write(request(1))
            for call in calls:  # each is counted once it is answered, in whatever order
                await call.read()
            with pytest.raises(Error) as refused:
                await ask(stub.Renew, RenewRequest())
            assert refused.value.code is Code.OVERLOADED
            for call in calls:
                call.cancel()

    real_loop(main())


# --- errors by the one table ---


def asked(answer: Answer, timeout_s: float = RPC_DEADLINE_S) -> Error:
    """Ask once for each kind of call; return the error, the same for both."""

    async def main() -> Error:
        async with (
            server("127.0.0.1:0", Fleet(nothing, answer).register) as port,
            channel(f"127.0.0.1:{port}") as to,
        ):
            stub = FleetServiceStub(to)
            with pytest.raises(Error) as single:
                await ask(stub.Enroll, EnrollRequest(), timeout_s=timeout_s)
            parts: AsyncIterator[FetchSnapshotResponse] = ask_parts(
                stub.FetchSnapshot, FetchSnapshotRequest(), timeout_s=timeout_s
            )
            with pytest.raises(Error) as many:
                await versions(parts)
            assert many.value.code is single.value.code
            return single.value

    return real_loop(main())


async def versions(parts: AsyncIterator[FetchSnapshotResponse]) -> list[int]:
    return [part.version async for part in parts]


def test_a_call_is_answered() -> None:
    async def main() -> None:
        async with (
            server("127.0.0.1:0", Fleet(nothing).register) as port,
            channel(f"127.0.0.1:{port}") as to,
        ):
            stub = FleetServiceStub(to)
            assert await ask(stub.Renew, RenewRequest()) == RenewResponse()
            parts: AsyncIterator[FetchSnapshotResponse] = ask_parts(
                stub.FetchSnapshot, FetchSnapshotRequest()
            )
            assert await versions(parts) == [0, 1, 2]

    real_loop(main())


def test_every_code_crosses_the_wire() -> None:
    async def answer(request: Any, _left_s: float) -> None:
        code = Code(request.node)
        raise Error(code, "A safe word", 2.5 if may_wait(code) else None)

    async def main() -> None:
        async with (
            server("127.0.0.1:0", Fleet(nothing, answer).register) as port,
            channel(f"127.0.0.1:{port}") as to,
        ):
            for code in Code:
                with pytest.raises(Error) as failed:
                    await ask(FleetServiceStub(to).Enroll, EnrollRequest(node=code))
                error = failed.value
                wait = 2.5 if may_wait(code) else None
                assert (error.code, error.detail, error.retry_after_s) == (
                    code, "A safe word", wait,
                )  # fmt: skip

    real_loop(main())


def test_a_fault_in_an_answer_tells_nothing() -> None:
    async def answer(_request: Any, _left_s: float) -> None:
        raise LookupError("secret-of-ours")

    error = asked(answer)
    assert (error.code, error.detail) == (Code.INTERNAL, TABLE[Code.INTERNAL].reason)


def test_what_is_unforeseen_is_internal() -> None:
    log.setup("control-0", io.StringIO())
    assert refusal(ValueError("x")).code is Code.INTERNAL
    assert refusal(Error(Code.QUOTA)).code is Code.QUOTA


def test_a_call_to_nobody_is_unavailable() -> None:
    async def main() -> None:
        async with server("127.0.0.1:0", Fleet(echo).register) as port:
            pass
        async with channel(f"127.0.0.1:{port}") as to:
            with pytest.raises(Error) as failed:
                await ask(FleetServiceStub(to).Renew, RenewRequest())
        assert failed.value.code is Code.UNAVAILABLE
        assert str(port) not in str(failed.value)

    real_loop(main())


@pytest.mark.reaches("RPC_CODE_CHARS_MAX")
def test_a_word_of_a_newer_peer_passes_and_what_is_no_word_does_not() -> None:
    ok = grpc.StatusCode.ABORTED
    newer = "a" * RPC_CODE_CHARS_MAX
    assert closed_by(ok, "why", with_status({CODE_KEY: newer})).code == newer
    for word in (newer + "a", "", "A", "a b", "a\n"):
        end = closed_by(ok, "a text of gRPC", with_status({CODE_KEY: word}))
        assert (end.code, end.detail) == (None, "the stream broke: ABORTED")
    failure = grpc.aio.AioRpcError(ok, with_status({}), with_status({CODE_KEY: newer}), "x")
    assert error_of(failure).code is Code.INTERNAL


@pytest.mark.reaches("RPC_RETRY_AFTER_S_MAX")
def test_a_wait_that_makes_no_sense_is_bounded_or_dropped() -> None:
    def waits(text: str) -> float | None:
        trailing = with_status({CODE_KEY: "overloaded", RETRY_AFTER_KEY: text})
        failure = grpc.aio.AioRpcError(
            grpc.StatusCode.UNAVAILABLE, with_status({}), trailing, "x" * 999
        )
        end = closed_by(grpc.StatusCode.UNAVAILABLE, "x" * 999, trailing)
        assert error_of(failure).retry_after_s == end.retry_after_s
        return end.retry_after_s

    assert waits("1500") == 1.5
    assert waits("999999999999") == RPC_RETRY_AFTER_S_MAX
    assert waits("-1") is waits("soon") is waits("9" * 13) is waits("٣") is None


# --- deadlines ---


@pytest.mark.reaches("RPC_DEADLINE_S", "RPC_RETURN_S")
def test_a_server_shaves_the_deadline_of_its_caller() -> None:
    async def main() -> None:
        left: list[float] = []

        async def answer(_request: Any, left_s: float) -> None:
            left.append(left_s)

        async with (
            server("127.0.0.1:0", Fleet(nothing, answer).register) as port,
            channel(f"127.0.0.1:{port}") as to,
        ):
            stub = FleetServiceStub(to)
            for timeout_s in (2.0, 3600.0, None):
                await stub.Enroll(EnrollRequest(), timeout=timeout_s)
        assert 1.5 < left[0] <= 2.0 - RPC_RETURN_S
        assert left[1] == left[2] == RPC_DEADLINE_S - RPC_RETURN_S

    real_loop(main())


@pytest.mark.reaches("RPC_WORK_S_MIN")
def test_a_call_with_too_little_time_left_is_refused_at_once() -> None:
    worked: list[Any] = []

    async def answer(request: Any, _left_s: float) -> None:
        worked.append(request)

    error = asked(answer, timeout_s=RPC_WORK_S_MIN)
    assert error.code is Code.TIMEOUT
    assert worked == []


def test_slow_work_ends_before_the_deadline_of_its_caller() -> None:
    ended: list[str] = []

    async def answer(_request: Any, _left_s: float) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    error = asked(answer, timeout_s=0.4)
    assert (error.code, error.detail) == (Code.TIMEOUT, TABLE[Code.TIMEOUT].reason)
    assert ended == ["cancelled"] * 2


# --- keepalive: behaviour, because gRPC ignores a misspelt key ---


async def lasts_s(client: Options, served: Options, at_most_s: float) -> float:
    """Return how long an idle stream lasts, in seconds."""
    loop = asyncio.get_running_loop()
    async with (
        server("127.0.0.1:0", Fleet(nothing).register, options=served) as port,
        dialler(port, client) as to,
    ):
        stream = await to.dial()
        began = loop.time()
        with suppress(TimeoutError, StreamClosed):
            async with asyncio.timeout(at_most_s):
                await stream.receive()
        return loop.time() - began


def ten_times_faster(options: Options) -> Options:
    return [(key, value // 10 if "time" in key or "ping_i" in key else value)
            for key, value in options]  # fmt: skip


@pytest.mark.peer
def test_the_server_accepts_our_ping_rate() -> None:
    async def main() -> None:
        misspelt: Options = [
            (key.replace("min_ping", "min_recv_ping"), value) for key, value in CONTROL_SERVER
        ]
        client = ten_times_faster(NODE_CHANNEL)
        async with asyncio.TaskGroup() as group:
            ours = group.create_task(lasts_s(client, ten_times_faster(CONTROL_SERVER), 8))
            theirs = group.create_task(lasts_s(client, misspelt, 8))
        assert ours.result() >= 8
        assert theirs.result() < 8  # so the test can see a refusal: GOAWAY too_many_pings

    real_loop(main())
