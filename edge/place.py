"""One process's place in its node's data folder: its own outbox and snapshot, held by a lock.

The rule: **one living process has a place**.  Two writers of one outbox would tear it, so a second
one of the same name does not start; and whoever starts learns, before it admits anything, which
others live and which uploads the dead have left.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from edge.sinks.base import Sink
from zentransfer.disk import Disk
from zentransfer.ids import ProcessName, UploadID
from zentransfer.limits import PEER_LOCK_S
from zentransfer.service import CannotStart

SINK_FOLDER: Final = "sink"
OUTBOX_FOLDER: Final = "outbox"
SNAPSHOT_FOLDER: Final = "snapshot"
RUN_FOLDER: Final = "run"
KEYS_FOLDER: Final = "keys"
SPENT_FOLDER: Final = "spent"
FOLDERS: Final = (
    *(SINK_FOLDER, OUTBOX_FOLDER, SNAPSHOT_FOLDER),
    *(RUN_FOLDER, KEYS_FOLDER, SPENT_FOLDER),
)
"""What a node's data folder holds; all are made before anything is shut off from a process."""

_LOCK: Final = ".lock"
_STARTING: Final = "starting.lock"


@dataclass(frozen=True, slots=True)
class Left:
    """What a process finds when it starts: uploads that are here, and who lives beside it."""

    uploads: tuple[UploadID, ...]
    living: frozenset[ProcessName]


class Place:
    """The place of the process *name*; taken until :meth:`aclose`, or until the process ends."""

    def __init__(self, disk: Disk, name: ProcessName) -> None:
        """Stand on the node's data folder, in which FOLDERS are made."""
        self._disk = disk
        self._name = name
        self._held = AsyncExitStack()

    @property
    def outbox(self) -> str:
        """The folder of this process's outbox."""
        return f"{OUTBOX_FOLDER}/{self._name}"

    @property
    def snapshot(self) -> str:
        """The folder of this process's snapshots."""
        return f"{SNAPSHOT_FOLDER}/{self._name}"

    async def take(self, sink: Sink | None = None) -> Left:
        """Take the place, and look at *sink* before anybody who starts now may add to it.

        Raises :class:`CannotStart`, temporary, while another process has the place.
        """
        try:
            async with self._disk.lock(f"{RUN_FOLDER}/{_STARTING}"):
                await self._held.enter_async_context(self._disk.lock(_lock_file(self._name)))
                living = await self._living()
                uploads = () if sink is None else tuple([one async for one in sink.uploads()])
        except TimeoutError as held:
            raise CannotStart(
                f"Another process runs as {self._name} on this data folder.",
                "Stop it, or give this one another --index.",
                temporary=True,
            ) from held
        return Left(uploads, living)

    async def aclose(self) -> None:
        """Give the place back; idempotent."""
        await self._held.aclose()

    async def others(self) -> dict[ProcessName, bool]:
        """Return the other places of our kind on this node, and of each whether somebody lives."""
        kind = self._name.partition("-")[0]
        names = [name for name in self._places() if name.partition("-")[0] == kind]
        return {name: not await self._is_free(name) for name in names}

    @asynccontextmanager
    async def vacated(self, other: ProcessName) -> AsyncGenerator[Left, None]:
        """Hold the place *other*, which nobody has; at a good end it is no more.

        Yields what is left, with no upload in it: whoever wants them lists them under this lock;
        we are among the living.  Raises ``TimeoutError`` while somebody has it.
        """
        lock = _lock_file(other)
        async with AsyncExitStack() as held:
            async with asyncio.timeout(PEER_LOCK_S):
                await held.enter_async_context(self._disk.lock(lock))
            yield Left((), await self._living() - {other} | {self._name})
            self._disk.unlink(lock)  # the last act of its holder

    def _places(self) -> list[ProcessName]:
        locks = [name for name in self._disk.names(RUN_FOLDER) if name.endswith(_LOCK)]
        names = [ProcessName(name.removesuffix(_LOCK)) for name in locks if name != _STARTING]
        return [name for name in names if name != self._name]

    async def _living(self) -> frozenset[ProcessName]:
        return frozenset([one for one in self._places() if not await self._is_free(one)])

    async def _is_free(self, other: ProcessName) -> bool:
        try:
            async with asyncio.timeout(PEER_LOCK_S), self._disk.lock(_lock_file(other)):
                return True
        except TimeoutError:
            return False


def _lock_file(name: ProcessName) -> str:
    return f"{RUN_FOLDER}/{name}{_LOCK}"
