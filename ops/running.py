"""Keeps run/system.json: every process of a system, also while ready.json is away.

The rule: it is there from the launcher's start to its end.  Who reads it first looks whether that
launcher still runs, because one that was killed takes nothing away.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, TypedDict

from ops import ready
from ops.child import Child, State
from ops.programs import RUN_FOLDER, Place
from ops.publisher import first_account
from ops.ready import Ready
from ops.supervisor import Supervisor

FILE_NAME: Final = "system.json"

SERVING: Final = "serving"
STARTING: Final = "starting"
DRAINING: Final = "draining"
AWAY: Final = "away"
WAITING: Final = "waiting"
ENDED: Final = "ended"

_WORDS: Final[Mapping[State, str]] = {
    State.STARTING: STARTING,
    State.SERVING: SERVING,
    State.STOPPING: DRAINING,
    State.ENDED: ENDED,
}


class Running(TypedDict):
    """The whole document: how each process is by its name, and what ready.json would say.

    A process that does not run now has the pid 0 in it.
    """

    states: dict[str, str]
    system: Ready


class Register:
    """Writes and removes the run/system.json of one system."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.path = place.run_folder / FILE_NAME

    def write(self, children: Mapping[str, Child]) -> None:
        """Write how *children* are, by name; a disk that refuses leaves what was there."""
        account = None
        with suppress(OSError, ValueError):
            account = first_account(self._place)
        pids = {name: child.pid or 0 for name, child in children.items()}
        found = Running(
            states={name: _word(child) for name, child in children.items()},
            system=ready.document(self._place, pids, account),
        )
        fresh = self.path.with_suffix(".new")
        with suppress(OSError):
            # Not flushed: after a power loss no launcher is there whose word it could be.
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            with open(os.open(fresh, flags, 0o600), "w", encoding="utf-8") as file:
                json.dump(found, file)
            fresh.replace(self.path)

    async def keep(self, supervisor: Supervisor) -> None:
        """Follow the processes of *supervisor* for ever."""
        while True:
            supervisor.moved.clear()
            self.write(supervisor.children)
            await supervisor.moved.wait()

    def remove(self) -> None:
        """Remove the file; idempotent."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)


def _word(child: Child) -> str:
    return _WORDS.get(child.state) or (AWAY if child.failures else WAITING)


def of_folder(folder: Path) -> Path:
    """Return where the file of the system in *folder* is."""
    return folder / RUN_FOLDER / FILE_NAME
