"""The sink of a machine by itself: sealed logs and records in a folder."""

from pathlib import Path

from edge.keys import RegionPublicKeys
from edge.sinks.log import LogSink
from edge.sinks.log_parts import RECORD_BYTES
from zentransfer.disk import RealDisk
from zentransfer.ids import RandomBytes


class DirectorySink(LogSink):
    """A :class:`edge.sinks.base.Sink` in a folder that several processes may share."""

    def __init__(
        self,
        root: Path,
        keys: RegionPublicKeys,
        random_bytes: RandomBytes,
        record_bytes: int = RECORD_BYTES,
    ) -> None:
        """Stand on the folder *root*, which must exist.  Raises ``OSError``."""
        self._disk = RealDisk(root)
        super().__init__(self._disk, keys, random_bytes, record_bytes)

    def close(self) -> None:
        """End the threads that flush, when those under way are done; idempotent."""
        self._disk.close()
