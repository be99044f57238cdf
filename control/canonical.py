"""One byte string for one value, so that digests of records can be compared.  Pure."""

import dataclasses
import hashlib
import json
from typing import cast

_ENCODE = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode


def canonical(value: object) -> bytes:
    """Return *value* (a dataclass of text, integers, bytes, tuples and dataclasses) as JSON.

    Equal values give equal bytes in every process.  A field that has its default is left out, so
    that a field which a later release adds does not change the digests that are kept already.
    """
    return _ENCODE(_plain(value)).encode()


def digest(value: object) -> bytes:
    """Return SHA-256 over the canonical form of *value*."""
    return hashlib.sha256(canonical(value)).digest()


def _plain(value: object) -> object:
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, tuple):
        return [_plain(item) for item in cast("tuple[object, ...]", value)]
    given = ((name, getattr(value, name), default) for name, default in _fields(type(value)))
    named = {name: _plain(item) for name, item, default in given if item != default}
    return {type(value).__name__: named}


_KNOWN: dict[type, tuple[tuple[str, object], ...]] = {}  # as many as there are classes


def _fields(kind: type) -> tuple[tuple[str, object], ...]:
    """Return the names and defaults of a dataclass's fields; what has none equals nothing else."""
    if kind not in _KNOWN:
        assert dataclasses.is_dataclass(kind), f"{kind} has no canonical form"
        _KNOWN[kind] = tuple((field.name, field.default) for field in dataclasses.fields(kind))
    return _KNOWN[kind]
