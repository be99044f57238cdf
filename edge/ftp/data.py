"""One data connection, from its reservation to its end, as a source of parts for the pump.

The rules: nothing is read before somebody takes it, and no more than one buffer is ahead of the
sink (law 8); a FIN is an end and everything else that ends it is a failure; and a failure counts at
once, whatever came before it.
"""

import asyncio
from typing import cast

from zentransfer.errors import Code, Error
from zentransfer.limits import FTP_DATA_BUFFER_BYTES


class NoDataConnection(Error):
    """No data connection was made in time; it is the client's to try again."""

    def __init__(self) -> None:
        super().__init__(Code.TIMEOUT)


class DataChannel(asyncio.BufferedProtocol):
    """The bytes of one transfer; made with its reservation, before there is a connection."""

    def __init__(self) -> None:
        self.received = 0
        """How many bytes came so far."""
        self._transport: asyncio.Transport | None = None
        self._buffer: memoryview | None = None
        self._filled = 0
        self._is_read = False
        self._has_ended = False
        self._failure: Error | None = None
        self._changed = asyncio.Event()

    @property
    def is_connected(self) -> bool:
        """Say whether the client has connected, be it that it left again."""
        return self._transport is not None or self._has_ended or self._failure is not None

    async def connected(self, wait_s: float) -> None:
        """Return when the client has connected.

        Raises ``NoDataConnection`` after *wait_s* seconds, and what :meth:`fail` was given.
        """
        try:
            async with asyncio.timeout(wait_s):
                while not self.is_connected:
                    await self._change()
        except TimeoutError:
            raise NoDataConnection from None
        if self._failure is not None:
            raise self._failure

    async def readany(self) -> bytes:
        """Return what has come, nothing at the clean end; raises what ended it otherwise."""
        self._is_read = True
        while self._failure is None:
            if self._filled:
                return self._taken()
            if self._has_ended:
                return b""
            self._resume()
            await self._change()
        raise self._failure

    def fail(self, error: Error) -> None:
        """End it with *error*, which the reader gets unless it has read the end before."""
        if self._failure is None:
            self._failure = error
        self.abort()
        self._changed.set()

    def close(self) -> None:
        """End it on our side with a FIN."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End it on our side at once."""
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio's side --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, and wait until somebody reads."""
        self._transport = given = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        if self._failure is not None:
            given.abort()
        else:
            self._pause()
            # uvloop begins to read after this, whatever was said before; so does Python 3.11.2,
            # which then believes that it rests.
            asyncio.get_running_loop().call_soon(self._rest)
        self._changed.set()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes go."""
        if self._buffer is None:
            self._buffer = memoryview(bytearray(FTP_DATA_BUFFER_BYTES))
        return self._buffer[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Count what came; a full buffer waits for its reader."""
        self._filled += nbytes
        self.received += nbytes
        if self._filled == FTP_DATA_BUFFER_BYTES:
            self._pause()
        self._changed.set()

    def eof_received(self) -> bool:
        """Take the client's FIN for the end; our own follows by itself."""
        self._has_ended = True
        self._changed.set()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Take a connection that ends without a FIN for a broken one."""
        if not self._has_ended and self._failure is None:
            self._failure = Error(Code.PEER_GONE)
            self._failure.__cause__ = exc
        self._transport = None
        self._changed.set()

    # -- inside ----------------------------------------------------------------------------------

    def _taken(self) -> bytes:
        assert self._buffer is not None
        part = bytes(self._buffer[: self._filled])
        self._filled = 0
        self._resume()
        return part

    def _rest(self) -> None:
        if not self._is_read:
            self._resume()
            self._pause()

    def _pause(self) -> None:
        transport = self._transport
        if transport is not None and not transport.is_closing() and transport.is_reading():
            transport.pause_reading()

    def _resume(self) -> None:
        transport = self._transport
        if transport is not None and not transport.is_closing() and not transport.is_reading():
            transport.resume_reading()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
