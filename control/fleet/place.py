"""One place of a node, such as ingest-0 of fr-1, and the streams that ask for it.  Pure.

The rule: a stream takes the place with its first heartbeat, and a process that lost the place to
another never gets it back by itself. So two living processes with one name cannot fight.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import NewType

from control.fleet.states import SAYS, TABLE, Event, Observed
from zentransfer.ids import EpochID
from zentransfer.limits import (
    FLEET_EPOCHS_KEPT,
    FLEET_KNOCKS_MAX,
    FLEET_KNOCKS_WINDOW_S,
    FLEET_LATE_S,
    FLEET_LOST_S,
)

StreamID = NewType("StreamID", int)
"""One open stream, numbered in the order in which their hellos came."""


@dataclass(slots=True)
class Place:
    """Who holds a place, what it said last and when, and who asks for it."""

    epoch: EpochID | None = None  # of the process that holds the place; None before the first
    stream: StreamID | None = None  # the one live stream of that process
    said: Observed = Observed.JOINING
    observed: Observed = Observed.JOINING
    heard_s: float = 0.0
    candidates: dict[StreamID, EpochID] = field(default_factory=dict[StreamID, EpochID])
    past: deque[EpochID] = field(default_factory=lambda: deque[EpochID](maxlen=FLEET_EPOCHS_KEPT))
    knocks_s: deque[float] = field(default_factory=lambda: deque[float](maxlen=FLEET_KNOCKS_MAX))

    def heard(self, said: Observed, now_s: float) -> bool:
        """Take a heartbeat; return whether it ended a silence that somebody was told of."""
        was_silent = self.observed in (Observed.LATE, Observed.LOST)
        self.said, self.heard_s = said, now_s
        self.observed = TABLE[self.observed][SAYS[said]]
        return was_silent

    def after_silence(self, now_s: float) -> Observed:
        """Return what the process is, going by how long it has been silent."""
        silence_s = now_s - self.heard_s
        if silence_s < FLEET_LATE_S:
            return self.observed
        event = Event.SILENT_LATE if silence_s < FLEET_LOST_S else Event.SILENT_LOST
        return TABLE[self.observed][event]

    def took_over(self, stream: StreamID) -> None:
        """Give the place to a candidate; an epoch that held it before is over from now on."""
        epoch, old = self.candidates.pop(stream), self.epoch
        self.stream, self.epoch = stream, epoch
        if old is not None and old != epoch:
            self.past.append(old)

    def knocked(self, now_s: float) -> bool:
        """Count a superseded process that still lives; return whether it keeps coming back.

        A restart makes a new epoch. So one that comes back after another took its place is a second
        living process with the same name, such as a machine whose disk was cloned.
        """
        self.knocks_s.append(now_s)
        is_full = len(self.knocks_s) == FLEET_KNOCKS_MAX
        return is_full and now_s - self.knocks_s[0] <= FLEET_KNOCKS_WINDOW_S

    def older_than(self, stream: StreamID) -> list[StreamID]:
        """Return the other streams of this place whose hello came before that of *stream*."""
        held = [] if self.stream is None else [self.stream]
        return [other for other in (*held, *self.candidates) if other < stream]

    def is_empty(self) -> bool:
        """Whether nobody ever held the place, and nobody asks for it."""
        return self.epoch is None and not self.candidates

    def leave(self, stream: StreamID) -> None:
        """Forget *stream*; silence, not a broken stream, is what makes a process late."""
        self.candidates.pop(stream, None)
        if self.stream == stream:
            self.stream = None
