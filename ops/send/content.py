"""The bytes of one file on their way out: read off the loop, hashed once, watched for changes.

The rule: what changes while it is read is no file to send; and it is noticed before the last byte
leaves, so a mixture of two states never looks whole.
"""

import asyncio
import hashlib
import os
import stat
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from threading import Lock
from typing import Self, TypeVar

from zentransfer.limits import SEND_READ_BYTES

T = TypeVar("T")


class Unreadable(Exception):
    """The file cannot be sent as it is; the text says why and what to do."""


class Content:
    """An open file of ``size`` bytes; close it by :meth:`close`."""

    def __init__(self, path: Path, executor: Executor) -> None:
        self._path = path
        self._executor = executor
        self._file = -1
        self._first: os.stat_result | None = None
        self._digest = hashlib.sha256()
        self._hashed = 0
        self._lock = Lock()

    async def open(self) -> Self:
        """Open the file and remember its state; raises :class:`Unreadable`."""
        await self._run(self._open)
        return self

    @property
    def size(self) -> int:
        """The size in bytes when it was opened."""
        assert self._first is not None, "open it first"
        return self._first.st_size

    async def read(self, offset: int, end: int) -> memoryview:
        """Return the next bytes from *offset* on, not beyond *end*; raises :class:`Unreadable`."""
        count = min(SEND_READ_BYTES, end - offset)
        return memoryview(await self._run(lambda: self._read(offset, count)))

    async def digest(self) -> str:
        """Return the SHA-256 of the whole file in hex; raises :class:`Unreadable`."""
        while self._hashed < self.size:
            await self.read(self._hashed, self.size)
        return self._digest.hexdigest()

    async def close(self) -> None:
        """Close the file, when no thread reads it any more."""
        await self._run(self._close)

    # -- in a thread -----------------------------------------------------------------------------

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        except OSError as exc:
            raise Unreadable(f"cannot be read ({exc.strerror}); correct it and send it") from exc

    def _close(self) -> None:
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def _open(self) -> None:
        if not stat.S_ISREG(os.stat(self._path).st_mode):  # opening a pipe would wait for a writer
            raise Unreadable("is no regular file; send a copy of what it gives")
        self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        self._first = os.fstat(self._file)

    def _read(self, offset: int, count: int) -> bytes:
        with self._lock:  # a reader whose request was cut may not be done yet
            if self._file < 0 or self._first is None:
                raise Unreadable("is not read any more")
            block = os.pread(self._file, count, offset)
            now, first = os.fstat(self._file), self._first
            is_same = (now.st_size, now.st_mtime_ns) == (first.st_size, first.st_mtime_ns)
            if not is_same or len(block) < count:
                raise Unreadable("changed while it was sent; send it again when it is complete")
            if offset <= self._hashed < offset + count:
                self._digest.update(memoryview(block)[self._hashed - offset :])
                self._hashed = offset + count
            return block
