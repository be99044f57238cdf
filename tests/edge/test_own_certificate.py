import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from edge.own_certificate import LASTS, RENEWED, make_certificate
from zentransfer.tls import Tls

NOW_MS = 1_780_000_000_000


def named(folder: Path) -> Tls:
    return Tls(certificate_file=folder / "tls" / "node.crt", key_file=folder / "tls" / "node.key")


def made(tls: Tls, data: Path, after: timedelta = timedelta()) -> bool:
    with asyncio.Runner() as runner:
        now_ms = NOW_MS + int(after.total_seconds() * 1000)
        return runner.run(make_certificate(tls, data, "fr-1", now_ms))


def test_it_is_made_once_and_a_server_can_use_it(tmp_path: Path) -> None:
    tls = named(tmp_path)
    assert made(tls, tmp_path)
    assert tls.certificate_file is not None
    assert tls.key_file is not None
    before = tls.certificate_file.read_bytes()
    assert not made(tls, tmp_path, LASTS - RENEWED - timedelta(hours=1))
    assert tls.certificate_file.read_bytes() == before
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
        tls.certificate_file, tls.key_file
    )
    assert tls.key_file.stat().st_mode & 0o777 == 0o600


def test_it_is_made_anew_before_it_ends_and_when_it_is_none(tmp_path: Path) -> None:
    tls = named(tmp_path)
    made(tls, tmp_path)
    assert tls.certificate_file is not None
    assert made(tls, tmp_path, LASTS - RENEWED)
    ends = x509.load_pem_x509_certificate(tls.certificate_file.read_bytes()).not_valid_after_utc
    assert ends == datetime.fromtimestamp(NOW_MS / 1000, UTC) + 2 * LASTS - RENEWED
    tls.certificate_file.write_text("no certificate")
    assert made(tls, tmp_path)


def test_what_the_operator_brought_is_never_touched(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    assert not made(named(tmp_path / "bought"), data)
    assert not made(Tls(), data)
    assert not (tmp_path / "bought").exists()
