"""What a process of a node is doing: joining, serving, draining, drained.  Pure.

The rule: a process that leaves by its own signal stays on its way out whatever an operator
desires, and one that an operator drained comes back when he says so.
"""

from edge.link_state import Desired, DesiredState, Observed


class Duty:
    """Whether this process admits, from its own life and the operator's wish."""

    def __init__(self) -> None:
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
        changed = desired.state is not self._desired
        self._desired = desired.state
        return changed

    @property
    def admits(self) -> bool:
        """Return whether new work may begin here."""
        return self._is_serving and not self._is_leaving and self._desired is DesiredState.ACTIVE

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
        if self._desired is not DesiredState.ACTIVE:
            return False, f"the operator wants {self._desired}"
        return False, "starts"
