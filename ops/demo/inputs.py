"""What the demo sends: JPEG files as cameras write them, with EXIF, and one very large file."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from PIL import Image

MEBIBYTE: Final = 1024 * 1024
BIG_NAME: Final = "match-final.mov"

_SIZE: Final = (2400, 1600)  # pixels
_GRAIN: Final = 400  # pixels of noise that are spread over the picture
_QUALITY: Final = 92
# Tags of EXIF 2.32, section 4.6.
_MAKE, _MODEL, _ARTIST, _TAKEN = 0x010F, 0x0110, 0x013B, 0x9003
_EXIF_TABLE: Final = 0x8769


@dataclass(frozen=True, slots=True)
class Input:
    """One file to be sent; ``digest`` is the SHA-256 that its sender knows, in hexadecimal."""

    path: Path
    size: int
    digest: str

    @property
    def name(self) -> str:
        """Return the name under which it must arrive."""
        return self.path.name


def photographs(folder: Path, names: list[str], random: Random) -> list[Input]:
    """Write one JPEG file with EXIF for each of *names* to *folder*, no two alike."""
    return [_photograph(folder / name, number, random) for number, name in enumerate(names)]


def big(folder: Path, size: int) -> Input:
    """Write a file of *size* bytes that no compression shortens to *folder*."""
    path = folder / BIG_NAME
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for begin in range(0, size, MEBIBYTE):
            part = os.urandom(min(MEBIBYTE, size - begin))
            digest.update(part)
            file.write(part)
    return Input(path, size, digest.hexdigest())


def _photograph(path: Path, number: int, random: Random) -> Input:
    grain = Image.frombytes("RGB", (_GRAIN, _GRAIN), random.randbytes(_GRAIN * _GRAIN * 3))
    exif = Image.Exif()
    exif[_MAKE], exif[_MODEL], exif[_ARTIST] = "ZenTransfer", "Demo Z9", "A. Photographer"
    exif.get_ifd(_EXIF_TABLE)[_TAKEN] = f"2026:11:22 18:30:{number % 60:02}"
    # The library leaves NumPy's arrays open in this type.
    picture = grain.resize(_SIZE)  # pyright: ignore[reportUnknownMemberType]
    picture.save(path, "JPEG", quality=_QUALITY, exif=exif)
    content = path.read_bytes()
    return Input(path, len(content), hashlib.sha256(content).hexdigest())
