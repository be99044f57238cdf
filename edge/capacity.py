"""How much one ingest process may take on: what the disk and the kernel's descriptors allow.

The rule: the least of them decides, and some of each is kept back for what must go on when the
rest is used up: records, outbox, logs, and the listeners themselves.
"""

import os
import resource
from pathlib import Path
from typing import Final

from zentransfer.limits import DISK_RESERVE_BYTES_MAX, OPEN_FILES_MAX, UPLOADS_IN_FLIGHT_MAX

_RESERVE_SHARE: Final = 0.05  # of the disk
_FILES_PER_UPLOAD: Final = 4  # descriptors: socket, segment, and a record being replaced
_FILES_BESIDE: Final = 128  # descriptors: listeners, the outbox, idle connections


def free_bytes(folder: Path) -> int:
    """Return what the disk of *folder* may take beside its reserve, in bytes (statvfs)."""
    figures = os.statvfs(folder)
    reserve = reserve_bytes(figures.f_blocks * figures.f_frsize)
    return figures.f_bavail * figures.f_frsize - reserve


def reserve_bytes(size: int) -> int:
    """Return what stays free of a disk of *size* bytes."""
    return min(int(size * _RESERVE_SHARE), DISK_RESERVE_BYTES_MAX)


def ask_for_files() -> int:
    """Raise this process's limit of descriptors as far as it may go; return the new one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES_MAX)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def uploads_for(files: int) -> int:
    """Return how many uploads at once *files* descriptors are enough for, at least one."""
    return max(min((files - _FILES_BESIDE) // _FILES_PER_UPLOAD, UPLOADS_IN_FLIGHT_MAX), 1)
