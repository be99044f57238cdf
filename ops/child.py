"""One supervised process as a value: its state, and when it may start again.  Pure.

The rule: a state changes only by the table below; a pair that is not in it cannot happen.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from zentransfer.limits import RESTART_FIRST_S, RESTART_MAX_S, RESTART_RESET_S

if TYPE_CHECKING:
    import random

CANNOT_START: Final = 78  # EX_CONFIG of sysexits.h: the process says that trying again is no use


class State(StrEnum):
    """Where a process is in its life."""

    WAITING = "waiting"  # for its next start
    STARTING = "starting"  # runs, and has not said that it is ready
    SERVING = "serving"
    STOPPING = "stopping"  # was told to leave
    ENDED = "ended"  # and will not be started again


class Event(StrEnum):
    """What happens to a process."""

    START = "start"
    READY = "ready"
    EXIT = "exit"
    STOP = "stop"


AFTER: Final[Mapping[tuple[State, Event], State]] = MappingProxyType(
    {
        (State.WAITING, Event.START): State.STARTING,
        (State.WAITING, Event.EXIT): State.WAITING,  # the kernel could not even start it
        (State.WAITING, Event.STOP): State.ENDED,
        (State.STARTING, Event.READY): State.SERVING,
        (State.STARTING, Event.EXIT): State.WAITING,
        (State.STARTING, Event.STOP): State.STOPPING,
        (State.SERVING, Event.READY): State.SERVING,  # sd_notify(3) allows to repeat it
        (State.SERVING, Event.EXIT): State.WAITING,
        (State.SERVING, Event.STOP): State.STOPPING,
        (State.STOPPING, Event.READY): State.STOPPING,  # it was on its way
        (State.STOPPING, Event.EXIT): State.ENDED,
        (State.STOPPING, Event.STOP): State.STOPPING,  # the second signal
        (State.ENDED, Event.STOP): State.ENDED,
    }
)


@dataclass(frozen=True)
class BackOff:
    """How long a dead process waits for its next start, in seconds."""

    first_s: float = RESTART_FIRST_S
    max_s: float = RESTART_MAX_S
    reset_s: float = RESTART_RESET_S

    def pause_s(self, failures: int, chance: "random.Random") -> float:
        """Return the pause after so many *failures* in a row, with full jitter.

        Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
        """
        assert failures > 0, "nothing failed"
        doublings = min(failures - 1, 64)  # beyond it the power only grows, far above any maximum
        return chance.uniform(0, min(self.max_s, self.first_s * 2**doublings))


@dataclass(frozen=True)
class Child:
    """A process that is kept running; times are the loop's, in seconds."""

    state: State = State.WAITING
    pid: int | None = None
    started_s: float = 0.0
    failures: int = 0
    has_served: bool = False
    is_misconfigured: bool = False

    def _after(self, event: Event) -> State:
        found = AFTER.get((self.state, event))
        assert found is not None, f"{event} in state {self.state}"
        return found

    def started(self, pid: int, now_s: float) -> "Child":
        """Return the child after it was started as process *pid*."""
        return replace(self, state=self._after(Event.START), pid=pid, started_s=now_s)

    def ready(self) -> "Child":
        """Return the child after it said READY=1."""
        state = self._after(Event.READY)
        return replace(self, state=state, has_served=self.has_served or state is State.SERVING)

    def told_to_stop(self) -> "Child":
        """Return the child after it was told to leave, for the first or the second time."""
        return replace(self, state=self._after(Event.STOP))

    def exited(self, code: int, now_s: float, back_off: BackOff) -> "Child":
        """Return the child after its process ended with *code* (negative: by that signal)."""
        lived = self.pid is not None  # else the kernel did not even start it
        lived_long = lived and now_s - self.started_s >= back_off.reset_s
        return replace(
            self,
            state=self._after(Event.EXIT),
            pid=None,
            failures=1 if lived_long else self.failures + 1,
            is_misconfigured=code == CANNOT_START,
        )

    @property
    def is_hopeless(self) -> bool:
        """Say whether it refused to start before it ever served: only a person can help."""
        return self.is_misconfigured and not self.has_served

    def pause_s(self, back_off: BackOff, chance: "random.Random") -> float:
        """Return how many seconds to wait before the next start.

        One that served before and now refuses to start (its settings changed under it) is tried
        again at the longest pause: the cure may come from outside.
        """
        if self.is_misconfigured:
            return back_off.max_s
        return back_off.pause_s(self.failures, chance)
