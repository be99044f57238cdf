"""Before anything starts: a folder that can be written, room, descriptors, and every port.

The rule: what would make the system fail later is found here, and named together with its cure.
"""

import errno
import fcntl
import os
import resource
import shlex
import socket
from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

import psutil

from ops import launcher, ports
from ops.launcher import LOCK_NAME, Launcher
from ops.ports import Port
from ops.programs import Place
from zentransfer.limits import DISK_FREE_BYTES_MIN, OPEN_FILES_MIN, PORT_BASE_MAX
from zentransfer.service import CannotStart

_PROBE_BYTES: Final = 65_536
_FULL: Final = frozenset((errno.ENOSPC, errno.EDQUOT))
_BASE_STEP: Final = 1_000  # between the bases that are proposed instead of a taken one


@contextmanager
def using(folder: Path) -> Generator[None]:
    """Turn an ``OSError`` of work in *folder* into a :class:`CannotStart` with the cure."""
    try:
        yield
    except OSError as exc:
        raise _unusable(folder, exc) from exc


def make_folders(folder: Path) -> None:
    """Make *folder* and what the launcher keeps in it; raises :class:`CannotStart`."""
    with using(folder):
        for each in (folder, folder / "run", folder / "log"):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)


def _nearest(folder: Path) -> Path:
    """Return *folder*, or the nearest one above it that is there."""
    return next(each for each in (folder, *folder.parents) if each.exists())


def check_rights(folder: Path) -> None:
    """Raise :class:`CannotStart` if *folder* can neither be written nor made; changes nothing."""
    nearest = _nearest(folder)
    if not nearest.is_dir():
        raise _unusable(folder, NotADirectoryError(errno.ENOTDIR, "not a folder"))
    if os.statvfs(nearest).f_flag & os.ST_RDONLY:
        raise _unusable(folder, OSError(errno.EROFS, "mounted read-only"))
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise _unusable(folder, PermissionError(errno.EACCES, "no right"))


def check_free(folder: Path) -> None:
    """Raise :class:`CannotStart` if too little is free where *folder* is or would be."""
    with using(folder):
        figures = os.statvfs(_nearest(folder))
    free = figures.f_bavail * figures.f_frsize
    if free < DISK_FREE_BYTES_MIN:
        raise _no_room(folder, free)


