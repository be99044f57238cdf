"""What may stand in a field of a log line: one type for each kind of value, each closed.  Pure.

The rule: a field shows a value only if nobody outside could have written it.  Free text has no
type, so an address, a name or a credential has no field to stand in (law 11).
"""

import re
import sys
from collections.abc import Iterable
from enum import StrEnum
from typing import Final, Protocol

from zentransfer.errors import Code
from zentransfer.ids import Kind, Region

_UP_TO: Final = 2**63 - 1
_SECONDS_MAX: Final = 10**9

Shown = str | int | float | bool


class Field(Protocol):
    """Decides what of a value is shown."""

    def shown(self, value: object) -> Shown | None:
        """Return what the line holds for *value*, or ``None`` if *value* may not stand here."""
        ...


class Text:
    """Text that matches a pattern wholly; the pattern must fit no address, name or secret."""

    def __init__(self, pattern: str) -> None:
        self._pattern = re.compile(pattern)

    def shown(self, value: object) -> str | None:
        """Return *value* if it is text of the pattern."""
        return value if isinstance(value, str) and self._pattern.fullmatch(value) else None


class Word:
    """A word of a closed set that stands in the code."""

    def __init__(self, *words: str) -> None:
        self._words = frozenset(words)

    def shown(self, value: object) -> str | None:
        """Return *value* if it is one of the words."""
        return str(value) if isinstance(value, str) and value in self._words else None


class Whole:
    """A whole number from *least* to *most*."""

    def __init__(self, least: int, most: int) -> None:
        self._least = least
        self._most = most

    def shown(self, value: object) -> int | None:
        """Return *value* if it is a whole number in the range; truth is none."""
        if not isinstance(value, int) or isinstance(value, bool):
            return None
        return value if self._least <= value <= self._most else None


class Seconds:
    """A duration in seconds, shown to the millisecond."""

    def shown(self, value: object) -> float | None:
        """Return *value* rounded if it is a duration of less than some 30 years."""
        if not isinstance(value, int | float) or isinstance(value, bool):
            return None
        return round(float(value), 3) if 0 <= value <= _SECONDS_MAX else None


class Flag:
    """True or false."""

    def shown(self, value: object) -> bool | None:
        """Return *value* if it is a truth."""
        return value if isinstance(value, bool) else None


class ClassName:
    """A class, shown by its name, which stands in code; text never fits."""

    def shown(self, value: object) -> str | None:
        """Return the name of *value* if it is a class."""
        return value.__name__[:64] if isinstance(value, type) else None


class Module:
    """A module of Python's, by the name of a library's logger."""

    def shown(self, value: object) -> str | None:
        """Return the longest beginning of *value* that names an imported module, else "other"."""
        name = value if isinstance(value, str) else ""
        while name and name not in sys.modules:
            name = name.rpartition(".")[0]
        return name or "other"


def words(enum: Iterable[StrEnum]) -> Word:
    """Return the field that shows the members of *enum*."""
    return Word(*(str(member) for member in enum))


def id_of(kind: Kind) -> Text:
    """Return the field that shows ids of *kind*."""
    return Text(f"{kind}_[a-z2-7]{{26}}")


REGION: Final = words(Region)
NODE: Final = Text("(us|fr|sg)-[1-9][0-9]{0,3}")
PROCESS: Final = Text("(ingest|delivery)-[0-9]{1,2}|control|dashboard|launcher")
COUNT: Final = Whole(0, _UP_TO)
BYTES: Final = Whole(0, _UP_TO)
MS: Final = Whole(-_UP_TO, _UP_TO)  # a clock's offset may be negative
SECONDS: Final = Seconds()
PORT: Final = Whole(0, 65_535)
EXIT_STATUS: Final = Whole(0, 255)
SIGNAL: Final = Text("SIG[A-Z]{2,6}[0-9+-]{0,4}")
FLAG: Final = Flag()
CODE: Final = words(Code)
# At most three numbers: four with dots would be an address.
VERSION: Final = Text(r"[0-9]{1,4}(\.[0-9]{1,4}){1,2}((a|b|rc|\.dev|\.post)[0-9]{1,4})?")
FINGERPRINT: Final = Text("[0-9a-f]{32}")
CLASS: Final = ClassName()
MODULE: Final = Module()
