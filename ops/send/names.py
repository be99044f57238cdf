"""What a file is called where it goes, and how a name is shown to a person.  Pure.

The rule: every name that a disk can hold is sent, and none can steer the terminal it is shown on.
"""

from collections.abc import Sequence
from typing import Final

_STRANGE: Final = "\N{REPLACEMENT CHARACTER}"


def text(name: bytes) -> str:
    """Return the bytes of a name as text: UTF-8, or what older systems wrote, Latin-1."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode("latin-1")


def checked_folder(folder: str) -> str:
    """Return the virtual *folder*; raises ``ValueError`` for what none can be called."""
    if ".." in folder.replace("\\", "/").split("/"):
        raise ValueError(
            "'..' leads out of the folder of your account; name one such as 2026/match"
        )
    if not shown(folder) == folder:
        raise ValueError("it has characters that no screen shows; name one such as 2026/match")
    return folder


def is_changed(name: str) -> bool:
    """Say whether what is called *name* arrives otherwise: some systems hold no colon."""
    return ":" in name


def virtual(folder: str, parts: Sequence[bytes]) -> str:
    """Return the name to send for a file: its *parts* below the virtual *folder*, by slashes."""
    above = [part for part in folder.split("/") if part not in ("", ".")]
    return "/".join([*above, *map(text, parts)])


def shown(said: str) -> str:
    """Return *said* with a mark in place of every character that no screen shows."""
    return "".join(char if char.isprintable() else _STRANGE for char in said)
