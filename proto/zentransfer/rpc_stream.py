"""The gRPC form of :class:`~zentransfer.stream.MessageStream`, of the dialling and accepting side.

The rule: no caller ever waits inside grpc.aio. It ends the whole call when a read or a write is
cancelled (grpcio 1.85, ``_call.py``), so two tasks of the stream's own read and write, and a caller
waits at a place for one message, where a cancellation costs nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from zentransfer.errors import Code, Error
from zentransfer.limits import (
    RPC_CLOSE_S,
    RPC_DIAL_S,
    RPC_HANDLER_S,
    RPC_MESSAGE_BYTES_MAX,
    RPC_STREAMS_MAX,
)
from zentransfer.rpc import abort, closed_by, refusal, running
from zentransfer.stream import Handler, StreamClosed

Out = TypeVar("Out", bound=Message)
In = TypeVar("In", bound=Message)
Item = TypeVar("Item")

_UNREADABLE = "the peer sent what cannot be read"
_ACCEPTED_KEY = "zt-accepted"  # first metadata of an accepted stream: only our handler sends it


class _Place(Generic[Item]):
    """Room for one message between two tasks, and the reason why no more will come."""

    def __init__(self) -> None:
        self._item: Item | None = None
        self._end: StreamClosed | None = None
        self._changed = asyncio.Event()

    async def put(self, item: Item) -> None:
        """Lay *item* down when the place is free; raises the end."""
        await self._until(lambda: self._item is None)
        if self._end is not None:
            raise self._ended()
        self._item = item
        self._changed.set()

    async def look(self) -> Item:
        """Return what lies here and leave it; raises the end once nothing does."""
        await self._until(lambda: self._item is not None)
        if self._item is not None:
            return self._item
        raise self._ended()

    async def take(self) -> Item:
        """Return what lies here and free the place; raises the end once nothing does."""
        item = await self.look()
        self.clear()
        return item

    async def gone(self) -> None:
        """Return when the place is free; raises the end if that comes first."""
        await self._until(lambda: self._item is None)
        if self._item is not None:
            raise self._ended()

    def clear(self) -> None:
        """Free the place."""
        self._item = None
        self._changed.set()

    def end(self, reason: StreamClosed) -> None:
        """Let nothing more come, because of the first *reason* given; what lies here stays."""
        self._end = self._end or reason
        self._changed.set()

    def _ended(self) -> StreamClosed:
        assert self._end is not None, "a wait ends with what it is for, or the end"
        return self._end.again()

    async def _until(self, is_so: Callable[[], bool]) -> None:
        while not is_so() and self._end is None:
            await self._next()

    async def _next(self) -> None:
        self._changed.clear()
        await self._changed.wait()


class _GrpcStream(Generic[Out, In]):
    """What both sides share: a place before the wire and a place after it."""

    def __init__(self) -> None:
        self._before: _Place[Out] = _Place()
        self._after: _Place[In] = _Place()
        self._is_closed = False

    async def send(self, message: Out, /) -> None:
        """Hand *message* over; see the contract."""
        if message.ByteSize() > RPC_MESSAGE_BYTES_MAX:
            raise Error(Code.TOO_LARGE, "A message is larger than the wire carries")
        await self._before.put(message)
        await self._before.gone()  # so that the caller may change the message afterwards

    async def receive(self) -> In:
        """Return the next message; see the contract."""
        return await self._after.take()

    def end(self, reason: StreamClosed) -> None:
        """Let this side know why the stream is over."""
        self._before.end(reason)
        self._after.end(reason)

    def _close_here(self) -> None:
        self._is_closed = True
        self.end(StreamClosed("this side closed the stream"))
        self._after.clear()

    async def pump_in(self) -> None:
        """Read from the wire until the stream ends; for a task of the stream's own."""
        try:
            while True:
                message = await self._read()
                if not self._is_closed:  # what comes after our close is dropped
                    await self._after.put(message)
        except StreamClosed as end:
            self.end(end)

    async def pump_out(self) -> None:
        """Write to the wire until the stream ends; for a task of the stream's own."""
        with suppress(StreamClosed):
            while True:
                message = await self._before.look()
                try:
                    await self._write(message)
                finally:
                    self._before.clear()

    async def _read(self) -> In:
        raise NotImplementedError

    async def _write(self, message: Out) -> None:
        raise NotImplementedError


