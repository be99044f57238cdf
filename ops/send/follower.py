"""Follows uploads through control until their deliveries have ended.

The rule: it asks politely: ever more rarely, and never much at once.  A control that is away is
waited for a little; what was uploaded is delivered without it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import Final

from ops.send.fate import End, Fate, seen
from ops.send.tus import Lost, Refused
from zentransfer.limits import (
    SEND_AWAY_S,
    SEND_POLL_FIRST_S,
    SEND_POLL_MAX_S,
    SEND_POLLS_MAX,
    SEND_SETTLE_S,
)

Ask = Callable[[str], Awaitable[Mapping[str, object] | None]]

_REFUSALS: Final = (401, 403)
_AWAY: Final = "control does not answer, so its delivery cannot be followed; it goes on by itself"
_UNHEARD: Final = "control has not heard of it yet"


class Follower:
    """Asks about uploads by *ask*, for at most *for_s* seconds each.

    *ask* returns what control says of an upload, ``None`` if nothing; it raises ``Lost``,
    ``Refused``.
    """

    def __init__(self, ask: Ask, for_s: float, random: Random) -> None:
        self._ask = ask
        self._for_s = for_s
        self._random = random
        self._turns = asyncio.Semaphore(SEND_POLLS_MAX)
        self._silent_s: float | None = None  # since when nobody answers

    async def follow(self, upload: str, digest: str, told: Callable[[Fate], None]) -> Fate:
        """Return the fate of *upload* when it has one; *told* hears of every change before."""
        loop = asyncio.get_running_loop()
        ends_s, settled_s, pause_s = loop.time() + self._for_s, 0.0, SEND_POLL_FIRST_S
        last = Fate(End.UNDER_WAY, _UNHEARD)
        while True:
            now = await self._asked(upload, digest, last)
            if now.end is End.SETTLING and last.end is not End.SETTLING:
                settled_s = loop.time() + SEND_SETTLE_S
            if now != last:
                last, pause_s = now, SEND_POLL_FIRST_S
                told(now)
            if now.end in (End.DELIVERED, End.FAILED, End.WAITS):
                return now
            if self._silent_s is not None and loop.time() - self._silent_s >= SEND_AWAY_S:
                return Fate(End.WAITS, _AWAY, now.deliveries)
            if now.end is End.SETTLING and loop.time() >= settled_s:
                return Fate(End.FAILED, now.words, now.deliveries)
            if loop.time() >= ends_s:
                words = f"not delivered after {self._for_s:g} s: {now.words}; it goes on by itself"
                return Fate(End.WAITS, words, now.deliveries)
            await asyncio.sleep(pause_s * self._random.uniform(0.75, 1.25))
            pause_s = min(pause_s * 1.5, SEND_POLL_MAX_S)

    async def _asked(self, upload: str, digest: str, last: Fate) -> Fate:
        try:
            async with self._turns:
                document = await self._ask(upload)
        except Refused as exc:
            if exc.status in _REFUSALS:
                return Fate(End.WAITS, f"its delivery cannot be followed: {exc.words}")
            return last
        except Lost:
            if self._silent_s is None:
                self._silent_s = asyncio.get_running_loop().time()
            return last
        self._silent_s = None
        return last if document is None else seen(document, digest)
