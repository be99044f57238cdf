"""The contract of a bucket: the few verbs of an object store that the sink stands on.

The rules: a new object is put only where there is none, and a small one is replaced only as it was
read; a store that does not hold writers to that cannot keep uploads.
"""

from asyncio import Future
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from edge.sinks.base import SinkError
from zentransfer.errors import Code
from zentransfer.ids import RandomBytes

_PROBE_BYTES: Final = 16


class Taken(Exception):
    """The condition of a put does not hold: something, or something else, is there."""


@dataclass(frozen=True, slots=True)
class Object:
    """What lies under a key, and the tag by which it is replaced."""

    data: bytes = field(repr=False)
    tag: str


@dataclass(frozen=True, slots=True)
class Listed:
    """One object of a list: ``size`` in bytes, ``put_ms`` by the store's clock, UTC."""

    key: str
    size: int
    put_ms: int


class Bucket(Protocol):
    """A place for objects that several processes share.

    Every verb raises ``SinkError``; then what it should have done may happen, now or later.
    """

    def begin(self, key: str, data: bytes) -> "Future[str]":
        """Begin to put a new object; the future ends with its tag, when it is durable.

        It raises :class:`Taken` where an object is, be it this one.
        """
        ...

    async def put(self, key: str, data: bytes, tag: str | None) -> str:
        """Put an object over the one with this *tag*, or where there is none; returns its tag.

        Durable when it returns.  Raises :class:`Taken`.
        """
        ...

    async def get(self, key: str, size_max: int, *, start: int = 0) -> Object | None:
        """Return what lies under *key*, from byte *start* on; ``None`` for nothing.

        More than *size_max* bytes are refused for good.
        """
        ...

    def names(self, prefix: str, after: str = "") -> AsyncIterator[Listed]:
        """Yield every object whose key begins with *prefix*, a whole folder, in order of keys.

        With *after* only those behind that key.
        """
        ...

    async def folders(self, prefix: str) -> list[str]:
        """Return the names of the folders right below *prefix*, a folder."""
        ...

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove these objects; those that are not there are removed already."""
        ...


def too_large() -> SinkError:
    """Return the error for an object that none of our processes put there."""
    return SinkError("an object is larger than it can be", temporary=False, code=Code.DAMAGED)


async def prove(bucket: Bucket, random_bytes: RandomBytes) -> None:
    """See that *bucket* is there, ours to use, and holds writers to their conditions.

    Raises ``SinkError``; permanent for a store that lets a put through whose condition does not
    hold, because two nodes would then tear each other's uploads.
    """
    number = random_bytes(_PROBE_BYTES)
    key = f"probe/{number.hex()}"
    tag = await bucket.put(key, number, None)
    try:
        kept = [await _is_refused(bucket, key, None)]
        newer = await bucket.put(key, number[::-1], tag)
        kept.append(await _is_refused(bucket, key, tag))
        await bucket.put(key, number, newer)
        if not all(kept):
            raise SinkError("the store ignores the conditions of a put", temporary=False)
    except Taken as failure:
        raise SinkError("the store refuses a put whose condition holds", temporary=False) from (
            failure
        )
    finally:
        await bucket.delete([key])


async def _is_refused(bucket: Bucket, key: str, tag: str | None) -> bool:
    try:
        await bucket.put(key, b"of another writer", tag)
    except Taken:
        return True
    return False