# --- the accepting side ---


class GrpcServerStream(_GrpcStream[Out, In]):
    """The stream of one accepted call; made by :func:`served`."""

    def __init__(self, context: "grpc.aio.ServicerContext[In, Out]") -> None:
        super().__init__()
        self._context = context

    async def close(self) -> None:
        """End the stream; the peer is told when the handler has returned."""
        self._close_here()

    async def _read(self) -> In:
        try:
            message = cast("object", await self._context.read())
        except DecodeError:
            raise StreamClosed(_UNREADABLE) from None
        except (grpc.aio.BaseError, asyncio.InvalidStateError):
            raise StreamClosed("the peer is gone") from None
        if not isinstance(message, Message):  # grpc.aio.EOF
            raise StreamClosed("the peer closed the stream")
        return cast("In", message)

    async def _write(self, message: Out) -> None:
        try:
            await self._context.write(message)
        except (grpc.aio.BaseError, asyncio.InvalidStateError):
            raise StreamClosed("the peer is gone") from None


async def served(
    context: "grpc.aio.ServicerContext[Any, Any]", handler: Handler
) -> AsyncIterator[Any]:
    """Run *handler* over the stream of *context* to its end; yields nothing, as the stream writes.

    For a servicer's method: ``async for response in served(context, handler): yield response``.
    A peer that is gone, and a server that stops, end the stream under the handler, which then has
    ``RPC_HANDLER_S`` before it is cancelled. The handler's :class:`Error` reaches the peer.
    """
    with running():
        fault = await _Serving(context, handler).run()
    if fault is not None:
        await abort(context, refusal(fault))
    nothing: tuple[Message, ...] = ()
    for response in nothing:
        yield response


class _Serving:
    """One run of one handler over one stream."""

    def __init__(self, context: "grpc.aio.ServicerContext[Any, Any]", handler: Handler) -> None:
        self._context = context
        self._handler = handler
        self._stream: GrpcServerStream[Any, Any] = GrpcServerStream(context)
        self._fault: Exception | None = None
        self._is_over = asyncio.Event()

    async def run(self) -> Exception | None:
        """Return what the handler raised, but for the end of the stream itself."""
        await self._context.send_initial_metadata(((_ACCEPTED_KEY, "1"),))
        async with asyncio.TaskGroup() as group:
            pumps = [
                group.create_task(self._stream.pump_in()),
                group.create_task(self._stream.pump_out()),
            ]
            group.create_task(self._handle())
            try:
                await self._is_over.wait()
            except asyncio.CancelledError:  # how grpc.aio says that the peer is gone
                self._stream.end(StreamClosed("the peer is gone"))
                with suppress(TimeoutError):
                    async with asyncio.timeout(RPC_HANDLER_S):
                        await self._is_over.wait()
                raise  # and with it the group cancels a handler that dawdles
            for pump in pumps:
                pump.cancel()
        return self._fault

    async def _handle(self) -> None:
        try:
            await self._handler(self._stream)
        except StreamClosed:
            pass
        except Exception as fault:  # noqa: BLE001  # told to the peer by served
            self._fault = fault
        finally:
            self._is_over.set()


# --- the dialling side ---


