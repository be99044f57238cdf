import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.doctor.certificate import is_for, parsed
from tests.support.certificates import make_certificate


def test_a_certificate_is_read(tmp_path: Path) -> None:
    certificate, _ = make_certificate(tmp_path)
    found = parsed(ssl.PEM_cert_to_DER_cert(certificate.read_text()))
    assert list(found.names) == ["localhost", "127.0.0.1"]
    assert found.is_self_signed
    assert found.key == "ECDSA 256"
    assert 89 < (found.not_after_ms - found.not_before_ms) / 86_400_000 < 91


def test_what_is_no_certificate_says_so() -> None:
    with pytest.raises(ValueError, match=r"."):
        parsed(b"nothing of the kind")


@pytest.mark.parametrize(
    ("names", "host", "is_right"),
    [
        (["ftp.example.com"], "FTP.example.com.", True),
        (["*.example.com"], "ftp.example.com", True),
        (["*.example.com"], "a.ftp.example.com", False),
        (["*.example.com"], "example.com", False),
        (["example.com"], "ftp.example.com", False),
        (["10.0.0.1"], "10.0.0.1", True),
        (["2001:db8::1"], "2001:db8:0::1", True),
        (["*.0.0.1"], "10.0.0.1", False),
        ([], "ftp.example.com", False),
    ],
)
def test_a_name_covers_a_host_or_not(names: list[str], host: str, is_right: bool) -> None:
    assert is_for(names, host) is is_right


@given(st.lists(st.text(max_size=20), max_size=4), st.text(max_size=20))
def test_no_name_makes_it_stumble(names: list[str], host: str) -> None:
    is_for(names, host)
