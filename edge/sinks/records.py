"""Upload records in files: read, and changed one at a time under a lock.

The rules: **the names that matter in an upload's folder change and become durable under its lock
only**, because the failed flush of one would lose the changes of another, whose own flush then says
ok; and a change that failed is taken back, so that nobody sees what a power loss would undo.
"""

import errno
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from typing import Final

from edge.record import UploadRecord
from edge.record_codec import pack_record, read_record
from edge.seal.packing import Malformed
from edge.sinks.base import SinkError, UnknownUpload, Version, Versioned
from zentransfer.disk import (
    Data,
    Disk,
    File,
    at_once,
    make_durable_folder,
    read_all,
    write_atomic,
)
from zentransfer.errors import Code, Error
from zentransfer.ids import Kind, UploadID, parse
from zentransfer.limits import UPLOAD_RECORD_BYTES_MAX

Found = Versioned[UploadRecord]
Pieces = Sequence[tuple[Data, int]]
"""What a file is made of: bytes, and their position in it."""
Transition = Callable[[Found | None], UploadRecord]
"""From the record that is there, or None, to the one that shall be; raises to leave it."""

_FIRST: Final = Version(1)
_UPLOADS: Final = "uploads"
_LOCKS: Final = "locks"
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def sink_errors(what: str) -> Generator[None, None, None]:
    """Turn what a disk raises into :class:`SinkError`; a time-out is an ``OSError`` too."""
    try:
        yield
    except OSError as failure:
        raise sink_error(what, failure) from failure
    except Malformed as wrong:
        raise SinkError(f"{what}: not in its form", temporary=False) from wrong


def sink_error(what: str, failure: OSError) -> SinkError:
    """Return the error that says *what* failed, and whether the disk is full."""
    code = Code.INSUFFICIENT_STORAGE if failure.errno in _FULL else Code.SINK_UNAVAILABLE
    return SinkError(what, temporary=True, code=code)


