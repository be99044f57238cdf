"""Faults at a chosen system call, by strace: the process is killed in it, or the call fails."""

import shutil
from typing import Final

import pytest

DURABLE: Final = (
    "pwrite64,fsync,fdatasync,?rename,renameat,renameat2,?link,linkat,?unlink,unlinkat,"
    "?mkdir,mkdirat,?rmdir,ftruncate,fallocate"
)
"""What changes a disk; those with a mark are not on every architecture.

A file that was made and not written is the same as one that is killed in its first write, so
``openat`` is not counted: an interpreter opens a thousand files of its own.
"""

FLUSHES: Final = "fsync,fdatasync"
"""Threads of their own flush: their calls are few, and the others would come first."""


def _strace(*options: str) -> tuple[str, ...]:
    if shutil.which("strace") is None:
        pytest.fail("strace is missing: apt-get install strace")
    return ("strace", "-f", "-qq", *options)


def killed(at: int, calls: str = DURABLE) -> tuple[str, ...]:
    """Return what kills a program in the call number *at* of any of its threads."""
    inject = f"inject={calls}:signal=SIGKILL:when={at}"
    # Without --seccomp-bpf: there strace 6.1 loses the signal.
    return _strace("-o", "/dev/null", "-e", f"trace={calls}", "-e", inject)


def failing(when: str, error: str, calls: str) -> tuple[str, ...]:
    """Return what lets *calls* fail with *error*, such as ``EIO``; *when* as of strace(1)."""
    inject = f"inject={calls}:error={error}:when={when}"
    return _strace("--seccomp-bpf", "-o", "/dev/null", "-e", f"trace={calls}", "-e", inject)
