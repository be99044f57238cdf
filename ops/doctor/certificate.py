"""A certificate as a camera sees it.  Pure."""

from collections.abc import Sequence
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ops.doctor.seen import Certificate


def parsed(der: bytes) -> Certificate:
    """Return what is told of the certificate in *der*; raises ``ValueError`` if it is none."""
    found = x509.load_der_x509_certificate(der)
    return Certificate(
        names=_names(found),
        issuer=found.issuer.rfc4514_string(),
        is_self_signed=found.issuer == found.subject,
        not_before_ms=int(found.not_valid_before_utc.timestamp() * 1000),
        not_after_ms=int(found.not_valid_after_utc.timestamp() * 1000),
        key=_key(found),
    )


def is_for(names: Sequence[str], host: str) -> bool:
    """Say whether *names* cover *host* (RFC 9525: a star stands for one label, the first)."""
    wanted = host.rstrip(".").lower()
    if _is_address(wanted):
        return any(_is_address(one) and ip_address(one) == ip_address(wanted) for one in names)
    _, _, parent = wanted.partition(".")
    return any(one.lower() in (wanted, f"*.{parent}") for one in names if not _is_address(one))


def _names(found: x509.Certificate) -> list[str]:
    try:
        told = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    addresses = told.get_values_for_type(x509.IPAddress)
    return [*told.get_values_for_type(x509.DNSName), *map(str, addresses)]


def _key(found: x509.Certificate) -> str:
    match found.public_key():
        case rsa.RSAPublicKey() as key:
            return f"RSA {key.key_size}"
        case ec.EllipticCurvePublicKey() as key:
            return f"ECDSA {key.key_size}"
        case _:
            return "another kind of key"


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
