"""Unfinished uploads that this process has in hand: one request at a time, and the newest wins.

The rules: a request that comes later ends the one before and waits until that has let go, so never
do two of them touch one segment; and what lies idle between two requests is bounded: the longest
idle is closed first, and claimed anew when somebody asks for it.
"""

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Final

from edge.cuts import Cuts
from edge.intake import Taking
from edge.pump import Pump
from edge.record import UploadRecord
from edge.settling import Unborn
from zentransfer.errors import Code, Error
from zentransfer.ids import UploadID
from zentransfer.limits import (
    ADMISSION_RETRY_AFTER_S,
    TAKEOVER_S,
    TAKEOVERS_PER_MINUTE_MAX,
    UPLOADS_HELD_MAX,
)

_MINUTE_S: Final = 60.0


@dataclass(slots=True)
class Segment:
    """An open segment of an upload: what it was begun as, or claimed as, and the way into it."""

    unborn: Unborn
    pump: Pump

    @property
    def record(self) -> UploadRecord:
        """The upload record, as of the claim."""
        return self.unborn.record


class Held:
    """One unfinished upload: which request has it, and its open segment if there is one."""

    def __init__(self) -> None:
        self.segment: Segment | None = None
        self.user: Taking | None = None
        self._newest: Taking | None = None
        self._waiting = 0
        self._was_cut = False
        self._is_free = asyncio.Event()
        self._takeovers = deque[float](maxlen=TAKEOVERS_PER_MINUTE_MAX)

    @property
    def is_idle(self) -> bool:
        """Whether no request has it, and none waits for it."""
        return self.user is None and not self._waiting

    async def take(self, user: Taking) -> None:
        """Have it for *user*; the request before is ended, with SUPERSEDED, and waited for.

        Raises ``Error``: LOCKED when that does not let go in time or there were too many
        takeovers, SUPERSEDED when a still newer request came.
        """
        if self.user is not None:
            asked_s = self._must_be_seldom()
            self._newest = user
            self.user.cut(Code.SUPERSEDED)
            await self._wait(user)
            if self._was_cut:  # and did not end by itself meanwhile, such as with its connection
                self._takeovers.append(asked_s)
        self._newest = self.user = user
        self._is_free.clear()

    async def drop(self) -> None:
        """Close the segment, which keeps what is durable; the next request claims the upload."""
        segment, self.segment = self.segment, None
        if segment is not None:
            await segment.pump.close()

    def release(self, *, was_cut: bool = True) -> None:
        """Let the next request have it; *was_cut* says that this one ended because of that."""
        self.user = None
        self._was_cut = was_cut
        self._is_free.set()

    async def _wait(self, user: Taking) -> None:
        self._waiting += 1
        try:
            async with asyncio.timeout(TAKEOVER_S):
                while self.user is not None and self._newest is user:
                    await self._is_free.wait()
        except TimeoutError:
            raise Error(Code.LOCKED, retry_after_s=ADMISSION_RETRY_AFTER_S) from None
        finally:
            self._waiting -= 1
        if self._newest is not user:
            raise Error(Code.SUPERSEDED)

    def _must_be_seldom(self) -> float:
        """Bound the takeovers, so that two copies of a client do not starve each other for ever.

        Returns the loop's time.
        """
        now_s = asyncio.get_running_loop().time()
        often = self._takeovers
        if len(often) == TAKEOVERS_PER_MINUTE_MAX and now_s - often[0] < _MINUTE_S:
            raise Error(Code.LOCKED, retry_after_s=_MINUTE_S - (now_s - often[0]))
        return now_s


class HeldUploads:
    """All unfinished uploads that one process has in hand, the longest idle first."""

    def __init__(self) -> None:
        self._held = OrderedDict[UploadID, Held]()
        self.cuts = Cuts(lambda: asyncio.get_running_loop().time())
        """The takeovers between this process and others."""

    def of(self, upload: UploadID) -> Held:
        """Return *upload*, to be taken at once."""
        return self._held.setdefault(upload, Held())

    def user(self, upload: UploadID) -> Taking | None:
        """Return the request that has *upload*, if one has."""
        held = self._held.get(upload)
        return None if held is None else held.user

    def fence(self, upload: UploadID) -> int | None:
        """Return the fence of the open segment of *upload*, if there is one."""
        held = self._held.get(upload)
        return None if held is None or held.segment is None else held.segment.record.fence

    def is_idle(self, upload: UploadID) -> bool:
        """Say whether no request has *upload* or waits for it."""
        held = self._held.get(upload)
        return held is None or held.is_idle

    async def released(self, upload: UploadID, *, was_cut: bool = True) -> None:
        """Let go of *upload*, as of :meth:`Held.release`.

        Closes what has been idle for long when there is too much of it.
        """
        held = self._held[upload]
        held.release(was_cut=was_cut)
        if held.segment is None and held.is_idle:
            del self._held[upload]
            return
        self._held.move_to_end(upload)
        if len(self._held) <= UPLOADS_HELD_MAX:
            return
        idle = [one for one, held in self._held.items() if held.is_idle]
        if len(idle) > UPLOADS_HELD_MAX:  # those in use are bounded by admission
            await self._held.pop(idle[0]).drop()

    async def forget(self, upload: UploadID) -> None:
        """Close *upload*, which no request has."""
        held = self._held.pop(upload, None)
        if held is not None:
            assert held.is_idle, "whoever has it would go on with what others could not see"
            await held.drop()

    async def close(self) -> None:
        """Close every segment; what is durable stays."""
        for held in self._held.values():
            await held.drop()
