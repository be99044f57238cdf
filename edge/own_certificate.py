"""The certificate that a node makes itself, where none was bought: encrypted, but not vouched for.

The rule: only what lies in the node's own data folder is made, and made anew before it ends; a
certificate of the operator's is never touched.
"""

import os
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from zentransfer.disk import RealDisk, write_atomic
from zentransfer.tls import Tls

LASTS: Final = timedelta(days=397)
RENEWED: Final = timedelta(days=30)  # before its end
_BITS: Final = 2048  # RSA: what every camera body takes
_CLOCKS: Final = timedelta(days=2)  # a camera's clock may be behind by that


async def make_certificate(tls: Tls, data: Path, node: str, now_ms: int) -> bool:
    """Make what *tls* names below the folder *data*, unless it is good; says whether it did.

    For localhost and the loopback addresses, signed by itself.  Raises ``OSError``.
    """
    certificate, key = tls.certificate_file, tls.key_file
    if certificate is None or key is None or not _is_ours(certificate, key, data):
        return False
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    if key.exists() and _is_good(certificate, now):
        return False
    private = rsa.generate_private_key(65_537, _BITS)
    certificate.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    disk = RealDisk(certificate.parent)
    try:
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        await write_atomic(disk, key.name, pem)
        made = _signed(private, node, now).public_bytes(Encoding.PEM)
        await write_atomic(disk, certificate.name, made)
    finally:
        disk.close()
    return True


def _is_ours(certificate: Path, key: Path, data: Path) -> bool:
    return certificate.parent == key.parent and Path(os.path.abspath(certificate)).is_relative_to(
        os.path.abspath(data)
    )


def _is_good(certificate: Path, now: datetime) -> bool:
    with suppress(FileNotFoundError, ValueError):
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        return found.not_valid_after_utc - now > RENEWED
    return False


def _signed(key: rsa.RSAPrivateKey, node: str, now: datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node)])
    names: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.IPAddress(ip_address("127.0.0.1")),
        x509.IPAddress(ip_address("::1")),
    ]
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS)
        .not_valid_after(now + LASTS)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
