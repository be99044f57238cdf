"""A photograph as a camera writes it: a baseline JPEG (ITU T.81) with EXIF 2.3 in front."""

from collections.abc import Iterator
from random import Random
from typing import Final

_CATEGORY: Final = 4  # T.81 table F.1: a difference of 8 to 15, or of -15 to -8, in 4 bits
_MAKER_NOTE_BYTES: Final = 60_000  # a segment holds 65,533 bytes


def photograph(width: int, height: int, seed: int) -> bytes:
    """Return a grey picture of flat squares, 8 pixels wide, with the EXIF of a camera.

    *width* and *height* in pixels, multiples of 16.
    """
    random = Random(seed)
    exif = _segment(0xE1, b"Exif\0\0" + _tiff(random))
    tables = _segment(0xDB, b"\0" + bytes([8] * 64))
    frame = _segment(
        0xC0, b"\x08" + height.to_bytes(2) + width.to_bytes(2) + b"\x01" + b"\x01\x11\0"
    )
    # One code of one bit for a mean of category 4, and one for "no more of this block".
    codes = b"".join(
        _segment(0xC4, bytes([table]) + b"\x01" + bytes(15) + bytes([value]))
        for table, value in ((0x00, _CATEGORY), (0x10, 0x00))
    )
    scan = _segment(0xDA, b"\x01\x01\x00\x00\x3f\x00")
    blocks = (width // 8) * (height // 8)
    data = _packed(_bits(random, blocks)).replace(b"\xff", b"\xff\0")
    return b"\xff\xd8" + exif + tables + frame + codes + scan + data + b"\xff\xd9"


def _segment(marker: int, data: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(data) + 2).to_bytes(2) + data


def _bits(random: Random, blocks: int) -> Iterator[str]:
    """Yield each block: the code of its category, the difference, the end of the block."""
    for _ in range(blocks // 2):
        # Up, and down by as much (T.81 section F.1.2.1): the mean stays what a pixel can be.
        up = random.randrange(8, 16)
        yield f"0{up:04b}00{15 - up:04b}0"


def _packed(bits: Iterator[str]) -> bytes:
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8)


def _tiff(random: Random) -> bytes:
    """Return a TIFF header with make, model, time and what only the maker can read."""
    texts = {0x010F: b"Nikkon\0", 0x0110: b"Z 9 of a test\0", 0x0132: b"2026:11:22 10:00:00\0"}
    note = random.randbytes(_MAKER_NOTE_BYTES)
    entries = {**{tag: (2, text) for tag, text in texts.items()}, 0x927C: (7, note)}
    at = 8 + 2 + 12 * len(entries) + 4
    rows, values = b"", b""
    for tag, (kind, value) in sorted(entries.items()):
        rows += tag.to_bytes(2) + kind.to_bytes(2) + len(value).to_bytes(4)
        rows += (at + len(values)).to_bytes(4)
        values += value
    return b"MM\0\x2a" + (8).to_bytes(4) + len(entries).to_bytes(2) + rows + bytes(4) + values
