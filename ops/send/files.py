"""What is to be sent: the files that were named, and those in folders that were named.

The rule: what cannot be sent is said with the cure and does not keep the rest from going.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ops.send.names import virtual
from zentransfer.limits import SEND_FILES_MAX


class TooMany(Exception):
    """More files than one call takes."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file to send: where it is, as what it is sent, its size in bytes; or why it cannot be."""

    path: Path
    name: str
    size: int = 0
    problem: str = ""


def wanted(arguments: Sequence[Path], *, folder: str, recursive: bool) -> list[Wanted]:
    """Return what *arguments* name, each path once, in their order; raises :class:`TooMany`.

    A file is sent by its own name below the virtual *folder*; what is in a folder, by its path from
    that folder's name on.
    """
    found: dict[Path, Wanted] = {}
    for one in _all(arguments, folder, recursive=recursive):
        found.setdefault(one.path, one)
        if len(found) > SEND_FILES_MAX:
            raise TooMany(f"These are more than {SEND_FILES_MAX} files; send them in turns.")
    return list(found.values())


def _all(arguments: Sequence[Path], folder: str, *, recursive: bool) -> Iterator[Wanted]:
    for path in arguments:
        # Of "." and ".." there is no name: what is in them stands at the top.
        name = () if path.name in ("", "..") else (os.fsencode(path.name),)
        one = _one(path, virtual(folder, name))
        if one is not None:
            yield one
        elif recursive:
            yield from _within(path, virtual(folder, name))
        else:
            problem = "is a folder; with -r (--recursive) folders are sent too, and all below them"
            yield Wanted(path, virtual(folder, name), problem=problem)


def _one(path: Path, name: str) -> Wanted | None:
    """Return the file at *path*, or ``None`` if it is a folder."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return Wanted(path, name, problem="is not there; check the path")
    except OSError as exc:
        return Wanted(path, name, problem=f"cannot be looked at ({exc.strerror}); correct that")
    if stat.S_ISDIR(found.st_mode):
        return None
    if not stat.S_ISREG(found.st_mode):
        return Wanted(path, name, problem="is no regular file; send a copy of what it gives")
    return Wanted(path, name, found.st_size)


def _within(folder: Path, name: str) -> Iterator[Wanted]:
    """Yield the files below *folder*, sorted; links to folders are not followed."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name))
    except OSError as exc:
        yield Wanted(folder, name, problem=f"cannot be opened ({exc.strerror}); correct its rights")
        return
    for entry in entries:
        path, below = folder / entry.name, virtual(name, (os.fsencode(entry.name),))
        if entry.is_dir(follow_symlinks=False):
            yield from _within(path, below)
            continue
        one = _one(path, below)
        if one is not None:
            yield one
