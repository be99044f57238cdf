"""Records: pieces of an upload, each sealed where it lies and found again by its CRC.  Pure.

The rules: a (key, nonce) pair is never used twice, so a counter is spent before sealing and never
goes back; and the CRC begins from the segment's own hash, so that no record of another segment
ever passes for one of this.

On disk: length of the body's text (u32), type, body, CRC-32C (u32) over all of it before.  The
body of a data record is ciphertext and tag; of an accept record an offset (u64, readable) and a
tag; of a manifest record ciphertext, tag and origin tag.  A full data record ends on a multiple of
the record size, header and overhead included.  A record never begins in the last
SLOT_BYTES_MIN - 1 bytes before such a multiple: those are zeros.
"""

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Final

from crc32c import crc32c
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from edge.seal.header import HEADER_BLOCK_BYTES, ORIGIN_TAG_BYTES
from edge.seal.packing import U32_MAX

TAG_BYTES: Final = 16
CRC_BYTES: Final = 4
FRAME: Final = Struct(">IB")  # length of the text, type
ACCEPTED: Final = Struct(">Q")  # offset of the upload in bytes
DATA_OVERHEAD_BYTES: Final = FRAME.size + TAG_BYTES + CRC_BYTES
MANIFEST_OVERHEAD_BYTES: Final = DATA_OVERHEAD_BYTES + ORIGIN_TAG_BYTES
SLOT_BYTES_MIN: Final = 64  # bytes: an accept record fits, and a data record worth its overhead

_INFO: Final = b"zentransfer sealed log, records"
_KEY_BYTES: Final = 32
_PREFIX_BYTES: Final = 7
_NONCE_BYTES: Final = 12  # prefix, counter (u32), final byte: STREAM (Hoang et al., 2015)

assert FRAME.size + ACCEPTED.size + TAG_BYTES + CRC_BYTES <= SLOT_BYTES_MIN


class RecordType(IntEnum):
    """What a record holds; its one byte is the authenticated data of the record."""

    DATA = 1
    ACCEPT = 2
    MANIFEST = 3


DATA_AAD: Final = bytes([RecordType.DATA])
MANIFEST_AAD: Final = bytes([RecordType.MANIFEST])


def accept_aad(offset: int) -> bytes:
    """Return the authenticated data of an accept record: its type and its offset."""
    return bytes([RecordType.ACCEPT]) + ACCEPTED.pack(offset)


def crc_seed(header_hash: bytes) -> int:
    """Return where the CRC of every record of the segment with this header begins."""
    return int.from_bytes(header_hash[:4])


def next_position(end: int, record_bytes: int) -> int:
    """Return where the record after one that ends at *end* begins, both in bytes of the file."""
    rest = -end % record_bytes
    return end + rest if rest < SLOT_BYTES_MIN else end


class RecordKeys:
    """The cipher of one segment: record key and nonce prefix, from the data key and the hash."""

    def __init__(self, dek: bytes, header_hash: bytes) -> None:
        """Derive both by HKDF-SHA256 with the header's hash as salt (RFC 5869).

        The caller wipes *dek*; what is derived here lives in ``cipher`` alone.
        """
        material = bytearray(_KEY_BYTES + _PREFIX_BYTES)
        HKDF(SHA256(), len(material), header_hash, _INFO).derive_into(dek, material)
        self.cipher = AESGCM(memoryview(material)[:_KEY_BYTES])  # OpenSSL's copy, wiped with it
        self._prefix = bytes(material[_KEY_BYTES:])
        material[:] = bytes(len(material))

    def forget(self) -> None:
        """Let the cipher go, and the key with it: nothing is sealed or opened after this."""
        del self.cipher

    def nonce(self, counter: int, *, final: bool = False) -> bytes:
        """Return the nonce of the record number *counter*; *final* is the manifest's."""
        return self._prefix + counter.to_bytes(4) + bytes([final])


