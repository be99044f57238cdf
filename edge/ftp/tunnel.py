"""TLS on one connection, the server's side, without the connection: bytes come in and go out.

The rules: an end is clean only if the client said so in TLS (close_notify, RFC 8446 section 6.1),
on whatever loop this runs; and a data connection gets no tickets, because a client that only writes
closes with them unread, and its kernel then throws away what it was still to send (curl #6149).
"""

import ssl
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from edge.ftp.hello import maybe_hello, maybe_refusal
from zentransfer.errors import Error

_PLAIN_BYTES: Final = 16_384  # of one record, RFC 8446 section 5.1


class Trouble(StrEnum):
    """Why there is no TLS with a client."""

    NO_TLS = "no_tls"
    """It spoke something else."""
    OTHER_SERVER = "other_server"
    """It came for another name, or another protocol than FTP."""
    VERSION = "version"
    CIPHER = "cipher"
    CERTIFICATE = "certificate"
    """It does not trust ours."""
    HUNG_UP = "hung_up"
    LATE = "late"
    NOT_RESUMED = "not_resumed"
    """It began a new session, where it must continue that of its control connection."""
    BROKEN = "broken"


# OpenSSL's own words, in capitals; that a certificate is not trusted is told in many.
_TROUBLES: Final[Mapping[str, Trouble]] = MappingProxyType(
    {
        "NO_SHARED_CIPHER": Trouble.CIPHER,
        "NO_SHARED_GROUP": Trouble.CIPHER,
        "NO_SUITABLE_SIGNATURE_ALGORITHM": Trouble.CIPHER,
        "UNSUPPORTED_PROTOCOL": Trouble.VERSION,
        "TLSV1_ALERT_PROTOCOL_VERSION": Trouble.VERSION,
        "HTTP_REQUEST": Trouble.NO_TLS,
        "WRONG_VERSION_NUMBER": Trouble.NO_TLS,
        "TLSV1_ALERT_UNKNOWN_CA": Trouble.CERTIFICATE,
    }
)


class TlsRefused(Exception):
    """There will be no TLS with this client, and why."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.value)
        self.trouble = trouble


class Tunnel:
    """One TLS connection."""

    def __init__(
        self, context: ssl.SSLContext, names: frozenset[str] = frozenset(), *, is_data: bool = False
    ) -> None:
        """Begin as *context* says, for clients that want one of *names*; all if none are given.

        A data connection is of the same context as its control connection, and so can continue that
        one's session; or that of any other connection of the context.
        """
        self.is_open = False
        """Whether the handshake is done."""
        self.has_ended = False
        """Whether the client said that it ends."""
        self._names = names
        self._hello: bytearray | None = bytearray()
        self._alert = b""
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        tickets = context.num_tickets
        if is_data:
            context.num_tickets = 0  # OpenSSL copies it with all else when it makes the object
        try:
            self._object = context.wrap_bio(self._in, self._out, server_side=True)
        finally:
            if is_data:
                context.num_tickets = tickets

    @property
    def has_begun(self) -> bool:
        """Whether anything came from the client yet."""
        return self._hello is None or bool(self._hello)

    @property
    def is_resumed(self) -> bool:
        """Whether the client continued a session of before: any one of the same context.

        OpenSSL does not tell Python which; with tickets, the server does not know it itself.
        """
        return bool(self._object.session_reused)

    @property
    def version(self) -> str:
        """The protocol spoken, such as TLSv1.3; empty before the handshake is done."""
        return self._object.version() or ""

    @property
    def waiting(self) -> int:
        """How many bytes came that were not looked at yet."""
        return self._in.pending

    def feed(self, data: bytes | memoryview) -> None:
        """Take what came from the client; raises :class:`TlsRefused` for no hello of ours."""
        if self._hello is None:
            self._in.write(data)
            return
        self._hello += data
        try:
            hello = maybe_hello(bytes(self._hello))
        except Error:
            raise TlsRefused(Trouble.NO_TLS) from None
        if hello is None:
            return
        alert = maybe_refusal(hello, self._names)
        if alert is not None:
            self._alert = alert
            raise TlsRefused(Trouble.OTHER_SERVER)
        self._in.write(self._hello)
        self._hello = None

    def shake(self) -> bool:
        """Go on with the handshake, and say whether it is done; raises :class:`TlsRefused`."""
        if not self.is_open and self._hello is None:
            try:
                self._object.do_handshake()
                self.is_open = True
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as wrong:
                raise TlsRefused(_trouble(wrong)) from None
        return self.is_open

    def read(self) -> bytes:
        """Return some of what came, nothing if that is all; raises :class:`TlsRefused`."""
        buffer = bytearray(_PLAIN_BYTES)
        return bytes(buffer[: self.read_into(memoryview(buffer))])

    def read_into(self, room: memoryview) -> int:
        """Write what came to *room*; returns how many bytes that are: fewer than fit if it is all.

        ``has_ended`` says then whether more can come.  Raises :class:`TlsRefused`.
        """
        filled = 0
        try:
            while filled < len(room):
                got = self._object.read(len(room) - filled, room[filled:])
                if not got:
                    self.has_ended = True
                    break
                filled += int(got)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.has_ended = True
        except ssl.SSLError as wrong:
            raise TlsRefused(_trouble(wrong)) from None
        return filled

    def write(self, data: bytes) -> None:
        """Send *data*, which is in :meth:`outgoing` then; raises :class:`TlsRefused`."""
        try:
            self._object.write(data)  # whole: there is room for anything in memory
        except ssl.SSLError as wrong:
            raise TlsRefused(_trouble(wrong)) from None

    def close(self) -> None:
        """Say to the client that it ends here; idempotent."""
        if not self.is_open:
            return
        try:
            self._object.unwrap()
        except ssl.SSLError:
            return  # it has not said so itself yet, or is broken: either way there is nothing more
        self.has_ended = True

    def outgoing(self) -> bytes:
        """Return what is to be sent to the client now."""
        alert, self._alert = self._alert, b""
        return self._out.read() + alert

    def rest(self) -> bytes:
        """Return what came after the client's end, which is in clear."""
        return self._in.read()


def _trouble(wrong: ssl.SSLError) -> Trouble:
    reason = wrong.reason or ""
    if "CERTIFICATE" in reason:
        return Trouble.CERTIFICATE
    return _TROUBLES.get(reason, Trouble.BROKEN)
