"""Which versions of the fleet protocol we speak, and which one two programs agree on.  Pure.

The rule: N and N-1 work both ways, and nothing is inferred from a build. Two programs speak the
lower of their highest versions; where that is below a lowest one, the older program is updated.
"""

from dataclasses import dataclass
from typing import Final

from zentransfer.errors import Code, Error


@dataclass(frozen=True, slots=True)
class Versions:
    """Every version from *least* to *most*."""

    least: int
    most: int

    def __str__(self) -> str:
        return f"{self.least} to {self.most}"


OURS: Final = Versions(1, 1)

MISMATCH: Final = (
    "control speaks versions [0-9]{1,10} to [0-9]{1,10}, the process [0-9]{1,10} to [0-9]{1,10}: "
    "update (control|the node)"
)
"""The pattern of the detail that a mismatch has: numbers and words of ours, so it may be logged."""


def agreed(control: Versions, process: Versions) -> int:
    """Return the version that both speak.

    Raises ``Error(VERSION_MISMATCH)`` that names both ranges and who is to be updated, and
    ``Error(INVALID)`` for a range without a version.
    """
    if process.least > process.most or control.least > control.most:
        raise Error(Code.INVALID, "that range of versions is empty")
    version = min(control.most, process.most)
    if version < max(control.least, process.least):
        older = "control" if control.most < process.least else "the node"
        raise Error(
            Code.VERSION_MISMATCH,
            f"control speaks versions {control}, the process {process}: update {older}",
        )
    return version
