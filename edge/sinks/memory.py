"""The sink in memory, on a simulated disk that tears and loses what was not flushed.

The rule: it is the same code as on a real disk, so what survives here survives there.
"""

from random import Random
from typing import Final

from edge.keys import RegionPublicKeys
from edge.sinks.log import LogSink
from zentransfer.memory_disk import MemoryDisk

MEMORY_RECORD_BYTES: Final = 8_192
"""The smallest full record: many of them, and many edges, in little memory."""


class MemorySink(LogSink):
    """A :class:`edge.sinks.base.Sink` of one process on a simulated disk."""

    def __init__(
        self,
        disk: MemoryDisk,
        keys: RegionPublicKeys,
        random: Random,
        record_bytes: int = MEMORY_RECORD_BYTES,
    ) -> None:
        """Stand on *disk*; data keys come from *random*, so the same seed is the same history."""
        super().__init__(disk, keys, random.randbytes, record_bytes)
