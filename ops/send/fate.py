"""What became of an upload, from what control says of it.  Pure.

The rule: it went well only when every delivery is made and the content destroyed; whatever keeps it
from that is said in words.  What was taken whole and may still arrive did not fail: it waits.
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
_PARKED: Final = "parked"
_STUCK: Final = {
    "failed": "was given up",
    "cancelled": "was cancelled",
}


class End(StrEnum):
    """How far an upload is, for its sender."""

    UNDER_WAY = "under way"
    SETTLING = "settling"
    WAITS = "waits"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery as its sender sees it; ``error`` is in words, empty if there is none.

    ``label`` is what its owner calls the destination, empty if that is not known.
    """

    destination: str
    state: str
    attempts: int
    error: str
    label: str = ""

    @property
    def where(self) -> str:
        """Return the destination in words."""
        return self.label or self.destination


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
    held = _maybe_held(deliveries)
    if held is not None:
        return held
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


def _maybe_held(deliveries: tuple[Delivery, ...]) -> Fate | None:
    """Return the fate that a delivery gives which is held back; ``None`` if none is."""
    stuck = [one for one in deliveries if one.state in _STUCK]
    if stuck:
        return Fate(End.FAILED, "; ".join(map(_stuck, stuck)), deliveries)
    waiting = [one for one in deliveries if one.state == _PARKED]
    if waiting:
        return Fate(End.WAITS, "; ".join(map(_waits, waiting)), deliveries)
    return None


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
    return f"the delivery to {delivery.where} {_STUCK[delivery.state]}{error}"


def _waits(delivery: Delivery) -> str:
    error = f": {delivery.error}" if delivery.error else ""
    return (
        f"its delivery to {delivery.where} waits{error}; it goes on by itself once that is mended"
    )


def are_waiting(document: Mapping[str, object]) -> bool:
    """Say whether a delivery of *document* waits, so that its destination is to be named."""
    return any(one.get("state") == _PARKED for one in _many(document.get("deliveries")))


def named(document: Mapping[str, object], labels: Mapping[str, str]) -> dict[str, object]:
    """Return *document* with the *labels* of destinations, by their ids, in its deliveries."""
    many = [
        {**one, "label": labels.get(str(one.get("destination")), "")}
        for one in _many(document.get("deliveries"))
    ]
    return {**document, "deliveries": many}


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
        _reason(one),
        str(one.get("label") or ""),
    )


def _reason(one: Mapping[str, object]) -> str:
    """Return in words what keeps a delivery back: what control says, or the shared table.

    Of both only what is wrong: what follows the semicolon is a cure for somebody else, or for
    another moment.
    """
    code, advice = one.get("error"), one.get("advice")
    if not isinstance(code, str) or not code:
        return ""
    if isinstance(advice, str) and advice:
        return advice.partition(";")[0]
    try:
        return TABLE[Code(code)].reason.partition(";")[0]
    except ValueError:
        return code
