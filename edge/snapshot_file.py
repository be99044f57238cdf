"""The last good snapshot and the one before it, on the disk of one process.

The rules: a snapshot is durable before it is in force, so that a process never starts with less
than it admitted by; and **the last good one is never deleted**: what does not verify is passed
over.
"""

from contextlib import suppress
from typing import Final

from edge.seal.packing import Malformed
from edge.snapshot import Snapshot, succeeding
from edge.snapshot_codec import pack_snapshot, unpack_snapshot
from zentransfer import log
from zentransfer.disk import Disk, make_durable_folder, read_all, write_atomic
from zentransfer.errors import Code, Error
from zentransfer.ids import Region
from zentransfer.limits import SNAPSHOT_FILE_BYTES_MAX

CURRENT: Final = "current"
PREVIOUS: Final = "previous"


class SnapshotFile:
    """What one process knows, in memory and on disk; made by :func:`open_snapshot_file`."""

    def __init__(self, disk: Disk, folder: str, region: Region, found: Snapshot | None) -> None:
        self._disk = disk
        self._folder = folder
        self._region = region
        self._current = found

    @property
    def current(self) -> Snapshot | None:
        """Return the snapshot in force, or ``None`` before control ever gave one."""
        return self._current

    @property
    def version(self) -> int:
        """Return the version in force; 0 means none."""
        return 0 if self._current is None else self._current.version

    def check(self) -> tuple[bool, str]:
        """Say whether there is a snapshot, as a check for readiness."""
        if self._current is None:
            return False, "waits for control: it has not told this node of any account yet"
        return True, f"serves by version {self._current.version}"

    async def keep(self, snapshot: Snapshot) -> None:
        """Make *snapshot* durable, then let it be in force.

        Raises ``Error(MISDIRECTED)`` for another region's, and ``OSError``: then nothing changed
        but, at most, what the next start finds as the previous one.
        """
        if snapshot.region is not self._region:
            raise Error(Code.MISDIRECTED, "the snapshot is for another region")
        snapshot = succeeding(self._current, snapshot)
        await make_durable_folder(self._disk, self._folder)
        if self._current is not None:
            await self._write(PREVIOUS, self._current)
        await self._write(CURRENT, snapshot)
        self._current = snapshot

    async def _write(self, name: str, snapshot: Snapshot) -> None:
        await write_atomic(self._disk, f"{self._folder}/{name}", pack_snapshot(snapshot))


def open_snapshot_file(disk: Disk, folder: str, region: Region) -> SnapshotFile:
    """Return the snapshot of the last life: the current one, or the previous if that is broken."""
    for name in (CURRENT, PREVIOUS):
        with suppress(FileNotFoundError):
            found = _maybe_read(disk, f"{folder}/{name}", region)
            if found is not None:
                return SnapshotFile(disk, folder, region, found)
    return SnapshotFile(disk, folder, region, None)


def _maybe_read(disk: Disk, path: str, region: Region) -> Snapshot | None:
    """Return the snapshot in a file; ``None``, with a line in the log, if it does not verify."""
    try:
        found = unpack_snapshot(read_all(disk, path, SNAPSHOT_FILE_BYTES_MAX))
    except FileNotFoundError:
        raise
    except (OSError, Malformed) as broken:
        log.error("snapshot.broken", broken)
        return None
    return found if found.region is region else None
