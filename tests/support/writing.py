"""Writing to and reading from a sink as a pump and a delivery do."""

from edge.keys import OpenKey
from edge.sinks.base import Sink, Writer
from zentransfer.ids import UploadID


def fill(writer: Writer, data: bytes) -> None:
    """Put all of *data* into the writer's room, piece by piece."""
    rest = memoryview(data)
    while rest:
        room = writer.room()
        count = min(len(room), len(rest))
        room[:count] = rest[:count]
        writer.filled(count)
        rest = rest[count:]


async def read_whole(sink: Sink, upload: UploadID, open_key: OpenKey) -> bytes:
    """Return all bytes of a committed upload."""
    return b"".join([bytes(text) async for text in sink.reader(upload, open_key)])
