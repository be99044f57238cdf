"""The header of a segment: whose it is, where it starts, and its sealed data key.  Pure.

The rule: **every field is bound**.  All fields go into the ``info`` of the sealed key (RFC 9180,
section 5.1), so a key opens for its own header only; the hash of the header goes into everything
after it; and the origin tag says that this region's ingest wrote it.

On disk: ``ZTSEG``, a version byte, the length (u32) of a msgpack map in its one order, the map,
the origin tag (32 bytes), zeros up to HEADER_BLOCK_BYTES.  All integers are big-endian.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from edge.seal.broken import Broken, Reason
from edge.seal.packing import U32_MAX, Fields, Malformed, Packable, pack, unpack
from zentransfer.limits import SEAL_RECORD_BYTES_MAX, SEAL_RECORD_BYTES_MIN

MAGIC: Final = b"ZTSEG\x01"
SUITE_X25519: Final = 1  # DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM
HEADER_BLOCK_BYTES: Final = 4096
ORIGIN_TAG_BYTES: Final = 32
DEK_BYTES: Final = 32

_INFO_LABEL: Final = b"zentransfer sealed log, data key\x00"
_NAME_CHARS_MAX: Final = 64  # characters: ids have 29, a kid about 10
_SEALED_DEK_BYTES_MAX: Final = 1024  # bytes: HPKE takes 80 or 113, RSA-OAEP of 4096 bits 512
_MAP_BYTES_MAX: Final = HEADER_BLOCK_BYTES - len(MAGIC) - 4 - ORIGIN_TAG_BYTES


@dataclass(frozen=True, slots=True)
class Place:
    """What a header says besides its key: ``start`` is an offset of the upload in bytes.

    ``record_bytes`` is the size of a full record on disk.  ``provisional`` means that the segment
    counts up to its last accept record only.
    """

    kid: str
    account: str
    upload: str
    region: str
    number: int
    start: int
    fence: int
    provisional: bool
    record_bytes: int
    suite: int = SUITE_X25519

    def info(self) -> bytes:
        """Return what the data key is sealed with: the format's label and every field."""
        return _INFO_LABEL + MAGIC + pack(self.fields())

    def fields(self) -> dict[str, Packable]:
        """Return the fields in their stored order."""
        return {
            "suite": self.suite,
            "kid": self.kid,
            "account": self.account,
            "upload": self.upload,
            "region": self.region,
            "number": self.number,
            "start": self.start,
            "fence": self.fence,
            "provisional": self.provisional,
            "record_bytes": self.record_bytes,
        }


@dataclass(frozen=True, slots=True)
class Header:
    """A place, its sealed data key, and the hash H over both, which binds all that follows."""

    place: Place
    sealed_dek: bytes
    hash: bytes

    @classmethod
    def of(cls, place: Place, sealed_dek: bytes) -> "Header":
        """Return the header of *place* with its data key sealed by ``place.info()``."""
        return cls(place, sealed_dek, hashlib.sha256(_core(place, sealed_dek)).digest())

    def block(self, origin_tag: bytes) -> bytes:
        """Return the block that begins the file, HEADER_BLOCK_BYTES long."""
        assert len(origin_tag) == ORIGIN_TAG_BYTES
        return (_core(self.place, self.sealed_dek) + origin_tag).ljust(HEADER_BLOCK_BYTES, b"\0")


def read_header(block: bytes, is_ours: Callable[[bytes, bytes], bool]) -> Header:
    """Return the header in *block*; ``is_ours(hash, tag)`` says whether the origin tag is good.

    Raises :class:`Broken`: HEADER for anything but the one form, ORIGIN for a foreign tag.
    """
    begin = len(MAGIC) + 4
    length = int.from_bytes(block[len(MAGIC) : begin])
    end = begin + length
    if len(block) != HEADER_BLOCK_BYTES or not block.startswith(MAGIC) or length > _MAP_BYTES_MAX:
        raise Broken(Reason.HEADER)
    try:
        header = _header(unpack(block[begin:end]))
    except Malformed as wrong:
        raise Broken(Reason.HEADER) from wrong
    tag = block[end : end + ORIGIN_TAG_BYTES]
    # One header has one spelling, padding included, so nothing can hide in it.
    if header.block(tag) != block:
        raise Broken(Reason.HEADER)
    if not is_ours(header.hash, tag):
        raise Broken(Reason.ORIGIN)
    return header


def _core(place: Place, sealed_dek: bytes) -> bytes:
    packed = pack({**place.fields(), "dek": sealed_dek})
    assert len(packed) <= _MAP_BYTES_MAX, "cannot happen: every field has a bound"
    return MAGIC + len(packed).to_bytes(4) + packed


def _header(fields: Fields) -> Header:
    place = Place(
        kid=fields.text("kid", _NAME_CHARS_MAX),
        account=fields.text("account", _NAME_CHARS_MAX),
        upload=fields.text("upload", _NAME_CHARS_MAX),
        region=fields.text("region", _NAME_CHARS_MAX),
        number=fields.number("number", U32_MAX),
        start=fields.number("start"),
        fence=fields.number("fence"),
        provisional=fields.flag("provisional"),
        record_bytes=fields.number("record_bytes", SEAL_RECORD_BYTES_MAX),
        suite=fields.number("suite", SUITE_X25519),
    )
    if not is_record_size(place.record_bytes) or place.suite != SUITE_X25519:
        raise Malformed("a record size or suite of another version")
    return Header.of(place, fields.data("dek", _SEALED_DEK_BYTES_MAX))


def is_record_size(size: int) -> bool:
    """Say whether full records may have *size* bytes: within the limits, whole header blocks."""
    return SEAL_RECORD_BYTES_MIN <= size <= SEAL_RECORD_BYTES_MAX and not size % HEADER_BLOCK_BYTES
