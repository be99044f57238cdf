"""The stream to control: dials, says who we are, beats, obeys, and dials again.

The rule: whatever happens to control happens here and nowhere else (law 5). ``run`` ends when
``aclose`` is called and for no other reason; the process asks ``state`` and is never interrupted.
What is said on one stream is in ``link_talk``.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random
from typing import Final

from edge.link_state import Identity, Offset, Pace, is_for_long
from edge.link_talk import Cargo, Owner, Side, Stream, Talk, Timing
from zentransfer import log
from zentransfer.clock import Clock
from zentransfer.errors import Code
from zentransfer.limits import LINK_LAST_WORD_S, LINK_TELL_ALL_S
from zentransfer.stream import StreamClosed

__all__ = ["Cargo", "Dial", "Link", "Owner", "Stream", "Timing"]

Dial = Callable[[], Awaitable[Stream]]
"""Opens a stream to control; raises :class:`StreamClosed` when nobody takes it."""

DEFAULT_TIMING: Final = Timing()


class Link:
    """Keeps one stream to control for one process, for as long as that process lives."""

    def __init__(
        self,
        identity: Identity,
        dial: Dial,
        owner: Owner,
        clock: Clock,
        random: Random,
        timing: Timing = DEFAULT_TIMING,
    ) -> None:
        self._side = Side(identity, owner, clock, random, timing)
        self._dial = dial
        self._pace = Pace(random)
        self._talk: Talk | None = None  # the last one; live or not
        self._detail = "control was not dialled yet"
        self._dials = 0  # since the last welcome
        self._away_since_s: float | None = None
        self._life: asyncio.Timeout | None = None
        self._is_leaving = False
        self._left = asyncio.Event()

    def state(self) -> tuple[bool, str]:
        """Say whether control is linked, and in which words; a check for health, not required."""
        is_linked = self._talk is not None and self._talk.is_live
        return is_linked, "linked to control" if is_linked else self._detail

    def offset(self) -> Offset | None:
        """Return how far this clock is from control's, if an echo ever came."""
        return self._side.offset.best()

    def changed(self) -> None:
        """Tell control soon that the owner's status is another; at most one early beat a second."""
        if self._talk is not None:
            self._talk.beat_soon()

    async def tell_all(self) -> None:
        """Return when control has committed every fact of the outbox, is away, or is too slow.

        What is left waits in the outbox for the next start.
        """
        if self._talk is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(LINK_TELL_ALL_S):
                    await self._talk.tell_all()

    async def run(self) -> None:
        """Hold a stream to control until :meth:`aclose`; control's absence never ends it."""
        assert self._life is None, "a link runs once"
        self._away_since_s = asyncio.get_running_loop().time()
        life = self._life = asyncio.timeout(None)
        try:
            async with life:
                while not self._is_leaving:
                    await self._hold()
        except TimeoutError:
            assert life.expired(), "nothing else lets a timeout out"
        finally:
            self._detail = "the process leaves"
            self._left.set()

    async def aclose(self) -> None:
        """Say the last state if control listens, then end :meth:`run`; idempotent."""
        self._is_leaving = True
        if self._life is None:
            return
        if self._talk is not None and self._talk.is_live:
            with suppress(TimeoutError):
                async with asyncio.timeout(LINK_LAST_WORD_S):
                    await self._talk.say_last()
        if not self._left.is_set() and not self._life.expired():
            self._life.reschedule(asyncio.get_running_loop().time())
        await self._left.wait()

    async def _hold(self) -> None:
        """Live through one stream, and the pause after it."""
        self._dials += 1
        self._talk = talk = Talk(self._side, self._linked)
        closed = await self._lived(talk)
        now_s = asyncio.get_running_loop().time()
        lived_s = 0.0 if talk.since_s is None else now_s - talk.since_s
        if talk.since_s is not None:
            self._away_since_s = now_s
        wait_s = self._pace.next_wait_s(closed.code, lived_s, closed.retry_after_s)
        self._detail = f"not linked: {closed.detail}"
        self._tell(closed, lived_s, wait_s)
        await asyncio.sleep(wait_s)

    async def _lived(self, talk: Talk) -> StreamClosed:
        """Dial, talk, close; return why it is over, for one stream never outlives its silence."""
        try:
            async with asyncio.timeout(self._side.timing.welcome_s) as patience:
                stream = await self._dial()
                try:
                    return await talk.live(stream, patience)
                finally:
                    await stream.close()
        except StreamClosed as closed:
            return closed
        except TimeoutError:
            return StreamClosed("control was silent for too long")
        except Exception as exc:  # noqa: BLE001 - the rim: a fault of ours costs one stream
            log.error("link.failed", exc, node=self._side.identity.node)
            return StreamClosed("a fault of our own")

    def _linked(self, version: int) -> None:
        now_s = asyncio.get_running_loop().time()
        log.fact(
            "link.up",
            node=self._side.identity.node,
            version=version,
            dials=self._dials,
            away_s=now_s - (self._away_since_s or 0),
        )
        self._dials = 0

    def _tell(self, closed: StreamClosed, lived_s: float, wait_s: float) -> None:
        """Write one line where the state changed, and one for each end that needs a person."""
        node = self._side.identity.node
        if closed.code == Code.VERSION_MISMATCH:
            log.fact("link.version_mismatch", node=node, detail=closed.detail, wait_s=wait_s)
        elif closed.code == Code.SUPERSEDED:
            log.fact("link.superseded", node=node, lived_s=lived_s, wait_s=wait_s)
        elif is_for_long(closed.code):
            log.fact("link.refused", node=node, reason=closed.code, wait_s=wait_s)
        elif self._dials == 0:  # it was welcome
            log.fact("link.down", node=node, reason=closed.code, lived_s=lived_s)
        elif self._dials == 1:
            log.fact("link.away", node=node, reason=closed.code)
