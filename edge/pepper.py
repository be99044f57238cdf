"""The region's pepper, by which secrets are checked: read from its file when it is needed.

The rule: control makes the pepper, perhaps after this process has started, and may change it; so
the file is read again while it is missing or does not fit the snapshot, but not at each request.
"""

import asyncio
from collections.abc import Set as AbstractSet
from pathlib import Path

from zentransfer import log
from zentransfer.credential import PEPPER_FILE_BYTES, Pepper, parse_pepper_file
from zentransfer.errors import Error
from zentransfer.limits import PEPPER_PAUSE_S


class PepperFile:
    """One file with a pepper in it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: Pepper | None = None
        self._next_s = float("-inf")  # when the file may be read again
        self._is_broken = False

    def maybe(self, kids: AbstractSet[str]) -> Pepper | None:
        """Return the pepper, best one of *kids*; ``None`` while there is none."""
        fits = self._held is not None and (not kids or self._held.kid in kids)
        now_s = asyncio.get_running_loop().time()
        if not fits and now_s >= self._next_s:
            self._next_s = now_s + PEPPER_PAUSE_S
            self._held = self._maybe_read() or self._held
        return self._held

    def check(self, kids: AbstractSet[str]) -> tuple[bool, str]:
        """Say whether secrets can be checked, as a check for readiness."""
        pepper = self.maybe(kids)
        if pepper is None:
            return False, "waits for the region's pepper"
        if kids and pepper.kid not in kids:
            return False, "the region's pepper is not the one that control uses"
        return True, "secrets can be checked"

    def _maybe_read(self) -> Pepper | None:
        try:
            with self._path.open("rb") as file:
                found = parse_pepper_file(file.read(PEPPER_FILE_BYTES + 1))
        except FileNotFoundError:
            return None
        except (OSError, Error) as broken:
            if not self._is_broken:  # one line, not one a second
                log.error("pepper.broken", broken)
            self._is_broken = True
            return None
        self._is_broken = False
        return found