@dataclass(frozen=True, slots=True)
class Walked:
    """How far a log was walked; ``position`` in bytes of the file, the rest offsets in bytes.

    ``written`` ends the whole records so far, ``accepted`` is the last accept record's offset, and
    ``last_position`` with ``last_written`` is where the last record begins.
    """

    position: int
    written: int
    accepted: int
    last_position: int
    last_written: int

    @classmethod
    def begin(cls, start: int) -> "Walked":
        """Return the walk before the first record of a segment that starts at *start*."""
        return cls(HEADER_BLOCK_BYTES, start, start, HEADER_BLOCK_BYTES, start)


class Walker:
    """Finds the end of a segment by CRC, without any key, from wherever a walk stood.

    Read ``wants()`` bytes, give them to ``take``, until it says that the walk is over.  A whole
    record behind a broken one is a tail that was flushed out of order, and goes with it.
    """

    def __init__(self, seed: int, record_bytes: int, walked: Walked) -> None:
        self._seed = seed
        self._record_bytes = record_bytes
        self.walked = walked

    def wants(self) -> tuple[int, int]:
        """Return the position and the count of the bytes to read next."""
        position = self.walked.position
        return position, self._record_bytes - position % self._record_bytes

    def take(self, data: memoryview) -> bool:
        """Walk through *data*, all that the file holds of what was wanted; False at the end."""
        at = 0
        while at < len(data):
            size = self._whole(data[at:])
            if size == 0:
                return False
            after = next_position(self.walked.position + size, self._record_bytes)
            self._pass(data[at:], after)
            at += size
            if not after % self._record_bytes:
                return True
        return False

    def _whole(self, data: memoryview) -> int:
        """Return the size of the whole record at the start of *data*, 0 if there is none."""
        if len(data) < FRAME.size:
            return 0
        length, kind = FRAME.unpack_from(data)
        size: int = length + DATA_OVERHEAD_BYTES
        if not self._is_possible(length, kind) or size > len(data):
            return 0
        crc = int.from_bytes(data[size - CRC_BYTES : size])
        return size if crc32c(data[: size - CRC_BYTES], self._seed) == crc else 0

    def _is_possible(self, length: int, kind: int) -> bool:
        if kind == RecordType.ACCEPT:
            return length == ACCEPTED.size
        return kind == RecordType.DATA and length > 0

    def _pass(self, data: memoryview, after: int) -> None:
        was = self.walked
        length, kind = FRAME.unpack_from(data)
        written, accepted = was.written, was.accepted
        if kind == RecordType.DATA:
            written += length
        else:
            (accepted,) = ACCEPTED.unpack_from(data, FRAME.size)
        self.walked = Walked(after, written, accepted, was.position, was.written)