class GrpcClientStream(_GrpcStream[Out, In]):
    """The stream of one dialled call; made by :meth:`Dialler.dial`."""

    def __init__(
        self, channel: grpc.aio.Channel, call: "grpc.aio.StreamStreamCall[Out, In]"
    ) -> None:
        super().__init__()
        self._channel = channel
        self._call = call
        self._is_over = asyncio.Event()

    async def opened(self) -> None:
        """Return when the peer's handler has the stream; raises :class:`StreamClosed`."""
        try:
            async with asyncio.timeout(RPC_DIAL_S):
                first = await self._call.initial_metadata()
                if first.get(_ACCEPTED_KEY) is None:
                    raise await self._why_closed()
        except TimeoutError:
            raise StreamClosed("the peer did not answer in time") from None

    async def close(self) -> None:
        """End the stream; waits up to ``RPC_CLOSE_S`` for a peer that still receives."""
        self._close_here()
        try:
            with suppress(TimeoutError, asyncio.InvalidStateError):
                async with asyncio.timeout(RPC_CLOSE_S):
                    await self._call.done_writing()
                    await self._is_over.wait()
        finally:
            self._call.cancel()

    def cut(self) -> None:
        """End the stream at once, whatever is under way."""
        self.end(StreamClosed("this side cut the stream"))
        self._call.cancel()

    async def live(self) -> None:
        """Move messages until the stream is over, then close its channel."""
        try:
            async with asyncio.TaskGroup() as group:
                writer = group.create_task(self.pump_out())
                await self.pump_in()
                writer.cancel()
        finally:
            self._is_over.set()
            self._call.cancel()
            await self._channel.close()

    async def _read(self) -> In:
        try:
            message = cast("object", await self._call.read())
        except grpc.aio.AioRpcError as failure:
            raise _end_of(failure) from None
        except asyncio.CancelledError:
            raise await self._why_cancelled() from None
        if message is None:  # so grpc.aio's client says that it could not be parsed
            self._call.cancel()
            raise StreamClosed(_UNREADABLE)
        if not isinstance(message, Message):  # grpc.aio.EOF
            raise await self._why_closed()
        return cast("In", message)

    async def _write(self, message: Out) -> None:
        try:
            await self._call.write(message)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            raise StreamClosed("the peer is gone") from None  # why is told by the reader

    async def _why_closed(self) -> StreamClosed:
        call = self._call
        return closed_by(await call.code(), await call.details(), await call.trailing_metadata())

    async def _why_cancelled(self) -> BaseException:
        """Tell our task's own cancellation from that of the call, which looks the same."""
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            return asyncio.CancelledError()
        return StreamClosed("this side cut the stream")


def _end_of(failure: grpc.aio.AioRpcError) -> StreamClosed:
    return closed_by(failure.code(), failure.details(), failure.trailing_metadata())


class Dialler(Generic[Out, In]):
    """Opens streams to one address; ``async with`` owns their tasks, and cuts them at its end.

    Each stream has a channel of its own, made by *open_channel*: so a renewed certificate is shown
    at the next dial, and a failed dial leaves no back-off behind. *method* picks the call from a
    channel: ``lambda channel: FleetServiceStub(channel).Connect``.
    """

    def __init__(
        self,
        open_channel: Callable[[], grpc.aio.Channel],
        method: Callable[[grpc.aio.Channel], "grpc.aio.StreamStreamMultiCallable[Out, In]"],
    ) -> None:
        self._open_channel = open_channel
        self._method = method
        self._tasks = asyncio.TaskGroup()
        self._streams: set[GrpcClientStream[Out, In]] = set()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for stream in self._streams:
            stream.cut()
        await self._tasks.__aexit__(kind, error, trace)

    async def dial(self) -> GrpcClientStream[Out, In]:
        """Open a stream; returns when the peer's handler has it.

        Raises :class:`StreamClosed`: nobody answered within ``RPC_DIAL_S``, the peer refused (then
        with its code), or ``RPC_STREAMS_MAX`` streams are open already (``overloaded``).
        """
        if len(self._streams) >= RPC_STREAMS_MAX:
            raise StreamClosed("this side has too many streams", Code.OVERLOADED)
        channel = self._open_channel()
        stream: GrpcClientStream[Out, In] = GrpcClientStream(channel, self._method(channel)())
        try:
            await stream.opened()
        except BaseException:
            stream.cut()
            await asyncio.shield(channel.close())
            raise
        self._streams.add(stream)
        self._tasks.create_task(stream.live()).add_done_callback(
            lambda _: self._streams.discard(stream)
        )
        return stream
