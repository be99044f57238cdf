"""A destination's secret on its way to a region: sealed by control, opened by delivery.  Pure.

The rule: a secret leaves control only sealed to the key of the one region that delivers with it
(HPKE base mode, RFC 9180: DHKEM X25519, HKDF-SHA256, AES-256-GCM), bound to that region, account,
destination and version, so that one cannot be put in the place of another.
"""

import json
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from zentransfer.errors import Code, Error
from zentransfer.ids import AccountID, DestinationID, Region
from zentransfer.sealed_name import SUITE

_INFO: Final = b"zentransfer destination secret 1\x00"


@dataclass(frozen=True, slots=True)
class S3Secret:
    """What a destination of kind ``s3`` is signed with."""

    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Bound:
    """What a sealed secret belongs to, and cannot be taken away from."""

    region: Region
    account: AccountID
    destination: DestinationID
    version: int

    def info(self) -> bytes:
        """Return the bytes that the seal is bound to."""
        words = (self.region, self.account, self.destination, str(self.version))
        return _INFO + "\0".join(words).encode()


def packed(secret: S3Secret) -> bytes:
    """Return *secret* as bytes, to be sealed."""
    table = {"id": secret.access_key_id, "key": secret.secret_access_key}
    return json.dumps(table, separators=(",", ":")).encode()


def unpacked(data: bytes) -> S3Secret:
    """Return the secret in *data*; raises ``Error(DAMAGED)``."""
    try:
        table: dict[str, Any] = json.loads(data)
        return S3Secret(str(table["id"]), str(table["key"]))
    except (ValueError, KeyError, TypeError) as wrong:
        raise Error(Code.DAMAGED, "the secret is in no form that is known here") from wrong


def seal(public_key: bytes, bound: Bound, plain: bytes) -> bytes:
    """Return *plain* sealed to *public_key* (raw X25519): encapsulated key, ciphertext.

    Raises ``ValueError`` for a key that is none.
    """
    return SUITE.encrypt(plain, X25519PublicKey.from_public_bytes(public_key), bound.info())


def open_sealed(private_key: X25519PrivateKey, bound: Bound, sealed: bytes) -> bytes:
    """Return what was sealed; raises ``Error(DAMAGED)`` if it is not that destination's."""
    try:
        return SUITE.decrypt(sealed, private_key, bound.info())
    except (InvalidTag, ValueError) as wrong:
        raise Error(Code.DAMAGED, "the secret cannot be opened") from wrong
