"""The verbs by which a client looks at its files and folders, and tidies them up.  Pure.

The rules: what is said of a file is true of what came (a cut one is as long as we hold, so that
clients go on by it); nothing here touches content; and what a client is told to be there stays
there for its session, be it only a name.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from edge.ftp.listing import facts, listed, parse_stamp, stamp
from edge.ftp.paths import ROOT, Folder, folder_at, quoted
from edge.ftp.replies import Reply, say
from edge.ftp.session import Session
from edge.ftp.view import Entry
from zentransfer.errors import Code, Error

_MODIFY: Final = "modify="
_OPTION: Final = "-"


def _entry(session: Session, path: str) -> tuple[Folder, Entry]:
    """Return the file at *path*; raises ``Error(NOT_FOUND)``."""
    where = session.path(path)
    entry = session.view.maybe(where)
    if entry is None:
        raise Error(Code.NOT_FOUND)
    return where, entry


def looked_at(
    session: Session, argument: str, *, is_folder: bool = False
) -> tuple[Folder, Entry | None]:
    """Return the folder that LIST and its like name, or the file's path and entry.

    Options as of ``ls`` are passed over.  Raises ``Error``: NOT_FOUND (550) for what is not there,
    INVALID for a file where it must be a folder (*is_folder*; RFC 3659 section 7.2.1).
    """
    words = argument.split(" ")
    while words and words[0].startswith(_OPTION):
        del words[0]
    path = " ".join(words)
    folder = folder_at(session.folder, path)
    entry = session.view.maybe(folder)
    if entry is not None:
        if is_folder:
            raise Error(Code.INVALID, "this is no folder; use MLST")
        return folder, entry
    if folder != session.folder and not session.view.is_folder(folder):
        raise Error(Code.NOT_FOUND)
    return folder, None


def _size(session: Session, argument: str) -> Reply:
    session.sized = None
    where, entry = _entry(session, argument)
    session.sized = (where, entry.size)
    return say(213, str(entry.size))


def _mdtm(session: Session, argument: str) -> Reply:
    return say(213, stamp(_entry(session, argument)[1].modified_ms))


def _dated(session: Session, time: str, path: str) -> Reply:
    where, _ = _entry(session, path)
    ms = parse_stamp(time)
    session.view.dated(where, ms)
    return Reply(213, (f"Modify={stamp(ms)}; {path}",))


def _mfmt(session: Session, argument: str) -> Reply:
    time, _, path = argument.partition(" ")
    return _dated(session, time, path)


def _mff(session: Session, argument: str) -> Reply:
    """Set the time, which is the one fact that can be set (draft-somers-ftp-mfxx)."""
    wanted, _, path = argument.partition(" ")
    fact = wanted.lower().removesuffix(";")
    if not fact.startswith(_MODIFY):
        raise Error(Code.UNSUPPORTED_MEDIA)
    return _dated(session, fact.removeprefix(_MODIFY), path)


def _mlst(session: Session, argument: str) -> Reply:
    where, entry = looked_at(session, argument)
    name = quoted(where)[1:-1].replace('""', '"')
    return Reply(250, ("Listing", facts(name, entry, session.view.now_ms), "End"))


def _stat(session: Session, argument: str) -> Reply:
    """Say that all is well; with a path, what LIST would send (RFC 959 section 4.1.3)."""
    if not argument.strip() or not session.is_signed_in:
        return say(211, "All is well")
    where, entry = looked_at(session, argument)
    lines = listed("LIST", session.view, where, entry).decode(errors="surrogateescape")
    return Reply(213 if entry else 212, ("Status:", *lines.splitlines(), "End"))


def _mkd(session: Session, argument: str) -> Reply:
    """Make a folder, and those above it."""
    if not argument.strip() or ".." in argument.split("/"):
        raise Error(Code.INVALID, "name the folder; a name is more than dots")
    made = folder_at(session.folder, argument)
    if session.view.is_folder(made):
        raise Error(Code.CONFLICT, "File exists")
    session.view.make(made)
    return say(257, f"{quoted(made)} created")


def _rmd(session: Session, argument: str) -> Reply:
    """Forget a folder with the ghosts in it: what was sent there is delivered all the same."""
    folder = folder_at(session.folder, argument)
    if folder == ROOT or not session.view.is_folder(folder):
        raise Error(Code.NOT_FOUND)
    session.view.remove(folder)
    return say(250, "Removed")


def _rnfr(session: Session, argument: str) -> Reply:
    where, entry = _entry(session, argument)
    if not entry.is_whole:
        raise Error(Code.LOCKED, "the file is not whole yet; send the rest of it")
    session.renaming = where
    return say(350, "Send RNTO")


def _retr(session: Session, _: str) -> Reply:
    session.take_restart()
    raise Error(Code.FORBIDDEN, "content is never served back")


LOOKS: Final[Mapping[str, Callable[[Session, str], Reply]]] = MappingProxyType(
    {
        "SIZE": _size,
        "MDTM": _mdtm,
        "MFMT": _mfmt,
        "MFF": _mff,
        "MLST": _mlst,
        "STAT": _stat,
        "MKD": _mkd,
        "XMKD": _mkd,
        "RMD": _rmd,
        "XRMD": _rmd,
        "RNFR": _rnfr,
        "RETR": _retr,
    }
)
"""The verbs that are answered from the session's view; each rule may raise ``Error``."""
