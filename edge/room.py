"""An upload that announced no length has no promise of room: it ends before it takes the others'.

The rule: what a disk keeps back is for records, the outbox and what was promised.  Without that
room a full disk could not even note that an upload has failed, nor remove what fills it.
"""

from collections.abc import Callable
from typing import Final

from edge.pump import Source
from zentransfer.errors import Code, Error
from zentransfer.limits import ADMISSION_RETRY_AFTER_S

LOOK_EVERY_BYTES: Final = 1 << 20  # a look costs 2 us; several uploads may pass it by that much


class Unpromised:
    """A source of parts that ends in INSUFFICIENT_STORAGE once the node has no room for more."""

    def __init__(self, source: Source, has_room: Callable[[], bool]) -> None:
        self._source = source
        self._has_room = has_room
        self._count = 0

    async def readany(self) -> bytes:
        """Return what has come; see ``Source``.  Raises ``Error(INSUFFICIENT_STORAGE)``."""
        part = await self._source.readany()
        self._count += len(part)
        if self._count >= LOOK_EVERY_BYTES:
            self._count = 0
            if not self._has_room():
                raise Error(Code.INSUFFICIENT_STORAGE, retry_after_s=ADMISSION_RETRY_AFTER_S)
        return part
