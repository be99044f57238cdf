"""Answers before the answer: 104 (Upload Resumption Supported) on one HTTP/1.1 request.

The rules: it is sent only to a client that said which version it speaks, never on HTTP/1.0, and
never once the final response begins; an offset in it is durable; and a client that does not read
what it is sent gets no more of them.
"""

import asyncio
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Final

from aiohttp import HttpVersion11, web

from zentransfer.limits import INTERIM_PAUSE_S

_STATUS: Final = b"HTTP/1.1 104 Upload Resumption Supported\r\n"


class Interim:
    """The interim responses of one request."""

    def __init__(
        self, transport: asyncio.WriteTransport | None, said: Mapping[str, str] | None
    ) -> None:
        """Send with the headers *said*, which name the version; nothing ever if ``None``."""
        self._transport = transport
        self._said = said
        self._is_over = False

    @property
    def is_on(self) -> bool:
        """Whether this client may be sent any."""
        return self._said is not None

    def send(self, headers: Mapping[str, str]) -> None:
        """Send one with *headers*, whose values are ours and hold no line end."""
        transport = self._transport
        if self._said is None or self._is_over or transport is None:
            return
        if transport.is_closing() or transport.get_write_buffer_size() > 0:
            return  # it goes, or does not read: what it was sent before waits still
        lines = [f"{name}: {value}\r\n" for name, value in {**self._said, **headers}.items()]
        transport.write(_STATUS + "".join(lines).encode("latin-1") + b"\r\n")

    @contextmanager
    def watching(self, offset: Callable[[], int]) -> Generator[None]:
        """Tell, from time to time, how many bytes *offset* says are durable.

        By a timer and not by the parts that come, because whoever reads them may be a thread.
        """
        self._told = 0
        self._look_later(offset)
        try:
            yield
        finally:
            self._timer.cancel()

    def end(self) -> None:
        """Send nothing from now on: the final response begins."""
        self._is_over = True

    def _look_later(self, offset: Callable[[], int]) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(INTERIM_PAUSE_S, self._look, offset)

    def _look(self, offset: Callable[[], int]) -> None:
        self._look_later(offset)
        now = offset()
        if now > self._told:
            self._told = now
            self.send({"Upload-Offset": str(now)})


def interim_of(request: web.Request, said: Mapping[str, str] | None) -> Interim:
    """Return what sends interim responses to *request* with the headers *said*, if it may."""
    return Interim(request.transport, said if request.version >= HttpVersion11 else None)
