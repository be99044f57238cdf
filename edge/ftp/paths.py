"""The folders that a client of FTP sees, and the names that its files get.  Pure.

The rules: a folder is only a way to say where a file belongs, so every folder can be entered;
nothing leads above the root; a name is shown back byte for byte, and delivered as text that every
system can hold.
"""

import re
from typing import Final

from edge.names import cleaned
from zentransfer.errors import Code, Error
from zentransfer.limits import FOLDER_DEPTH_MAX, FTP_NAME_BYTES_MAX, NAME_PATH_BYTES_MAX
from zentransfer.sealed_name import FileName

Folder = tuple[str, ...]
"""The parts of a folder's path as they were sent, other bytes than UTF-8 kept as surrogates."""

ROOT: Final[Folder] = ()
_UP: Final = ".."
_OTHER_BYTES: Final = re.compile("[\udc80-\udcff]")
_SUFFIX: Final = re.compile(r"(?P<name>.+)\.(?:part|partial|tmp|filepart)", re.IGNORECASE)
_PREFIX: Final = re.compile(r"\.in\.(?P<name>.+)\.|\.+(?P<rest>[^.].*)")  # lftp's, and others'


def folder_at(folder: Folder, path: str) -> Folder:
    """Return the folder at *path*, seen from *folder*; ``..`` goes up and not beyond the root.

    Raises ``Error(INVALID)`` for a folder that no file could be sent to.
    """
    found = list(_start(folder, path))
    for part in path.split("/"):
        if part == _UP:
            del found[-1:]
        elif part not in ("", "."):
            found.append(part)
    if len(found) > FOLDER_DEPTH_MAX:
        raise Error(Code.INVALID, "the folders are too deep")
    if found:
        file_name((), "/".join([*found, "x"]))
    return tuple(found)


def path_at(folder: Folder, path: str) -> Folder:
    """Return the parts of the path of the file at *path*, seen from *folder*, as they were sent.

    Raises ``Error(INVALID)`` as :func:`file_name`.
    """
    file_name(folder, path)
    parts = (*_start(folder, path), *path.split("/"))
    return tuple(part for part in parts if part not in ("", "."))


def file_name(folder: Folder, path: str) -> FileName:
    """Return the folder and name of the file at *path*, seen from *folder*.

    Raises ``Error(INVALID)``: too long, no name, and whatever :func:`edge.names.cleaned` refuses.
    """
    parts = [*_start(folder, path), *path.split("/")]
    if not parts[-1]:
        raise Error(Code.INVALID, "the name is missing")
    if sum(len(part) + 1 for part in parts) > NAME_PATH_BYTES_MAX:
        raise Error(Code.INVALID, "the path is too long")
    if any(len(part.encode(errors="surrogateescape")) > FTP_NAME_BYTES_MAX for part in parts):
        raise Error(Code.INVALID, "a name in the path is too long")
    return cleaned("/".join(_readable(part) for part in parts))


def quoted(folder: Folder) -> str:
    """Return *folder* as a 257 reply shows it: in quotes, and those in it doubled (RFC 959)."""
    path = "/" + "/".join(folder)
    return '"' + path.replace('"', '""') + '"'


def _start(folder: Folder, path: str) -> Folder:
    return ROOT if path.startswith("/") else folder


def _readable(part: str) -> str:
    """Return *part* as text: what is no UTF-8 is read as Windows-1252, which cameras mean by it.

    Nothing is lost even where they mean another: a byte without a letter there stands as ``%81``,
    and so does the backslash, which is the second half of a letter in Shift-JIS.
    """
    if not _OTHER_BYTES.search(part):
        return part
    return "".join(_LETTERS[byte] for byte in part.encode(errors="surrogateescape"))


def _letter(byte: int) -> str:
    try:
        text = bytes([byte]).decode("cp1252")
    except UnicodeDecodeError:
        text = ""
    return text if text and text != "\\" else f"%{byte:02X}"


_LETTERS: Final = tuple(map(_letter, range(256)))


def maybe_lasting(name: FileName) -> FileName | None:
    """Return what is meant by the temporary *name*, such as ``x.jpg.part``; ``None`` by others."""
    match = _SUFFIX.fullmatch(name.name) or _PREFIX.fullmatch(name.name)
    if match is None:
        return None
    found = match.groupdict()
    return FileName(name.folder, found.get("name") or found.get("rest") or name.name)
