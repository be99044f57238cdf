"""Wipe from this process's memory what was secret and is needed no more.

The rule: a freed object keeps its bytes until something else lies there, so a key is overwritten
before it is let go.
"""

import ctypes
import sys
from typing import Final

_BEFORE_DATA: Final = bytes.__basicsize__ - 1  # CPython: a bytes object's data, then one zero
_OWN: Final = 3  # references: the caller's, ours, and that of the question itself


def wipe(secret: bytes) -> None:
    """Overwrite *secret* with zeros, unless others than the caller hold it too.

    The caller has it in a variable of its own, and must not use it again.  No Python code can
    change bytes, so whoever else holds them would see the impossible: those stay.
    """
    if sys.getrefcount(secret) <= _OWN:
        ctypes.memset(id(secret) + _BEFORE_DATA, 0, len(secret))
