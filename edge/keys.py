"""A region's keys: the half that seals, and the contract of the half that opens.

The rule: **what seals cannot open**.  Ingest holds ``RegionPublicKeys`` and nothing else; the
private half lives in :mod:`edge.private_keys`, which ingest does not import.
"""

import hmac
import json
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from edge.seal.header import Header
from zentransfer.disk import Disk, read_all
from zentransfer.ids import Region
from zentransfer.limits import KEY_FILE_BYTES_MAX

SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
PUBLIC_FOLDER: Final = "public"
PUBLIC_FILE: Final = "public/keys.json"
PRIVATE_FOLDER: Final = "private"
KEY_BYTES: Final = 32


class OpenKey(Protocol):
    """The private half: a key file, an HSM or a KMS.  Delivery only, after an audit record."""

    async def open(self, header: Header) -> bytes:
        """Return the data key (32 bytes) of the segment with this *header*.

        Raises ``Broken`` (KEY) when it is sealed to no key that is held, or to another header;
        ``OSError`` when the key cannot be reached for now.
        """
        ...


@dataclass(frozen=True, slots=True)
class RegionPublicKeys:
    """What ingest holds of a region: it can seal content, and open names, but no content.

    ``kid`` names the content key in use, ``metadata_kid`` the metadata key in use; older metadata
    keys stay in ``metadata`` as long as records need them.  ``destination`` is the public key to
    which accounts' destination secrets are sealed, ``destination_kid`` its name; it lives longer
    than the content keys, which die each month.
    """

    region: Region
    kid: str
    content: bytes
    destination: bytes
    metadata_kid: str
    metadata: Mapping[str, bytes] = field(repr=False)
    origin: bytes = field(repr=False)
    destination_kid: str

    def seal(self, dek: bytes, info: bytes) -> bytes:
        """Return the data key sealed to the region (RFC 9180, base mode), bound to *info*."""
        return SUITE.encrypt(dek, X25519PublicKey.from_public_bytes(self.content), info=info)

    def tag(self, message: bytes) -> bytes:
        """Return the origin tag of *message*: only this region's processes can make it."""
        return hmac.digest(self.origin, message, sha256)

    def is_ours(self, message: bytes, tag: bytes) -> bool:
        """Say whether *tag* is the origin tag of *message*."""
        return hmac.compare_digest(self.tag(message), tag)


def load_public_keys(disk: Disk) -> RegionPublicKeys:
    """Return the public half from a folder of keys.

    Raises ``OSError`` when it cannot be read, ``ValueError`` when it is not in its form.
    """
    text = read_all(disk, PUBLIC_FILE, KEY_FILE_BYTES_MAX)
    try:
        table = json.loads(text)
        metadata = {str(kid): _key(value) for kid, value in table["metadata"].items()}
        return RegionPublicKeys(
            region=Region(table["region"]),
            kid=str(table["kid"]),
            content=_key(table["content"]),
            destination=_key(table["destination"]),
            metadata_kid=_one_of(metadata, str(table["metadata_kid"])),
            metadata=metadata,
            origin=_key(table["origin"]),
            destination_kid=str(table.get("destination_kid", table["kid"])),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as wrong:
        raise ValueError("this is no file of public keys") from wrong


def _key(text: object) -> bytes:
    key = b64decode(str(text), validate=True)
    if len(key) != KEY_BYTES:
        raise ValueError("a key has 32 bytes")
    return key


def _one_of(metadata: Mapping[str, bytes], kid: str) -> str:
    if kid not in metadata:
        raise ValueError("the metadata key in use is not among the keys")
    return kid
