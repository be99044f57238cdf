"""What a running process holds in its memory: all that it may write, searched from outside."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

_PIECE_BYTES: Final = 1 << 22
_WRITABLE = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) rw.. .*$", re.MULTILINE)


def found_in_memory(pid: int, needles: Mapping[str, bytes]) -> dict[str, int]:
    """Return which *needles* the process *pid*, a child of ours, holds now, and how often."""
    overlap = max(map(len, needles.values())) - 1
    found = dict.fromkeys(needles, 0)
    for piece in _pieces(pid, overlap):
        for name, needle in needles.items():
            found[name] += piece.count(needle)
    return {name: count for name, count in found.items() if count}


def _pieces(pid: int, overlap: int) -> Iterator[bytes]:
    maps = Path(f"/proc/{pid}/maps").read_text()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for begin, end in ((int(a, 16), int(b, 16)) for a, b in _WRITABLE.findall(maps)):
            tail = b""
            for at in range(begin, end, _PIECE_BYTES):
                try:
                    memory.seek(at)
                    piece = memory.read(min(_PIECE_BYTES, end - at))
                except (OSError, OverflowError):
                    break  # a page of the kernel's own, or one that went meanwhile
                yield tail + piece
                tail = piece[-overlap:] if overlap else b""
