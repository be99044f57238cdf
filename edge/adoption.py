"""What a node's ingest process leaves when nobody runs it any more, taken over by one that lives.

The rules: a place that stays vacant from one look to the next is adopted by whoever takes its lock,
under which its last process lived; its facts go into the adopter's outbox, where they are durable
before they leave theirs; its uploads are seen to as at a start; and then the place is no more.

So processes may come and go under any index: the launcher lets a successor begin under a free one,
because a place has one living process.  A fact that is told twice is the same (its id), so a crash
at any step repeats it and loses nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable

from edge.outbox import Outbox, open_outbox
from edge.place import OUTBOX_FOLDER, Left, Place
from zentransfer import log
from zentransfer.disk import Disk
from zentransfer.errors import Error
from zentransfer.ids import EpochID, ProcessName
from zentransfer.limits import ADOPT_PAUSE_S


class Adoption:
    """Looks for vacant places of one node, for one of its ingest processes."""

    def __init__(
        self,
        disk: Disk,
        place: Place,
        outbox: Outbox,
        new_epoch: Callable[[], EpochID],
        living: frozenset[ProcessName],
    ) -> None:
        """Adopt for the process that has *place*; *living* are the others as it found them."""
        self._disk = disk
        self._place = place
        self._outbox = outbox
        self._new_epoch = new_epoch
        self.living = living
        """The other processes of the node that lived at the last look."""

    async def run(self, see_to: Callable[[Left], Awaitable[None]]) -> None:
        """Look again and again, for ever; *see_to* looks after the uploads that are left."""
        vacant = frozenset[ProcessName]()
        while True:
            await asyncio.sleep(ADOPT_PAUSE_S)
            before = vacant
            try:
                vacant = await self._look()
                for name in sorted(vacant & before):  # not one that is about to start again
                    await self.adopt(name, see_to)
            except (OSError, Error) as failure:
                log.error("outbox.not_adopted", failure)

    async def adopt(self, name: ProcessName, see_to: Callable[[Left], Awaitable[None]]) -> None:
        """Take over what *name* left, unless somebody has its place.

        Raises ``OSError`` and ``Error`` (OUTBOX_FULL): what is not done then is done later.
        """
        try:
            async with self._place.vacated(name) as left:
                count = await self._tell(f"{OUTBOX_FOLDER}/{name}")
                await see_to(left)
        except TimeoutError:
            return  # somebody lives there again, or adopts it
        log.fact("outbox.adopted", process=name, count=count)

    async def _look(self) -> frozenset[ProcessName]:
        """Return which places are vacant, and note who lives."""
        others = await self._place.others()
        self.living = frozenset(name for name, is_living in others.items() if is_living)
        return frozenset(others) - self.living

    async def _tell(self, folder: str) -> int:
        """Move every fact of the outbox in *folder* into ours; returns how many there were."""
        left = await open_outbox(self._disk, folder, self._new_epoch)
        count, after = 0, 0
        try:
            while (found := left.read(after))[1]:
                await self._add(found[1])
                count += len(found[1])
                after = found[0] + len(found[1]) - 1
                await left.acked(after)
        finally:
            left.close()
        for name in self._disk.names(folder):
            self._disk.unlink(f"{folder}/{name}")
        return count

    async def _add(self, facts: list[bytes]) -> None:
        """Make *facts* durable in our outbox, in as few flushes as it takes; raises ``Error``."""
        try:
            async with asyncio.TaskGroup() as group:
                for fact in facts:
                    group.create_task(self._outbox.add(fact))
        except ExceptionGroup as failed:  # except* would wrap what it raises (3.11.2)
            raise failed.exceptions[0] from None
