import ssl
from pathlib import Path

import pytest

from edge.ftp.tunnel import TlsRefused, Trouble, Tunnel
from tests.support.tls_client import client_context, ftp_context
from zentransfer.tls import Age

TLS_1_1 = ssl.TLSVersion.TLSv1_1


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    return ftp_context(tmp_path_factory.mktemp("tls"))


class Peer:
    """A client's TLS in memory, and the tunnel at its other end."""

    def __init__(
        self,
        tunnel: Tunnel,
        context: ssl.SSLContext | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        self.tunnel = tunnel
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = (context or client_context()).wrap_bio(
            self._in, self._out, server_hostname="localhost", session=session
        )

    def shaken(self) -> "Peer":
        for _ in range(4):
            try:
                self.object.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                self.deliver()
                self.tunnel.shake()
                raise
            self.deliver()
            self.tunnel.shake()
            self._in.write(self.tunnel.outgoing())
        assert self.tunnel.is_open
        with pytest.raises(ssl.SSLWantReadError):
            self.object.read(1)  # the tickets, if there are any
        return self

    def deliver(self, size: int = 0) -> None:
        """Bring what was written to the tunnel, in pieces of *size* bytes if that is given."""
        data = self._out.read()
        for at in range(0, len(data), size or max(len(data), 1)):
            self.tunnel.feed(data[at : at + size] if size else data)

    def hears(self) -> bytes:
        self._in.write(self.tunnel.outgoing())
        return self.object.read(100_000)


@pytest.mark.parametrize("size", [0, 1, 7])
def test_bytes_go_through_however_they_are_cut(server: ssl.SSLContext, size: int) -> None:
    peer = Peer(Tunnel(server)).shaken()
    peer.object.write(b"abc")
    peer.object.write(b"d" * 2000)
    peer.deliver(size)
    assert peer.tunnel.read() == b"abc" + b"d" * 2000
    assert peer.tunnel.read() == b""
    assert not peer.tunnel.has_ended
    peer.tunnel.write(b"back")
    assert peer.hears() == b"back"


def test_no_more_is_read_than_there_is_room_for(server: ssl.SSLContext) -> None:
    peer = Peer(Tunnel(server)).shaken()
    peer.object.write(bytes(range(200)))
    peer.deliver()
    room = bytearray(150)
    assert peer.tunnel.read_into(memoryview(room)) == 150
    assert peer.tunnel.read_into(memoryview(room)[:0]) == 0
    assert not peer.tunnel.has_ended
    assert peer.tunnel.read_into(memoryview(room)) == 50


def test_an_end_is_what_the_client_said_in_tls(server: ssl.SSLContext) -> None:
    peer = Peer(Tunnel(server)).shaken()
    peer.object.write(b"abc")
    with pytest.raises(ssl.SSLWantReadError):
        peer.object.unwrap()
    peer.deliver()
    assert peer.tunnel.read() == b"abc"
    assert peer.tunnel.has_ended
    peer.tunnel.close()
    with pytest.raises(ssl.SSLZeroReturnError):
        peer.hears()


def test_what_follows_our_end_and_the_clients_is_in_clear(server: ssl.SSLContext) -> None:
    peer = Peer(Tunnel(server)).shaken()
    peer.tunnel.close()
    assert peer.hears() == b""
    peer.object.unwrap()
    peer.deliver()
    peer.tunnel.feed(b"USER x\r\n")
    assert peer.tunnel.read() == b""
    assert peer.tunnel.has_ended
    assert peer.tunnel.rest() == b"USER x\r\n"


def test_a_broken_record_is_no_end(server: ssl.SSLContext) -> None:
    peer = Peer(Tunnel(server)).shaken()
    peer.tunnel.feed(b"\x17\x03\x03\x00\x20" + bytes(32))
    with pytest.raises(TlsRefused) as raised:
        peer.tunnel.read()
    assert raised.value.trouble is Trouble.BROKEN
    assert not peer.tunnel.has_ended


def test_a_data_connection_continues_a_session_and_gets_no_ticket(server: ssl.SSLContext) -> None:
    context = client_context()
    control = Peer(Tunnel(server), context).shaken()
    session = control.object.session
    assert session is not None
    assert session.has_ticket
    data = Peer(Tunnel(server, is_data=True), context, session).shaken()
    assert data.tunnel.is_resumed
    alone = Peer(Tunnel(server, is_data=True), context).shaken()
    assert not alone.tunnel.is_resumed
    got = alone.object.session
    assert got is None or not got.has_ticket
    assert server.num_tickets == 2, "the next control connection gets them"


@pytest.mark.parametrize(
    ("client", "age", "trouble"),
    [
        (
            {"suites": "ALL:@SECLEVEL=0", "most": ssl.TLSVersion.TLSv1_1},
            Age.CAMERA,
            Trouble.VERSION,
        ),
        ({"suites": "AES128-SHA", "most": ssl.TLSVersion.TLSv1_2}, Age.CAMERA, Trouble.CIPHER),
        ({"protocols": ("h2",)}, Age.CAMERA, Trouble.OTHER_SERVER),
    ],
)
def test_why_there_is_no_tls_is_one_of_a_few_words(
    tmp_path: Path, client: dict[str, object], age: Age, trouble: Trouble
) -> None:
    context = client_context(**client)  # type: ignore[arg-type]  # a table of keywords
    with pytest.raises(TlsRefused) as raised:
        Peer(Tunnel(ftp_context(tmp_path, age)), context).shaken()
    assert raised.value.trouble is trouble


def test_a_client_that_does_not_trust_us_says_so(server: ssl.SSLContext) -> None:
    with pytest.raises(TlsRefused) as raised:
        Peer(Tunnel(server), ssl.create_default_context()).shaken()
    assert raised.value.trouble is Trouble.CERTIFICATE


def test_what_is_no_tls_is_refused(server: ssl.SSLContext) -> None:
    with pytest.raises(TlsRefused) as raised:
        Tunnel(server).feed(b"USER x\r\n")
    assert raised.value.trouble is Trouble.NO_TLS
