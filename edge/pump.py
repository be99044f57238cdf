"""From a source of parts into a sealed segment, at the sink's pace: the loop lane of every door.

The rules: a part is copied once, into the record's own buffer, and sealed where it lies; the next
part is read only when this one is in (law 8); and the sender's clock stands still while our disk
works.
"""

import asyncio
from collections.abc import Mapping
from typing import Final, Protocol

from edge.checks import Check, Hasher
from edge.lane import Lent
from edge.pace import Pace, Patience
from edge.record import Ending
from edge.sinks.base import NO_ENDING, NOTHING, Partial, Writer
from edge.upload import Upload
from zentransfer.errors import Code, Error

_REARMS: Final = 16  # a timer is moved at most this often within its wait: it costs 1 us


class Source(Protocol):
    """Where parts come from, such as ``aiohttp.StreamReader``."""

    async def readany(self) -> bytes:
        """Return what has come, at least one byte; nothing at the clean end."""
        ...


class Pump:
    """One upload's bytes on their way into one writer."""

    def __init__(
        self,
        writer: Writer,
        upload: Upload,
        digest: Hasher | None = None,
        *,
        is_provisional: bool = False,
    ) -> None:
        """Take bytes for *upload* from its offset on; *digest* sees each of them.

        *is_provisional* says that what *writer* takes counts only when it is accepted.
        """
        self.upload = upload
        self.is_provisional = is_provisional
        self._writer = writer
        self._digest = digest
        self._check: Hasher | None = None
        self._left = upload.left
        self._patience: asyncio.Timeout | None = None
        self._cut: Code | None = None

    async def run(self, source: Source, patience: Patience) -> None:
        """Take all parts of *source*; returns at its clean end.

        Raises ``Error``: TIMEOUT for a sender that is silent or too slow, the code of :meth:`cut`,
        TOO_LARGE and SIZE_EXCEEDED, and what the writer and the source raise.
        """
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        pace = Pace(patience, now_s)
        pause_s = min(patience.idle_s, patience.window_s) / _REARMS
        try:
            async with asyncio.timeout_at(pace.deadline_s) as self._patience:
                self._heed_cut()
                count, next_s = 0, now_s + pause_s
                while part := await source.readany():
                    self.take(part)
                    count += len(part)
                    now_s = loop.time()
                    if now_s >= next_s:
                        pace.progressed(now_s, count)
                        count, next_s = 0, now_s + pause_s
                        self._patience.reschedule(pace.deadline_s)
                    if self._writer.is_due:
                        await self._flush(pace)
                    if isinstance(source, Lent) and source.is_worth_it(now_s):
                        pace.progressed(now_s, count)
                        count, next_s = 0, now_s + pause_s
                        await self._lend(source, pace)
        except TimeoutError:
            if self._patience is None or not self._patience.expired():
                raise
            raise Error(self._cut or Code.TIMEOUT) from None
        finally:
            self._patience = None
            if isinstance(source, Lent):
                source.close()

    async def run_checked(self, source: Source, patience: Patience, check: Check) -> None:
        """Take all parts of *source* if *check* says so at its end; else nothing of it counts.

        Only over a provisional writer.  Raises as :meth:`run`, and ``Error(CHECKSUM_MISMATCH)``;
        the segment is closed then, because what came stands in it.
        """
        assert self.is_provisional, "plain data counts at once"
        hasher = self._check = check.hasher()
        try:
            await self.run(source, patience)
        except BaseException:
            await self.close()
            raise
        if hasher.digest() != check.expected:
            await self.close()
            raise Error(Code.CHECKSUM_MISMATCH)
        self._check = None
        self._accept()

    def take(self, part: bytes) -> None:
        """Copy *part* into the record's buffer; raises as :meth:`run`."""
        count = len(part)
        if count > self._left:
            raise self.upload.exceeded()
        self._left -= count
        if self._digest is not None:
            self._digest.update(part)
        if self._check is not None:
            self._check.update(part)
        room = self._writer.room()
        if count <= len(room):  # nearly always: parts are far smaller than records
            room[:count] = part
            self._writer.filled(count)
            return
        self._fill(memoryview(part))

    async def flush(self, *, mark: bool = False, now_ms: int = 0) -> None:
        """Make durable what was taken; the upload's offset counts it then.

        *mark* and *now_ms* as of :meth:`edge.sinks.base.Writer.flush`, whose errors are raised.
        """
        self._accept()
        self._durable(await self._writer.flush(mark=mark, now_ms=now_ms))

    async def finish(
        self,
        ending: Ending = NO_ENDING,
        expected: Mapping[str, bytes] = NOTHING,
        partials: tuple[Partial, ...] = (),
    ) -> int:
        """Commit: nothing comes after this.  Returns the size in bytes, durable.

        *expected* are digests by algorithm that nobody here could check: delivery does.  *partials*
        are the uploads that this one consists of, in place of bytes of its own.
        Raises ``Error(PEER_GONE)`` when announced bytes are missing, before anything is written;
        ``Fenced`` and ``SinkError``: then the record says what became of it.
        """
        self.upload.written(self._writer.written - self.upload.offset).committed()
        self._accept()
        digest = None if self._digest is None else self._digest.digest()
        manifest = await self._writer.finish(digest, ending, expected=expected, partials=partials)
        self._durable(manifest.total)
        self.upload = self.upload.committed()
        return manifest.total

    async def close(self) -> None:
        """End the segment without a commit; idempotent, and nothing after a commit."""
        await self._writer.close()

    @property
    def is_complete(self) -> bool:
        """Whether every announced byte was taken."""
        return self._writer.written == self.upload.length

    @property
    def written(self) -> int:
        """The offset up to which bytes were taken, durable or not."""
        return self._writer.written

    @property
    def has_unflushed(self) -> bool:
        """Whether something was taken that the upload's offset does not count yet."""
        return self._writer.written != self.upload.offset

    def announced(self, length: int) -> None:
        """Take *length* for the upload's; raises as :meth:`edge.upload.Upload.announced`."""
        self.upload = self.upload.announced(length)
        self._left = self.upload.left - (self._writer.written - self.upload.offset)

    def renewed(self) -> None:
        """Forget a :meth:`cut`: it was meant for the request before."""
        self._cut = None

    def cut(self, code: Code) -> None:
        """End :meth:`run` with ``Error(code)``, now or when it begins."""
        self._cut = code
        self._heed_cut()

    def given_up_digest(self) -> Hasher | None:
        """Return the running digest for the pump that goes on where this one ended."""
        digest, self._digest = self._digest, None
        return digest

    def digest(self) -> bytes | None:
        """Return the SHA-256 of what was taken, if it was asked for."""
        return None if self._digest is None else self._digest.digest()

    # -- inside ----------------------------------------------------------------------------------

    def _accept(self) -> None:
        """Let all that was taken count, unless a check of it is still under way."""
        if self.is_provisional and self._check is None:
            self._writer.accept(self._writer.written)

    def _heed_cut(self) -> None:
        if self._cut is not None and self._patience is not None and not self._patience.expired():
            self._patience.reschedule(asyncio.get_running_loop().time())

    def _fill(self, rest: memoryview) -> None:
        while rest:
            room = self._writer.room()
            count = min(len(room), len(rest))
            room[:count] = rest[:count]
            self._writer.filled(count)
            rest = rest[count:]

    async def _lend(self, source: Lent, pace: Pace) -> None:
        """Let the fast lane fill the writer for as long as the sender is fast.

        It lets go of whoever turns slow, so none of that time is held against the sender.
        """
        loop = asyncio.get_running_loop()
        assert self._patience is not None
        if read := source.begun():
            self.take(read)
        self._patience.reschedule(None)
        self._heed_cut()
        begun_s, left, written = loop.time(), self._left, self._writer.written
        hashes = [each for each in (self._digest, self._check) if each is not None]
        try:
            while await source.take(self._writer, hashes, self._left) and self._writer.is_due:
                self._left = left - (self._writer.written - written)
                await self.flush()
        finally:
            self._left = left - (self._writer.written - written)
        now_s = loop.time()
        pace.excused(now_s, now_s - begun_s)
        pace.progressed(now_s, self._writer.written - written)
        self._patience.reschedule(pace.deadline_s)
        self._heed_cut()

    async def _flush(self, pace: Pace) -> None:
        """Flush, and hold none of that time against the sender."""
        loop = asyncio.get_running_loop()
        assert self._patience is not None
        self._patience.reschedule(None)
        begun_s = loop.time()
        await self.flush()
        now_s = loop.time()
        pace.excused(now_s, now_s - begun_s)
        self._patience.reschedule(pace.deadline_s)
        self._heed_cut()

    def _durable(self, offset: int) -> None:
        self.upload = self.upload.written(offset - self.upload.offset)
