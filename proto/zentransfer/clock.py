"""Wall time: the one place that reads the system's clock, and the clock that tests turn.

Wall time is for what people and other machines see (stamps, ends, retention).  Durations come from
the event loop's time, which never jumps.
"""

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the wall time; it may jump, backwards too, because people and daemons set it."""

    def now_ms(self) -> int:
        """Return the milliseconds since 1970-01-01T00:00:00Z."""
        ...


class SystemClock:
    """The clock of this machine."""

    def now_ms(self) -> int:
        """Return the milliseconds since 1970-01-01T00:00:00Z."""
        return time.time_ns() // 1_000_000


class ManualClock:
    """A clock that stands still until it is turned: for the simulator and for tests of time."""

    def __init__(self, now_ms: int = 0) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        """Return the milliseconds since 1970-01-01T00:00:00Z, as last set."""
        return self._now_ms

    def advance(self, by_ms: int) -> None:
        """Turn the clock by *by_ms* milliseconds; a negative count is a clock set back."""
        self._now_ms += by_ms
