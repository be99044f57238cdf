"""Deny folders to this process by Landlock, the kernel's own sandbox; no right is needed for it.

The rule: ingest never opens a private key, even as root and even when it is broken into.  A kernel
without Landlock is no reason not to start, but it is said, at start and in ``/readyz``.

Landlock only allows (https://docs.kernel.org/userspace-api/landlock.html), so everything is allowed
that is neither a denied folder nor a folder above one.  What is made later *directly* in a folder
above a denied one therefore cannot be used: make folders first, and work inside them.
"""

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

# Numbers of linux/landlock.h; the system calls have the same ones on every architecture.
_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_VERSION: Final = 1  # LANDLOCK_CREATE_RULESET_VERSION
_PATH_BENEATH: Final = 1  # LANDLOCK_RULE_PATH_BENEATH
_NO_NEW_PRIVS: Final = 38  # PR_SET_NO_NEW_PRIVS of linux/prctl.h

_WRITE_FILE: Final = 1 << 1
_READ_FILE: Final = 1 << 2
_REMOVE_FILE: Final = 1 << 5
_MAKE_CHAR: Final = 1 << 6
_MAKE_FILE: Final = 1 << 8
_MAKE_BLOCK: Final = 1 << 11
_MAKE_LINK: Final = 1 << 12
_REFER: Final = 1 << 13  # a new name in another folder; since version 2
_TRUNCATE: Final = 1 << 14  # since version 3

_OF_FILES: Final = _WRITE_FILE | _READ_FILE | _TRUNCATE
_ALLOWED: Final = _OF_FILES | _REMOVE_FILE | _MAKE_FILE | _MAKE_LINK | _REFER
# Allowed nowhere: a device made anew would read the disk below the file system.
_NOWHERE: Final = _MAKE_CHAR | _MAKE_BLOCK
_ADDED: Final = {_REFER: 2, _TRUNCATE: 3}

_DEVICES: Final = Path("/dev")


class State(StrEnum):
    """Whether the folders are denied."""

    DENIED = "denied"
    UNSUPPORTED = "unsupported"
    """The kernel has no Landlock, or it is switched off."""
    FAILED = "failed"
    """The kernel has it and it could not be applied; the detail says why."""


@dataclass(frozen=True, slots=True)
class Restriction:
    """What became of :func:`deny`, with a sentence for a person that names no path."""

    state: State
    detail: str

    @property
    def is_denied(self) -> bool:
        """Whether the folders are out of this process's reach."""
        return self.state is State.DENIED


def version() -> int:
    """Return the version of Landlock that this kernel speaks; 0 when it has none."""
    return max(_call(_CREATE_RULESET, 0, 0, _VERSION), 0)


def deny(paths: Sequence[Path]) -> Restriction:
    """Deny the files below each of *paths* to this thread and to all that it starts, for ever.

    Call it before another thread runs, and when the folders that are to be used are there.
    Files that are open stay open.  The disk's own device files are denied with them.  Never
    raises: the answer says what is so.
    """
    if len(os.listdir("/proc/self/task")) > 1:
        return Restriction(State.FAILED, "other threads run already, which it would not bind")
    found = version()
    if found == 0:
        return Restriction(
            State.UNSUPPORTED, "this kernel has no Landlock: only file rights guard the keys"
        )
    try:
        _restrict(found, [Path(os.path.realpath(path)) for path in paths])
    except OSError as refused:
        why = os.strerror(refused.errno or 0)
        return Restriction(State.FAILED, f"Landlock could not be applied: {why}")
    return Restriction(State.DENIED, f"private keys are denied by Landlock {found}")


def _restrict(found: int, denied: Sequence[Path]) -> None:
    missing = sum(right for right, since in _ADDED.items() if found < since)
    allowed = _ALLOWED & ~missing
    ruleset = _checked(_create(allowed | _NOWHERE))
    try:
        for path in _beside(Path("/"), [*denied, _DEVICES]):
            _allow(ruleset, path, allowed)
        for path in _harmless_devices():
            _allow(ruleset, path, allowed)
        libc = ctypes.CDLL(None, use_errno=True)
        _checked(libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0))
        _checked(_call(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)


def _beside(folder: Path, denied: Iterable[Path]) -> Iterator[Path]:
    """Yield what lies in *folder* and in those below it on the way to a denied one, but those."""
    inside = [path for path in denied if path.is_relative_to(folder)]
    if folder in inside:
        return
    if not inside:
        yield folder
        return
    for name in os.listdir(folder):
        path = folder / name
        if not path.is_symlink():  # a link is judged by what it leads to
            yield from _beside(path, [each for each in inside if each.is_relative_to(path)])


def _harmless_devices() -> Iterator[Path]:
    """Yield what lies in ``/dev``, but for disks, memory and ports."""
    with suppress(FileNotFoundError):
        for name in os.listdir(_DEVICES):
            path = _DEVICES / name
            mode = path.lstat().st_mode
            is_raw = stat.S_ISBLK(mode) or name in ("mem", "kmem", "port")
            if not is_raw and not stat.S_ISLNK(mode):
                yield path


def _create(handled: int) -> int:
    attributes = ctypes.create_string_buffer(struct.pack("=Q", handled), 8)
    return _call(_CREATE_RULESET, ctypes.addressof(attributes), 8, 0)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # it was there when the folder was listed; nobody can miss it
    try:
        if not stat.S_ISDIR(os.fstat(opened).st_mode):
            rights &= _OF_FILES
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, opened), 12)
        _checked(_call(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.addressof(rule), 0))
    except OSError as refused:
        # EBADFD: a place without a name of its own, such as a pipe, which no rule can speak of.
        if refused.errno != errno.EBADFD:
            raise
    finally:
        os.close(opened)


def _call(number: int, *arguments: int) -> int:
    """Return what system call *number* gives, -1 with errno set for an error."""
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    return int(call(ctypes.c_long(number), *(ctypes.c_long(each) for each in arguments)))


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
