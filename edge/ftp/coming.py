"""One transfer of a file by FTP on its way in, and the path by which it is found again.

The rule: what is seen of it here, bytes and digest, is what came, durable or not; what is durable
is said by its upload alone (law 1).
"""

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

import xxhash

from edge.admission import Admit
from edge.facts import Door
from edge.ftp.data import DataChannel
from edge.ftp.paths import file_name, maybe_lasting
from edge.ftp.view import Path, View
from edge.incoming import Incoming
from edge.pace import Patience
from edge.resuming import Resuming
from zentransfer.errors import Error
from zentransfer.ids import CredentialID
from zentransfer.sealed_name import FileName

DIALECT: Final = "ftp"
"""Such an upload is continued by its credential and name, by whichever process is asked."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a transfer goes: whose it is, what that one sees, the path, and the name for us."""

    whose: Admit
    view: View
    path: Path
    name: FileName

    @property
    def credential(self) -> CredentialID:
        """Whose file it is."""
        return self.whose.credential.id


class Storing:
    """One transfer on its way in: a source of parts that knows what it has seen."""

    def __init__(self, target: Target, taking: Resuming, *, is_new: bool) -> None:
        """Bring what belongs to *target* into *taking*, which is entered."""
        self.target = target
        self.taking = taking
        self.was_kept = not is_new
        """Whether it was there before, so that its sender was told of it."""
        self.is_new = is_new
        """Whether the upload is still to be begun."""
        self.is_contested = False
        """Whether another transfer of this name ran beside it."""
        self.before = 0 if is_new else taking.offset
        self.hasher: xxhash.xxh3_128 | None = xxhash.xxh3_128() if is_new else None
        self.size = self.before
        """How many bytes of the file were seen by now, durable or not."""
        self._data: DataChannel | None = None

    @property
    def digest(self) -> bytes:
        """The digest of all that came, empty if not all of it was seen."""
        return self.hasher.digest() if self.hasher is not None else b""

    async def receive(self, data: DataChannel, patience: Patience) -> None:
        """Take all that comes over *data*; raises as :meth:`edge.intake.Taking.receive`."""
        self._data = data
        if self.is_new:
            name, path = self.target.name, quoted(self.target.path)
            shown = maybe_lasting(name)
            await self.taking.begin(Incoming(name, Door.FTP, DIALECT, metadata=path, shown=shown))
            self.is_new = False
        await self.taking.receive(self, patience)

    async def readany(self) -> bytes:
        """Return what has come, and see it."""
        assert self._data is not None, "a data connection is given to it before"
        part = await self._data.readany()
        self.size += len(part)
        if self.hasher is not None:
            self.hasher.update(part)
        return part


def quoted(path: Path) -> str:
    """Return *path* as the record keeps it, other bytes than UTF-8 too."""
    return quote_from_bytes("/".join(path).encode(errors="surrogateescape"))


def unquoted(text: str) -> Path:
    """Return the path in *text*, an empty one for what is none."""
    path = tuple(unquote_to_bytes(text).decode(errors="surrogateescape").split("/"))
    try:
        file_name((), "/".join(path))
    except Error:
        return ()
    return path
