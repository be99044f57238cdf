"""gRPC as we speak it: channels and servers, deadlines, and errors by the one table.

The rules: plaintext stays on loopback; a port has one listener; every call has a deadline; a code
travels in trailing metadata with a safe detail, and gRPC's own texts, which hold addresses, never
leave this module (law 11).
"""

import asyncio
import ipaddress
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Sequence
from contextlib import (
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from contextvars import ContextVar
from typing import Any, Final, TypeVar, cast

import grpc
import grpc.aio

from zentransfer import log
from zentransfer.errors import TABLE, Code, Error, Grpc, may_wait
from zentransfer.limits import (
    ERROR_DETAIL_CHARS_MAX,
    RPC_CALLS_MAX,
    RPC_CODE_CHARS_MAX,
    RPC_DEADLINE_S,
    RPC_HANDLER_S,
    RPC_MESSAGE_BYTES_MAX,
    RPC_RETRY_AFTER_S_MAX,
    RPC_RETURN_S,
    RPC_STOP_S,
    RPC_WORK_S_MIN,
)
from zentransfer.service import CannotStart
from zentransfer.stream import StreamClosed

Request = TypeVar("Request")
Response = TypeVar("Response")
Options = Sequence[tuple[str, int]]

# A stopped peer is noticed within 15 s (measured, grpcio 1.85): without ping_timeout_ms it took
# 61 s. gRPC ignores a key that it does not know, so tests look at behaviour, not at these tables.
KEEPALIVE: Final[Options] = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
)
NODE_CHANNEL: Final[Options] = (*KEEPALIVE, ("grpc.http2.max_pings_without_data", 0))
CONTROL_SERVER: Final[Options] = (
    *KEEPALIVE,
    ("grpc.so_reuseport", 0),  # else two processes share one port in silence
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.max_connection_age_ms", 6 * 3_600_000),
    ("grpc.max_connection_age_grace_ms", 60_000),
)
_MESSAGES: Final[Options] = (
    ("grpc.max_send_message_length", RPC_MESSAGE_BYTES_MAX),
    ("grpc.max_receive_message_length", RPC_MESSAGE_BYTES_MAX),
)
# A failed dial must not slow the next one: without this, channels to one address share a back-off
# of up to 120 s. Nodes reach control directly: a proxy named in the environment is not for them.
_DIAL: Final[Options] = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))

_PORT_MAX: Final = 65_535

CODE_KEY: Final = "zt-code"
RETRY_AFTER_KEY: Final = "zt-retry-after-ms"

_STATUS: Final = {status.value[0]: status for status in grpc.StatusCode}
# What gRPC reports by itself, without a code of ours.
_UNNAMED: Final = {
    Grpc.CANCELLED: Code.PEER_GONE,
    Grpc.DEADLINE_EXCEEDED: Code.TIMEOUT,
    Grpc.RESOURCE_EXHAUSTED: Code.OVERLOADED,
    Grpc.UNAVAILABLE: Code.UNAVAILABLE,
    Grpc.UNIMPLEMENTED: Code.VERSION_MISMATCH,
    Grpc.UNAUTHENTICATED: Code.UNAUTHENTICATED,
}


# --- channels and servers ---


def channel(
    address: str,
    credentials: grpc.ChannelCredentials | None = None,
    *,
    options: Options = NODE_CHANNEL,
) -> grpc.aio.Channel:
    """Make a channel to *address*, "host:port"; it dials at its first call.

    The caller closes it. Make a new one for each stream and after each change of certificate.
    Raises :class:`CannotStart` for a malformed address, and for one off this machine without
    credentials.
    """
    every: Options = (*options, *_MESSAGES, *_DIAL)
    if credentials is not None:
        _split(address)
        return grpc.aio.secure_channel(address, credentials, options=every)
    _refuse_plaintext_off_loopback(address)
    return grpc.aio.insecure_channel(address, options=every)


