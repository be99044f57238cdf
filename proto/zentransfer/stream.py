"""A two-way stream of messages: the one shape that the fleet protocol stands on.

The protocol code of both sides (``edge.link``, ``control.rpc``) sees only this contract, so the
simulator runs it over memory (``network``) and production runs it over gRPC (``rpc``), unchanged.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

Out_contra = TypeVar("Out_contra", contravariant=True)
In_co = TypeVar("In_co", covariant=True)


class StreamClosed(Exception):
    """The stream is over: the peer closed it, it was cut, or a code says why it was refused.

    ``code`` is the word of :class:`zentransfer.errors.Code` that the peer gave, which a newer peer
    may know alone, else ``None``. ``retry_after_s`` is in seconds, where the peer gave it.
    ``detail`` is safe to log.
    """

    def __init__(
        self, detail: str, code: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code
        self.retry_after_s = retry_after_s

    def again(self) -> "StreamClosed":
        """Give an equal exception to raise, so that no traceback grows on a shared one."""
        return StreamClosed(self.detail, self.code, self.retry_after_s)


class MessageStream(Protocol[Out_contra, In_co]):
    """Messages in both directions, in order; one task sends, one task receives, any task closes.

    The accepting side's handler ends its stream by returning, or refuses it by raising
    :class:`zentransfer.errors.Error`, whose code then reaches the peer as that of
    :class:`StreamClosed`. A refusal may overtake messages that were sent before it.
    """

    async def send(self, message: Out_contra, /) -> None:
        """Hand *message* over; returns when there is room for the next, not when it arrived.

        A peer that does not receive holds the sender here (law 8). Cancelled, it has handed over
        nothing, or all. Raises :class:`StreamClosed`, and ``Error(TOO_LARGE)`` for a message of
        more than ``RPC_MESSAGE_BYTES_MAX``, which leaves the stream as it was.
        """
        ...

    async def receive(self) -> In_co:
        """Return the next message of the peer; raises :class:`StreamClosed` at the end.

        What the peer sent before it closed comes first. Cancelled, it has lost no message.
        """
        ...

    async def close(self) -> None:
        """End the stream for both sides; idempotent.

        What was sent before still reaches a peer that receives it; what the peer sent and was not
        received is dropped. Sends and receives of this side raise :class:`StreamClosed` from now.
        """
        ...


Handler = Callable[[MessageStream[Any, Any]], Awaitable[None]]
"""What the accepting side runs for each stream; its end is the stream's end."""
