"""Wait for a condition of the outside world, never for a length of time."""

import time
from collections.abc import Callable


def until(is_so: Callable[[], bool], what: str, within_s: float = 45.0) -> None:
    """Return when *is_so*; fail the test with *what* was awaited after *within_s* seconds."""
    ends = time.perf_counter() + within_s
    while not is_so():
        assert time.perf_counter() < ends, f"waited {within_s} s for: {what}"
        time.sleep(0.02)
