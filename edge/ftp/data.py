"""One data connection, from its reservation to its end: parts for the pump, or lines of a list.

The rules: nothing is read before somebody takes it, and no more than one buffer is ahead of the
sink (law 8); a FIN is an end, by TLS only behind a close_notify, and everything else that ends it
is a failure; and a failure counts at once, whatever came before it.
"""

import asyncio
from typing import Final, cast

from edge.ftp.replies import NO_DATA, Reply, say
from edge.ftp.tls import Privacy
from edge.ftp.tunnel import TlsRefused, Trouble
from zentransfer import log
from zentransfer.errors import Code, Error
from zentransfer.limits import FTP_DATA_BUFFER_BYTES, FTP_TLS_BUFFER_BYTES, FTP_UNREAD_BYTES_MAX

_WHY: Final = {
    Trouble.NO_TLS: "it began without TLS, after PROT P",
    Trouble.OTHER_SERVER: "it asked for another server or protocol",
    Trouble.VERSION: "no TLS version in common",
    Trouble.CIPHER: "no cipher suite in common",
    Trouble.CERTIFICATE: "the certificate is not trusted by the client",
    Trouble.HUNG_UP: "it was closed in the handshake",
    Trouble.LATE: "the handshake took too long",
    Trouble.NOT_RESUMED: "it must continue the TLS session of this connection",
    Trouble.BROKEN: "the handshake failed",
}


class NoDataConnection(Error):
    """No data connection was made in time; it is the client's to try again."""

    said: Reply = NO_DATA
    """What the client is told."""

    def __init__(self) -> None:
        super().__init__(Code.TIMEOUT)


