"""An upload that is whole, durable and not committed yet, because its name is a temporary one.

The rule: nobody is told of it as whole before it is durable with its length, so that it is
committed whatever becomes of this process (law 2): under the name that it has by then.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from edge.facts import SealedName
from edge.names import below
from edge.resuming import Resuming
from edge.settling import Settling, Unborn
from zentransfer import sealed_name
from zentransfer.errors import Code, Error
from zentransfer.ids import UploadID
from zentransfer.sealed_name import FileName

HELD: Final = "sftp-held"
"""The dialect of one that waits for its name: a crash leaves it whole."""


@dataclass(frozen=True, slots=True)
class Left:
    """A file that is committed and still waits for its last name, below *folder*."""

    settling: Settling
    upload: UploadID
    folder: str

    async def rename(self, name: FileName) -> None:
        """Give it *name*, durably; raises ``Error(FORBIDDEN)`` when it waits no more."""
        if not await self.settling.named(self.upload, below(self.folder, name)):
            raise Error(Code.FORBIDDEN, "the file is on its way under the name that it has")


class Renaming(Resuming):
    """A :class:`Resuming` that may be given another name before its commit."""

    when_cut: Callable[[], None] = staticmethod(lambda: None)
    """Called when the process wants an end of it; one that is held is committed then."""

    def cut(self, code: Code) -> None:
        """End the receiving with ``Error(code)``, and the waiting for a name without one."""
        super().cut(code)
        self.when_cut()

    async def hold(self, size: int) -> None:
        """Make durable that these *size* bytes are all; raises ``Fenced``, ``SinkError``.

        From now on the upload is committed by whoever looks after unfinished ones, at the latest.
        """
        await self.keep()
        await self._change(lambda record: replace(record.announced(size), dialect=HELD))
        self._pumped().announced(size)
        self._length = size

    def left(self) -> Left:
        """Return what a later session needs to rename it; after :meth:`begin`."""
        folder = self._admitted.credential.folder
        return Left(self._intake.tools.settling, self.upload, folder)

    async def rename(self, name: FileName) -> None:
        """Give the upload *name* below the credential's folder, durably; after :meth:`hold`.

        Raises ``Fenced``, ``SinkError``.
        """
        unborn, account = self._begun(), self._admitted.account
        where = below(self._admitted.credential.folder, name)
        upload = unborn.record.upload
        sealed = sealed_name.seal(account.name_key, account.id, upload, where)
        sealed_as = SealedName(account.name_kid, sealed)
        known = replace(unborn.known, name=where, sealed_name=sealed_as, is_held=False)
        names, kid = self._intake.tools.settling.seal(upload, known)
        await self._change(lambda record: record.named(names, kid))
        self._unborn = Unborn(unborn.record, known)
