"""The HTTP door by TLS, and behind HAProxy and Caddy: real fronts, a real ingest process, curl."""

import hashlib
import json
import shutil
import socket
import ssl
import subprocess
import warnings
from collections.abc import Generator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.geo.databases import city_file
from tests.support.certificates import make_certificate
from tests.support.fronts import caddy, haproxy
from tests.support.ingest_node import Answer, IngestNode
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = [pytest.mark.peer, pytest.mark.timeout(180)]

FRONT = '[http.front]\nnetworks = ["127.0.0.1/32"]\n'
PROXY = FRONT + 'saying = "proxy"\n'
CONTENT = bytes(range(256)) * 3000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    # In a folder of their own: what is new beside the node's data stays shut off from ingest.
    (tmp_path / "tls").mkdir()
    make_certificate(tmp_path / "tls")
    return tmp_path


def running(folder: Path, extra: str) -> Generator[IngestNode]:
    node = IngestNode(folder, extra=extra + _route(folder)).prepare()
    node.start()
    yield node
    node.stop()


@pytest.fixture
def behind_headers(folder: Path) -> Generator[IngestNode]:
    yield from running(folder, FRONT)


@pytest.fixture
def behind_proxy(folder: Path) -> Generator[IngestNode]:
    node = IngestNode(folder, extra=PROXY + _route(folder)).prepare()
    node.start(wait=False)  # only a front may ask it
    yield node
    node.stop()


@pytest.fixture
def with_tls(folder: Path) -> Generator[IngestNode]:
    port = free_port()
    keys = f'certificate_file = "{folder}/tls/node.crt"\nkey_file = "{folder}/tls/node.key"\n'
    for node in running(folder, f"[https]\nport = {port}\n[tls]\n{keys}"):
        node.https = port
        yield node


def _route(folder: Path) -> str:
    """Place documentation's addresses: 203.0.113.0/24 near fr, 198.51.100.0/24 near sg."""
    doors = "\n".join(f'{region} = "http://{region}.example"' for region in ("us", "fr", "sg"))
    return f'[route]\ndatabase = "{city_file(folder)}"\n[route.http]\n{doors}\n'


def curl(node: IngestNode, port: int, path: str, *options: str, scheme: str = "https") -> Answer:
    command = node.command(path, "--cacert", str(node.folder / "tls" / "node.crt"), *options)
    command[-1] = f"{scheme}://localhost:{port}{path}"
    return Answer(subprocess.run(command, capture_output=True, check=False).stdout)


def nearest(answer: Answer) -> str:
    assert answer.status == 200, answer.body
    first: str = json.loads(answer.body)["regions"][0]["region"]
    return first


def upload(node: IngestNode, port: int, *options: str) -> Answer:
    body = node.folder / "body"
    body.write_bytes(CONTENT)
    wants = ("-T", str(body), "-H", "Want-Repr-Digest: sha-256=1", *options)
    done = curl(node, port, "/in/goal.jpg", *wants)
    assert done.status == 201, done.body
    assert done.json["size"] == len(CONTENT)
    return done


def created(node: IngestNode, port: int, scheme: str) -> str:
    wants = ("-X", "POST", "-H", "Tus-Resumable: 1.0.0", "-H", "Upload-Length: 5")
    done = curl(node, port, "/files/", *wants, scheme=scheme)
    assert done.status == 201, done.body
    return done.headers["location"]


