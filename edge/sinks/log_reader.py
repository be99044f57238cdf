"""Opening a committed upload, for delivery: refusals are permanent and carry one word for why.

The rule: the manifest first.  Every segment is held to it, and nothing is yielded that was not
authenticated under a key that the manifest binds.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing, closing
from dataclasses import dataclass

from edge.keys import OpenKey
from edge.record import State, UploadRecord
from edge.seal.broken import Broken, Reason
from edge.seal.header import Header
from edge.seal.manifest import Manifest, Partial, SegmentPlace
from edge.seal.reader import MANIFEST_RECORD_BYTES_MAX, SegmentReader, open_manifest
from edge.seal.record import RecordKeys
from edge.secret import wipe
from edge.sinks.log_parts import Log
from zentransfer.ids import UploadID


@dataclass(frozen=True, slots=True)
class _Whole:
    """A log whose manifest is opened; the last segment's header and keys are, too."""

    record: UploadRecord
    manifest: Manifest
    last: Header
    keys: RecordKeys


class LogReader:
    """Opens committed uploads of one log with one private half."""

    def __init__(self, log: Log, open_key: OpenKey) -> None:
        self._log = log
        self._open_key = open_key

    async def manifest(self, upload: UploadID) -> Manifest:
        """Return the manifest of *upload*; raises ``Broken``, ``OSError``."""
        return (await self._whole(upload)).manifest

    async def read(self, upload: UploadID) -> AsyncGenerator[memoryview, None]:
        """Yield the plaintext, a record at a time; raises ``Broken``, ``OSError``."""
        whole = await self._whole(upload)
        for partial in whole.manifest.partials:
            part = await self._whole(UploadID(partial.upload), as_part=True)
            _hold_to(partial, part, whole)
            async with aclosing(self._segments(part)) as texts:
                async for text in texts:
                    yield text
        if not whole.manifest.partials:
            async with aclosing(self._segments(whole)) as texts:
                async for text in texts:
                    yield text

    async def _whole(self, upload: UploadID, *, as_part: bool = False) -> _Whole:
        record = await self._log.durable(upload)
        place = record.manifest
        is_whole = record.state is State.COMMITTED or (as_part and record.state is State.PARTIAL)
        if not is_whole or place is None or not record.segments:
            raise Broken(Reason.NOT_WHOLE)
        with closing(await self._log.open_segment(record, record.segments[-1])) as file:
            header = file.header
            keys = await self._keys(header)
            data = memoryview(bytearray(MANIFEST_RECORD_BYTES_MAX))
            count = await file.read(data, place.position)
        seed = self._log.rules.seed(header.hash)
        manifest, digest = open_manifest(
            header, keys, seed, (data[:count], place.counter), self._log.keys.is_ours
        )
        listed = tuple(SegmentPlace(s.number, s.start, s.header_hash) for s in record.segments)
        if digest != place.digest or manifest.total != record.size or manifest.segments != listed:
            raise Broken(Reason.MANIFEST)
        return _Whole(record, manifest, header, keys)

    async def _keys(self, header: Header) -> RecordKeys:
        """Return the keys of a segment's records; its data key is wiped."""
        dek = await self._open_key.open(header)
        keys = RecordKeys(dek, header.hash)
        wipe(dek)
        return keys

    async def _segments(self, whole: _Whole) -> AsyncGenerator[memoryview, None]:
        segments = whole.record.segments
        ends = [segment.start for segment in segments[1:]] + [whole.manifest.total]
        for segment, end in zip(segments, ends, strict=True):
            with closing(await self._log.open_segment(whole.record, segment)) as file:
                header = file.header
                keys = whole.keys
                if segment is not segments[-1]:
                    keys = await self._keys(header)
                reader = SegmentReader(header, keys, self._log.rules.seed(header.hash), end)
                buffer = memoryview(bytearray(header.place.record_bytes))
                while not reader.is_done:
                    position, count = reader.wants()
                    filled = await file.read(buffer[:count], position)
                    for text in reader.open(buffer[:filled]):
                        yield text
            if segment is segments[-1]:
                _hold_to_manifest(whole, reader)


def _hold_to_manifest(whole: _Whole, reader: SegmentReader) -> None:
    """Refuse when the manifest is not the record right behind the last one that counts."""
    place = whole.record.manifest
    if place is None or (place.position, place.counter) != (reader.position, reader.counter):
        raise Broken(Reason.MANIFEST)


def _hold_to(partial: Partial, part: _Whole, whole: _Whole) -> None:
    """Refuse a part that is not the one that was named, or is itself made of parts."""
    place = part.record.manifest
    is_named = place is not None and place.digest == partial.manifest
    is_plain = not part.manifest.partials and part.manifest.total == partial.size
    if not is_named or not is_plain or part.record.account != whole.record.account:
        raise Broken(Reason.MANIFEST)
