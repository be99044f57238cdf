"""Names and metadata of an upload, sealed under the region's metadata key.  Pure.

File names and ``Upload-Metadata`` must be answered again after a restart, so ingest holds this
key; it opens no content.  Each upload has a key of its own under it, so that random nonces of 96
bits are safe for any number of uploads in a month.
"""

from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from edge.seal.broken import Broken, Reason
from edge.seal.packing import Malformed, pack, unpack
from zentransfer.limits import NAMES_BYTES_MAX

NONCE_BYTES: Final = 12

_INFO: Final = b"zentransfer upload record, names\x00"
_NAMES_MAX: Final = 256  # entries: an Upload-Metadata header of 8 KiB holds no more that matter


def seal_names(key: bytes, upload: str, names: Mapping[str, bytes], nonce: bytes) -> bytes:
    """Return *names* sealed for *upload*; the nonce (12 random bytes) stands in front.

    Raises :class:`Malformed` when they are too long or too many: NAMES_BYTES_MAX once packed.
    """
    text = pack(dict(names))
    if len(text) > NAMES_BYTES_MAX or len(names) > _NAMES_MAX:
        raise Malformed("more names than a record holds")
    return nonce + _cipher(key, upload).encrypt(nonce, text, None)


def open_names(key: bytes, upload: str, sealed: bytes) -> dict[str, bytes]:
    """Return the names in *sealed*; raises :class:`Broken` if they are not of *upload*."""
    try:
        text = _cipher(key, upload).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None)
        fields = unpack(text)
        return {name: fields.data(name, NAMES_BYTES_MAX) for name in fields.names()}
    except (InvalidTag, Malformed, ValueError) as wrong:
        raise Broken(Reason.FORGED) from wrong


def _cipher(key: bytes, upload: str) -> AESGCM:
    return AESGCM(HKDF(SHA256(), 32, upload.encode(), _INFO).derive(key))
