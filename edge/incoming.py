"""What a door knows of an upload before its first byte, in one form for every dialect.  Pure."""

from dataclasses import dataclass

from edge.facts import Door
from zentransfer.sealed_name import FileName


@dataclass(frozen=True, slots=True)
class Incoming:
    """What a door knows of an upload before its first byte.

    ``length`` in bytes if announced, ``digest`` the SHA-256 if announced; ``wants_digest`` asks
    for it without announcing one.  ``dialect`` is the door's word: it is continued in no other.
    ``metadata`` is what the sender wants to read again, as it was sent.
    """

    name: FileName
    door: Door
    dialect: str
    length: int | None = None
    media_type: str = ""
    content_encoding: str = ""
    digest: bytes | None = None
    wants_digest: bool = False
    metadata: str = ""
