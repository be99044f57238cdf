"""What became of an upload, from what control says of it.  Pure.

The rule: it went well only when every delivery is made and the content destroyed; whatever keeps it
from that is said in words, also when it may still heal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, cast

from ops.send.sending import Known
from zentransfer.errors import TABLE, Code

_WHOLE: Final = ("committed", "delivering", "delivered")
_ENDED: Final = ("failed", "cancelled", "destroyed")
_NEVER_WHOLE: Final = {
    "failed": "failed",
    "cancelled": "was cancelled",
    "expired": "expired: no byte came for too long",
}
_STUCK: Final = {
    "parked": "waits for you: correct the destination, then retry the delivery",
    "failed": "was given up",
    "cancelled": "was cancelled",
}


class End(StrEnum):
    """How far an upload is, for its sender."""

    UNDER_WAY = "under way"
    SETTLING = "settling"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery as its sender sees it; ``error`` is in words, empty if there is none."""

    destination: str
    state: str
    attempts: int
    error: str


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of an upload so far: its end, words for a person, its deliveries."""

    end: End
    words: str
    deliveries: tuple[Delivery, ...] = ()


def known(document: Mapping[str, object] | None) -> Known:
    """Return whether the upload of *document* is whole; ``None``: control has not heard of it."""
    if document is None:
        return Known.UNKNOWN
    # What was committed keeps that time for ever; what ended otherwise never had one.
    if document.get("committed_at") is not None or document.get("state") in _WHOLE:
        return Known.WHOLE
    return Known.ENDED if document.get("state") in _ENDED else Known.UNKNOWN


def seen(document: Mapping[str, object], digest: str) -> Fate:
    """Return the fate that *document* tells of content whose SHA-256 is *digest* (hex)."""
    state, said = str(document.get("state")), document.get("digest")
    deliveries = tuple(map(_delivery, _many(document.get("deliveries"))))
    if isinstance(said, str) and said.startswith("sha256:") and said != f"sha256:{digest}":
        return Fate(End.FAILED, "what arrived has another SHA-256 than the file", deliveries)
    stuck = [one for one in deliveries if one.state in _STUCK]
    if stuck:
        return Fate(End.FAILED, "; ".join(map(_stuck, stuck)), deliveries)
    ended = str(document.get("outcome") or state)
    if state in _NEVER_WHOLE or ended in _NEVER_WHOLE:
        word = ended if ended in _NEVER_WHOLE else state
        return Fate(End.FAILED, f"the upload {_NEVER_WHOLE[word]}", deliveries)
    made = [one for one in deliveries if one.state == "delivered"]
    if state == "destroyed":
        return _destroyed(deliveries, len(made))
    if made and len(made) == len(deliveries):
        return Fate(End.UNDER_WAY, "delivered; its content is being destroyed", deliveries)
    trouble = next((one.error for one in deliveries if one.error), "")
    again = f", tried again: {trouble}" if trouble else ""
    return Fate(End.UNDER_WAY, f"delivering {len(made)}/{len(deliveries)}{again}", deliveries)


def _destroyed(deliveries: Sequence[Delivery], made: int) -> Fate:
    if deliveries and made == len(deliveries):
        return Fate(End.DELIVERED, "delivered", tuple(deliveries))
    if not deliveries:
        # Said for good only when no report of a delivery comes behind.
        words = "was delivered nowhere: the account's workflow names no destination; add one"
        return Fate(End.SETTLING, words)
    words = f"was destroyed with {made} of {len(deliveries)} deliveries made"
    return Fate(End.SETTLING, words, tuple(deliveries))


def _stuck(delivery: Delivery) -> str:
    error = f" ({delivery.error})" if delivery.error else ""
    return f"the delivery to {delivery.destination} {_STUCK[delivery.state]}{error}"


def _many(given: object) -> list[Mapping[str, object]]:
    if not isinstance(given, list):
        return []
    return [one for one in cast("list[Mapping[str, object]]", given) if isinstance(one, dict)]


def _delivery(one: Mapping[str, object]) -> Delivery:
    attempts = one.get("attempts")
    return Delivery(
        str(one.get("destination", "")),
        str(one.get("state", "")),
        attempts if isinstance(attempts, int) else 0,
        _reason(one.get("error")),
    )


def _reason(code: object) -> str:
    """Return the words of the shared table for the word of an error."""
    if not isinstance(code, str) or not code:
        return ""
    try:
        return TABLE[Code(code)].reason
    except ValueError:
        return code
