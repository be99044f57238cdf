"""The audit chain: one line for each use of a key and each destruction, bound to the one before.

Pure.  The rule: a line holds the hash of its predecessor, so that whoever knows a head knows that
nothing before it was changed, removed, added or moved.  A line names no file and no person: the
upload's id is keyed, and the rest are opaque ids.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, cast

HASH_BYTES: Final = 32
KEYED_ID_BYTES: Final = 16

_LABEL: Final = b"zentransfer audit chain, upload id\x00"


@dataclass(frozen=True, slots=True)
class Opening:
    """A key is about to be used: by which attempt, for which segments, under which kid.

    ``upload`` is the keyed id in hexadecimal; ``segments`` are (count, first number, last number).
    """

    at_ms: int
    process: str
    delivery: str
    fence: int
    upload: str
    kid: str
    segments: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Destruction:
    """Sealed keys and content are gone; ``upload`` is the keyed id in hexadecimal.

    ``signature`` is the region's, of the deletion receipt, in hexadecimal.
    """

    at_ms: int
    process: str
    run: str
    upload: str
    reason: str
    signature: str


Entry = Opening | Destruction


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain: how many lines it has had, and the hash of the last."""

    sequence: int = 0
    hash: bytes = bytes(HASH_BYTES)


START: Final = Head()


class ChainBroken(Exception):
    """The line that should be number ``sequence`` is not the one that was written there."""

    def __init__(self, sequence: int, why: str) -> None:
        super().__init__(f"line {sequence}: {why}")
        self.sequence = sequence
        self.why = why


def keyed_message(upload: str) -> bytes:
    """Return what the keyed id of *upload* is made over, unlike any other message of that key."""
    return _LABEL + upload.encode()


def line(head: Head, entry: Entry) -> tuple[bytes, Head]:
    """Return the line that adds *entry* behind *head*, and the head that results."""
    kind, fields = _fields(entry)
    found = {"sequence": head.sequence + 1, "previous": head.hash.hex(), "kind": kind, **fields}
    text = json.dumps(found, separators=(",", ":")).encode()
    return text, _after(head, text)


def head_at(text: bytes) -> Head:
    """Return the head that *text*, the last line of a chain, leaves; raises :class:`ChainBroken`.

    Only this one line is looked at.
    """
    sequence, _ = _read(text, 0)
    return Head(sequence, hashlib.sha256(text).digest())


def verify(lines: Iterable[bytes], start: Head | None = START) -> Head:
    """Return the head of a chain whose *lines* follow *start*; raises :class:`ChainBroken`.

    Without *start* the first line is believed: older ones are no longer kept.  Only who compares
    the answer with a head that was told elsewhere knows that no line is missing at the end.
    """
    head = start
    for text in lines:
        sequence, previous = _read(text, head.sequence + 1 if head else 0)
        if head is None:
            head = Head(sequence - 1, previous)
        if sequence != head.sequence + 1:
            raise ChainBroken(head.sequence + 1, f"number {sequence} stands in its place")
        if previous != head.hash:
            raise ChainBroken(sequence, "it does not follow the line before it")
        head = _after(head, text)
    return head or START


def attempts(lines: Iterable[bytes], upload: str) -> int:
    """Return how often *upload* (a keyed id in hexadecimal) was opened: one for each attempt."""
    found: set[tuple[object, object]] = set()
    for text in lines:
        entry = _object(text, 0)
        if entry.get("kind") == "opening" and entry.get("upload") == upload:
            found.add((entry.get("delivery"), entry.get("fence")))
    return len(found)


def _fields(entry: Entry) -> tuple[str, dict[str, object]]:
    match entry:
        case Opening():
            return "opening", {
                "at_ms": entry.at_ms,
                "process": entry.process,
                "delivery": entry.delivery,
                "fence": entry.fence,
                "upload": entry.upload,
                "kid": entry.kid,
                "segments": list(entry.segments),
            }
        case Destruction():
            return "destruction", {
                "at_ms": entry.at_ms,
                "process": entry.process,
                "run": entry.run,
                "upload": entry.upload,
                "reason": entry.reason,
                "signature": entry.signature,
            }


def _after(head: Head, text: bytes) -> Head:
    return Head(head.sequence + 1, hashlib.sha256(text).digest())


def _read(text: bytes, expected: int) -> tuple[int, bytes]:
    """Return a line's number and the hash of its predecessor."""
    fields = _object(text, expected)
    sequence, previous = fields.get("sequence"), fields.get("previous")
    if type(sequence) is not int or not isinstance(previous, str):
        raise ChainBroken(expected, "it is no line of a chain")
    try:
        return sequence, bytes.fromhex(previous)
    except ValueError:
        raise ChainBroken(expected, "it is no line of a chain") from None


def _object(text: bytes, expected: int) -> dict[str, object]:
    try:
        found = cast("object", json.loads(text))
    except ValueError:
        raise ChainBroken(expected, "it is no line of a chain") from None
    if not isinstance(found, dict):
        raise ChainBroken(expected, "it is no line of a chain")
    return cast("dict[str, object]", found)
