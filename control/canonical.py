"""One byte string for one value, so that digests of records can be compared.  Pure."""

import dataclasses
import hashlib
import json
from typing import Any, cast


def canonical(value: object) -> bytes:
    """Return *value* (a dataclass of text, integers, bytes, tuples and dataclasses) as JSON.

    Keys are sorted and bytes are hexadecimal, so equal values give equal bytes in every process.
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":")).encode()


def digest(value: object) -> bytes:
    """Return SHA-256 over the canonical form of *value*."""
    return hashlib.sha256(canonical(value)).digest()


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        named = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"": type(value).__name__, **named}
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return [_plain(item) for item in cast("tuple[Any, ...]", value)]
    assert value is None or isinstance(value, str | int), f"{type(value)} has no canonical form"
    return value
