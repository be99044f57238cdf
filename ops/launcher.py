"""Who is a launcher: the process that holds the lock of a folder of data.

The rule: a number proves nothing.  Only a process that has the lock file open is the launcher; one
that this user may not look at is believed.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from ops.programs import RUN_FOLDER

LOCK_NAME: Final = "lock"

_PID_CHARS_MAX: Final = 20


@dataclass(frozen=True)
class Launcher:
    """A launcher that runs: its pid, and the folder of its data."""

    pid: int
    folder: Path


def maybe_of_folder(folder: Path) -> Launcher | None:
    """Return the launcher that runs in *folder*; changes nothing and locks nothing."""
    path = folder / RUN_FOLDER / LOCK_NAME
    try:
        with path.open(encoding="ascii") as file:
            pid = int(file.read(_PID_CHARS_MAX))
    except (OSError, ValueError):
        return None
    try:
        is_held = any(Path(each.path).samefile(path) for each in psutil.Process(pid).open_files())
    except psutil.AccessDenied:
        is_held = True
    except (psutil.Error, OSError, ValueError):
        is_held = False
    return Launcher(pid, folder) if is_held else None


def maybe_of_process(pid: int) -> Launcher | None:
    """Return the launcher that process *pid* is, or that started it."""
    with suppress(psutil.Error, OSError):
        process = psutil.Process(pid)
        for each in (process, process.parent()):
            for path in [] if each is None else [Path(one.path) for one in each.open_files()]:
                if (path.parent.name, path.name) == (RUN_FOLDER, LOCK_NAME):
                    found = maybe_of_folder(path.parent.parent)
                    if found is not None:
                        return found
    return None
