"""What a client of FTP sees of its files: names and sizes, for some hours, no content.  Pure.

The rules: only the credential that sent a file sees it; what was delivered stays to be looked at
as a **ghost** (SIZE, LIST, rename) although nothing of it is kept; and all of it is bounded, in
count and in age, and lives in memory only, so that a name is on no disk because somebody may look.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from zentransfer.ids import CredentialID, UploadID
from zentransfer.limits import (
    FTP_FOLDERS_MAX,
    FTP_GHOST_KEPT_S,
    FTP_GHOSTS_IN_ALL_MAX,
    FTP_GHOSTS_MAX,
    UNFINISHED_S,
)

Path = tuple[str, ...]
"""The parts of a path as they were sent, other bytes than UTF-8 kept as surrogates."""

ROOT: Final[Path] = ()
_KEPT_MS: Final = int(FTP_GHOST_KEPT_S * 1000)
_CUT_KEPT_MS: Final = int(UNFINISHED_S * 1000)  # as long as its bytes


class Stands(StrEnum):
    """How far a file has come that a client may look at."""

    PARTIAL = "partial"
    """It was cut; the client may go on with it."""
    HELD = "held"
    """It is whole under a temporary name, and waits for its last one."""
    WHOLE = "whole"
    """It is whole; it is being delivered, or it was."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file: ``size`` in bytes (of a partial, its durable offset), times in UTC milliseconds.

    ``digest`` is that of the content as the door computes it, empty if it did not see all of it.
    ``whole`` is the file that a cut one of the same path hides: it may be a resend of that.
    """

    upload: UploadID
    size: int
    noted_ms: int
    modified_ms: int
    stands: Stands
    digest: bytes = b""
    whole: "Entry | None" = None

    @property
    def is_whole(self) -> bool:
        """Whether all of it came."""
        return self.stands is not Stands.PARTIAL


class View:
    """The files and folders of one credential."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        """Take the time (UTC milliseconds) from *now_ms*."""
        self._now_ms = now_ms
        self._entries = OrderedDict[Path, Entry]()
        self._made = OrderedDict[Path, None]()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def now_ms(self) -> int:
        """The time, in UTC milliseconds."""
        return self._now_ms()

    def maybe(self, path: Path) -> Entry | None:
        """Return what is at *path*, unless it is too old by now."""
        entry = self._entries.get(path)
        if entry is not None and self._is_old(entry):
            del self._entries[path]
            return None
        return entry

    def uploads(self) -> set[UploadID]:
        """Return every upload that a file here stands for."""
        return {entry.upload for entry in self._entries.values()}

    def cut(self) -> list[tuple[Path, Entry]]:
        """Return every file that was cut, with its path, the newest last."""
        return [(path, entry) for path, entry in self._all().items() if not entry.is_whole]

    def note(self, path: Path, entry: Entry) -> None:
        """Let *entry* be at *path*; the oldest goes when there are too many."""
        self._entries[path] = entry
        self._entries.move_to_end(path)
        while len(self._entries) > FTP_GHOSTS_MAX:
            self._entries.popitem(last=False)

    def dated(self, path: Path, modified_ms: int) -> None:
        """Let the file at *path* bear the time that its sender wants."""
        self._entries[path] = replace(self._entries[path], modified_ms=modified_ms)

    def forget(self, path: Path) -> Entry | None:
        """Show nothing at *path* any more; returns what was there."""
        return self._entries.pop(path, None)

    def renamed(self, path: Path, to: Path) -> None:
        """Show what is at *path* at *to*, in place of what is there."""
        self.note(to, self._entries.pop(path))

    # -- folders ---------------------------------------------------------------------------------

    def make(self, folder: Path) -> None:
        """Make *folder* and those above it; the oldest is forgotten when there are too many."""
        for depth in range(1, len(folder) + 1):
            self._made[folder[:depth]] = None
            self._made.move_to_end(folder[:depth])
        while len(self._made) > FTP_FOLDERS_MAX:
            self._made.popitem(last=False)

    def remove(self, folder: Path) -> None:
        """Forget *folder*, with the ghosts in it and below it."""
        below = [path for path in (*self._made, *self._entries) if path[: len(folder)] == folder]
        for path in below:
            self._made.pop(path, None)
            if (entry := self._entries.get(path)) is not None and entry.stands is Stands.WHOLE:
                del self._entries[path]

    def is_folder(self, folder: Path) -> bool:
        """Say whether *folder* was made, or has ever got a file that is still shown."""
        if folder == ROOT or folder in self._made:
            return True
        return any(
            len(path) > len(folder) and path[: len(folder)] == folder for path in self._all()
        )

    def children(self, folder: Path) -> list[tuple[str, Entry | None]]:
        """Return the names in *folder*, in order; each with its file, or ``None`` for a folder."""
        depth, found = len(folder), dict[str, Entry | None]()
        for path in self._made:
            if len(path) > depth and path[:depth] == folder:
                found[path[depth]] = None
        for path, entry in self._all().items():
            if len(path) > depth and path[:depth] == folder:
                is_here = len(path) == depth + 1
                if is_here or path[depth] not in found:
                    found[path[depth]] = entry if is_here else None
        return sorted(found.items())

    # -- inside ----------------------------------------------------------------------------------

    def _all(self) -> OrderedDict[Path, Entry]:
        old = [path for path, entry in self._entries.items() if self._is_old(entry)]
        for path in old:
            del self._entries[path]
        return self._entries

    def _is_old(self, entry: Entry) -> bool:
        kept_ms = _KEPT_MS if entry.is_whole else _CUT_KEPT_MS
        return self.now_ms - entry.noted_ms > kept_ms


class Views:
    """The views of all credentials that one process knows, those not used for longest first."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        """Take the time (UTC milliseconds) from *now_ms*."""
        self._now_ms = now_ms
        self._views = OrderedDict[CredentialID, View]()

    def __len__(self) -> int:
        return sum(map(len, self._views.values()))

    def __iter__(self) -> Iterator[CredentialID]:
        return iter(self._views)

    def of(self, credential: CredentialID) -> View:
        """Return the view of *credential*, which is an empty one where nothing is known."""
        view = self._views.setdefault(credential, View(self._now_ms))
        self._views.move_to_end(credential)
        return view

    def prune(self, is_known: Callable[[CredentialID], bool]) -> None:
        """Forget what is too old, and all of a credential that is not known any more."""
        for credential in list(self._views):
            view = self._views[credential]
            if not is_known(credential) or (not view.children(ROOT)):
                del self._views[credential]
        left = len(self)
        while left > FTP_GHOSTS_IN_ALL_MAX:
            left -= len(self._views.popitem(last=False)[1])
