"""What every form of a message stream must do: one list of cases, run over all of them.

A form gives, for a handler, a way to dial it: ``async with form(handler) as dial``.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any

import pytest

from zentransfer.errors import Code, Error
from zentransfer.limits import RPC_MESSAGE_BYTES_MAX
from zentransfer.rpc import NODE_CHANNEL, Options, answering, channel
from zentransfer.rpc_stream import Dialler, served
from zentransfer.stream import Handler, MessageStream, StreamClosed
from zentransfer.v1.facts_pb2 import FactBatch
from zentransfer.v1.fleet_pb2 import (
    ConnectRequest,
    ConnectResponse,
    EnrollResponse,
    FetchSnapshotResponse,
    Heartbeat,
    HeartbeatEcho,
    RenewResponse,
)
from zentransfer.v1.fleet_pb2_grpc import (
    FleetServiceServicer,
    FleetServiceStub,
    add_FleetServiceServicer_to_server,
)

Near = MessageStream[ConnectRequest, ConnectResponse]
Far = MessageStream[ConnectResponse, ConnectRequest]
Dial = Callable[[], Awaitable[Near]]
Form = Callable[[Handler], AbstractAsyncContextManager[Dial]]
Case = Callable[[Form], Coroutine[Any, Any, None]]
Answer = Callable[[Any, float], Awaitable[None]]

CASES: list[Case] = []


def case(test: Case) -> Case:
    CASES.append(test)
    return test


class Fleet(FleetServiceServicer):
    """The service: each stream is given to *handler*; each single call awaits *answer*.

    *answer* gets the request and the seconds left; three parts of a snapshot come before it.
    """

    def __init__(self, handler: Handler, answer: Answer | None = None) -> None:
        self._handler = handler
        self._answer = answer or _no_answer

    def register(self, server: Any) -> None:
        add_FleetServiceServicer_to_server(self, server)

    async def Connect(  # noqa: N802  # the schema's name, as those below
        self, request_iterator: Any, context: Any
    ) -> AsyncIterator[ConnectResponse]:
        async for message in served(context, self._handler):
            yield message

    async def Enroll(self, request: Any, context: Any) -> EnrollResponse:  # noqa: N802
        async with answering(context) as left_s:
            await self._answer(request, left_s)
        return EnrollResponse()

    async def FetchSnapshot(  # noqa: N802
        self, request: Any, context: Any
    ) -> AsyncIterator[FetchSnapshotResponse]:
        async with answering(context) as left_s:
            for version in range(3):
                yield FetchSnapshotResponse(version=version)
            await self._answer(request, left_s)

    async def Renew(self, request: Any, context: Any) -> RenewResponse:  # noqa: N802
        async with answering(context):
            return RenewResponse()


async def _no_answer(_: Any, left_s: float) -> None:
    assert left_s > 0


class Silent(Fleet):
    """A service that takes every stream and never says anything."""

    def __init__(self) -> None:
        super().__init__(nothing)

    async def Connect(  # noqa: N802
        self, request_iterator: Any, context: Any
    ) -> AsyncIterator[ConnectResponse]:
        async for _ in request_iterator:
            yield ConnectResponse()


def dialler(port: int, options: Options = NODE_CHANNEL) -> Dialler[ConnectRequest, ConnectResponse]:
    return Dialler(
        lambda: channel(f"127.0.0.1:{port}", options=options),
        lambda to: FleetServiceStub(to).Connect,
    )


def request(n: int) -> ConnectRequest:
    return ConnectRequest(heartbeat=Heartbeat(t0_ms=n))


def response(n: int) -> ConnectResponse:
    return ConnectResponse(echo=HeartbeatEcho(t0_ms=n))


def number(message: ConnectRequest | ConnectResponse) -> int:
    if isinstance(message, ConnectRequest):
        return message.heartbeat.t0_ms
    return message.echo.t0_ms


def big(size: int) -> ConnectRequest:
    """A request whose serialised form has exactly *size* bytes; more than 16 384."""
    text = size - 20
    while (made := ConnectRequest(facts=FactBatch(epoch="x" * text))).ByteSize() < size:
        text += 1
    assert made.ByteSize() == size
    return made


async def received(stream: Near | Far) -> list[int]:
    """Receive to the end; return the numbers."""
    numbers = []
    with suppress(StreamClosed):
        while True:
            numbers.append(number(await stream.receive()))
    return numbers


async def echo(stream: Far) -> None:
    while True:
        await stream.send(response(number(await stream.receive())))


async def nothing(stream: Far) -> None:
    with pytest.raises(StreamClosed):
        await stream.receive()


@case
async def order_is_kept_in_both_directions(form: Form) -> None:
    async with form(echo) as dial:
        stream = await dial()

        async def send() -> None:
            for n in range(100):
                await stream.send(request(n))

        async with asyncio.TaskGroup() as group:
            group.create_task(send())
            assert [number(await stream.receive()) for _ in range(100)] == list(range(100))
        await stream.close()


@case
async def streams_do_not_mix(form: Form) -> None:
    async with form(echo) as dial:
        streams = [await dial() for _ in range(5)]
        for n, stream in enumerate(streams):
            await stream.send(request(n))
        assert [number(await stream.receive()) for stream in streams] == list(range(5))
        for stream in streams:
            await stream.close()


@case
async def what_was_sent_before_a_close_arrives(form: Form) -> None:
    got: asyncio.Queue[list[int]] = asyncio.Queue()

    async def handler(stream: Far) -> None:
        got.put_nowait(await received(stream))

    async with form(handler) as dial:
        stream = await dial()
        for n in range(50):
            await stream.send(request(n))
        await stream.close()
        assert await got.get() == list(range(50))


@case
async def what_a_handler_sent_before_its_end_arrives(form: Form) -> None:
    async def handler(stream: Far) -> None:
        for n in range(50):
            await stream.send(response(n))

    async with form(handler) as dial:
        stream = await dial()
        await asyncio.sleep(0.1)
        assert await received(stream) == list(range(50))
        await stream.close()


@case
async def a_close_is_seen_by_a_waiting_peer(form: Form) -> None:
    async def closes(stream: Far) -> None:
        await stream.receive()
        await stream.close()

    async with form(closes) as dial:
        stream = await dial()
        await stream.send(request(1))
        with pytest.raises(StreamClosed) as end:
            await stream.receive()
        assert end.value.code is None
        with pytest.raises(StreamClosed):
            await stream.send(request(2))
        await stream.close()


@case
async def after_a_close_nothing_is_sent_or_received(form: Form) -> None:
    async def handler(stream: Far) -> None:
        await stream.send(response(1))
        await nothing(stream)
        await stream.close()
        await stream.close()
        for _ in range(2):
            with pytest.raises(StreamClosed):
                await stream.send(response(1))
            with pytest.raises(StreamClosed):
                await stream.receive()

    async with form(handler) as dial:
        stream = await dial()
        await stream.close()
        await stream.close()
        for _ in range(2):
            with pytest.raises(StreamClosed):
                await stream.send(request(1))
            with pytest.raises(StreamClosed):
                await stream.receive()


@case
async def a_close_wakes_the_tasks_of_its_own_side(form: Form) -> None:
    async def waits(stream: Near | Far) -> None:
        with pytest.raises(StreamClosed):
            await stream.receive()

    async def handler(stream: Far) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(waits(stream))
            await stream.send(response(1))
            await asyncio.sleep(0.02)
            await stream.close()

    async with form(handler) as dial, asyncio.TaskGroup() as group:
        first = await dial()
        assert number(await first.receive()) == 1
        group.create_task(waits(first))

    async with form(nothing) as dial, asyncio.TaskGroup() as group:
        second = await dial()
        group.create_task(waits(second))
        await asyncio.sleep(0.02)
        await second.close()


@case
async def a_cancelled_receive_loses_nothing(form: Form) -> None:
    async def handler(stream: Far) -> None:
        async with asyncio.TaskGroup() as group:
            numbers = group.create_task(patiently(stream))
            for n in range(30):
                await stream.send(response(n))
                await asyncio.sleep(0.004)
        assert numbers.result() == list(range(30))

    async def patiently(stream: Near | Far) -> list[int]:
        numbers: list[int] = []
        while len(numbers) < 30:
            with suppress(TimeoutError):
                async with asyncio.timeout(0.003):
                    numbers.append(number(await stream.receive()))
        return numbers

    async with form(handler) as dial, asyncio.TaskGroup() as group:
        stream = await dial()
        numbers = group.create_task(patiently(stream))
        for n in range(30):
            await stream.send(request(n))
            await asyncio.sleep(0.004)
    assert numbers.result() == list(range(30))


@case
async def a_cancelled_send_hands_over_all_or_nothing(form: Form) -> None:
    may_read = asyncio.Event()
    got: asyncio.Queue[list[int]] = asyncio.Queue()

    async def handler(stream: Far) -> None:
        await may_read.wait()
        numbers = []
        with suppress(StreamClosed):
            while True:
                numbers.append((await stream.receive()).facts.first_sequence)
        got.put_nowait(numbers)

    async with form(handler) as dial:
        stream = await dial()
        batch = ConnectRequest(facts=FactBatch(epoch="x" * 60_000))
        sent = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                while sent < 1_000:
                    batch.facts.first_sequence = sent
                    await stream.send(batch)
                    sent += 1
        assert sent < 1_000
        may_read.set()
        batch.facts.first_sequence = 1_000_000
        await stream.send(batch)
        await stream.close()
        numbers = await got.get()
    assert numbers.pop() == 1_000_000
    assert numbers in (list(range(sent)), list(range(sent + 1)))


@case
async def who_gave_up_a_send_can_still_end_the_stream(form: Form) -> None:
    message = ConnectResponse()
    message.welcome.resume_from.epoch = "x" * 100_000

    async def handler(stream: Far) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                while True:
                    await stream.send(message)

    async with form(handler) as dial:
        read = await dial()
        unread = await dial()
        await asyncio.sleep(0.5)
        assert len(await received(read)) > 3
        assert len(await received(unread)) > 3


@case
async def a_sender_is_held_to_the_pace_of_the_receiver(form: Form) -> None:
    may_read = asyncio.Event()
    got: asyncio.Queue[int] = asyncio.Queue()

    async def handler(stream: Far) -> None:
        await may_read.wait()
        count = 0
        with suppress(StreamClosed):
            while True:
                await stream.receive()
                count += 1
        got.put_nowait(count)

    message = big(262_144)
    async with form(handler) as dial:
        stream = await dial()
        sent = 0
        with suppress(TimeoutError):
            while sent < 100:
                async with asyncio.timeout(0.4):
                    await stream.send(message)
                sent += 1
        assert sent < 100
        may_read.set()
        await stream.send(request(1))
        await stream.close()
        assert await got.get() in (sent + 1, sent + 2)


@case
async def a_held_sender_hears_of_the_end(form: Form) -> None:
    may_end = asyncio.Event()

    async def handler(_: Far) -> None:
        await may_end.wait()

    message = big(262_144)
    async with form(handler) as dial, asyncio.TaskGroup() as group:
        stream = await dial()

        async def send() -> None:
            while True:
                await stream.send(message)

        async def hear() -> None:
            with pytest.raises(StreamClosed):
                await send()

        sending = group.create_task(hear())
        await asyncio.sleep(0.3)
        assert not sending.done()
        may_end.set()


@case
async def a_handler_that_is_held_hears_of_the_end(form: Form) -> None:
    ended = asyncio.Event()

    async def send(stream: Far) -> None:
        n = 0
        while True:
            await stream.send(response(n))
            n += 1

    async def handler(stream: Far) -> None:
        with pytest.raises(StreamClosed):
            await send(stream)
        ended.set()

    async with form(handler) as dial:
        stream = await dial()
        await asyncio.sleep(0.1)
        assert number(await stream.receive()) == 0
        await stream.close()
        async with asyncio.timeout(5):
            await ended.wait()


@case
async def traffic_both_ways_at_once_does_not_stick(form: Form) -> None:
    async def swap(stream: Any, message: Any) -> None:
        async def send() -> None:
            for _ in range(60):
                await stream.send(message)

        async with asyncio.TaskGroup() as group:
            group.create_task(send())
            for _ in range(60):
                await stream.receive()

    answer = ConnectResponse()
    answer.welcome.resume_from.epoch = "x" * 100_000

    async def handler(stream: Far) -> None:
        await swap(stream, answer)
        await nothing(stream)

    async with form(handler) as dial:
        stream = await dial()
        await swap(stream, big(100_000))
        await stream.close()


@case
async def the_biggest_message_passes_and_a_bigger_one_is_refused(form: Form) -> None:
    async def handler(stream: Far) -> None:
        message = await stream.receive()
        await stream.send(response(message.ByteSize()))
        await echo(stream)

    async with form(handler) as dial:
        stream = await dial()
        with pytest.raises(Error) as refused:
            await stream.send(big(RPC_MESSAGE_BYTES_MAX + 1))
        assert refused.value.code is Code.TOO_LARGE
        await stream.send(big(RPC_MESSAGE_BYTES_MAX))
        assert number(await stream.receive()) == RPC_MESSAGE_BYTES_MAX
        await stream.send(request(7))
        assert number(await stream.receive()) == 7
        await stream.close()


@case
async def a_message_may_be_changed_once_it_is_sent(form: Form) -> None:
    async with form(echo) as dial:
        stream = await dial()
        message = request(1)
        await stream.send(message)
        message.heartbeat.t0_ms = 2
        await stream.send(message)
        message.heartbeat.t0_ms = 3
        assert [number(await stream.receive()) for _ in range(2)] == [1, 2]
        await stream.close()


@case
async def a_refusal_arrives_with_its_code_and_wait(form: Form) -> None:
    async def handler(stream: Far) -> None:
        await stream.receive()
        raise Error(Code.OVERLOADED, "Come again", retry_after_s=7)

    async with form(handler) as dial:
        stream = await dial()
        await stream.send(request(1))
        with pytest.raises(StreamClosed) as end:
            await stream.receive()
        assert (end.value.code, end.value.detail, end.value.retry_after_s) == (
            Code.OVERLOADED,
            "Come again",
            7,
        )
        await stream.close()


@case
async def a_refusal_at_once_arrives_with_its_code(form: Form) -> None:
    async def handler(_: Far) -> None:
        raise Error(Code.SUPERSEDED)

    async with form(handler) as dial:
        with pytest.raises(StreamClosed) as end:
            await (await dial()).receive()
        assert end.value.code == "superseded"
        assert end.value.detail == Error(Code.SUPERSEDED).reply.reason


@case
async def a_handler_may_let_the_end_of_its_stream_pass(form: Form) -> None:
    async def handler(stream: Far) -> None:
        await stream.receive()

    async with form(handler) as dial:
        first = await dial()
        await first.close()
        second = await dial()
        await second.send(request(1))
        assert await received(second) == []
