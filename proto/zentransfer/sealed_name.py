"""A file's name on its way to control: sealed by ingest, opened for the account's members.  Pure.

The rule: a name leaves the node only sealed to its account's public key (HPKE base mode, RFC 9180:
DHKEM X25519, HKDF-SHA256, AES-256-GCM), bound to the account and the upload, so that one cannot be
put in the place of another.
"""

from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from zentransfer.errors import Code, Error
from zentransfer.ids import AccountID, UploadID
from zentransfer.limits import SEALED_NAME_BYTES_MAX

SUITE: Final = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
OVERHEAD_BYTES: Final = 32 + 16  # the encapsulated key, and the tag
_INFO: Final = b"zentransfer file name 1\x00"
_LENGTH_BYTES: Final = 2


@dataclass(frozen=True, slots=True)
class FileName:
    """The virtual folder that a file was sent to, empty for none, and its name there."""

    folder: str
    name: str

    def __repr__(self) -> str:
        return "FileName(...)"


def seal(public_key: bytes, account: AccountID, upload: UploadID, name: FileName) -> bytes:
    """Return *name* sealed to *public_key* (raw X25519, 32 bytes): encapsulated key, ciphertext.

    A name that is too long is cut at its end, in whole characters: what is shown may be shorter
    than what is delivered.  Raises ``ValueError`` for a key that is none.
    """
    key = X25519PublicKey.from_public_bytes(public_key)
    return SUITE.encrypt(_packed(name), key, _info(account, upload))


def open_sealed(
    private_key: X25519PrivateKey, account: AccountID, upload: UploadID, sealed: bytes
) -> FileName:
    """Return the name in *sealed*; raises ``Error(DAMAGED)`` if it is not that upload's."""
    try:
        packed = SUITE.decrypt(sealed, private_key, _info(account, upload))
        length = int.from_bytes(packed[:_LENGTH_BYTES], "big")
        folder, name = packed[_LENGTH_BYTES:][:length], packed[_LENGTH_BYTES + length :]
        return FileName(folder.decode(), name.decode())
    except (InvalidTag, ValueError) as wrong:
        raise Error(Code.DAMAGED, "the name cannot be opened") from wrong


def _info(account: AccountID, upload: UploadID) -> bytes:
    return _INFO + f"{account}\0{upload}".encode()


def _packed(name: FileName) -> bytes:
    """Return the folder's length in bytes, the folder, and the name, in UTF-8."""
    half = (SEALED_NAME_BYTES_MAX - OVERHEAD_BYTES - _LENGTH_BYTES) // 2
    folder = _cut(name.folder, half)
    return len(folder).to_bytes(_LENGTH_BYTES, "big") + folder + _cut(name.name, half)


def _cut(text: str, bytes_max: int) -> bytes:
    cut = text.encode(errors="replace")[:bytes_max]
    return cut.decode(errors="ignore").encode()
