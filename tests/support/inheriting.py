"""Start a program with sockets at the descriptors where sd_listen_fds(3) looks for them."""

import subprocess
import sys
from collections.abc import Sequence
from socket import socket
from typing import IO, Any

from tests.support.programs import as_in_service

# Copies above all targets first, so that none overwrites what is still to be copied.
_MOVE = """
import fcntl, os, sys
count = int(sys.argv[1])
fds = [fcntl.fcntl(int(each), fcntl.F_DUPFD_CLOEXEC, 64) for each in sys.argv[2:2 + count]]
for place, fd in enumerate(fds):
    os.dup2(fd, 3 + place)
os.execv(sys.argv[2 + count], sys.argv[2 + count:])
"""


def inheriting(
    command: Sequence[str],
    *passed: socket,
    stdout: int | IO[Any] | None = None,
    stderr: int | IO[Any] | None = None,
    **variables: str,
) -> subprocess.Popen[bytes]:
    """Start *command*, an absolute path first, with *passed* from descriptor 3 on."""
    numbers = [each.fileno() for each in passed]
    return subprocess.Popen(
        [sys.executable, "-S", "-c", _MOVE, str(len(numbers)), *map(str, numbers), *command],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        env=as_in_service() | variables,
        pass_fds=numbers,
    )
