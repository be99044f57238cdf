"""What a client of SFTP may ask of us: to take files, and to look at what it sent.

The rules: content is never read back; a name is only a way to say where a file belongs; and what is
left of a session at its end is cut, be it that its client closed it.
"""

import stat
from asyncio import TaskGroup
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Final

from asyncssh import SSHServerChannel
from asyncssh.sftp import SFTPAttrs, SFTPError, SFTPName, SFTPPermissionDenied, SFTPServer

from edge.admission import Request
from edge.facts import Door
from edge.ftp.paths import ROOT, file_name, folder_at, maybe_lasting
from edge.incoming import Incoming
from edge.resumable import Resumables
from edge.sftp import refusals
from edge.sftp.bounds import DIALECT
from edge.sftp.files import OpenFile, Terms
from edge.sftp.renaming import Left, Renaming
from edge.sftp.view import Path, Seen, View, changed, is_temporary
from edge.snapshot import CredentialKind
from zentransfer.clock import Clock
from zentransfer.credential import Shown
from zentransfer.errors import Code, Error
from zentransfer.limits import SFTP_HANDLES_MAX, SFTP_SEEN_MAX

_WRITE, _APPEND, _CREAT, _TRUNC = 0x02, 0x04, 0x08, 0x10  # SSH_FXF_WRITE and so on
_NO_TAILS: Final = "Nothing is kept to go on with: send the whole file, from its start"
_NO_READING: Final = "Files only pass through here: content is never served back"


@dataclass(frozen=True, slots=True)
class Desk:
    """What all sessions of a door stand on."""

    resumables: Resumables
    clock: Clock
    terms: Terms
    left: OrderedDict[tuple[str, Path], Left] = field(default_factory=OrderedDict)
    """What was held at the end of its session, by credential and path."""

    def take(self, shown: Shown) -> Renaming:
        """Return the upload that *shown* may send, to be entered; raises ``Error`` if refused."""
        intake = self.resumables.intake
        now_ms = self.clock.now_ms()
        request = Request(shown, CredentialKind.FTP, None, is_tls=True, now_ms=now_ms)
        admitted = intake.admitted(request)
        self.resumables.unfinished.must_have_room(admitted.account.id)
        return Renaming(self.resumables.unfinished, admitted, None, None)


