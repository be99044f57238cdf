"""Maps and lists as msgpack, read back by name, type and bound.  Pure.

Every reader of stored bytes goes through ``Fields``, so nothing of a wrong type or size gets in.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, cast

import msgpack  # type: ignore[import-untyped]  # msgpack ships no types

Packable = None | bool | int | str | bytes | Sequence["Packable"] | Mapping[str, "Packable"]

_pack = cast("Callable[[object], bytes]", msgpack.packb)  # pyright: ignore[reportUnknownMemberType]
_unpack = cast("Callable[..., object]", msgpack.unpackb)  # pyright: ignore[reportUnknownMemberType]

U32_MAX: Final = 0xFFFF_FFFF
U63_MAX: Final = 0x7FFF_FFFF_FFFF_FFFF  # offsets and times: what every language's integer holds


class Malformed(ValueError):
    """Stored bytes that do not have the form they must have."""


def pack(value: Packable) -> bytes:
    """Return *value* as msgpack; a map keeps the order of its keys."""
    return _pack(value)


def unpack(data: bytes | memoryview) -> "Fields":
    """Return the map that *data* holds, and nothing else; raises :class:`Malformed`."""
    try:
        value = _unpack(data, raw=False, strict_map_key=True)
    # The library raises ValueError, its own FormatError and StackError, and OverflowError.
    except Exception as failure:
        raise Malformed("not msgpack") from failure
    if not isinstance(value, dict):
        raise Malformed("not a map")
    return Fields(cast("dict[object, object]", value))


class Fields:
    """A decoded map, whose entries are taken by name with a type and a bound."""

    def __init__(self, values: Mapping[object, object]) -> None:
        self._values = values

    def number(self, name: str, largest: int = U63_MAX) -> int:
        """Return the whole number *name*, 0 to *largest*."""
        value = self._values.get(name)
        if type(value) is not int or not 0 <= value <= largest:
            raise Malformed(f"{name} is no number in its range")
        return value

    def flag(self, name: str) -> bool:
        """Return the truth value *name*."""
        value = self._values.get(name)
        if not isinstance(value, bool):
            raise Malformed(f"{name} is neither true nor false")
        return value

    def text(self, name: str, chars_max: int) -> str:
        """Return the text *name* of at most *chars_max* characters."""
        value = self._values.get(name)
        if not isinstance(value, str) or len(value) > chars_max:
            raise Malformed(f"{name} is no text in its bound")
        return value

    def data(self, name: str, bytes_max: int) -> bytes:
        """Return the bytes *name*, at most *bytes_max* of them."""
        value = self._values.get(name)
        if not isinstance(value, bytes) or len(value) > bytes_max:
            raise Malformed(f"{name} is no bytes in its bound")
        return value

    def rows(self, name: str, items_max: int) -> "list[Fields]":
        """Return the lists inside the list *name*, each as fields named "0", "1" and so on."""
        value = self._values.get(name)
        if not isinstance(value, list):
            raise Malformed(f"{name} is no list")
        items = cast("list[object]", value)
        if len(items) > items_max:
            raise Malformed(f"{name} holds too much")
        return [_numbered(name, item) for item in items]

    def table(self, name: str) -> "Fields":
        """Return the map *name*."""
        value = self._values.get(name)
        if not isinstance(value, dict):
            raise Malformed(f"{name} is no map")
        return Fields(cast("dict[object, object]", value))

    def has(self, name: str) -> bool:
        """Say whether *name* is there with a value other than nil."""
        return self._values.get(name) is not None

    def names(self) -> list[str]:
        """Return the names in their stored order."""
        return [str(name) for name in self._values]


def _numbered(name: str, item: object) -> Fields:
    if not isinstance(item, list):
        raise Malformed(f"{name} holds something else than lists")
    return Fields({str(place): value for place, value in enumerate(cast("list[object]", item))})
