"""FTP by TLS in a real process: every listener, and a certificate that is replaced."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random
from socket import create_connection

import pytest

from edge.snapshot import CredentialKind
from tests.support.certificates import make_certificate
from tests.support.ingest_node import IngestNode
from tests.support.ports import DATA, free_ports
from tests.support.snapshots import Customer
from tests.support.tls_client import client_context
from tests.support.waiting import until

pytestmark = pytest.mark.peer


class FtpsNode(IngestNode):
    """A node with every listener of the FTP door, and its certificate."""

    def __init__(self, folder: Path) -> None:
        self.explicit, self.implicit, self.legacy = free_ports(3)
        self.tls = folder / "tls"
        self.tls.mkdir()
        certificate, key = make_certificate(self.tls, is_rsa=True)
        first = Random().choice(DATA[:-100])
        extra = (
            f"[ftp]\nport = {self.explicit}\npassive_first = {first}\n"
            f"passive_last = {first + 99}\ntls_required = true\n"
            f"[ftps]\nport = {self.implicit}\nlegacy_port = {self.legacy}\n"
            f'[ftps.tls]\ncertificate_file = "{certificate}"\nkey_file = "{key}"\n'
        )
        super().__init__(folder, Customer(kind=CredentialKind.FTP), extra)

    def send(self, port: int, name: str, *options: str, scheme: str = "ftp") -> int:
        """Send a file with curl; returns curl's exit code."""
        path = self.folder / "a.jpg"
        path.write_bytes(Random(name).randbytes(300_000))
        shown = self.customer.shown
        url = f"{scheme}://{shown.name}:{shown.secret}@127.0.0.1:{port}/{name}"
        command = ["curl", "-sS", "-k", "--max-time", "30", "-T", str(path), *options, url]
        return subprocess.run(command, check=False, capture_output=True).returncode

    def served(self) -> bytes:
        """Return the certificate that the next client gets."""
        raw = create_connection(("127.0.0.1", self.implicit), 20)
        with client_context().wrap_socket(raw) as secure:
            found = secure.getpeercert(binary_form=True)
        assert found is not None
        return found


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FtpsNode]:
    node = FtpsNode(tmp_path_factory.mktemp("node"))
    node.prepare()
    node.start()
    yield node
    node.stop()


def test_every_listener_takes_files_as_it_should(node: FtpsNode) -> None:
    old = ("--tls-max", "1.1", "--ciphers", "ALL:@SECLEVEL=0")
    tls = "--ssl-reqd"
    assert node.send(node.explicit, "explicit.jpg", tls) == 0
    assert node.send(node.implicit, "implicit.jpg", scheme="ftps") == 0
    assert node.send(node.legacy, "legacy.jpg", tls, "--tlsv1.0", *old) == 0
    assert node.send(node.explicit, "old.jpg", tls, "--tlsv1.0", *old) == 35, "too old"
    assert node.send(node.explicit, "clear.jpg") == 67, "signing in needs TLS"
    until(lambda: len(node.facts("ftp.tls_refused")) == 1, "it is logged")
    (refused,) = node.facts("ftp.tls_refused")
    assert (refused["reason"], refused["is_data"]) == ("version", False)
    checks = node.curl("/readyz").json["checks"]
    assert checks["ftps"]["ok"]


def test_a_new_certificate_is_served_without_a_restart(node: FtpsNode) -> None:
    before = node.served()
    make_certificate(node.tls, is_rsa=True)
    until(lambda: bool(node.facts("tls.reloaded")), "it is taken")
    assert node.served() != before
    assert node.send(node.explicit, "after.jpg", "--ssl-reqd") == 0
