"""How the doctor's steps are shown: a table for people, one JSON document for programs."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from ops.console import Console
from ops.doctor.steps import Step, Verdict, exit_code

_MARKS: Final = {
    Verdict.RIGHT: "ok",
    Verdict.LOOK: "look",
    Verdict.WRONG: "WRONG",
    Verdict.UNTRIED: "-",
}
_STYLES: Final = {Verdict.LOOK: "yellow", Verdict.WRONG: "bold red"}


def document(steps: Sequence[Step]) -> str:
    """Return the one JSON document that tells all *steps*, and the exit code."""
    return json.dumps({"steps": [asdict(one) for one in steps], "exit_code": exit_code(steps)})


def show(steps: Sequence[Step], to: Console) -> None:
    """Write the table of *steps*, then what to do, the worst first."""
    to.table(
        ("step", "", "what was seen"), [(one.name, _MARKS[one.verdict], one.said) for one in steps]
    )
    cures = [one for verdict in (Verdict.WRONG, Verdict.LOOK, Verdict.UNTRIED)
             for one in steps if one.verdict is verdict and one.cure]  # fmt: skip
    for one in cures:
        to.say(f"{one.name}: {one.cure}", _STYLES.get(one.verdict, ""))
    if exit_code(steps):
        to.say("A camera would fail here.", "bold red")
    else:
        to.say("Nothing that was tried would stop a camera.", "green")
