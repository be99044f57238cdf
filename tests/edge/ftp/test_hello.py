import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.ftp.hello import (
    FTP,
    NO_PROTOCOL,
    NO_SUCH_NAME,
    Hello,
    maybe_hello,
    maybe_refusal,
)
from tests.support.tls_client import client_context
from zentransfer.errors import Code, Error
from zentransfer.limits import FTP_HELLO_BYTES_MAX


def said(name: str | None = None, *protocols: str, most: ssl.TLSVersion | None = None) -> bytes:
    """Return the first bytes of OpenSSL's own client."""
    out = ssl.MemoryBIO()
    context = client_context(protocols=protocols, most=most)
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name).do_handshake()
    return out.read()


def in_records(hello: bytes, size: int) -> bytes:
    """Cut what is in the one record *hello* into records of *size* bytes."""
    message = hello[5:]
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(hello[:3] + len(piece).to_bytes(2) + piece for piece in pieces)


def refusal_of(data: bytes) -> Code | None:
    try:
        maybe_hello(data)
    except Error as error:
        return error.code
    return None


@pytest.mark.parametrize("most", [None, ssl.TLSVersion.TLSv1_2])
@pytest.mark.parametrize("name", [None, "fr.ftp.example.org"])
@pytest.mark.parametrize("protocols", [(), ("ftp",), ("h2", "http/1.1")])
def test_a_clients_hello_is_understood(
    name: str | None, protocols: tuple[str, ...], most: ssl.TLSVersion | None
) -> None:
    hello = said(name, *protocols, most=most)
    wanted = Hello(name, tuple(each.encode() for each in protocols))
    assert maybe_hello(hello) == wanted
    assert maybe_hello(hello + b"and what follows") == wanted


@given(st.data())
def test_a_hello_in_pieces_is_waited_for_and_never_misread(data: st.DataObject) -> None:
    whole = said("Camera.example.org", "ftp")
    hello = in_records(whole, data.draw(st.integers(1, len(whole))))
    cut = data.draw(st.integers(0, len(hello) - 1))
    assert maybe_hello(hello[:cut]) is None
    assert maybe_hello(hello) == Hello("camera.example.org", (b"ftp",))


@given(st.binary(max_size=200))
def test_other_bytes_are_refused_or_waited_for(data: bytes) -> None:
    for head in (b"", b"\x16\x03\x01"):
        assert refusal_of(head + data) in (None, Code.INVALID)


@given(st.data())
def test_a_hello_with_a_byte_changed_is_no_fault_of_ours(data: st.DataObject) -> None:
    hello = bytearray(said("camera.example.org", "ftp"))
    hello[data.draw(st.integers(0, len(hello) - 1))] = data.draw(st.integers(0, 255))
    assert refusal_of(bytes(hello)) in (None, Code.INVALID)


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", b"USER x\r\n", b"\x80\x2e\x01\x03\x01"])
def test_what_is_no_tls_is_refused_at_its_first_byte(data: bytes) -> None:
    with pytest.raises(Error):
        maybe_hello(data[:1] + data[1:])


@pytest.mark.reaches("FTP_HELLO_BYTES_MAX")
def test_a_hello_beyond_the_limit_is_refused_before_it_came() -> None:
    def announced(size: int) -> bytes:
        return b"\x16\x03\x01\x00\x04\x01" + size.to_bytes(3)

    assert maybe_hello(announced(FTP_HELLO_BYTES_MAX - 4)) is None
    with pytest.raises(Error, match="too long"):
        maybe_hello(announced(FTP_HELLO_BYTES_MAX + 1))
    # Many records of one byte, which never get anywhere.
    drip = b"\x16\x03\x01\x00\x01\x01" + b"\x16\x03\x01\x00\x01\x00" * FTP_HELLO_BYTES_MAX
    with pytest.raises(Error):
        maybe_hello(drip)


@pytest.mark.parametrize(
    ("hello", "names", "alert"),
    [
        (Hello(None, ()), (), None),
        (Hello(None, (b"h2", FTP)), (), None),
        (Hello(None, (b"http/1.1",)), (), NO_PROTOCOL),
        (Hello("www.example.org", ()), (), None),
        (Hello("www.example.org", ()), ("ftp.example.org",), NO_SUCH_NAME),
        (Hello("ftp.example.org", ()), ("ftp.example.org",), None),
        (Hello(None, ()), ("ftp.example.org",), None),
    ],
)
def test_who_came_for_another_server_is_refused(
    hello: Hello, names: tuple[str, ...], alert: bytes | None
) -> None:
    assert maybe_refusal(hello, frozenset(names)) == alert
