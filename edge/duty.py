"""What a process of a node is doing: joining, serving, draining, drained.  Pure.

The rule: a process that leaves by its own signal stays on its way out whatever an operator
desires, and one that an operator drained comes back when he says so.
"""

from collections.abc import Callable

from edge.link_state import Desired, DesiredState, Observed


class Duty:
    """Whether this process admits, from its own life and the operator's wish.

    *now_s* is the loop's time: a wish with an end ends by itself, also while control is away.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._ends_s: float | None = None
        self._is_serving = False
        self._is_leaving = False
        self._desired = DesiredState.ACTIVE

    def serve(self) -> None:
        """Everything is up."""
        self._is_serving = True

    def leave(self) -> None:
        """End admitting for good."""
        self._is_leaving = True

    def obey(self, desired: Desired) -> bool:
        """Take what the operator wants; returns whether that is a change."""
        changed = desired.state is not self._wanted
        self._desired = desired.state
        self._ends_s = None
        # A drain's time bounds how long uploads may take; only a disablement ends in serving.
        if desired.state is DesiredState.DISABLED and desired.remaining_s is not None:
            self._ends_s = self._now_s() + desired.remaining_s
        return changed

    @property
    def _wanted(self) -> DesiredState:
        if self._ends_s is not None and self._now_s() >= self._ends_s:
            return DesiredState.ACTIVE
        return self._desired

    @property
    def admits(self) -> bool:
        """Return whether new work may begin here."""
        return self._is_serving and not self._is_leaving and self._wanted is DesiredState.ACTIVE

    @property
    def finishes(self) -> bool:
        """Return whether what was taken before may go on here: also while an operator drains it."""
        is_in_use = self._wanted is not DesiredState.DISABLED
        return self._is_serving and not self._is_leaving and is_in_use

    def observed(self, under_way: int) -> Observed:
        """Return the state that a heartbeat says; *under_way* counts uploads or deliveries."""
        if not self._is_serving:
            return Observed.JOINING
        if self.admits:
            return Observed.SERVING
        return Observed.DRAINING if under_way else Observed.DRAINED

    def check(self) -> tuple[bool, str]:
        """Say whether this process admits, as a check for readiness."""
        if self.admits:
            return True, "admits new work"
        if self._is_leaving:
            return False, "leaves"
        if self._wanted is not DesiredState.ACTIVE:
            return False, f"the operator wants {self._wanted}"
        return False, "starts"