class WriteOnly(SFTPServer):
    """The requests of one session; ``Error`` becomes a status in :mod:`edge.sftp.serving`."""

    def __init__(
        self, channel: "SSHServerChannel[bytes]", desk: Desk, shown: Shown, view: View
    ) -> None:
        """Take files for *shown*, who is shown *view*."""
        super().__init__(channel)  # pyright: ignore[reportUnknownMemberType] - of text or bytes
        self._desk = desk
        self._shown = shown
        self._view = view
        self._open = dict[OpenFile, Path]()
        self._held = dict[Path, OpenFile]()
        self.has_handle: Callable[[], bool] = lambda: True
        """Says whether the session may open one more."""
        self.group: TaskGroup
        """Where files live; there for as long as the session."""

    @property
    def is_open(self) -> bool:
        """Whether a file is open, or waits for its name."""
        return bool(self._open) or any(file.is_held for file in self._held.values())

    def format_user(self, uid: int | None) -> str:
        """Return who owns a file in a listing, where the base would look at the node's users."""
        return "you"

    def format_group(self, gid: int | None) -> str:
        """Return the same for a group."""
        return "you"

    def cut(self) -> None:
        """End what is open: its sender is gone."""
        for path in [path for path, file in self._held.items() if file.is_held]:
            self._leave_behind(path)
        for file in [*self._open, *self._held.values()]:
            file.cut()

    # -- files -----------------------------------------------------------------------------------

    async def open(self, path: bytes, pflags: int, attrs: SFTPAttrs) -> OpenFile:
        """Begin a file at *path*; raises ``Error``."""
        if not pflags & _WRITE:
            raise SFTPPermissionDenied(_NO_READING)
        if pflags & _APPEND or not pflags & (_CREAT | _TRUNC):  # a tail would be taken for a file
            raise SFTPPermissionDenied(_NO_TAILS)
        self._make_room()
        where, name = _path(path), file_name(ROOT, _text(path))
        waits = bool(where) and is_temporary(where[-1])
        shown = (maybe_lasting(name) or name) if waits else None
        incoming = Incoming(name=name, door=Door.SFTP, dialect=DIALECT, shown=shown)
        file = OpenFile(self._desk.take(self._shown), incoming, self._desk.terms, waits=waits)
        file.announced, file.modified_s = attrs.size, attrs.mtime
        file.path = self._open[file] = where
        self.group.create_task(self._lived(file))
        await file.begun()
        return file

    async def write(self, file_obj: object, offset: int, data: bytes) -> int:
        """Take *data*; returns its count of bytes.  Raises ``Error``."""
        await _file(file_obj).write(offset, data)
        return len(data)

    async def close(self, file_obj: object) -> None:
        """Return when the file is durable; raises ``Error`` if it never is."""
        file = _file(file_obj)
        path = file.path
        try:
            await file.close()
        finally:
            self._open.pop(file, None)
        seen = changed(Seen(file.size, self._desk.clock.now_ms()), file.modified_s)
        if (before := self._held.pop(path, None)) is not None:
            before.settle()  # a newer one has its name
        if file.is_held:
            self._held[path] = file
        self._view.put(path, seen)

    def read(self, file_obj: object, offset: int, size: int) -> bytes:
        """Refuse it."""
        raise SFTPPermissionDenied(_NO_READING)

    def fstat(self, file_obj: object) -> SFTPAttrs:
        """Return how many bytes came."""
        file = _file(file_obj)
        return _attrs(changed(Seen(file.size, self._desk.clock.now_ms()), file.modified_s))

    def fsetstat(self, file_obj: object, attrs: SFTPAttrs) -> None:
        """Keep a size as what must come, and a time to show; the rest means nothing here."""
        file = _file(file_obj)
        file.announced = attrs.size if attrs.size is not None else file.announced
        file.modified_s = attrs.mtime if attrs.mtime is not None else file.modified_s

    # -- names -----------------------------------------------------------------------------------

    def stat(self, path: bytes) -> SFTPAttrs:
        """Return what is known of *path*; raises ``Error(NOT_FOUND)``."""
        return _attrs(self._known(_path(path)))

    def lstat(self, path: bytes) -> SFTPAttrs:
        """Return the same: there are no links."""
        return self.stat(path)

    def setstat(self, path: bytes, attrs: SFTPAttrs) -> None:
        """Take a time to show; refuse another size, which would be another content."""
        where = _path(path)
        seen = self._known(where)
        if attrs.size is not None and attrs.size != seen.size:
            raise Error(Code.FORBIDDEN, "a file that was sent is not changed")
        if where != ROOT:
            self._view.put(where, changed(seen, attrs.mtime))

    def scandir(self, path: bytes) -> AsyncIterator[SFTPName]:
        """Return what is in the folder at *path*, one after another; raises ``Error``."""
        where = _path(path)
        here = self._known(where)
        if not here.is_folder:
            raise Error(Code.NOT_FOUND)
        return _listed([(".", here), ("..", here), *self._view.inside(where)])

    def realpath(self, path: bytes) -> bytes:
        """Return *path* from the root, without dots."""
        return ("/" + "/".join(_path(path))).encode(errors="surrogateescape")

    def mkdir(self, path: bytes, attrs: SFTPAttrs) -> None:
        """Make a folder, and those above it; raises ``Error(CONFLICT)`` for one that is there."""
        where = _path(path)
        if self._view.seen(where) is not None:
            raise Error(Code.CONFLICT)
        self._view.put(where, Seen(None, self._desk.clock.now_ms()))

    def rmdir(self, path: bytes) -> None:
        """Show a folder no more; raises ``Error``: NOT_FOUND, CONFLICT where something is in it."""
        where = _path(path)
        if not self._known(where).is_folder:
            raise Error(Code.NOT_FOUND)
        if where == ROOT or self._view.inside(where):
            raise Error(Code.CONFLICT, "the folder is not empty")
        self._view.drop(where)

    async def remove(self, path: bytes) -> None:
        """Show a file no more, and cancel it if it still waits for its name; raises ``Error``."""
        where = _path(path)
        if self._known(where).is_folder:
            raise Error(Code.NOT_FOUND)
        if (held := self._held.pop(where, None)) is not None:
            await held.cancel()
        self._view.drop(where)

    async def rename(self, oldpath: bytes, newpath: bytes) -> None:
        """Give a file its name, if it waits for one; else only show it so.  Raises ``Error``."""
        old, new = _path(oldpath), _path(newpath)
        left = self._desk.left.get((self._shown.name, old))
        if left is None or old in self._held:
            self._known(old)
        if old in self._open.values():
            raise Error(Code.LOCKED, "close the file first")
        if old == ROOT or new[: len(old)] == old != new:
            raise Error(Code.FORBIDDEN, "a folder does not go into itself")
        name = file_name(ROOT, _text(newpath))
        if (held := self._held.pop(old, None)) is not None:
            await held.rename(name)
        elif left is not None:
            await left.rename(name)
            del self._desk.left[self._shown.name, old]
        if old != new:
            self._view.move(old, new)

    async def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        """Do as :meth:`rename`: nothing is ever overwritten here."""
        await self.rename(oldpath, newpath)

    # -- inside ----------------------------------------------------------------------------------

    def _known(self, path: Path) -> Seen:
        for file, where in self._open.items():
            if where == path:
                return changed(Seen(file.size, self._desk.clock.now_ms()), file.modified_s)
        seen = self._view.seen(path)
        if seen is None:
            raise Error(Code.NOT_FOUND)
        return seen

    def _make_room(self) -> None:
        """Let the oldest that waits for its name go, if there are too many; raises ``Error``."""
        for path in [path for path, file in self._held.items() if not file.is_held]:
            del self._held[path]
        if len(self._open) >= SFTP_HANDLES_MAX or not self.has_handle():
            raise Error(Code.RATE_LIMITED, "close a file first")
        if self._held and len(self._open) + len(self._held) >= SFTP_HANDLES_MAX:
            self._leave_behind(oldest := next(iter(self._held)))
            self._held.pop(oldest).settle()

    def _leave_behind(self, path: Path) -> None:
        """Let the held file at *path* be committed, and be renamed by a later session all the same.

        The oldest is forgotten when there are too many.
        """
        left = self._desk.left
        left[self._shown.name, path] = self._held[path].left()
        if len(left) > SFTP_SEEN_MAX:
            left.popitem(last=False)

    async def _lived(self, file: OpenFile) -> None:
        """Let *file* live; what has ended is open no more, whatever its client does."""
        try:
            await file.live()
        finally:
            self._open.pop(file, None)


def refused(error: Error) -> SFTPError:
    """Return *error* as the library says it."""
    return SFTPError(refusals.status(error), refusals.text(error))


ViewMaker = Callable[[Shown], View]
"""Makes what a session is shown, given its credential."""


def _file(given: object) -> OpenFile:
    assert isinstance(given, OpenFile), "the library gives back what open returned"
    return given


def _text(path: bytes) -> str:
    return path.decode(errors="surrogateescape")


def _path(path: bytes) -> Path:
    return folder_at(ROOT, _text(path))


async def _listed(found: list[tuple[str, Seen]]) -> AsyncIterator[SFTPName]:
    for name, seen in found:
        yield SFTPName(name.encode(errors="surrogateescape"), attrs=_attrs(seen))


def _attrs(seen: Seen) -> SFTPAttrs:
    kind = stat.S_IFDIR | 0o755 if seen.is_folder else stat.S_IFREG | 0o644
    time_s = seen.modified_ms // 1000
    return SFTPAttrs(
        size=seen.size or 0,
        uid=0,
        gid=0,
        permissions=kind,
        atime=time_s,
        mtime=time_s,
        nlink=1,
    )
