"""What a process or a node can be seen to be: one table of states.  Pure.

The rule: heartbeats say what a process is, and only silence says that it is late or lost.
"""

from collections.abc import Iterable, Mapping
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Final


class Observed(StrEnum):
    """What a process or a node is: four words of its own, two of control's for its silence."""

    JOINING = "joining"
    SERVING = "serving"
    DRAINING = "draining"
    DRAINED = "drained"
    LATE = "late"
    LOST = "lost"


class Event(IntEnum):
    """What happens to a process: its heartbeat says something, or it is silent for too long."""

    SAYS_JOINING = 0
    SAYS_SERVING = 1
    SAYS_DRAINING = 2
    SAYS_DRAINED = 3
    SILENT_LATE = 4
    SILENT_LOST = 5


_J, _S, _D, _X = Observed.JOINING, Observed.SERVING, Observed.DRAINING, Observed.DRAINED
_LATE, _LOST = Observed.LATE, Observed.LOST

# A living process is late before it is lost, however long control itself was not looking: so a
# control that was stopped for a minute reads what waits for it before it judges. A drained
# process has leave to go: its silence means nothing.
TABLE: Final[Mapping[Observed, tuple[Observed, ...]]] = MappingProxyType(
    {  # says: joining, serving, draining, drained; silent: for long, for too long
        Observed.JOINING: (_J, _S, _D, _X, _LATE, _LATE),
        Observed.SERVING: (_J, _S, _D, _X, _LATE, _LATE),
        Observed.DRAINING: (_J, _S, _D, _X, _LATE, _LATE),
        Observed.DRAINED: (_J, _S, _D, _X, _X, _X),
        Observed.LATE: (_J, _S, _D, _X, _LATE, _LOST),
        Observed.LOST: (_J, _S, _D, _X, _LOST, _LOST),
    }
)
SAYS: Final = MappingProxyType(
    {
        Observed.JOINING: Event.SAYS_JOINING,
        Observed.SERVING: Event.SAYS_SERVING,
        Observed.DRAINING: Event.SAYS_DRAINING,
        Observed.DRAINED: Event.SAYS_DRAINED,
    }
)
# Of several processes the first of these that any of them is; drained only if all are.
_ORDER: Final = (_S, _J, _D, _LATE, _LOST, _X)


def is_said(observed: Observed) -> bool:
    """Whether a process may say *observed* of itself; late and lost are control's words."""
    return observed in SAYS


def folded(states: Iterable[Observed]) -> Observed:
    """Return what a whole is whose parts are *states*; joining, if it has none."""
    return min(states, key=_ORDER.index, default=Observed.JOINING)
