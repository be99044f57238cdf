"""Checksums of one request's bytes, by the names that senders use for them.  Pure.

The rule: a checksum guards bytes on their way against accidents, so weak ones are welcome where
senders use them; what proves a file to others is its SHA-256.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Protocol

import crc32c
import xxhash

from zentransfer.errors import Code, Error


class Hasher(Protocol):
    """A running hash, as of ``hashlib``."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Add *data*."""
        ...

    def digest(self) -> bytes:
        """Return the hash of all that was added."""
        ...


def _weak(name: str) -> Callable[[], Hasher]:
    return lambda: hashlib.new(name, usedforsecurity=False)


# XXH3 in its form of 128 bits, in the canonical, big-endian order of its own specification.
_MAKERS: Final[Mapping[str, tuple[Callable[[], Hasher], int]]] = MappingProxyType(
    {
        "sha1": (_weak("sha1"), 20),
        "sha256": (hashlib.sha256, 32),
        "sha512": (hashlib.sha512, 64),
        "md5": (_weak("md5"), 16),
        "crc32c": (crc32c.CRC32CHash, 4),
        "xxh3": (xxhash.xxh3_128, 16),
        "sha-256": (hashlib.sha256, 32),
        "sha-512": (hashlib.sha512, 64),
    }
)

TUS: Final = ("sha1", "sha256", "sha512", "md5", "crc32c", "xxh3")
"""The names of tus; ``crc32c`` is 4 bytes, big-endian, ``xxh3`` the 16 of XXH3_128bits."""
RFC9530: Final = ("sha-512", "sha-256")
"""The names of RFC 9530 that are registered as active, the better one first."""


@dataclass(frozen=True, slots=True)
class Check:
    """What a sender says that the bytes of its request hash to; made by :func:`check`."""

    algorithm: str
    expected: bytes

    def hasher(self) -> Hasher:
        """Return a fresh running hash."""
        maker, _ = _MAKERS[self.algorithm]
        return maker()


def check(algorithm: str, expected: bytes, among: tuple[str, ...]) -> Check:
    """Return the check by *algorithm*, one of *among*, against *expected*.

    Raises ``Error(INVALID)`` for another algorithm, and for a digest that is not of its length:
    such a one matches no content.
    """
    if algorithm not in among:
        raise Error(Code.INVALID, f"the checksum is one of {' '.join(among)}")
    if len(expected) != _MAKERS[algorithm][1]:
        raise Error(Code.INVALID, "the checksum has another length than its algorithm's")
    return Check(algorithm, expected)