def handshake(
    node: IngestNode, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> tuple[str | None, bytes]:
    """Return the protocol chosen by ALPN and the certificate that was shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.set_alpn_protocols(["h2", "http/1.1"])
    plain = socket.create_connection(("127.0.0.1", node.https), timeout=20)
    with closing(context.wrap_socket(plain)) as secured:
        return secured.selected_alpn_protocol(), secured.getpeercert(binary_form=True) or b""


def spoken(node: IngestNode, header: bytes, source: str = "127.0.0.1") -> Answer:
    """Ask for a route with *header* in front, in two pieces; returns what came."""
    asked = header + b"GET /route HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    address = ("127.0.0.1", node.http)
    with closing(socket.create_connection(address, 20, (source, 0))) as speaking:
        speaking.sendall(asked[:9])
        speaking.sendall(asked[9:])
        found = bytearray()
        with suppress(ConnectionError):
            while piece := speaking.recv(65_536):
                found += piece
    return Answer(bytes(found))


def test_the_door_ends_tls_itself(with_tls: IngestNode) -> None:
    done = upload(with_tls, with_tls.https)
    assert "sha-256=:" in done.headers["repr-digest"]
    assert created(with_tls, with_tls.https, "https").startswith("https://localhost:")
    assert with_tls.curl("/readyz").json["checks"]["tls"]["ok"]
    assert with_tls.put("clear.jpg", CONTENT).status == 201, "the clear listener is still there"


def test_only_modern_tls_and_http_1_1_are_spoken(with_tls: IngestNode) -> None:
    assert handshake(with_tls)[0] == "http/1.1", "HTTP/2 windows would slow a far upload down"
    assert handshake(with_tls, ssl.TLSVersion.TLSv1_2)[0] == "http/1.1"
    with pytest.raises(ssl.SSLError, match=r"ALERT_PROTOCOL_VERSION|EOF"):
        handshake(with_tls, ssl.TLSVersion.TLSv1_1)


@pytest.mark.reaches("TLS_LOOK_S")
def test_a_new_certificate_serves_while_an_upload_goes_on(with_tls: IngestNode) -> None:
    before = handshake(with_tls)[1]
    slow = with_tls.command(
        "/in/slow.jpg", "-T", "-", "--cacert", str(with_tls.folder / "tls" / "node.crt")
    )
    slow[-1] = f"https://localhost:{with_tls.https}/in/slow.jpg"
    with subprocess.Popen(slow, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as sending:
        assert sending.stdin is not None
        sending.stdin.write(CONTENT[:100_000])
        sending.stdin.flush()
        certificate, key = make_certificate(with_tls.folder / "tls", "next")
        shutil.move(certificate, with_tls.folder / "tls" / "node.crt")
        shutil.move(key, with_tls.folder / "tls" / "node.key")
        until(lambda: handshake(with_tls)[1] != before, "the new certificate serves")
        sent, _ = sending.communicate(CONTENT[100_000:])
    assert Answer(sent).status == 201, "the running upload was not disturbed"
    upload(with_tls, with_tls.https)


def test_a_certificate_that_does_not_load_leaves_the_old_one_in_force(
    with_tls: IngestNode,
) -> None:
    before = handshake(with_tls)[1]
    (with_tls.folder / "tls" / "node.crt").write_text("no certificate")
    until(
        lambda: not with_tls.curl("/readyz").json["checks"]["tls"]["ok"],
        "the node says what is wrong",
    )
    answer = with_tls.curl("/readyz")
    assert answer.status == 200, "it still takes uploads"
    assert "certificate" in answer.json["checks"]["tls"]["detail"]
    assert handshake(with_tls)[1] == before


def test_a_certificate_that_cannot_serve_is_named_at_the_start(folder: Path) -> None:
    make_certificate(folder / "tls", password=b"secret")
    keys = f'certificate_file = "{folder}/tls/node.crt"\nkey_file = "{folder}/tls/node.key"\n'
    node = IngestNode(folder, extra=f"[https]\nport = 0\n[tls]\n{keys}").prepare()
    process = node.start(wait=False)
    try:
        assert process.wait(60) != 0
    finally:
        node.stop()
    assert "the key is encrypted" in (folder / "ingest.log").read_text()


@pytest.mark.parametrize("proxy", [True, False], ids=["PROXY protocol", "header fields"])
def test_haproxy_may_stand_in_front(
    proxy: bool,
    request: pytest.FixtureRequest,
) -> None:
    node: IngestNode = request.getfixturevalue("behind_proxy" if proxy else "behind_headers")
    with haproxy(node.folder, node.http, proxy=proxy) as (clear, tls):
        until(lambda: curl(node, tls, "/readyz").status == 200, "the node is ready")
        done = upload(node, tls)
        digest = hashlib.sha256(CONTENT).hexdigest()
        assert len(digest) == 64
        assert done.headers["repr-digest"]
        assert created(node, tls, "https").startswith("https://localhost:")
        assert created(node, clear, "http").startswith("http://localhost:")
        upload(node, tls, "--http2")


def test_a_client_behind_haproxy_is_where_it_is(behind_headers: IngestNode) -> None:
    node = behind_headers
    with haproxy(node.folder, node.http, proxy=False) as (_, tls):
        # To HAProxy this client is a front too, so that its word is about the one behind it.
        assert nearest(curl(node, tls, "/route", "-H", "X-Forwarded-For: 203.0.113.7")) == "fr"
        assert nearest(curl(node, tls, "/route", "-H", "X-Forwarded-For: 198.51.100.7")) == "sg"


def test_who_is_no_front_is_not_believed(behind_headers: IngestNode) -> None:
    claim = ("-H", "X-Forwarded-For: 198.51.100.7", "-H", "Forwarded: for=198.51.100.7")
    believed = behind_headers.curl("/route", *claim)
    assert nearest(believed) == "sg"
    other = behind_headers.curl("/route", "--interface", "127.0.0.2", *claim)
    assert nearest(other) != "sg"


def test_only_a_front_sends_the_proxy_protocol(behind_proxy: IngestNode) -> None:
    node = behind_proxy
    until(lambda: node.curl("/readyz", "--interface", "127.0.0.2").status == 200, "it is ready")
    header = b"PROXY TCP4 198.51.100.7 127.0.0.1 40000 80\r\n"
    assert nearest(spoken(node, header)) == "sg"
    assert spoken(node, b"").status == 0, "a front that forgets the header is cut"
    assert spoken(node, header, source="127.0.0.2").status == 400
    assert nearest(spoken(node, b"", source="127.0.0.2")) != "sg"


def test_caddy_may_stand_in_front(behind_headers: IngestNode) -> None:
    node = behind_headers
    with caddy(node.folder, node.http) as tls:
        upload(node, tls)
        assert created(node, tls, "https").startswith("https://localhost:")
        told = curl(node, tls, "/route")
        assert told.status == 200


def test_no_address_of_a_client_is_logged(behind_headers: IngestNode) -> None:
    behind_headers.curl("/route", "-H", "X-Forwarded-For: 203.0.113.7")
    behind_headers.curl("/in/", "-X", "BREW", "-H", "Forwarded: for=203.0.113.7")
    assert "203.0.113" not in (behind_headers.folder / "ingest.log").read_text()
