"""What keeps a delivery from its destination, and what its owner can do about it.  Pure.

The rule: whatever does not heal by itself names the cure, and the cure ends in a retry.
"""

from types import MappingProxyType
from typing import Final

from control.uploads.model import DeliveryChange, DeliveryState
from zentransfer.errors import TABLE, Code

_RETRY: Final = "then retry the delivery"
_BY_ITSELF: Final = "it is tried again by itself"
_ADVICE: Final = MappingProxyType(
    {
        Code.NOT_FOUND: "the folder or bucket is not there, or the destination was removed; "
        f"make it, {_RETRY}",
        Code.FORBIDDEN: f"we may not write there; give this destination the right, {_RETRY}",
        Code.MISDIRECTED: "the bucket is in another region; make a destination with the right one",
        Code.CONFLICT: f"another file has this name and all its numbers; move it away, {_RETRY}",
        Code.INVALID: "the destination cannot hold a file of this name; send it under another one",
        Code.TOO_LARGE: "the destination cannot hold a file of this size; send it to another one",
        Code.INSUFFICIENT_STORAGE: f"the destination is full; make room, {_BY_ITSELF}",
        Code.CHECKSUM_MISMATCH: "other bytes arrived than were sent, and none are shown; "
        "send the file again if that stays so",
        Code.DAMAGED: "what we held is damaged; send the file again",
        Code.RATE_LIMITED: f"the destination asks us to slow down; {_BY_ITSELF}",
        Code.TIMEOUT: f"the destination did not answer in time; {_BY_ITSELF}",
        Code.UNAVAILABLE: f"the destination failed or cannot be reached; {_BY_ITSELF}",
    }
)
_SHUT: Final = (
    "the destination takes nothing, as another delivery to it has found; "
    f"mend what its parked deliveries tell, {_RETRY}"
)
_ENDED: Final = frozenset({DeliveryState.DELIVERED, DeliveryState.CANCELLED, DeliveryState.RUN})


def advice(change: DeliveryChange) -> str:
    """Return what keeps the delivery back and what to do, in words; empty if nothing does."""
    if not change.error or change.state in _ENDED:
        return ""
    code = Code(change.error)
    if change.state is DeliveryState.PARKED and code is Code.UNAVAILABLE:
        return _SHUT
    return _ADVICE.get(code, TABLE[code].reason)
