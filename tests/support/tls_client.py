"""TLS by hand on a client's connection: what a camera does, and what none should."""

import asyncio
import ssl
import warnings
from contextlib import suppress
from pathlib import Path

from tests.support.certificates import make_certificate
from zentransfer.clock import SystemClock
from zentransfer.tls import Age, Certificate


def certified(folder: Path, *, is_rsa: bool = False) -> Certificate:
    """Make a certificate in *folder*."""
    return Certificate(*make_certificate(folder, is_rsa=is_rsa), SystemClock())


def ftp_context(folder: Path, age: Age = Age.CAMERA) -> ssl.SSLContext:
    """Return a server's context with a new certificate in *folder*."""
    return certified(folder).context("ftp", age=age)


def client_context(
    *, suites: str = "", most: ssl.TLSVersion | None = None, protocols: tuple[str, ...] = ()
) -> ssl.SSLContext:
    """Return a client's context that trusts anybody, as many a camera's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if most is not None:
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # old bodies are not told
            context.maximum_version = most
    if suites:
        context.set_ciphers(suites)
    if protocols:
        context.set_alpn_protocols(protocols)
    return context


class Secure:
    """Both ends of a connection's streams in one, by TLS."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        context: ssl.SSLContext,
        *,
        session: ssl.SSLSession | None = None,
        name: str | None = None,
    ) -> None:
        self._reader, self._writer = reader, writer
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = context.wrap_bio(self._in, self._out, server_hostname=name, session=session)
        self._plain = bytearray()
        self.has_ended = False

    def get_extra_info(self, name: str) -> object:
        return self._writer.get_extra_info(name)

    async def handshake(self) -> "Secure":
        """Shake hands; raises ``ssl.SSLError``, and ``ConnectionError`` if the other side goes."""
        while True:
            try:
                self.object.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                await self._take()
            except ssl.SSLError:
                self._flush()  # the alert that says why
                raise
            else:
                self._flush()
                return self

    def write(self, data: bytes) -> None:
        self.object.write(data)
        self._flush()

    async def drain(self) -> None:
        await self._writer.drain()

    async def read(self, _: int = -1) -> bytes:
        """Return some bytes, nothing at the end that was said in TLS."""
        while not self._plain and not self.has_ended:
            await self._more()
        found = bytes(self._plain)
        self._plain.clear()
        return found

    async def readuntil(self, separator: bytes) -> bytes:
        while separator not in self._plain:
            if self.has_ended:
                raise ConnectionError("the other side ended it")
            await self._more()
        end = self._plain.index(separator) + len(separator)
        found = bytes(self._plain[:end])
        del self._plain[:end]
        return found

    def say_end(self) -> None:
        """Say in TLS that nothing more comes."""
        with suppress(ssl.SSLWantReadError):
            self.object.unwrap()
        self._flush()

    def write_eof(self) -> None:
        """End as a client should: in TLS, then with a FIN."""
        self.say_end()
        self._writer.write_eof()

    def cut(self) -> None:
        """End with a FIN only."""
        self._writer.write_eof()

    def close(self) -> None:
        self._writer.close()

    async def _more(self) -> None:
        try:
            data = self.object.read(65_536)
        except ssl.SSLWantReadError:
            self._flush()
            await self._take()
            return
        except ssl.SSLZeroReturnError:
            data = b""
        self._plain += data
        self.has_ended = not data

    async def _take(self) -> None:
        data = await self._reader.read(65_536)
        if not data:
            raise ConnectionError("the other side is gone")
        self._in.write(data)

    def _flush(self) -> None:
        self._writer.write(self._out.read())
