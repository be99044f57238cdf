"""What a client of SFTP finds when it looks back: folders it made, files that it sent.  Pure.

The rules: files only pass through, so what is here are names and sizes and never content; and a
name that says of itself that it is a temporary one waits for its rename.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from edge.ftp.paths import ROOT, Folder
from zentransfer.limits import SFTP_SEEN_MAX

Path = Folder
"""The parts of a path from the root."""

_ENDINGS: Final = (".part", ".partial", ".tmp", ".filepart")
"""Of names that clients give a file until it is whole: rclone, scripts, WinSCP; lftp: a dot."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A file of so many bytes, or a folder (``None``); ``modified_ms`` is UTC."""

    size: int | None
    modified_ms: int

    @property
    def is_folder(self) -> bool:
        """Say whether it is a folder."""
        return self.size is None


class View(Protocol):
    """What one credential is shown, in memory only."""

    def seen(self, path: Path) -> Seen | None:
        """Return what is at *path*; the root is always there."""
        ...

    def inside(self, folder: Path) -> list[tuple[str, Seen]]:
        """Return what is right in *folder*, by its last name."""
        ...

    def put(self, path: Path, seen: Seen) -> None:
        """Show *seen* at *path* from now on, and the folders above it."""
        ...

    def move(self, old: Path, new: Path) -> None:
        """Show at *new* what is at *old*, with all below it."""
        ...

    def drop(self, path: Path) -> None:
        """Show *path* no more."""
        ...


class SessionView:
    """The view of one session: as long as it lives, and the newest SFTP_SEEN_MAX names of it."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._seen = dict[Path, Seen]()

    def seen(self, path: Path) -> Seen | None:
        """Return what is at *path*; the root is always there."""
        return Seen(None, self._now_ms()) if path == ROOT else self._seen.get(path)

    def inside(self, folder: Path) -> list[tuple[str, Seen]]:
        """Return what is right in *folder*, by its last name."""
        return [(path[-1], seen) for path, seen in self._seen.items() if path[:-1] == folder]

    def put(self, path: Path, seen: Seen) -> None:
        """Show *seen* at *path* from now on, and the folders above it."""
        for depth in range(1, len(path)):
            self._seen.setdefault(path[:depth], Seen(None, seen.modified_ms))
        self._seen.pop(path, None)  # so that the newest is last
        self._seen[path] = seen
        while len(self._seen) > SFTP_SEEN_MAX:
            del self._seen[next(iter(self._seen))]

    def move(self, old: Path, new: Path) -> None:
        """Show at *new* what is at *old*, with all below it."""
        depth = len(old)
        moved = {path: seen for path, seen in self._seen.items() if path[:depth] == old}
        for path in moved:
            del self._seen[path]
        for path, seen in moved.items():
            self.put(new + path[depth:], seen)

    def drop(self, path: Path) -> None:
        """Show *path* no more."""
        self._seen.pop(path, None)


def changed(seen: Seen, modified_s: int | None) -> Seen:
    """Return *seen* with the time that its sender gave, in seconds since 1970."""
    return seen if modified_s is None else replace(seen, modified_ms=modified_s * 1000)


def is_temporary(name: str) -> bool:
    """Say whether *name* says of itself that its file is not whole yet."""
    return name.startswith(".") or name.lower().endswith(_ENDINGS)