@asynccontextmanager
async def server(
    address: str,
    register: Callable[[grpc.aio.Server], None],
    credentials: grpc.ServerCredentials | None = None,
    *,
    options: Options = CONTROL_SERVER,
) -> AsyncGenerator[int]:
    """Serve on *address*, "host:port", port 0 for a free one; yields the port.

    *register* adds the services. Leaving ends what still runs after ``RPC_STOP_S``, and waits until
    it has ended. Raises :class:`CannotStart`: the port is taken, the address is malformed, or it is
    off this machine and there are no credentials.
    """
    host, port = _split(address)
    if credentials is None:
        _refuse_plaintext_off_loopback(address)
    instance = grpc.aio.server(
        options=(*options, *_MESSAGES), maximum_concurrent_rpcs=RPC_CALLS_MAX
    )
    register(instance)
    try:
        bound = (
            instance.add_insecure_port(address)
            if credentials is None
            else instance.add_secure_port(address, credentials)
        )
    except RuntimeError:
        raise CannotStart(
            f"Port {port} on {host} is taken, or the address is not one of this machine.",
            "Stop the program that holds it, or set another address.",
        ) from None
    calls = _Running()
    before = _RUNNING.set(calls)  # for the tasks of this server, which start() gives our context
    await instance.start()
    _RUNNING.reset(before)
    try:
        yield bound
    finally:
        await instance.stop(RPC_STOP_S)
        await calls.ended()


class _Running:
    """The calls that one server is answering: grpc.aio's own stop does not wait for their ends."""

    def __init__(self) -> None:
        self._count = 0
        self._changed = asyncio.Event()

    @contextmanager
    def one(self) -> Generator[None]:
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1
            self._changed.set()

    async def ended(self) -> None:
        """Return when none is left, or has had its time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(RPC_HANDLER_S + RPC_STOP_S):
                while self._count:
                    self._changed.clear()
                    await self._changed.wait()


_RUNNING: Final[ContextVar[_Running]] = ContextVar("_RUNNING")


def running() -> AbstractContextManager[None]:
    """Count as a call that its server waits for when it stops."""
    return _RUNNING.get(_Running()).one()


def _split(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isascii() and port.isdigit() and int(port) <= _PORT_MAX):
        raise CannotStart(f'The gRPC address "{address}" is malformed.', 'Write it as "host:port".')
    return host.removeprefix("[").removesuffix("]"), int(port)


def check_address(address: str) -> None:
    """Refuse an address that :func:`channel` would refuse without credentials; dials nothing."""
    _refuse_plaintext_off_loopback(address)


def _refuse_plaintext_off_loopback(address: str) -> None:
    host, _ = _split(address)
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = host == "localhost"  # RFC 6761, section 6.3
    if not is_loopback:
        raise CannotStart(
            f'The gRPC address "{address}" is off this machine, and there are no credentials.',
            "Set an address of this machine; certificates for another one are not offered yet.",
        )


# --- errors: the one table, both ways ---


async def abort(context: "grpc.aio.ServicerContext[Any, Any]", error: Error) -> None:
    """End the call of *context* as *error* says; always raises."""
    trailing = [(CODE_KEY, error.code.value)]
    if error.retry_after_s is not None:
        trailing.append((RETRY_AFTER_KEY, str(round(error.retry_after_s * 1000))))
    status = _STATUS[error.reply.grpc.value]
    await context.abort(status, error.detail or error.reply.reason, tuple(trailing))


def refusal(fault: Exception) -> Error:
    """Turn what a handler raised into what its peer is told; the unforeseen goes to the log."""
    if isinstance(fault, Error):
        return fault
    log.error("rpc.failed", fault)
    return Error(Code.INTERNAL)


def closed_by(
    status: grpc.StatusCode, detail: str | None, trailing: grpc.aio.Metadata | None
) -> StreamClosed:
    """Read the end of a stream from its status; a detail is taken only from our own side's peer."""
    code = _word(trailing)
    if code is not None:
        return StreamClosed((detail or "")[:ERROR_DETAIL_CHARS_MAX], code, _retry_after_s(trailing))
    if status is grpc.StatusCode.OK:
        return StreamClosed("the peer closed the stream")
    if status is grpc.StatusCode.UNAVAILABLE:
        return StreamClosed("the peer cannot be reached")
    return StreamClosed(f"the stream broke: {status.name}")


