"""One file that a client of SFTP writes, from its open request to its one end.

The rules: a close is answered when content, manifest and outcome are durable (law 2), and nothing
but a close makes a file whole (law 4).  A file of a temporary name is answered when it is durable
with its length, and committed when it is renamed, or when nobody renames it in time: then it waits
some minutes more for a rename, as one by FTP does, before it is delivered.
"""

import asyncio
from dataclasses import dataclass

from edge.incoming import Incoming
from edge.pace import Patience
from edge.sftp.inflow import Inflow
from edge.sftp.order import InOrder
from edge.sftp.renaming import Left, Renaming
from edge.sftp.view import Path
from zentransfer import log
from zentransfer.errors import Code, Error
from zentransfer.sealed_name import FileName


@dataclass(frozen=True, slots=True)
class Terms:
    """How long a sender may keep us waiting, and how long a temporary name is kept, in seconds."""

    patience: Patience
    rename_s: float


class OpenFile:
    """One file; :meth:`live` is its task."""

    def __init__(self, taking: Renaming, incoming: Incoming, terms: Terms, *, waits: bool) -> None:
        """Bring what is written to *taking*; *waits* says that its name is a temporary one."""
        self.announced: int | None = None
        """The size in bytes that its sender gave, if it did: then fewer are no whole file."""
        self.modified_s: int | None = None
        """The time that its sender gave it, in seconds since 1970."""
        self.path: Path = ()
        """Where its sender sees it."""
        self._taking = taking
        self._incoming = incoming
        self._terms = terms
        self._waits = waits
        self._is_cancelled = False
        self._last_name: FileName | None = None
        self._order = InOrder()
        self._inflow = Inflow()
        loop = asyncio.get_running_loop()
        self._begun: asyncio.Future[None] = loop.create_future()
        self._kept: asyncio.Future[None] = loop.create_future()
        self._named: asyncio.Future[FileName | None] = loop.create_future()
        self._over: asyncio.Future[None] = loop.create_future()
        taking.when_cut = self.settle

    @property
    def size(self) -> int:
        """How many bytes came in order."""
        return self._order.next

    @property
    def is_held(self) -> bool:
        """Whether it is closed and waits for its name."""
        return self._kept.done() and not self._over.done()

    async def begun(self) -> None:
        """Return when it can be written; raises ``Error``."""
        await asyncio.shield(self._begun)

    async def write(self, offset: int, data: bytes) -> None:
        """Take *data* at *offset*; returns when there is room for more.  Raises ``Error``."""
        try:
            ready = self._order.put(offset, data)
        except Error as error:
            self._inflow.fail(error)  # it can never be whole
            raise
        if ready:
            await self._inflow.put(ready)

    async def close(self) -> None:
        """Return when it is durable as a whole; raises ``Error`` if it never is."""
        is_short = self.announced is not None and self.size < self.announced
        if self._order.has_gap or is_short:
            self._inflow.fail(Error(Code.PEER_GONE, "the file was cut"))
        self._inflow.end()
        await asyncio.shield(self._kept)

    async def rename(self, name: FileName) -> None:
        """Commit it as *name*; returns when all of that is durable.

        Raises ``Error``: FORBIDDEN when it is delivered under the name that it had.
        """
        if not self._named.done():
            self._named.set_result(name)
        await asyncio.shield(self._over)
        if self._last_name != name:  # it was committed as it was, a moment ago
            await self.left().rename(name)

    def left(self) -> Left:
        """Return what renames it after its commit."""
        return self._taking.left()

    async def cancel(self) -> None:
        """End it as cancelled, if it is held and not committed yet; raises ``Error``."""
        self._is_cancelled = True
        self.settle()
        await asyncio.shield(self._over)

    def settle(self) -> None:
        """Commit it under the name that it has, if it is held."""
        if not self._named.done():
            self._named.set_result(None)

    def cut(self) -> None:
        """Take the end of the connection for what it is: no end of a file; a held one is whole."""
        self._inflow.fail(Error(Code.PEER_GONE, "the connection was lost"))
        self.settle()

    async def live(self) -> None:
        """Take the file in, to its one end; raises nothing."""
        try:
            await self._lived()
        except Error as error:
            self._failed(error)
        except Exception as fault:  # noqa: BLE001 - a fault in one file stops no other
            log.error("sftp.failed", fault)
            self._failed(Error(Code.INTERNAL))
        except BaseException:
            self._failed(Error(Code.INTERNAL))
            raise
        else:
            _set(self._kept)
            _set(self._over)

    async def _lived(self) -> None:
        taking = self._taking
        async with taking:
            await taking.begin(self._incoming)
            _set(self._begun)
            await taking.receive(self._inflow, self._terms.patience)
            if self._waits:
                await taking.hold(self.size)
                _set(self._kept)
                if (name := await self._name()) is not None:
                    await taking.rename(name)
                    self._last_name = name
            if self._is_cancelled:
                await taking.terminate()
            else:
                await taking.commit()

    async def _name(self) -> FileName | None:
        """Return what it is renamed to, ``None`` if nobody does so in time."""
        try:
            async with asyncio.timeout(self._terms.rename_s):
                return await asyncio.shield(self._named)
        except TimeoutError:
            return None

    def _failed(self, error: Error) -> None:
        self._inflow.fail(error)
        for each in (self._begun, self._kept, self._over):
            if not each.done():
                each.set_exception(error)
                each.exception()  # who waits hears of it; where nobody does, nothing is lost


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
