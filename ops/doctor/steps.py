"""One sentence of the doctor's: what was looked at, whether it is right, and the cure.  Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

EXIT_RIGHT: Final = 0
EXIT_WRONG: Final = 1


class Verdict(StrEnum):
    """How one step is."""

    RIGHT = "right"
    LOOK = "look"
    WRONG = "wrong"
    UNTRIED = "not tried"


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its name, how it is, what was seen in words, and what cures it."""

    name: str
    verdict: Verdict
    said: str
    cure: str = ""


def right(name: str, said: str) -> Step:
    """Return a step that is as it should be."""
    return Step(name, Verdict.RIGHT, said)


def look(name: str, said: str, cure: str) -> Step:
    """Return a step that some cameras stumble over, and others do not."""
    return Step(name, Verdict.LOOK, said, cure)


def wrong(name: str, said: str, cure: str) -> Step:
    """Return a step that stops a camera."""
    return Step(name, Verdict.WRONG, said, cure)


def untried(name: str, said: str, cure: str = "") -> Step:
    """Return a step that was not looked at, and why."""
    return Step(name, Verdict.UNTRIED, said, cure)


def exit_code(steps: Iterable[Step]) -> int:
    """Return what the process says of *steps* to its caller."""
    return EXIT_WRONG if any(one.verdict is Verdict.WRONG for one in steps) else EXIT_RIGHT