class Assembler:
    """Builds a segment's records in one buffer, sealed where they lie; the caller writes them.

    The buffer is a window of *record_bytes* onto the file: plaintext is received at the place
    where its ciphertext will stand.  No copies, and nothing is allocated per record but views.
    """

    def __init__(
        self, keys: RecordKeys, seed: int, start: int, block: bytes, buffer: memoryview
    ) -> None:
        """Begin with the header *block*; the size of a full record is that of *buffer*.

        *start* is the offset of the segment's first byte in the upload.
        """
        self._keys = keys
        self._seed = seed
        self._buffer = buffer
        self._record_bytes = len(buffer)
        self._base = 0  # position in the file of the buffer's first byte
        self._taken = 0  # up to here in the buffer the caller has it
        self._begin = HEADER_BLOCK_BYTES  # of the record being filled, in the buffer
        self._filled = 0  # bytes of its plaintext
        self._counter = 0
        self._written = self._accepted = self._last_written = start
        self._last_position = HEADER_BLOCK_BYTES
        buffer[:HEADER_BLOCK_BYTES] = block

    @property
    def walked(self) -> Walked:
        """What a walk over all that is sealed would find."""
        return Walked(
            self._base + self._begin,
            self._written,
            self._accepted,
            self._last_position,
            self._last_written,
        )

    @property
    def offset(self) -> int:
        """The offset of the next byte to be filled, sealed or not."""
        return self._written + self._filled

    @property
    def counter(self) -> int:
        """Records sealed so far."""
        return self._counter

    @property
    def has_more(self) -> bool:
        """Whether ``take`` would return anything."""
        return self._taken < self._begin

    def room(self) -> memoryview:
        """Return where the next plaintext goes; never empty."""
        first = self._begin + FRAME.size + self._filled
        return self._buffer[first : self._record_bytes - TAG_BYTES - CRC_BYTES]

    def filled(self, count: int) -> bool:
        """Count *count* bytes put into the room; True if the record is full, then ``seal``."""
        room = self._record_bytes - self._begin - DATA_OVERHEAD_BYTES
        assert 0 <= count <= room - self._filled, "more bytes than there was room for"
        self._filled += count
        return self._filled == room

    def seal(self) -> bool:
        """Seal what is filled as a data record; True if the window is full, then ``take``."""
        if self._filled == 0:
            return False
        length, self._filled = self._filled, 0
        body = self._begin + FRAME.size
        FRAME.pack_into(self._buffer, self._begin, length, RecordType.DATA)
        self._keys.cipher.encrypt_into(
            self._spend(),
            self._buffer[body : body + length],
            DATA_AAD,
            self._buffer[body : body + length + TAG_BYTES],
        )
        return self._close(body + length + TAG_BYTES, length)

    def accept(self, offset: int) -> bool:
        """Add the record by which provisional data counts up to *offset*; like ``seal``."""
        assert self._filled == 0, "seal what the offset counts first"
        body = self._begin + FRAME.size
        FRAME.pack_into(self._buffer, self._begin, ACCEPTED.size, RecordType.ACCEPT)
        ACCEPTED.pack_into(self._buffer, body, offset)
        end = body + ACCEPTED.size + TAG_BYTES
        tag = self._keys.cipher.encrypt(self._spend(), b"", accept_aad(offset))
        self._buffer[body + ACCEPTED.size : end] = tag
        self._accepted = offset
        return self._close(end, 0)

    def take(self) -> tuple[memoryview, int]:
        """Return what was sealed since the last time, and its position in the file.

        The view holds until the room is used again.
        """
        data = self._buffer[self._taken : self._begin]
        position = self._base + self._taken
        self._taken = self._begin
        if self._begin == self._record_bytes:
            self._base += self._record_bytes
            self._begin = self._taken = 0
        return data, position

    def forget(self) -> None:
        """Let the key go: nothing is sealed after this."""
        self._keys.forget()

    def seal_manifest(self, text: bytes) -> bytes:
        """Return the sealed text of a manifest, the last thing under this segment's key."""
        assert self._filled == 0, "the manifest is behind all data"
        return self._keys.cipher.encrypt(self._spend(final=True), text, MANIFEST_AAD)

    def frame_manifest(self, body: bytes) -> bytes:
        """Return the record around *body*, a sealed text with its origin tag; not in the window."""
        length = len(body) - TAG_BYTES - ORIGIN_TAG_BYTES
        record = FRAME.pack(length, RecordType.MANIFEST) + body
        return record + crc32c(record, self._seed).to_bytes(CRC_BYTES)

    def _spend(self, *, final: bool = False) -> bytes:
        assert self._counter <= U32_MAX, "a segment holds 2^32 records at most"
        nonce = self._keys.nonce(self._counter, final=final)
        self._counter += 1
        return nonce

    def _close(self, end: int, length: int) -> bool:
        """End the record whose body ends at *end*, and what is too short for another one."""
        self._last_position, self._last_written = self._base + self._begin, self._written
        self._written += length
        crc = crc32c(self._buffer[self._begin : end], self._seed)
        self._buffer[end : end + CRC_BYTES] = crc.to_bytes(CRC_BYTES)
        end += CRC_BYTES
        self._begin = next_position(end, self._record_bytes)
        self._buffer[end : self._begin] = bytes(self._begin - end)
        return self._begin == self._record_bytes