def error_of(failure: grpc.aio.AioRpcError) -> Error:
    """Read a failed call; a code that only a newer peer knows becomes that of the status."""
    trailing = failure.trailing_metadata()
    word = _word(trailing)
    if word is None or word not in TABLE:
        return Error(_UNNAMED.get(Grpc(failure.code().value[0]), Code.INTERNAL))
    code = Code(word)
    wait = _retry_after_s(trailing) if may_wait(code) else None
    return Error(code, (failure.details() or "")[:ERROR_DETAIL_CHARS_MAX], wait)


def _word(trailing: grpc.aio.Metadata | None) -> str | None:
    word = trailing.get(CODE_KEY) if trailing else None
    if not isinstance(word, str) or len(word) > RPC_CODE_CHARS_MAX:
        return None
    return word if re.fullmatch("[a-z_]+", word) else None


def _retry_after_s(trailing: grpc.aio.Metadata | None) -> float | None:
    text = trailing.get(RETRY_AFTER_KEY) if trailing else None
    if not isinstance(text, str) or not re.fullmatch("[0-9]{1,12}", text):
        return None
    return min(int(text) / 1000, RPC_RETRY_AFTER_S_MAX)


# --- single calls, and their deadlines ---


async def ask(
    method: "grpc.aio.UnaryUnaryMultiCallable[Request, Response]",
    request: Request,
    *,
    timeout_s: float = RPC_DEADLINE_S,
) -> Response:
    """Call *method* once; raises :class:`Error`, ``TIMEOUT`` when the deadline passed."""
    try:
        response: Response = await method(request, timeout=timeout_s)
    except grpc.aio.AioRpcError as failure:
        raise error_of(failure) from None  # its own text holds addresses
    return response


async def ask_parts(
    method: "grpc.aio.UnaryStreamMultiCallable[Request, Response]",
    request: Request,
    *,
    timeout_s: float = RPC_DEADLINE_S,
) -> AsyncIterator[Response]:
    """Call *method* and iterate over its answers; raises :class:`Error` as :func:`ask` does."""
    try:
        async for response in method(request, timeout=timeout_s):
            yield response
    except grpc.aio.AioRpcError as failure:
        raise error_of(failure) from None


@asynccontextmanager
async def answering(context: "grpc.aio.ServicerContext[Any, Any]") -> AsyncGenerator[float]:
    """Answer one call within its deadline; yields the seconds left for the work and sub-calls.

    The caller's deadline is shortened by ``RPC_RETURN_S``, so that our answer, a refusal too, still
    arrives; with less than ``RPC_WORK_S_MIN`` left the call is refused at once (``TIMEOUT``), as
    nothing useful can be done (boulder's interceptors do the same). What is raised inside becomes
    the call's status: :class:`Error` by the table, the unforeseen ``INTERNAL``.
    """
    given = cast("float | None", context.time_remaining())  # None: it came without a deadline
    left = min(RPC_DEADLINE_S if given is None else given, RPC_DEADLINE_S) - RPC_RETURN_S
    if left < RPC_WORK_S_MIN:
        await abort(context, Error(Code.TIMEOUT, "Too little time was left to begin"))
    try:
        with running():
            async with asyncio.timeout(left):
                yield left
    except grpc.aio.AbortError:
        raise
    except TimeoutError:
        await abort(context, Error(Code.TIMEOUT))
    except Exception as fault:  # noqa: BLE001  # the rim of a call: the log has what is unforeseen
        await abort(context, refusal(fault))
