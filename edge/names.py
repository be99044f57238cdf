"""A sender's name for a file, made safe to show and to deliver.  Pure.

The rules: the folder and name that come out, joined below any root, stay below it on every system;
cleaning twice equals cleaning once; and nothing is decoded twice.  On our own disks only ids are
names.  A name is a value in a destination's naming pattern and never a pattern itself, so ``%`` and
braces stay as they are.
"""

import re
import unicodedata
from typing import Final
from urllib.parse import unquote_to_bytes

from zentransfer.errors import Code, Error
from zentransfer.limits import FOLDER_DEPTH_MAX, NAME_BYTES_MAX, NAME_PATH_BYTES_MAX
from zentransfer.sealed_name import FileName

_SEPARATORS: Final = re.compile(r"[/\\]")
# C0, DEL and C1, line and paragraph separators, and what turns the direction of text.
_FORBIDDEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
# What Windows keeps for devices, with any extension (learn.microsoft.com, "Naming Files").
_DEVICE: Final = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3])[ ]*([.].*)?",
    re.IGNORECASE,
)
_BAD_ESCAPE: Final = re.compile("%(?![0-9A-Fa-f]{2})")
_EXTENSION_BYTES_MAX: Final = 16  # bytes: a longer "extension" is a part of the name


def from_url(path: str) -> FileName:
    """Return the cleaned name in *path*, percent-encoded UTF-8 as it stands in a request.

    Raises ``Error(INVALID)`` for what is not UTF-8 and for what :func:`cleaned` refuses.
    """
    if len(path) > NAME_PATH_BYTES_MAX or _BAD_ESCAPE.search(path):
        raise Error(Code.INVALID, "the name is too long or not percent-encoded")
    try:
        return cleaned(unquote_to_bytes(path).decode())
    except UnicodeDecodeError as wrong:
        raise Error(Code.INVALID, "the name is not UTF-8") from wrong


def cleaned(path: str) -> FileName:
    """Return the folder and the name in *path*, whose parts stand between slashes of either kind.

    Empty parts and ``.`` are left out.  Raises ``Error(INVALID)`` for ``..``, for characters that
    control or mislead a screen, for no name, and for folders that are too deep.
    """
    text = unicodedata.normalize("NFC", _plain(path))
    parts = [_part(part) for part in _SEPARATORS.split(text) if part not in ("", ".")]
    if not parts or _SEPARATORS.match(text[-1]):
        raise Error(Code.INVALID, "the name is missing")
    if len(parts) - 1 > FOLDER_DEPTH_MAX:
        raise Error(Code.INVALID, "the folders are too deep")
    return FileName("/".join(parts[:-1]), parts[-1])


def below(folder: str, name: FileName) -> FileName:
    """Return *name* with its folder below *folder*, which is a cleaned one or empty."""
    return FileName("/".join(part for part in (folder, name.folder) if part), name.name)


def _plain(path: str) -> str:
    if _FORBIDDEN.search(path) or any("\ud800" <= char <= "\udfff" for char in path):
        raise Error(Code.INVALID, "the name has characters that no screen shows")
    return path


def _part(part: str) -> str:
    """Return one part, safe on every system; raises ``Error(INVALID)`` where none is left."""
    safe = _cut(part.replace(":", "_")).rstrip(". ")
    if not safe:
        raise Error(Code.INVALID, "a name is made of more than dots and spaces")
    if safe[0] in "-~" or _DEVICE.fullmatch(safe):
        safe = _cut(f"_{safe}").rstrip(". ")
    return safe


def _cut(part: str) -> str:
    """Return *part* in NAME_BYTES_MAX bytes: the end of its stem goes, its extension stays."""
    if len(part.encode()) <= NAME_BYTES_MAX:
        return part
    stem, dot, extension = part.rpartition(".")
    if not stem or len((dot + extension).encode()) > _EXTENSION_BYTES_MAX:
        stem, dot, extension = part, "", ""
    end = dot + extension
    return stem.encode()[: NAME_BYTES_MAX - len(end.encode())].decode(errors="ignore") + end
