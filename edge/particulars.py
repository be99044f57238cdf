"""What an upload record keeps sealed: the file's name, and what its outcome will need.  Pure.

The rule: an outcome that is told again is the same to the last byte, so everything in it that is
not in the record in clear is sealed beside it **before** the end, the sealed name of a file too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from edge.facts import OutcomeState, SealedName
from edge.seal.names import open_names, seal_names
from zentransfer.errors import Code
from zentransfer.ids import UploadID
from zentransfer.limits import FTP_RENAME_S
from zentransfer.sealed_name import FileName

_WORDS: Final = "utf-8"


@dataclass(frozen=True, slots=True)
class Fate:
    """An end other than a commit, and why."""

    state: OutcomeState
    error: Code


@dataclass(frozen=True, slots=True)
class Particulars:
    """What is known of an upload beside its bytes.

    ``sealed_name`` is the name as control gets it.  ``taken_by`` is the node and process that takes
    it, such as ``fr-1/ingest-0``.  ``digest`` is the SHA-256 that its sender announced: it commits
    with that digest or not at all.  ``metadata`` is what its sender gets back as it was sent.
    ``concat`` is what its sender said of the uploads that this one consists of, as it was sent;
    it holds secret addresses.  ``fate`` is set with an end other than a commit.  ``is_held`` says
    that the name is a temporary one: for FTP_RENAME_S after its commit the file waits for its last;
    ``is_withdrawn``, that its sender took it back while it did.
    """

    name: FileName
    taken_by: str = ""
    sealed_name: SealedName | None = None
    media_type: str = ""
    content_encoding: str = ""
    digest: bytes | None = None
    metadata: str = ""
    concat: str = ""
    fate: Fate | None = None
    is_held: bool = False
    is_withdrawn: bool = False

    def waits_until_ms(self, ended_ms: int) -> int:
        """Return until when a file that was committed at *ended_ms* waits for its last name, UTC.

        0 if it does not wait.
        """
        return ended_ms + int(FTP_RENAME_S * 1000) if self.is_held else 0


def seal_particulars(key: bytes, upload: UploadID, known: Particulars, nonce: bytes) -> bytes:
    """Return *known* sealed for *upload* under the region's metadata *key* and 12 random bytes.

    Raises :class:`edge.seal.packing.Malformed` when it is too long.
    """
    return seal_names(key, upload, _table(known), nonce)


def open_particulars(key: bytes, upload: UploadID, sealed: bytes) -> Particulars:
    """Return what is *sealed*; raises :class:`edge.seal.broken.Broken` if not of *upload*."""
    table = open_names(key, upload, sealed)

    def word(name: str) -> str:
        return table.get(name, b"").decode(_WORDS)

    return Particulars(
        name=FileName(word("folder"), word("name")),
        taken_by=word("by"),
        sealed_name=SealedName(word("kid"), table["sealed"]) if "sealed" in table else None,
        media_type=word("type"),
        content_encoding=word("encoding"),
        digest=table.get("digest"),
        metadata=word("metadata"),
        concat=word("concat"),
        fate=Fate(OutcomeState(word("state")), Code(word("error"))) if "state" in table else None,
        is_held="held" in table,
        is_withdrawn="withdrawn" in table,
    )


def _table(known: Particulars) -> Mapping[str, bytes]:
    table = {
        "folder": known.name.folder.encode(_WORDS),
        "name": known.name.name.encode(_WORDS),
        "by": known.taken_by.encode(_WORDS),
        "type": known.media_type.encode(_WORDS),
        "encoding": known.content_encoding.encode(_WORDS),
        "metadata": known.metadata.encode(_WORDS),
        "concat": known.concat.encode(_WORDS),
        "held": b"1" if known.is_held else b"",
        "withdrawn": b"1" if known.is_withdrawn else b"",
    }
    if known.sealed_name is not None:
        table["kid"] = known.sealed_name.kid.encode(_WORDS)
        table["sealed"] = known.sealed_name.ciphertext
    if known.digest is not None:
        table["digest"] = known.digest
    if known.fate is not None:
        table["state"] = known.fate.state.encode(_WORDS)
        table["error"] = known.fate.error.encode(_WORDS)
    return {name: value for name, value in table.items() if value}
