"""How long to wait after a failure: exponential back-off with full jitter.  Pure.

The rule: many clients that failed together do not come back together (full jitter), and none comes
back before it was asked to (Retry-After, RFC 9110 section 10.2.3).
"""

from typing import TYPE_CHECKING

from zentransfer.limits import SEND_RETRY_AFTER_MAX_S, SEND_RETRY_FIRST_S, SEND_RETRY_MAX_S

if TYPE_CHECKING:
    from random import Random


def pause_s(tries: int, random: "Random", retry_after_s: float = 0.0) -> float:
    """Return the seconds to wait after *tries* failures in a row, at least *retry_after_s*."""
    assert tries > 0, "there is nothing to wait for"
    # From the 16th on the power is beyond the bound anyway.
    longest_s = min(SEND_RETRY_FIRST_S * 2 ** min(tries - 1, 16), SEND_RETRY_MAX_S)
    asked_s = min(max(retry_after_s, 0.0), SEND_RETRY_AFTER_MAX_S)
    return asked_s + random.uniform(0.0, longest_s)
