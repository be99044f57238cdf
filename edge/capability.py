"""The secret in an upload's URL: its id, turned into one that only its region reads.  Pure.

The rule: **nothing of it is stored**.  It is the one block of the id's 16 random bytes under a key
of the region, so every process of the region knows it and the way back; and whoever reads the
disk of a sink, a log or a snapshot, where ids stand open, has no URL by them.  The region's name
stands before the secret, open: a node of another region sends who comes there to the right one.
"""

import base64
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from zentransfer.errors import Code, Error
from zentransfer.ids import Capability, Kind, Region, UploadID, parse, parse_capability

_INFO: Final = b"zentransfer upload capability\x00"
_PREFIX: Final = f"{Kind.UPLOAD}_"


class Capabilities:
    """One region's way from an upload's id to its capability, and back."""

    def __init__(self, origin: bytes, region: Region) -> None:
        """Derive the key from the *origin* key of *region*, which sinks and control do not hold."""
        self._prefix = f"{region}-"
        key = HKDF(SHA256(), 32, None, _INFO).derive(origin)
        # One block of random bytes is what ECB is right for: a permutation, and no message.
        self._cipher = Cipher(AES(key), ECB())  # noqa: S305 - see the line above

    def of(self, upload: UploadID) -> Capability:
        """Return the capability of *upload*: 128 bits that nobody outside the region can guess."""
        secret = self._cipher.encryptor().update(_bytes(upload[len(_PREFIX) :]))
        return Capability(self._prefix + _text(secret))

    def upload(self, text: str) -> UploadID:
        """Return the upload whose capability *text* is, or would be if there were such an upload.

        Raises ``Error(NOT_FOUND)`` for what has another form; a guess has the form and names
        nothing.
        """
        secret = parse_capability(text)[len(self._prefix) :]
        if not text.startswith(self._prefix):
            raise Error(Code.NOT_FOUND)
        data = self._cipher.decryptor().update(_bytes(secret))
        return UploadID(parse(Kind.UPLOAD, _PREFIX + _text(data)))


def region_in(text: str) -> Region | None:
    """Return the region whose capability *text* has the form of, if it has it."""
    try:
        return Region(parse_capability(text).partition("-")[0])
    except Error:
        return None


def _text(data: bytes) -> str:
    return base64.b32encode(data).decode("ascii").rstrip("=").lower()


def _bytes(text: str) -> bytes:
    try:
        return base64.b32decode(text.upper() + "======")
    except ValueError as wrong:
        raise Error(Code.NOT_FOUND) from wrong
