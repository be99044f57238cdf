"""The steps of a folder destination, each a few system calls relative to an open folder.

They block, so they run in threads; they know no delivery and no lease.
"""

import errno
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from edge.snapshot import Clash
from edge.workflow.destinations.naming import numbered
from zentransfer.limits import DELIVERY_CLASHES_MAX

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_BYTES: Final = 1_048_576
_NO_FOLDER: Final = (errno.ENOTDIR, errno.ELOOP, errno.EEXIST)
_NO_LINKS: Final = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_TRIES: Final = 3


class Blocked(Exception):
    """A virtual folder cannot be made: a file or a symbolic link has its name."""


class Taken(Exception):
    """Other files have the name, and every name that would do instead."""


class Cleared(Exception):
    """The part is gone: a newer attempt took it for what a dead one left."""


class NoLinks(Exception):
    """The file system has no exclusive link, so a name could only be given by overwriting."""


@dataclass(frozen=True, slots=True)
class Part:
    """What a file holds: ``size`` in bytes, ``digest`` SHA-256."""

    size: int
    digest: bytes


def open_folder(root: int, below: tuple[str, ...], names: tuple[str, ...]) -> int:
    """Return a descriptor of the folder *names* in the folder *below* the open folder *root*.

    What is *below* must be there.  *names* are made where they are missing, with the rights of
    the folder around them, and are durable on return.  Raises ``OSError``, :class:`Blocked`.
    """
    folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
    try:
        for name in below:
            folder = _stepped(folder, os.open(name, _FOLDER, dir_fd=folder))
        for name in names:
            folder = _stepped(folder, _made(folder, name))
        return folder
    except BaseException:
        os.close(folder)
        raise


def _stepped(outer: int, inner: int) -> int:
    os.close(outer)
    return inner


def _made(folder: int, name: str) -> int:
    rights = stat.S_IMODE(os.fstat(folder).st_mode) & 0o777
    is_new = True
    try:
        os.mkdir(name, rights, dir_fd=folder)
    except FileExistsError:
        is_new = False
    try:
        made = os.open(name, _FOLDER, dir_fd=folder)
    except OSError as refused:
        if refused.errno in _NO_FOLDER:
            raise Blocked from refused
        raise
    try:
        if is_new:
            os.fchmod(made, rights)  # the process's mask took some away
        os.fsync(folder)  # also when another region made it a moment ago
    except BaseException:
        os.close(made)
        raise
    return made


def create(folder: int, name: str) -> int:
    """Return a descriptor of the new file *name*, readable by whoever may read the folder."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    rights = stat.S_IMODE(os.fstat(folder).st_mode) & 0o666 | 0o600
    made = os.open(name, flags, 0o600, dir_fd=folder)
    try:
        os.fchmod(made, rights)
    except BaseException:
        os.close(made)
        raise
    return made


class Intake:
    """Content on its way into a file: counted, and hashed unless its digest is known before."""

    def __init__(self, digest: bytes | None) -> None:
        self.size = 0
        self._running = sha256() if digest is None else None
        self._digest = digest

    def write(self, file: int, data: memoryview) -> None:
        """Write all of *data* behind what was written before."""
        done = 0
        while done < len(data):  # a short write is no error yet: the next one says why
            done += os.pwrite(file, data[done:], self.size + done)
        self.size += done
        if self._running is not None:
            self._running.update(data)

    @property
    def sent(self) -> Part:
        """What the file must hold."""
        digest = self._digest if self._running is None else self._running.digest()
        assert digest is not None
        return Part(self.size, digest)


def flushed_digest(file: int) -> Part:
    """Flush *file*, and return what the disk then gives back."""
    os.fsync(file)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    return _digest(file)


def forget(folder: int, name: str) -> None:
    """Remove *name* if it is there; a part that stays is removed by the next attempt."""
    with suppress(OSError):
        os.unlink(name, dir_fd=folder)


def find(folder: int, name: str, size: int, digest: bytes, clash: Clash) -> int:
    """Return under which number of *name* this content is there already; 0 if it is not."""
    whole = Part(size, digest)
    for number in _numbers(clash):
        held = _maybe_held(folder, numbered(name, number), whole)
        if held is None:
            return 0
        if held:
            os.fsync(folder)  # an earlier attempt may have ended before this
            return number
    return 0


def place(folder: int, part: str, name: str, whole: Part, clash: Clash) -> int:
    """Give the finished *part* its name, or the first number of it that is free; durable.

    Returns the number.  A name that holds the same content already is an earlier success.
    Raises ``OSError``, :class:`Taken`, :class:`Cleared`, :class:`NoLinks`.
    """
    for number in _numbers(clash):
        target = numbered(name, number)
        if _is_ours(folder, part, target, whole):
            break
        if clash is Clash.REPLACE:
            _replace(folder, part, target)
            break
    else:
        raise Taken
    forget(folder, part)
    os.fsync(folder)
    return number


def _is_ours(folder: int, part: str, target: str, whole: Part) -> bool:
    """Link *part* to *target*; say whether *target* is, or already was, this content."""
    held: bool | None = None
    for _ in range(_TRIES):  # what had the name a moment ago may be gone, or come back
        try:
            os.link(part, target, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        except FileExistsError:
            held = _maybe_held(folder, target, whole)
            if held is not None:
                break
        except FileNotFoundError as missing:
            raise Cleared from missing
        except OSError as refused:
            if refused.errno in _NO_LINKS:
                raise NoLinks from refused
            raise
        else:
            return True
    return bool(held)


def _replace(folder: int, part: str, target: str) -> None:
    try:
        os.rename(part, target, src_dir_fd=folder, dst_dir_fd=folder)
    except FileNotFoundError as missing:
        raise Cleared from missing
    except IsADirectoryError as blocked:
        raise Taken from blocked


def _numbers(clash: Clash) -> range:
    return range(1, 1 + (DELIVERY_CLASHES_MAX if clash is Clash.KEEP_BOTH else 1))


def _maybe_held(folder: int, name: str, whole: Part) -> bool | None:
    """Say whether the file *name* holds just this content; ``None`` if nothing has the name."""
    # Never waits: what has the name may be a pipe.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        file = os.open(name, flags, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError:  # a link, a socket, or not for us: then it is somebody else's
        return False
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_size != whole.size:
            return False
        if _digest(file) != whole:
            return False
        os.fsync(file)  # whoever put it there: we destroy ours for it
        return True
    finally:
        os.close(file)


def _digest(file: int) -> Part:
    running = sha256()
    buffer = memoryview(bytearray(_READ_BYTES))
    position = 0
    while count := os.preadv(file, [buffer], position):
        running.update(buffer[:count])
        position += count
    return Part(position, running.digest())
