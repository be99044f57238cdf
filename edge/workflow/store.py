"""Run records: the contract, and the form of a machine by itself, files beside the content.

The rule: a run is made once and changes by compare-and-swap only; so of two processes that did the
same, one learns that it came second.  Whatever indexes the records is rebuilt by listing them.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, suppress
from typing import Final, Protocol

from edge.folders import make_folder_for_good
from edge.seal.packing import Malformed
from edge.sinks.base import Conflict, SinkError, Version, Versioned
from edge.sinks.records import sink_errors
from edge.workflow.run import Run
from edge.workflow.run_record import pack_run, read_run
from zentransfer.disk import Disk, read_all, write_atomic
from zentransfer.errors import Code, Error
from zentransfer.ids import Kind, UploadID, parse
from zentransfer.limits import RUN_RECORD_BYTES_MAX

_RUNS: Final = "runs"
_LOCKS: Final = "run-locks"


class UnknownRun(Error):
    """There is no run of this upload here."""

    def __init__(self) -> None:
        super().__init__(Code.NOT_FOUND)


class RunStore(Protocol):
    """One region's run records, one for each upload that is whole and not yet gone."""

    async def create(self, run: Run) -> Versioned[Run]:
        """Keep a new run; durable when it returns.

        Raises :class:`edge.sinks.base.Conflict` if the upload has one, and ``SinkError``.
        """
        ...

    async def read(self, upload: UploadID) -> Versioned[Run]:
        """Return a run as everybody sees it now; raises :class:`UnknownRun`, ``SinkError``."""
        ...

    async def change(self, at: Versioned[Run], to: Run) -> Versioned[Run]:
        """Replace a run if it is still the one that was read; durable when it returns.

        Raises ``Conflict``, :class:`UnknownRun`, ``SinkError``.
        """
        ...

    async def remove(self, at: Versioned[Run]) -> None:
        """Forget a run if it is still the one that was read, or already gone; durable.

        Raises ``Conflict``, ``SinkError``.
        """
        ...

    def uploads(self) -> AsyncIterator[UploadID]:
        """Yield the upload of every run, in a stable order; raises ``SinkError``."""
        ...


class DiskRunStore:
    """A :class:`RunStore` in files: ``runs/<2 characters>/<upload>``."""

    def __init__(self, disk: Disk) -> None:
        """Stand on the root of *disk*, which several processes may share."""
        self._disk = disk
        self._shards: set[str] = set()  # whose names are durable: 1,024 at most
        self._has_locks = False

    async def create(self, run: Run) -> Versioned[Run]:
        """Keep a new run; see :class:`RunStore`."""
        shard, path = _place(run.upload)
        with sink_errors("make the run"):
            if shard not in self._shards:
                await make_folder_for_good(self._disk, shard)
                self._shards.add(shard)
            async with self._lock(run.upload):
                if self._disk.exists(path):
                    raise Conflict
                await self._replace(path, None, pack_run(run, 1))
        return Versioned(run, Version(1))

    async def read(self, upload: UploadID) -> Versioned[Run]:
        """Return a run; see :class:`RunStore`."""
        with sink_errors("read the run"):
            return self._load(upload)

    async def change(self, at: Versioned[Run], to: Run) -> Versioned[Run]:
        """Replace a run; see :class:`RunStore`."""
        assert to.upload == at.value.upload, "a run belongs to its upload"
        _, path = _place(to.upload)
        with sink_errors("change the run"):
            async with self._lock(to.upload):
                now = self._load(to.upload)
                if now.version != at.version:
                    raise Conflict
                version = Version(now.version + 1)
                old = pack_run(now.value, now.version)
                await self._replace(path, old, pack_run(to, version))
        return Versioned(to, version)

    async def remove(self, at: Versioned[Run]) -> None:
        """Forget a run; see :class:`RunStore`."""
        shard, path = _place(at.value.upload)
        with sink_errors("forget the run"):
            async with self._lock(at.value.upload):
                try:
                    if self._load(at.value.upload).version != at.version:
                        raise Conflict
                    self._disk.unlink(path)
                except UnknownRun:
                    if not self._disk.exists(shard):
                        return
                await self._disk.flush_folder(shard)

    async def uploads(self) -> AsyncIterator[UploadID]:
        """Yield the upload of every run; see :class:`RunStore`."""
        for shard in self._names(_RUNS):
            for name in self._names(f"{_RUNS}/{shard}"):
                with suppress(Error):  # half of a change that a crash cut off
                    yield UploadID(parse(Kind.UPLOAD, name))

    def _load(self, upload: UploadID) -> Versioned[Run]:
        try:
            data = read_all(self._disk, _place(upload)[1], RUN_RECORD_BYTES_MAX)
        except FileNotFoundError:
            raise UnknownRun from None
        run, version = read_run(data)
        if run.upload != upload:
            raise Malformed("the run of another upload")
        return Versioned(run, Version(version))

    def _names(self, folder: str) -> list[str]:
        with sink_errors("list the runs"):
            try:
                return self._disk.names(folder)
            except FileNotFoundError:
                return []

    def _lock(self, upload: UploadID) -> AbstractAsyncContextManager[None]:
        if not self._has_locks:
            self._disk.make_folder(_LOCKS)  # a lock need not outlive the power
            self._has_locks = True
        return self._disk.lock(f"{_LOCKS}/{upload[3:5]}")

    async def _replace(self, path: str, old: bytes | None, new: bytes) -> None:
        """Write the record; one whose durability is unknown is taken back, as if never written.

        Else others would act on what a power loss undoes.
        """
        try:
            await write_atomic(self._disk, path, new)
        except OSError:
            with suppress(OSError):
                await self._take_back(path, old, new)
            raise

    async def _take_back(self, path: str, old: bytes | None, new: bytes) -> None:
        if not self._disk.exists(path) or read_all(self._disk, path, len(new)) != new:
            return
        if old is not None:
            await write_atomic(self._disk, path, old)
        else:
            self._disk.unlink(path)


def _place(upload: UploadID) -> tuple[str, str]:
    """Return the folder and the path of an upload's run."""
    parse(Kind.UPLOAD, upload)
    shard = f"{_RUNS}/{upload[3:5]}"
    return shard, f"{shard}/{upload}"


__all__ = ["Conflict", "DiskRunStore", "RunStore", "SinkError", "UnknownRun", "Versioned"]