class Records:
    """The records of all uploads on one disk: ``uploads/<2 characters>/<id>/record``."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._shards: set[str] = set()  # whose names are durable: 1,024 at most
        self._has_locks = False

    def folder(self, upload: UploadID) -> str:
        """Return the path of an upload's folder; raises ``Error(INVALID)`` for no id of ours."""
        parse(Kind.UPLOAD, upload)
        return f"{_UPLOADS}/{_shard(upload)}/{upload}"

    def load(self, upload: UploadID) -> Found:
        """Return what readers see now, which may be about to become durable.

        Raises :class:`UnknownUpload`, :class:`SinkError`.
        """
        found = self._load(upload)
        if found is None:
            raise UnknownUpload
        return found

    async def load_durable(self, upload: UploadID) -> Found:
        """Return the record when no power loss can take it back any more; raises as ``load``."""
        with sink_errors("read the record"):
            async with self._lock(upload):
                found = self.load(upload)
                await self._disk.flush_folder(self.folder(upload))
                return found

    async def swap(
        self,
        upload: UploadID,
        transition: Transition,
        *,
        rename: tuple[str, str] | None = None,
        prepared: bool = False,
    ) -> Found:
        """Change the record by *transition*; durable when it returns.

        *rename* gives a file of the folder its lasting name, durable before the record is, which
        speaks of it.  A transition that returns the record itself changes nothing, but what is
        there is durable then.  *prepared* says that ``prepare`` made the folder of a new record.
        Raises what *transition* raises, and :class:`SinkError`.
        """
        with sink_errors("change the record"):
            async with self._lock(upload):
                before = self._load(upload)
                after = transition(before)
                if before is not None and after is before.value:
                    await self._disk.flush_folder(self.folder(upload))
                    return before
                version = Version(before.version + 1 if before else 1)
                if before is None and not prepared:
                    await self._make_folder(upload)
                if rename is not None:
                    self._disk.rename(*rename)
                    await self._disk.flush_folder(self.folder(upload))
                await self._replace(upload, before, pack_record(after, version))
                return Versioned(after, version)

    async def bear(
        self, upload: UploadID, transition: Transition, name: str, pieces: Pieces
    ) -> Found:
        """Make an upload that has nothing yet, whole: folder, one file, record; then it is durable.

        *pieces* go into the file *name*.  All that the record speaks of is flushed together, and is
        durable before the record gets its name.  Raises as ``swap``; then no record is seen.
        """
        with sink_errors("make the upload"):
            async with self._lock(upload):
                after = transition(self._load(upload))
                folder, shard = self.folder(upload), f"{_UPLOADS}/{_shard(upload)}"
                await self._make_shard(shard)
                try:
                    self._disk.make_folder(folder)
                    written = (
                        self._written(f"{folder}/{name}", pieces),
                        self._written(f"{folder}/record.new", [(pack_record(after, _FIRST), 0)]),
                    )
                    try:
                        folders = (folder, shard)
                        flushes = [each.flush() for each in written]
                        await at_once(*flushes, *map(self._disk.flush_folder, folders))
                    finally:
                        for each in written:
                            each.close()
                    self._disk.rename(f"{folder}/record.new", f"{folder}/record")
                    await self._disk.flush_folder(folder)
                except OSError:
                    with suppress(OSError):
                        self._disk.unlink(f"{folder}/record")
                    self._forget_folder(folder)
                    raise
                return Versioned(after, _FIRST)

    def _written(self, path: str, pieces: Pieces) -> File:
        file = self._disk.create(path)
        try:
            for data, position in pieces:
                file.write_at(data, position)
        except BaseException:
            file.close()
            raise
        return file

    async def prepare(self, upload: UploadID) -> None:
        """Make the folder of an upload that has no record yet; durable when it returns."""
        with sink_errors("make the upload's folder"):
            async with self._lock(upload):
                await self._make_folder(upload)

    async def flush_names(self, upload: UploadID) -> None:
        """Make durable which names the upload's folder holds."""
        with sink_errors("flush the upload's folder"):
            async with self._lock(upload):
                await self._disk.flush_folder(self.folder(upload))

    def uploads(self) -> Iterator[UploadID]:
        """Yield the id of every folder, with a record or without."""
        for shard in self._names(_UPLOADS):
            for name in self._names(f"{_UPLOADS}/{shard}"):
                if _is_upload(name):
                    yield UploadID(name)

    def _names(self, folder: str) -> list[str]:
        with sink_errors("list uploads"):
            try:
                return self._disk.names(folder)
            except FileNotFoundError:
                return []

    def _load(self, upload: UploadID) -> Found | None:
        with sink_errors("read the record"):
            try:
                data = read_all(self._disk, self._path(upload), UPLOAD_RECORD_BYTES_MAX)
            except FileNotFoundError:
                return None
            record, version = read_record(data)
            if record.upload != upload:
                raise Malformed("the record of another upload")
            return Versioned(record, Version(version))

    async def _replace(self, upload: UploadID, before: Found | None, data: bytes) -> None:
        path = self._path(upload)
        try:
            await write_atomic(self._disk, path, data)
        except OSError:
            with suppress(OSError):
                await self._take_back(path, before, data)
            raise

    async def _take_back(self, path: str, before: Found | None, data: bytes) -> None:
        """Undo a change whose durability is unknown.

        After a failed flush the new record is seen by everybody and may be gone after a power
        loss; another process would tell a client of a commit that never was.
        """
        if not self._disk.exists(path) or read_all(self._disk, path, len(data)) != data:
            return
        if before is not None:
            await write_atomic(self._disk, path, pack_record(before.value, before.version))
        else:
            self._disk.unlink(path)

    async def _make_folder(self, upload: UploadID) -> None:
        """Make the upload's folder and its shard, durably; a name whose flush failed goes again."""
        folder = self.folder(upload)
        shard = f"{_UPLOADS}/{_shard(upload)}"
        await self._make_shard(shard)
        try:
            self._disk.make_folder(folder)
            await self._disk.flush_folder(shard)
        except OSError:
            self._forget_folder(folder)
            raise

    async def _make_shard(self, shard: str) -> None:
        if shard in self._shards:
            return
        try:
            async with self._disk.lock(f"{_LOCKS}/shards"):
                await make_durable_folder(self._disk, shard)
        except OSError:
            self._forget_folder(shard)
            raise
        self._shards.add(shard)

    def _forget_folder(self, folder: str) -> None:
        """Remove a folder whose name may not be durable; one that is in use stays."""
        with suppress(OSError):
            self._disk.remove_folder(folder)

    def _path(self, upload: UploadID) -> str:
        return f"{self.folder(upload)}/record"

    def _lock(self, upload: UploadID) -> AbstractAsyncContextManager[None]:
        if not self._has_locks:
            self._disk.make_folder(_LOCKS)  # a lock need not outlive the power
            self._has_locks = True
        return self._disk.lock(f"{_LOCKS}/{_shard(upload)}")


def _shard(upload: UploadID) -> str:
    return upload[3:5]


def _is_upload(name: str) -> bool:
    try:
        parse(Kind.UPLOAD, name)
    except Error:
        return False
    return True
