"""What a client says first of TLS: which server it wants, and which protocol above.  Pure.

The rule: who came for another protocol, or for another server, is not served: its secrets for a web
server must not be told to this one (ALPACA, CVE-2021-3618).  What else is wrong with a hello is
left to OpenSSL.
"""

from typing import Final, NamedTuple

from zentransfer.errors import Code, Error
from zentransfer.limits import FTP_HELLO_BYTES_MAX

FTP: Final = b"ftp"
"""Our name in ALPN (RFC 7301, IANA's registry)."""
NO_PROTOCOL: Final = b"\x15\x03\x03\x00\x02\x02\x78"
"""The alert no_application_protocol, as a record (RFC 7301 section 3.2)."""
NO_SUCH_NAME: Final = b"\x15\x03\x03\x00\x02\x02\x70"
"""The alert unrecognized_name, as a record (RFC 6066 section 3)."""

_RECORD_HEAD: Final = 5
_HANDSHAKE: Final = b"\x16"
_MESSAGE_HEAD: Final = 4
_CLIENT_HELLO: Final = 0x01
_VERSION_AND_RANDOM: Final = 2 + 32
_SERVER_NAME: Final = 0x0000
_ALPN: Final = 0x0010
_SHORT: Final = 2
_HOST_NAME: Final = 0


class Hello(NamedTuple):
    """The server's name that the client wants, and what it would speak, if it says so."""

    name: str | None
    protocols: tuple[bytes, ...]


def maybe_hello(data: bytes) -> Hello | None:
    """Return the hello that *data* begins with, ``None`` while more of it is to come.

    RFC 8446 section 4.1.2; it may come in several records (section 5.1).  Raises
    ``Error(INVALID)`` for anything else.
    """
    message = b""
    at = 0
    while len(message) < (needed := _needed(message)):
        if data[at : at + 1] not in (b"", _HANDSHAKE):
            raise Error(Code.INVALID, "this is no TLS")
        begin = at + _RECORD_HEAD
        size = int.from_bytes(data[at + 3 : begin])
        if len(data) < begin + size or len(data) < begin:
            if len(data) > FTP_HELLO_BYTES_MAX:
                raise Error(Code.INVALID, "the hello is too long")
            return None
        if not size:
            raise Error(Code.INVALID, "a record is empty")
        at = begin + size
        message += data[begin:at]
    return _read(_Bytes(message[_MESSAGE_HEAD:needed]))


def _needed(message: bytes) -> int:
    """Return how many bytes the message has that begins so, as far as that can be told."""
    if message and message[0] != _CLIENT_HELLO:
        raise Error(Code.INVALID, "this is no hello")
    if len(message) < _MESSAGE_HEAD:
        return _MESSAGE_HEAD
    size = _MESSAGE_HEAD + int.from_bytes(message[1:_MESSAGE_HEAD])
    if size > FTP_HELLO_BYTES_MAX:
        raise Error(Code.INVALID, "the hello is too long")
    return size


def maybe_refusal(hello: Hello, names: frozenset[str]) -> bytes | None:
    """Return the alert for who came for another protocol than ours, or a name not in *names*.

    Without *names* every name is good.
    """
    if hello.protocols and FTP not in hello.protocols:
        return NO_PROTOCOL
    if names and hello.name is not None and hello.name not in names:
        return NO_SUCH_NAME
    return None


class _Bytes:
    """Bytes to be read from the front; what is cut short raises ``Error(INVALID)``."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise Error(Code.INVALID, "the hello is cut short")
        found, self._at = self._data[self._at : end], end
        return found

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count))

    def sized(self, count: int) -> "_Bytes":
        """Return what stands behind its length of *count* bytes."""
        return _Bytes(self.take(self.number(count)))

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at)


def _read(body: _Bytes) -> Hello:
    body.take(_VERSION_AND_RANDOM)
    body.sized(1)  # session
    body.sized(2)  # suites
    body.sized(1)  # compression
    name, protocols = None, tuple[bytes, ...]()
    extensions = body.sized(2) if body else _Bytes(b"")
    while extensions:
        kind, content = extensions.number(_SHORT), extensions.sized(_SHORT)
        if kind == _SERVER_NAME:
            name = _name(content)
        elif kind == _ALPN:
            protocols = _protocols(content.sized(_SHORT))
    return Hello(name, protocols)


def _name(content: _Bytes) -> str | None:
    """Return the name, lower case; a server's answer to it, which is empty, is none."""
    listed = content.sized(_SHORT) if content else content
    while listed:
        kind, name = listed.number(1), listed.sized(_SHORT)
        if kind == _HOST_NAME:
            return name.rest().decode("latin-1").lower()
    return None


def _protocols(listed: _Bytes) -> tuple[bytes, ...]:
    found = list[bytes]()
    while listed:
        found.append(listed.sized(1).rest())
    return tuple(found)
