"""What a door knows of an upload before its first byte, in one form for every dialect.  Pure."""

from dataclasses import dataclass

from edge.facts import Door
from zentransfer.ids import UploadID
from zentransfer.sealed_name import FileName


@dataclass(frozen=True, slots=True)
class Incoming:
    """What a door knows of an upload before its first byte.

    ``length`` in bytes if announced, ``digest`` the SHA-256 if announced; ``wants_digest`` asks
    for it without announcing one; ``is_checked`` says that the request which begins the upload
    brings bytes with a checksum of their own.  ``dialect`` is the door's word: it is continued in
    no other.  ``metadata`` is what the sender wants to read again, as it was sent.

    ``is_partial`` says that it is only a piece of finals to come, ``partials`` that it is a final
    of those, in this order; ``concat`` is the sender's own word for either.

    ``shown`` is the name that its owner is shown where ``name`` is a temporary one: then the file
    ``is_held`` until it has its last name, or for some minutes.
    """

    name: FileName
    door: Door
    dialect: str
    length: int | None = None
    media_type: str = ""
    content_encoding: str = ""
    digest: bytes | None = None
    wants_digest: bool = False
    is_checked: bool = False
    concat: str = ""
    is_partial: bool = False
    partials: tuple[UploadID, ...] = ()
    metadata: str = ""
    shown: FileName | None = None

    @property
    def is_held(self) -> bool:
        """Whether its name is a temporary one."""
        return self.shown is not None
