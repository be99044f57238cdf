"""What a camera or a program signs in with: how it is spelled and how it is checked.  Pure.

The rule: nobody keeps a secret.  Control keeps the inner hash; a region gets a verifier that only
its own pepper can make, so what leaks from one region is of no use in another.  Secrets are made by
us and hold 100 random bits, so no slow hash is needed.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Final

from zentransfer.errors import Code, Error
from zentransfer.ids import CredentialName, RandomBytes

PEPPER_BYTES: Final = 32
PEPPER_FILE_BYTES: Final = 16 + 1 + 2 * PEPPER_BYTES + 1  # kid, a space, the key, a line's end

_TYPED: Final = "[a-km-np-z2-9]"  # without 0, 1, l and o, which look like one another
_NAME: Final = re.compile(f"{_TYPED}{{8}}")
_SECRET: Final = re.compile(f"{_TYPED}{{20}}")
_TOKEN: Final = re.compile(f"zt_({_TYPED}{{8}})_({_TYPED}{{20}})")
_PEPPER: Final = re.compile(b"([0-9a-f]{16}) ([0-9a-f]{64})\n")


@dataclass(frozen=True, slots=True)
class Pepper:
    """A region's own key for verifiers, shared by control and that region; ``kid`` names it."""

    kid: str
    key: bytes

    def __repr__(self) -> str:
        return f"Pepper({self.kid})"


@dataclass(frozen=True, slots=True)
class Shown:
    """What somebody signs in with: the name to look up, and the secret to check."""

    name: CredentialName
    secret: str

    def __repr__(self) -> str:
        return "Shown(...)"


def token(name: CredentialName, secret: str) -> str:
    """Return the bearer token (RFC 6750) of a credential for programs: ``zt_<name>_<secret>``."""
    return f"zt_{name}_{secret}"


def parse_token(text: str) -> Shown:
    """Return what a bearer token holds; raises ``Error(UNAUTHENTICATED)``."""
    match = _TOKEN.fullmatch(text)
    if match is None:
        raise Error(Code.UNAUTHENTICATED)
    return Shown(CredentialName(match[1]), match[2])


def parse_shown(name: str, secret: str) -> Shown:
    """Return a name and secret that were typed in; raises ``Error(UNAUTHENTICATED)``."""
    if _NAME.fullmatch(name) is None or _SECRET.fullmatch(secret) is None:
        raise Error(Code.UNAUTHENTICATED)
    return Shown(CredentialName(name), secret)


def inner_hash(secret: str) -> bytes:
    """Return what control keeps of a secret: its SHA-256."""
    return hashlib.sha256(secret.encode()).digest()


def verifier(pepper: Pepper, inner: bytes) -> bytes:
    """Return what a region keeps: HMAC-SHA256 of the inner hash under the region's pepper."""
    return hmac.digest(pepper.key, inner, "sha256")


def is_right(expected: bytes, got: bytes) -> bool:
    """Compare two hashes in a time that says nothing about where they differ."""
    return hmac.compare_digest(expected, got)


def make_pepper(random_bytes: RandomBytes) -> Pepper:
    """Return a new pepper."""
    key = random_bytes(PEPPER_BYTES)
    return Pepper(hashlib.sha256(key).hexdigest()[:16], key)


def pepper_file(pepper: Pepper) -> bytes:
    """Return the content of the file that holds *pepper*: kid and key in hexadecimal, one line."""
    return f"{pepper.kid} {pepper.key.hex()}\n".encode()


def parse_pepper_file(content: bytes) -> Pepper:
    """Return the pepper in a file; raises ``Error(DAMAGED)``."""
    match = _PEPPER.fullmatch(content)
    if match is None:
        raise Error(Code.DAMAGED, "this is not the file of a pepper")
    return Pepper(match[1].decode(), bytes.fromhex(match[2].decode()))
