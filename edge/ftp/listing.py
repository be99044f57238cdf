"""Files and folders as FTP shows them: LIST, NLST, MLSD, and the times in them.  Pure.

The rules: every time is UTC (RFC 3659 section 2.3); a name goes out byte for byte as it came in;
and nobody is shown a right that he does not have: content is never served back.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from edge.ftp.view import Entry, Path, View
from zentransfer.errors import Code, Error

FACTS: Final = ("type", "size", "modify", "perm", "unique")
"""What MLST and MLSD say of each name."""

_TIME: Final = re.compile(r"([0-9]{14})(?:\.[0-9]{1,6})?")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HALF_A_YEAR: Final = timedelta(days=183)
# RFC 3659 section 7.5.5.  A file: append, delete, rename, store (no "r": no RETR).  A folder:
# create, delete, enter, list, make, purge.
_FILE_PERM: Final = "adfw"
_FOLDER_PERM: Final = "cdelmp"
_SURROGATES: Final = "surrogateescape"


def moment(ms: int) -> datetime:
    """Return *ms* (UTC milliseconds since 1970) as a time."""
    return _EPOCH + timedelta(milliseconds=ms)


def stamp(ms: int) -> str:
    """Return *ms* as RFC 3659 writes a time: ``YYYYMMDDHHMMSS``."""
    return f"{moment(ms):%Y%m%d%H%M%S}"


def parse_stamp(text: str) -> int:
    """Return the UTC milliseconds of a time of RFC 3659; raises ``Error(INVALID)``."""
    match = _TIME.fullmatch(text)
    try:
        when = datetime.strptime(match[1] if match else "", "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        raise Error(Code.INVALID, "send the time as YYYYMMDDHHMMSS, in UTC") from None
    return (when - _EPOCH) // timedelta(milliseconds=1)


def facts(name: str, entry: Entry | None, now_ms: int, kind: str = "dir") -> str:
    """Return the line of MLST and MLSD for *name*; *kind* is that of a folder."""
    if entry is None:
        return f"type={kind};modify={stamp(now_ms)};perm={_FOLDER_PERM}; {name}"
    return (
        f"type=file;size={entry.size};modify={stamp(entry.modified_ms)};"
        f"perm={_FILE_PERM};unique={entry.upload.removeprefix('up_')}; {name}"
    )


def long_line(name: str, entry: Entry | None, now_ms: int) -> str:
    """Return the line of LIST for *name*, as ``ls -l`` writes it: what clients can parse."""
    ms = now_ms if entry is None else entry.modified_ms
    when, now = moment(ms), moment(now_ms)
    is_near = timedelta() <= now - when < _HALF_A_YEAR
    day = f"{when:%b} {when.day:2} " + (f"{when:%H:%M}" if is_near else f" {when.year}")
    if entry is None:
        return f"drwx------   1 owner    group           0 {day} {name}"
    return f"-rw-------   1 owner    group    {entry.size:8} {day} {name}"


def listed(verb: str, view: View, folder: Path, entry: Entry | None) -> bytes:
    """Return what *verb* sends of *folder*, or of the one file *entry* whose path *folder* is.

    Lines end with CR LF; names are bytes as they came.
    """
    if entry is not None and verb != "MLSD":
        lines = _lines(verb, [(folder[-1], entry)], view.now_ms)
    else:
        lines = _lines(verb, view.children(folder), view.now_ms)
        if verb == "MLSD":
            own = [facts(".", None, view.now_ms, "cdir"), facts("..", None, view.now_ms, "pdir")]
            lines = [*own, *lines]
    return "".join(f"{line}\r\n" for line in lines).encode(errors=_SURROGATES)


def _lines(verb: str, names: Iterable[tuple[str, Entry | None]], now_ms: int) -> list[str]:
    if verb == "NLST":
        return [name for name, _ in names]
    write = facts if verb == "MLSD" else long_line
    return [write(name, entry, now_ms) for name, entry in names]
