"""The small part of Structured Fields (RFC 9651) that uploads need, read and written.  Pure.

The rule: a field is read whole or not at all.  What is malformed is ``None``, never a guess; who
asked decides whether that is passed over or refused.
"""

import base64
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_KEY: Final = r"[a-z*][a-z0-9_.*-]*"
_BYTES: Final = r":[A-Za-z0-9+/=]*:"
_BARE: Final = (
    r"(?:-?[0-9]{1,12}\.[0-9]{1,3}|-?[0-9]{1,15}|\?[01]|@-?[0-9]{1,15}"
    rf"|{_BYTES}"
    r'|"(?:[ !#-\[\]-~]|\\["\\])*"'
    r'|%"(?:[ !#$&-~]|%[0-9a-f]{2})*"'
    r"|[A-Za-z*][!#$%&'*+.^_`|~A-Za-z0-9:/-]*)"
)
_PARAMETERS: Final = rf"(?:; *{_KEY}(?:={_BARE})?)*"
_ITEM: Final = re.compile(rf" *({_BARE}){_PARAMETERS} *")
_INNER: Final = rf"\( *(?:{_BARE}{_PARAMETERS}(?: +{_BARE}{_PARAMETERS})*)? *\)"
_MEMBER: Final = re.compile(rf"({_KEY})(?:=({_INNER}|{_BARE}))?{_PARAMETERS}")
_BETWEEN: Final = re.compile(r"[ \t]*,[ \t]*")
_INTEGER: Final = re.compile(r"-?[0-9]{1,15}")
_TRUE: Final = "?1"
_NONE: Final[Mapping[str, str]] = MappingProxyType({})


def field(headers: Mapping[str, str], name: str) -> str | None:
    """Return the value of the field *name*, its lines joined; ``None`` if there is none.

    A second line of what may stand there once makes it malformed (RFC 9651 section 4.2).
    """
    lines = [value for key, value in headers.items() if key.lower() == name.lower()]
    return ", ".join(lines) if lines else None


def maybe_integer(text: str | None) -> int | None:
    """Return the integer that the item *text* is, its parameters passed over."""
    bare = _maybe_bare(text)
    return int(bare) if bare is not None and _INTEGER.fullmatch(bare) else None


def maybe_size(text: str | None) -> int | None:
    """Return the integer that the item *text* is if it counts something: 0 or more."""
    number = maybe_integer(text)
    return number if number is not None and number >= 0 else None


def maybe_boolean(text: str | None) -> bool | None:
    """Return the boolean that the item *text* is."""
    bare = _maybe_bare(text)
    return bare == _TRUE if bare in ("?0", _TRUE) else None


def maybe_integers(text: str | None) -> Mapping[str, int] | None:
    """Return the members of the dictionary *text* by key, if every one is an integer."""
    members = maybe_dictionary(text)
    if members is None or not all(_INTEGER.fullmatch(bare) for bare in members.values()):
        return None
    return {key: int(bare) for key, bare in members.items()}


def maybe_dictionary(text: str | None) -> Mapping[str, str] | None:
    """Return the members of the dictionary *text* by key, each as it is written.

    Of a key that is given twice the last one counts.  Parameters are passed over.
    """
    rest = (text or "").strip(" ")
    if not rest:
        return _NONE
    members: dict[str, str] = {}
    at = 0
    while member := _MEMBER.match(rest, at):
        members.pop(member[1], None)
        members[member[1]] = member[2] or _TRUE
        at = member.end()
        if at == len(rest):
            return members
        between = _BETWEEN.match(rest, at)
        if between is None:
            return None
        at = between.end()
    return None


def maybe_bytes(bare: str) -> bytes | None:
    """Return the byte sequence that *bare*, a member of a dictionary, is."""
    if not re.fullmatch(_BYTES, bare):
        return None
    text = bare[1:-1].rstrip("=")
    try:  # padding may be left out (RFC 9651 section 4.2.7)
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        return None


def boolean(value: bool) -> str:
    """Return *value* as it is written."""
    return "?1" if value else "?0"


def byte_sequence(data: bytes) -> str:
    """Return *data* as it is written."""
    return f":{base64.b64encode(data).decode('ascii')}:"


def dictionary(members: Mapping[str, int | bytes]) -> str:
    """Return *members* as they are written."""
    return ", ".join(
        f"{key}={byte_sequence(value) if isinstance(value, bytes) else value}"
        for key, value in members.items()
    )


def _maybe_bare(text: str | None) -> str | None:
    match = _ITEM.fullmatch(text or "")
    return None if match is None else match[1]
