"""How far behind its own work a process is: the lag of its loop, looked at again and again.

The rules: only lag that our own work makes counts, because what other programs take of the machine
is not cured by refusing work; and only lag that stands: a burst of senders is worked off within a
moment, and a process that is idle again refuses nobody.  (So does CoDel, RFC 8289, with queues.)
"""

import asyncio
import time
from collections import deque

from zentransfer.limits import LOOP_LAG_LOOK_S, LOOP_LAG_STANDS_S


class LoopLag:
    """Watches the loop that it runs in; a look costs some microseconds."""

    def __init__(self) -> None:
        self._looks = deque[tuple[float, float]]()  # how long each took, and the lag, in seconds
        self._span_s = 0.0

    async def run(self) -> None:
        """Look again and again, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            due_s, worked_s = loop.time() + LOOP_LAG_LOOK_S, time.thread_time()
            await asyncio.sleep(LOOP_LAG_LOOK_S)
            self.looked(loop.time() - due_s, time.thread_time() - worked_s)

    def looked(self, late_s: float, worked_s: float) -> None:
        """Take one look: it was so late, and the loop's thread computed for so long meanwhile."""
        took_s = LOOP_LAG_LOOK_S + max(late_s, 0.0)
        self._looks.append((took_s, max(min(late_s, worked_s), 0.0)))
        self._span_s += took_s
        while self._span_s - self._looks[0][0] >= LOOP_LAG_STANDS_S:
            self._span_s -= self._looks.popleft()[0]

    def standing_s(self) -> float:
        """Return the lag, in seconds, that no look of the last LOOP_LAG_STANDS_S was below."""
        if self._span_s < LOOP_LAG_STANDS_S:
            return 0.0
        return min(lag for _, lag in self._looks)
