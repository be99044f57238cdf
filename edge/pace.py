"""How long a sender may keep us waiting: until when its next byte must be here.  Pure.

The rule: progress re-arms the wait, so a slow line is served; silence ends it, and so does a
trickle below the lowest rate.  Time that the sink takes is never held against the sender.
"""

from dataclasses import dataclass

from zentransfer.limits import BODY_IDLE_S, BODY_RATE_MIN_BYTES_S, BODY_RATE_WINDOW_S


@dataclass(frozen=True, slots=True)
class Patience:
    """The waits of a door: seconds of silence, and bytes a second over a window of seconds."""

    idle_s: float = BODY_IDLE_S
    window_s: float = BODY_RATE_WINDOW_S
    rate_min: int = BODY_RATE_MIN_BYTES_S


class Pace:
    """One sender's time: a bucket of ``window_s`` seconds that bytes fill at the lowest rate."""

    def __init__(self, patience: Patience, now_s: float) -> None:
        """Begin with a full bucket, which is the grace for a slow start."""
        self._patience = patience
        self._until_s = now_s + patience.window_s
        self._heard_s = now_s

    def progressed(self, now_s: float, count: int) -> None:
        """Count *count* bytes that came by *now_s*."""
        patience = self._patience
        earned = self._until_s + count / patience.rate_min
        self._until_s = min(earned, now_s + patience.window_s)
        self._heard_s = now_s

    def excused(self, now_s: float, for_s: float) -> None:
        """Forgive *for_s* seconds up to *now_s*, in which we did not listen."""
        self._until_s += for_s
        self._heard_s = now_s

    @property
    def deadline_s(self) -> float:
        """When the sender is cut, if nothing comes before."""
        return min(self._heard_s + self._patience.idle_s, self._until_s)
