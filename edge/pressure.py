"""How far behind its own work a process is: the lag of its loop, looked at again and again.

The rule: only lag that our own work makes counts.  What other programs take of the machine is not
cured by refusing work, and every process of a busy machine would refuse at once.
"""

import asyncio
import time
from collections import deque

from zentransfer.limits import LOOP_LAG_LOOK_S, LOOP_LAG_LOOKS


class LoopLag:
    """Watches the loop that it runs in; a look costs some microseconds."""

    def __init__(self) -> None:
        self._looks = deque[float](maxlen=LOOP_LAG_LOOKS)
        self._p99_s: float | None = 0.0

    async def run(self) -> None:
        """Look again and again, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            due_s, worked_s = loop.time() + LOOP_LAG_LOOK_S, time.thread_time()
            await asyncio.sleep(LOOP_LAG_LOOK_S)
            self.looked(loop.time() - due_s, time.thread_time() - worked_s)

    def looked(self, late_s: float, worked_s: float) -> None:
        """Take one look: it was so late, and the loop's thread computed for so long meanwhile."""
        self._looks.append(max(min(late_s, worked_s), 0.0))
        self._p99_s = None

    def p99_s(self) -> float:
        """Return the lag, in seconds, that one of a hundred of the last looks exceeds."""
        if self._p99_s is None:
            worst = sorted(self._looks)
            self._p99_s = worst[-1 - len(worst) // LOOP_LAG_LOOKS]
        return self._p99_s
