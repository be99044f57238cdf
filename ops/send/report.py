"""What is said of each file and of all of them, for people and for programs.  Pure.

The rule: every file that was named is accounted for, once; and only what was delivered to the end,
or uploaded where that was all that was asked for, counts as good.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Final

from ops.send.fate import Delivery
from ops.send.names import shown

EXIT_GOOD: Final = 0
EXIT_FAILED: Final = 1
EXIT_WAITS: Final = 3
"""Nothing failed, and not everything is delivered yet: it goes on by itself."""
EXIT_INTERRUPTED: Final = 130

_STEP: Final = 1000
_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB")


class State(StrEnum):
    """How it ended for one file."""

    DELIVERED = "delivered"
    UPLOADED = "uploaded"
    TAKEN = "taken"
    """Whole there, and its delivery waits for something, or cannot be followed."""
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Result:
    """How it ended for one file: sizes in bytes, times in seconds, ``error`` in words or empty.

    ``interruptions`` counts the times that it had to be gone on with or begun anew.
    """

    path: str
    name: str
    size: int
    state: State = State.STOPPED
    region: str | None = None
    upload: str | None = None
    sha256: str | None = None
    error: str = ""
    seconds: float = 0.0
    interruptions: int = 0
    deliveries: tuple[Delivery, ...] = ()


@dataclass(frozen=True, slots=True)
class Whole:
    """All results, and how they came about.

    ``left`` counts incomplete uploads that could not be ended, because their node is away.
    """

    results: Sequence[Result]
    seconds: float
    reason: str = ""
    attribution: tuple[str, ...] = ()
    is_interrupted: bool = False
    waits: bool = True
    left: int = 0

    @property
    def exit_code(self) -> int:
        """What the process says of it to its caller."""
        if self.is_interrupted:
            return EXIT_INTERRUPTED
        bad = [result for result in self.results if not is_good(result, waits=self.waits)]
        if all(result.state is State.TAKEN for result in bad):
            return EXIT_WAITS if bad else EXIT_GOOD
        return EXIT_FAILED


def is_good(result: Result, *, waits: bool) -> bool:
    """Say whether that is what was asked for; *waits*: for the end of the deliveries."""
    is_enough = result.state is State.UPLOADED and not waits and not result.error
    return result.state is State.DELIVERED or is_enough


def json_line(result: Result) -> str:
    """Return the one line of JSON that tells a result."""
    document = {"type": "file", **asdict(result)}
    document["seconds"] = round(result.seconds, 3)
    return json.dumps(document)


def json_summary(whole: Whole) -> str:
    """Return the one line of JSON that tells all of it; it is the last one."""
    states = Counter(result.state for result in whole.results)
    sent = [result for result in whole.results if result.state in _SENT]
    return json.dumps(
        {
            "type": "summary",
            "files": len(whole.results),
            **{str(state): states[state] for state in State},
            "bytes": sum(result.size for result in sent),
            "seconds": round(whole.seconds, 3),
            "regions": dict(Counter(result.region for result in sent)),
            "reason": whole.reason,
            "attribution": list(whole.attribution),
            "left": whole.left,
            "interrupted": whole.is_interrupted,
            "exit_code": whole.exit_code,
        }
    )


_SENT: Final = frozenset({State.DELIVERED, State.UPLOADED, State.TAKEN})
_COUNTED: Final = {State.TAKEN: "taken, delivery waits"}


def line(result: Result) -> str:
    """Return the one line that tells a result to a person."""
    place = f" by {result.region}" if result.region else ""
    digest = f", sha256 {result.sha256}" if result.sha256 and result.state in _SENT else ""
    if result.state is State.STOPPED:
        return shown(f"{result.path}: stopped by you: {result.error}")
    between = ";" if result.state is State.TAKEN else ":"
    error = f"{between} {result.error}" if result.error else ""
    if result.state is State.FAILED and not result.region:
        return shown(f"{result.path}: {result.error}")
    speed = _speed(result) if result.state in _SENT else ""
    said = f"{result.path}: {result.state}{place}{error}{speed}{digest}"
    return shown(said)


def summary(whole: Whole) -> str:
    """Return the last line for a person."""
    states = Counter(result.state for result in whole.results)
    parts = [f"{states[state]} {_COUNTED.get(state, state)}" for state in State if states[state]]
    sent = sum(result.size for result in whole.results if result.state in _SENT)
    left = f" Incomplete uploads that end by themselves: {whole.left}." if whole.left else ""
    return f"{', '.join(parts)}; {amount(sent)} in {whole.seconds:.1f} s.{left}"


def amount(count: float) -> str:
    """Return *count* bytes in words, in decimal units."""
    if count == 1:
        return "1 byte"
    for unit in _UNITS[:-1]:
        if count < _STEP:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= _STEP
    return f"{count:.1f} {_UNITS[-1]}"


def stopped(result: Result) -> Result:
    """Return *result* of a file that a person's Ctrl-C overtook."""
    if result.state is State.UPLOADED:
        return replace(result, error="whole there; its delivery goes on by itself")
    nothing = "nothing of it was sent"
    return replace(result, state=State.STOPPED, error=result.error or nothing)


def lost(sent: int, size: int, region: str, *, is_ended: bool) -> str:
    """Return what became of the *sent* bytes, of *size*, of an upload that was stopped."""
    fate = "are destroyed there" if is_ended else "are destroyed there when nobody goes on"
    told = f"the {amount(sent)} of {amount(size)} that went to {region} {fate}"
    return f"{told}; sending it again starts anew"


def _speed(result: Result) -> str:
    if result.seconds <= 0 or not result.size:
        return f" ({amount(result.size)})"
    took = f"{amount(result.size)} in {result.seconds:.1f} s"
    times = "once" if result.interruptions == 1 else f"{result.interruptions} times"
    again = f", interrupted {times}" if result.interruptions else ""
    return f" ({took}{again})"
