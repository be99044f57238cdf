"""The bytes of an outbox: segment files of framed facts, and where a crash cut them.  Pure.

A segment is a header and frames.  A frame is length, CRC-32C and payload; the CRC is seeded from
the header, so a frame of another segment never passes.  A crash leaves whole frames and a torn
tail, and the tail is what was never promised to anybody.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from crc32c import crc32c

MAGIC: Final = b"ZTOUT\x01"
_HEADER: Final = struct.Struct(">6s32sQI")  # magic, epoch (ASCII, padded), first sequence, CRC-32C
_FRAME: Final = struct.Struct(">II")  # length of the payload, CRC-32C
HEADER_BYTES: Final = _HEADER.size
FRAME_BYTES: Final = _FRAME.size


class Torn(Exception):
    """These bytes are not the header of an outbox segment, or not a whole one."""


@dataclass(frozen=True, slots=True)
class Header:
    """Whose outbox a segment belongs to, and the sequence of its first frame."""

    epoch: str
    first: int

    def pack(self) -> bytes:
        """Return the header's bytes."""
        body = _HEADER.pack(MAGIC, self.epoch.encode("ascii"), self.first, 0)[:-4]
        return body + crc32c(body).to_bytes(4, "big")

    @classmethod
    def unpack(cls, data: bytes | memoryview) -> "Header":
        """Return the header that *data* begins with; raises :class:`Torn`."""
        if len(data) < HEADER_BYTES:
            raise Torn("shorter than a header")
        magic, epoch, first, crc = _HEADER.unpack_from(data)
        if magic != MAGIC or crc32c(bytes(data[: HEADER_BYTES - 4])) != crc:
            raise Torn("not a header")
        return cls(epoch.rstrip(b"\0").decode("ascii"), first)

    @property
    def seed(self) -> int:
        """Return what the CRC of each frame begins with."""
        return crc32c(self.pack())


def frame(header: Header, payload: bytes) -> bytes:
    """Return *payload* as a frame of the segment that *header* begins."""
    length = len(payload).to_bytes(4, "big")
    crc = crc32c(payload, crc32c(length, header.seed))
    return length + crc.to_bytes(4, "big") + payload


def frames(header: Header, data: memoryview) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of each whole frame's payload in *data*; ends at the torn tail."""
    position = HEADER_BYTES
    while position + FRAME_BYTES <= len(data):
        length, crc = _FRAME.unpack_from(data, position)
        start, end = position + FRAME_BYTES, position + FRAME_BYTES + length
        if end > len(data):
            return
        lead = crc32c(data[position : position + 4], header.seed)
        if crc32c(data[start:end], lead) != crc:
            return
        yield start, end
        position = end