def check_room(folder: Path) -> None:
    """Ask what is free in *folder*, then write and flush; raises :class:`CannotStart`."""
    probe = folder / "run" / "probe"
    check_free(folder)
    with using(folder):
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.write(descriptor, bytes(_PROBE_BYTES)) < _PROBE_BYTES:
                raise _no_room(folder, 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
            probe.unlink()


def _no_room(folder: Path, free: int) -> CannotStart:
    mebibyte = 1024 * 1024
    return CannotStart(
        f"The disk of {folder} is full: {free / mebibyte:.1f} MiB are free and"
        f" {DISK_FREE_BYTES_MIN // mebibyte} MiB are needed.",
        "Make room, or choose a folder on another disk with --dir.",
    )


def _unusable(folder: Path, exc: OSError) -> CannotStart:
    elsewhere = "choose another folder with --dir."
    match exc.errno:
        case number if number in _FULL:
            return _no_room(folder, 0)
        case errno.ENOTDIR | errno.EEXIST:
            return CannotStart(f"{folder} is not a folder.", f"Move that file, or {elsewhere}")
        case errno.EACCES | errno.EPERM:
            return CannotStart(
                f"This user has no right to write in {folder}.",
                f"Give it that right (chown, chmod), or {elsewhere}",
            )
        case errno.EROFS:
            return CannotStart(
                f"{folder} is on a disk that is mounted read-only.",
                f"Mount it writable, or {elsewhere}",
            )
        case _:
            reason = exc.strerror or type(exc).__name__
            return CannotStart(f"{folder} cannot be used: {reason}.", f"Repair it, or {elsewhere}")


def check_open_files() -> None:
    """Raise this process's soft limit of open files as far as allowed; children inherit it.

    Raises :class:`CannotStart` if even the hard limit is too low.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < OPEN_FILES_MIN:
        raise CannotStart(
            f"This user may open {hard} files at once (RLIMIT_NOFILE) and {OPEN_FILES_MIN} are"
            " needed.",
            f"Raise the limit, as root: ulimit -n {OPEN_FILES_MIN}, or LimitNOFILE= in a unit.",
        )
    if soft != hard:
        # select() fails beyond 1024; nothing here uses it, and a few thousand are plenty.
        wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def check_lock(folder: Path) -> None:
    """Raise :class:`CannotStart` if a launcher holds *folder*; changes and keeps nothing."""
    with using(folder), suppress(FileNotFoundError, NotADirectoryError), ExitStack() as undo:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(folder / "run" / LOCK_NAME, flags)
        undo.callback(os.close, descriptor)
        _flock(descriptor, fcntl.LOCK_SH, folder)  # shared: two checks do not meet each other


def _flock(descriptor: int, how: int, folder: Path) -> None:
    """Lock the open lock file, or raise :class:`CannotStart` with the pid that is in it."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 20).decode(errors="replace") or "unknown"
        raise CannotStart(
            f"A launcher (pid {holder}) already runs in {folder}.",
            f"Stop it (kill {holder}), or choose another folder with --dir and --base.",
        ) from None


def lock(folder: Path) -> int:
    """Hold *folder* for this process until the returned descriptor is closed.

    Raises :class:`CannotStart`, which names the process that holds it already.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    with using(folder), ExitStack() as undo:
        descriptor = os.open(folder / "run" / LOCK_NAME, flags, 0o600)
        undo.callback(os.close, descriptor)
        _flock(descriptor, fcntl.LOCK_EX, folder)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        undo.pop_all()
    return descriptor


@dataclass(frozen=True)
class Taken:
    """A port that is not free; who holds it is ``None`` where this user may not see it."""

    port: Port
    pid: int | None
    program: str | None
    is_leftover: bool  # a process of ours, of the same folder, from an earlier run
    launcher: Launcher | None = None  # that the holder is, or that started it

    def __str__(self) -> str:
        holder = "a program of another user"
        if self.pid is not None:
            ours = ", left over from an earlier run" if self.is_leftover else ""
            holder = f"{self.program or 'a program'} (pid {self.pid}{ours})"
        return f"port {self.port.number} ({self.port.role}) is held by {holder}"


def taken_ports(wanted: Iterable[Port], run_folder: Path) -> list[Taken]:
    """Return which of the *wanted* ports are not free.

    Raises :class:`CannotStart` for a port that this user has no right to.
    """
    numbers = [port for port in wanted if not _is_free(port)]
    holders = _holders() if numbers else {}
    return [_taken(port, holders.get(port.number), run_folder) for port in numbers]


def _is_free(port: Port) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the listener will
        try:
            probe.bind((ports.LOOPBACK, port.number))
        except PermissionError:
            raise CannotStart(
                f"This user has no right to listen on port {port.number} ({port.role}).",
                "Choose a base from 1024 on: zentransfer up --base 8000.",
            ) from None
        except OSError:
            return False
    return True


def _holders() -> dict[int, int]:
    """Return the pid by listening port, as far as this user may see."""
    found: dict[int, int] = {}
    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections(kind="tcp"):
            where = connection.laddr
            if connection.status == psutil.CONN_LISTEN and where and connection.pid is not None:
                found[where.port] = connection.pid
    return found


def _taken(port: Port, pid: int | None, run_folder: Path) -> Taken:
    name, line = None, ""
    if pid is not None:
        with suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            name, line = process.name(), " ".join(process.cmdline())
    is_leftover = f"--settings {run_folder}/" in line
    by = None if pid is None else launcher.maybe_of_process(pid)
    return Taken(port, pid, name, is_leftover, by)


def ports_are_taken(taken: Sequence[Taken], place: Place) -> CannotStart:
    """Return the error that names every taken port, its holder and the cure."""
    another = _free_base(place)
    again = shlex.join(["zentransfer", "up", *place.options, "--base", str(another)])
    start = f", or start with another base: {again}" if another else "."
    launchers = {each.launcher for each in taken}
    if len(launchers) == 1 and (other := launchers.pop()) is not None:
        numbers = [each.port.number for each in taken]
        return CannotStart(
            f"The system in {other.folder} runs (launcher pid {other.pid}) and holds"
            f" {len(numbers)} of these ports, from {min(numbers)} to {max(numbers)}.",
            f"Stop it (kill {other.pid}){start}",
        )
    said = "; ".join(map(str, taken))
    return CannotStart(f"{said[0].upper()}{said[1:]}.", f"Stop that program{start}")


def _free_base(place: Place) -> int | None:
    """Return a base whose ports are all free at the moment, if one is found."""
    lowest = 8_000
    above = range(max(place.base + _BASE_STEP, lowest), PORT_BASE_MAX + 1, _BASE_STEP)
    below = range(lowest, place.base, _BASE_STEP)
    for base in chain(above, below):
        if all(map(_is_free, ports.table(base, place.regions, place.workers))):
            return base
    return None
