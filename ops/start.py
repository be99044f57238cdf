"""Where the command ``zentransfer`` begins: Ctrl-C ends it in silence from the first moment on.

The rule: nothing of ours is imported before Ctrl-C is cared for, as that takes most of a second.
"""

import os
import signal
import sys
from types import FrameType
from typing import Final, NoReturn

EXIT_INTERRUPTED: Final = 130  # what a shell says of a program that Ctrl-C ended


def _leave(_: int, __: FrameType | None) -> NoReturn:
    os._exit(EXIT_INTERRUPTED)


def main() -> NoReturn:
    """Run the command, and exit."""
    # Not an exception yet: an import in the middle may turn it into another one, or swallow it.
    signal.signal(signal.SIGINT, _leave)
    from ops.cli import run  # noqa: PLC0415 - see above

    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code = run()
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    sys.exit(code)
