"""A keep-alive connection of aiohttp whose socket is lent in the middle of a body, and comes back.

The rule: aiohttp's parser never learns of bytes that it did not see.  So a connection whose body
ended elsewhere goes on with a new parser, and one whose body did not end is closed by its answer.
"""

from collections.abc import Callable

from aiohttp import StreamReader, http_parser, web
from aiohttp.web_protocol import MAX_MSG_QUEUE_SIZE

from edge.lane import Ways


class Connection:
    """One connection, during one request with a length and without any coding of its transfer."""

    def __init__(self, protocol: web.RequestHandler, content: StreamReader) -> None:
        self._protocol = protocol
        self._content = content

    def ways(self, read_now: Callable[[], bytes]) -> Ways:
        """Return how it is lent; *read_now* takes what was read of the body already."""
        return Ways(lambda: self._stop(read_now), self._go_on, self._give_up)

    def _stop(self, read_now: Callable[[], bytes]) -> tuple[bytes, int] | None:
        transport = self._protocol.transport
        if transport is None or transport.is_closing():
            return None
        # Reading on is what aiohttp does when its buffer runs empty, so it is told to stop after.
        parts = list(iter(read_now, b""))
        transport.pause_reading()
        return b"".join(parts), transport.get_extra_info("socket").fileno()

    def _go_on(self) -> None:
        """Go on behind the body's last byte, as if the parser had seen it."""
        old = self._protocol
        # Layering violation: aiohttp has no way to say that a body ended elsewhere.  Its class
        # says to a type checker that the parser is None, as it is from the loss of the connection.
        parser = http_parser.HttpRequestParser(
            old,
            old._loop,  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            old._read_bufsize,  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            max_line_size=old.max_line_size,
            max_field_size=old.max_field_size,
            max_headers=old.max_headers,
            payload_exception=web.RequestPayloadError,
            auto_decompress=False,
            max_msg_queue_size=MAX_MSG_QUEUE_SIZE,
        )
        old._parser = parser  # noqa: SLF001  # pyright: ignore
        self._content.feed_eof()  # which lets the transport read again

    def _give_up(self) -> None:
        """Let aiohttp read and drop what still comes, as of every refused body, and then close."""
        transport = self._protocol.transport
        if transport is not None and not transport.is_closing():
            transport.resume_reading()
