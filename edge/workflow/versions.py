"""Workflows in the versions that uploads of this node bear, wherever on the node they are known.

The rule: an upload is planned by the version that was stamped into it, or not yet.  Ingest may have
stamped a version that this process never saw, because control told it a later one first; then
ingest's own snapshot, which is on the same disk, still has it.
"""

import asyncio
from contextlib import suppress

from edge.place import SNAPSHOT_FOLDER
from edge.snapshot import Snapshot, WorkflowEntry
from edge.snapshot_file import SnapshotFile, open_snapshot_file
from zentransfer.disk import Disk
from zentransfer.ids import ProcessName, Region, WorkflowID
from zentransfer.limits import WORKFLOW_VERSIONS_REREAD_S


class Versions:
    """Looks in this process's snapshot first, then in those of its siblings."""

    def __init__(self, disk: Disk, own: SnapshotFile, name: ProcessName, region: Region) -> None:
        """Stand on the node's data folder, in which *own* is the snapshot of *name*."""
        self._disk = disk
        self._own = own
        self._name = name
        self._region = region
        self._siblings: list[Snapshot] = []
        self._reread_at_s = 0.0

    def maybe(self, wanted: WorkflowID, version: int) -> WorkflowEntry | None:
        """Return a workflow in *version*; ``None`` if nobody here knows it, or knows it yet."""
        own = self._own.current
        found = None if own is None else own.maybe_workflow(wanted, version)
        if found is not None:
            return found
        self._reread()
        others = (each.maybe_workflow(wanted, version) for each in self._siblings)
        return next((each for each in others if each is not None), None)

    def _reread(self) -> None:
        """Read the siblings' snapshots, which may be large, now and then."""
        now_s = asyncio.get_running_loop().time()
        if now_s < self._reread_at_s:
            return
        self._reread_at_s = now_s + WORKFLOW_VERSIONS_REREAD_S
        names: list[str] = []
        with suppress(OSError):
            names = [name for name in self._disk.names(SNAPSHOT_FOLDER) if name != self._name]
        files = (
            open_snapshot_file(self._disk, f"{SNAPSHOT_FOLDER}/{name}", self._region)
            for name in names
        )
        self._siblings = [file.current for file in files if file.current is not None]