class NoPrivateData(NoDataConnection):
    """The data connection was made, but no TLS on it (RFC 4217 section 12.5)."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__()
        self.said = say(425, f"No TLS on the data connection: {_WHY[trouble]}")


class DataChannel(asyncio.BufferedProtocol):
    """The bytes of one transfer; made with its reservation, before there is a connection."""

    def __init__(self) -> None:
        self.received = 0
        """How many bytes of content came so far."""
        self._transport: asyncio.Transport | None = None
        self._buffer: memoryview | None = None
        self._filled = 0
        self._is_read = False
        self._has_ended = False
        self._failure: Error | None = None
        self._changed = asyncio.Event()
        self.whole_bytes: int | None = None
        """What was announced: by TLS, that much is whole without a close_notify too."""
        self._privacy: Privacy | None = None
        self._raw: memoryview | None = None  # what came by TLS, before it is looked at
        self._has_fin = False
        self._is_writable = True

    @property
    def is_connected(self) -> bool:
        """Say whether the client has connected, be it that it left again."""
        return self._transport is not None or self._has_ended or self._failure is not None

    @property
    def is_resumed(self) -> bool:
        """Say whether this is by TLS, in the session of its control connection."""
        privacy = self._privacy
        return privacy is not None and privacy.tunnel.is_open and privacy.tunnel.is_resumed

    @property
    def is_private(self) -> bool:
        """Say whether this is by TLS, or will be."""
        return self._privacy is not None

    def expose(self) -> None:
        """Expect no TLS after all, if nothing of it has come yet; else this fails."""
        if self._privacy is not None and self._privacy.tunnel.has_begun:
            self._refuse(Trouble.BROKEN)
        self._privacy, self._is_read = None, False
        self._pause()

    def protect(self, privacy: Privacy) -> None:
        """Let TLS begin as soon as the client is there; what came already is a part of it."""
        self._privacy = privacy
        self._is_read = True
        early, self._filled, self.received = self._filled, 0, 0
        if early and self._buffer is not None:
            self._arrived(self._buffer[:early])
        if self._has_ended:
            self._has_ended, self._has_fin = False, True
            self._refuse(Trouble.HUNG_UP)
        self._resume()

    async def connected(self, wait_s: float) -> None:
        """Return when the client has connected, and TLS has begun if it has to.

        Raises ``NoDataConnection`` after *wait_s* seconds, ``NoPrivateData``, and what
        :meth:`fail` was given.
        """
        try:
            async with asyncio.timeout(wait_s):
                while not self.is_connected:
                    await self._change()
        except TimeoutError:
            raise NoDataConnection from None
        if self._privacy is not None:
            await self._begun(self._privacy)
        if self._failure is not None:
            raise self._failure

    async def readany(self) -> bytes:
        """Return what has come, nothing at the clean end; raises what ended it otherwise."""
        self._is_read = True
        while self._failure is None:
            if self._privacy is not None:
                self._decrypt(self._privacy)
            if self._filled:
                return self._taken()
            if self._has_ended:
                return b""
            self._resume()
            await self._change()
        raise self._failure

    async def send(self, data: bytes) -> None:
        """Send *data*, at the client's pace; raises what ended the connection."""
        privacy = self._privacy
        if self._failure is None and self._transport is not None:
            if privacy is None:
                self._transport.write(data)
            else:
                try:
                    privacy.tunnel.write(data)
                except TlsRefused:
                    raise Error(Code.PEER_GONE) from None
                self._flush(privacy)
        while not self._is_writable and self._failure is None:
            await self._change()
        if self._failure is not None:
            raise self._failure

    async def finish(self, wait_s: float) -> None:
        """End what was sent, and return when it is out; raises ``Error`` after *wait_s* seconds."""
        self.close()
        self._has_ended = True
        try:
            async with asyncio.timeout(wait_s):
                while self._transport is not None and self._failure is None:
                    await self._change()
        except TimeoutError:
            raise Error(Code.TIMEOUT) from None
        if self._failure is not None:
            raise self._failure

    def fail(self, error: Error) -> None:
        """End it with *error*, which the reader gets unless it has read the end before."""
        if self._failure is None:
            self._failure = error
        self.abort()
        self._changed.set()

    def close(self) -> None:
        """End it on our side with a FIN."""
        if self._privacy is not None:
            self._privacy.tunnel.close()
            self._flush(self._privacy)
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
        elif self._privacy is None:
            self._pause()
            # uvloop begins to read after this, whatever was said before; so does Python 3.11.2,
            # which then believes that it rests.
            asyncio.get_running_loop().call_soon(self._rest)
        self._changed.set()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes go."""
        if self._privacy is None:
            return self._room()
        if self._raw is None:
            self._raw = memoryview(bytearray(FTP_TLS_BUFFER_BYTES))
        return self._raw

    def buffer_updated(self, nbytes: int) -> None:
        """Count what came; a full buffer waits for its reader."""
        if self._privacy is None:
            self._filled += nbytes
            self.received += nbytes
            if self._filled == FTP_DATA_BUFFER_BYTES:
                self._pause()
        elif self._raw is not None:
            self._arrived(self._raw[:nbytes])
        self._changed.set()

    def eof_received(self) -> bool:
        """Take the client's FIN for the end, if TLS does not know better; returns whether it stays.

        Our own follows by itself, but by TLS there is a word to be said before it.
        """
        self._has_fin = True
        if self._privacy is None:
            self._has_ended = True
        elif not self._privacy.tunnel.is_open:
            self._refuse(Trouble.HUNG_UP)
        else:
            self._decrypt(self._privacy)
        self._changed.set()
        return self._privacy is not None

    def pause_writing(self) -> None:
        """Let the sender wait for the client."""
        self._is_writable = False

    def resume_writing(self) -> None:
        """Let the sender go on."""
        self._is_writable = True
        self._changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take a connection that ends without a FIN for a broken one."""
        if self._failure is None and not self._has_ended and (exc or not self._has_fin):
            privacy = self._privacy
            if privacy is not None and not privacy.tunnel.is_open:
                self._refuse(Trouble.HUNG_UP)
            else:
                self._failure = Error(Code.PEER_GONE)
                self._failure.__cause__ = exc
        self._transport = None
        self._changed.set()

    # -- inside ----------------------------------------------------------------------------------

    def _taken(self) -> bytes:
        assert self._buffer is not None
        part = bytes(self._buffer[: self._filled])
        self._filled = 0
        if self._privacy is None or not self._privacy.tunnel.waiting:
            self._resume()
        return part

    def _room(self) -> memoryview:
        if self._buffer is None:
            self._buffer = memoryview(bytearray(FTP_DATA_BUFFER_BYTES))
        return self._buffer[self._filled :]

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

    # -- by TLS ----------------------------------------------------------------------------------

    async def _begun(self, privacy: Privacy) -> None:
        """Return when the handshake is over, one way or the other."""
        try:
            async with asyncio.timeout(privacy.handshake_s):
                while not privacy.tunnel.is_open and self._failure is None:
                    await self._change()
        except TimeoutError:
            self._refuse(Trouble.LATE)

    def _arrived(self, data: memoryview) -> None:
        """Take what came from the client, in the handshake or after it."""
        privacy = self._privacy
        assert privacy is not None, "nothing comes here in clear"
        tunnel = privacy.tunnel
        try:
            tunnel.feed(data)
            has_begun = not tunnel.is_open and tunnel.shake()
        except TlsRefused as refused:
            self._refuse(refused.trouble)
            return
        self._flush(privacy)
        if has_begun and not privacy.is_accepted(tunnel.is_resumed):
            self._refuse(Trouble.NOT_RESUMED)
            return
        if has_begun:
            self._pause()
        if tunnel.is_open:
            self._decrypt(privacy)

    def _decrypt(self, privacy: Privacy) -> None:
        """Turn what came into content, as far as there is room for it."""
        tunnel = privacy.tunnel
        if self._failure is not None or self._has_ended or not tunnel.is_open:
            return
        room = self._room()
        try:
            got = tunnel.read_into(room)
        except TlsRefused:
            self.fail(Error(Code.PEER_GONE, "TLS was broken"))
            return
        self._filled += got
        self.received += got
        if tunnel.has_ended:
            self._has_ended = True
            tunnel.close()  # a client that waits for our end has it now
        elif got == len(room):
            self._pause()
        elif self._has_fin:
            self._cut(privacy)
        self._flush(privacy)

    def _cut(self, privacy: Privacy) -> None:
        """Decide about an end that TLS knows nothing of."""
        # A stranger could only have cut it shorter.
        is_all = self.whole_bytes is not None and self.received >= self.whole_bytes
        if is_all or privacy.tolerates_cuts:
            self._has_ended = True
        else:
            self.fail(Error(Code.PEER_GONE, "the end was not said in TLS"))

    def _refuse(self, trouble: Trouble) -> None:
        """End a connection on which there is no TLS, so that the client hears why."""
        log.fact("ftp.tls_refused", reason=trouble.value, is_data=True)
        if self._privacy is not None:
            self._flush(self._privacy)
        self.fail(NoPrivateData(trouble))

    def _flush(self, privacy: Privacy) -> None:
        transport = self._transport
        out = privacy.tunnel.outgoing()
        if out and transport is not None and not transport.is_closing():
            transport.write(out)
            if transport.get_write_buffer_size() > FTP_UNREAD_BYTES_MAX:
                self.fail(Error(Code.PEER_GONE, "nothing is taken of what TLS answers"))
