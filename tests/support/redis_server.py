"""A real Redis of a test's own, on a free port and in a folder that goes with the test."""

import socket
import subprocess
from contextlib import closing, suppress
from pathlib import Path

from tests.support.ports import free_port
from tests.support.waiting import until


class RedisServer:
    """One server without any file of its own: what it knew is gone when it is killed."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "RedisServer":
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *("redis-server", "--port", str(self.port), "--bind", "127.0.0.1"),
                    *("--save", "", "--appendonly", "no", "--dir", str(self._folder)),
                    *("--enable-debug-command", "local"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until(self._answers, "Redis answers")
        return self

    def kill(self) -> None:
        """End it as a power loss would; idempotent."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def say(self, *words: str) -> bytes:
        """Send one command; returns the first bytes of its answer."""
        with closing(socket.create_connection(("127.0.0.1", self.port), 20)) as asking:
            asking.sendall(_command(*words))
            return asking.recv(4096)

    def hang(self, seconds: int) -> None:
        """Let it answer nobody for *seconds*."""
        with closing(socket.create_connection(("127.0.0.1", self.port), 20)) as asking:
            asking.sendall(_command("DEBUG", "SLEEP", str(seconds)))

    def _answers(self) -> bool:
        with suppress(OSError):
            return self.say("PING").startswith(b"+PONG")
        return False


def _command(*words: str) -> bytes:
    told = [word.encode() for word in words]
    return b"*%d\r\n" % len(told) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in told)
