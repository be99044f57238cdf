"""Names at a destination: which are possible, how clashes are numbered, names of parts.  Pure.

The rule: a name is one name.  Nothing that a client sent can step out of its folder or become a
command; what cannot be a name is refused and never mended in silence, because two files mended
alike would meet.
"""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final
from unicodedata import category

from zentransfer.errors import Code, Error
from zentransfer.ids import DeliveryID
from zentransfer.limits import FOLDER_DEPTH_MAX, REMOTE_NAME_BYTES_MAX

_PART: Final = ".part"
_NO_TEXT: Final = ("Cc", "Cs")  # control characters, halves of surrogate pairs
_TAG_CHARS: Final = 12  # of a delivery's id: 60 random bits


@dataclass(frozen=True, slots=True)
class RemoteName:
    """What an object shall be called, and who puts it there.

    ``folder`` are the names of the virtual folders, the outermost first.  ``delivery`` and the
    ``fence`` of its lease tell one attempt's temporary name from any other's.
    """

    folder: tuple[str, ...]
    name: str
    delivery: DeliveryID
    fence: int


def checked_name(text: str) -> str:
    """Return *text* if it can be the name of a file or folder; raises ``Error(INVALID)``."""
    if text in ("", ".", "..") or "/" in text or not _is_plain(text):
        raise Error(Code.INVALID, "that cannot be the name of a file")
    if len(_encoded(text)) > REMOTE_NAME_BYTES_MAX:
        raise Error(Code.INVALID, "the name is too long")
    return text


def checked_folder(text: str) -> tuple[str, ...]:
    """Return the names in the virtual folder *text*, split at ``/``; raises ``Error(INVALID)``."""
    names = tuple(name for name in text.split("/") if name)
    if len(names) > FOLDER_DEPTH_MAX:
        raise Error(Code.INVALID, "the folder is too deep")
    return tuple(checked_name(name) for name in names)


def numbered(name: str, number: int) -> str:
    """Return *name* for the *number*-th content of that name: ``a.jpg``, ``a (2).jpg``, ..."""
    if number == 1:
        return name
    path = PurePosixPath(name)
    return _shortened(path.stem, f" ({number}){path.suffix}")


def part_name(name: RemoteName, fence: int) -> str:
    """Return what *name* is called while the attempt under *fence* writes it.

    The end of the delivery's id keeps two uploads of one name apart, also those of two regions.
    """
    return _shortened(name.name, f".{name.delivery[-_TAG_CHARS:]}-{fence}{_PART}")


def _shortened(stem: str, end: str) -> str:
    """Return *stem* and *end*, the stem cut at a character so that both are one name."""
    room = REMOTE_NAME_BYTES_MAX - len(_encoded(end))
    if room <= 0:  # all of it is suffix: then the number stands at the end
        return _shortened(stem + end, "~")
    return _encoded(stem)[:room].decode("utf-8", "ignore") + end


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _is_plain(text: str) -> bool:
    """Say whether *text* is proper Unicode without control characters."""
    return not any(category(char) in _NO_TEXT for char in text)
