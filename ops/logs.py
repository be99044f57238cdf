"""The files that the processes' output goes to: appended, private, bounded.

The rule: a process writes to its file itself, so its log goes on when the launcher dies; a file
that grew too long is copied to ``.1`` and emptied in place, where the process simply goes on.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

from zentransfer.limits import CHILD_LAST_LINE_BYTES_MAX

_LINE_CHARS: Final = 300  # what of a line is shown to a person


class Logs:
    """The folder of the logs; *bytes_max* bounds each file."""

    def __init__(self, folder: Path, bytes_max: int) -> None:
        self._folder = folder
        self._bytes_max = bytes_max

    def path(self, name: str) -> Path:
        """Return where the log of the program *name* is."""
        return self._folder / f"{name}.log"

    def open(self, name: str) -> int:
        """Return a descriptor that appends to the log of *name*; raises ``OSError``."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(self.path(name), flags, 0o600)

    def size(self, name: str) -> int:
        """Return the bytes in the log of *name*, 0 if there is none."""
        try:
            return self.path(name).stat().st_size
        except OSError:
            return 0

    def last_line(self, name: str, since: int) -> str:
        """Return the last line in the log of *name* after the byte *since*, or nothing."""
        size = self.size(name)
        start = max(size - CHILD_LAST_LINE_BYTES_MAX, since if since <= size else 0)
        try:
            with self.path(name).open("rb") as file:
                file.seek(start)
                lines = file.read(CHILD_LAST_LINE_BYTES_MAX).decode(errors="replace").split("\n")
        except OSError:
            return ""
        said = [line.strip() for line in lines if line.strip()]
        return said[-1][:_LINE_CHARS] if said else ""

    def trim(self) -> None:
        """Begin each log anew that is longer than allowed, also where no copy can be kept.

        A line that is written between the copy and the cut is lost: it is a log, no ledger.
        """
        for path in self._folder.glob("*.log"):
            with suppress(OSError):  # of this one; the others are looked at all the same
                if path.stat().st_size > self._bytes_max:
                    _keep_copy(path)
                    os.truncate(path, 0)


def _keep_copy(path: Path) -> None:
    """Copy the log at *path* to ``.1``; on a full disk the room matters more than the copy."""
    before = path.with_suffix(".log.1")
    try:
        before.touch(mode=0o600)
        shutil.copyfile(path, before)
    except OSError:
        with suppress(OSError):
            before.unlink()
