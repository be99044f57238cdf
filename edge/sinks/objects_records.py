"""Small records as objects: read, and changed one at a time by conditional puts.

The rule: **every write has a number of its own**, drawn at random and stored in front of the
record.  So no two writes look alike to a condition, and a write whose answer was lost is known
again as ours, where two claims that write the same words would both believe they had won.
"""

from dataclasses import dataclass
from typing import Final

from edge.record_codec import pack_record, read_record
from edge.seal.packing import Malformed
from edge.sinks.base import SinkError, UnknownUpload, Version, Versioned
from edge.sinks.objects_bucket import Bucket, Taken
from edge.sinks.records import Found, Transition, sink_errors
from zentransfer.ids import Kind, RandomBytes, UploadID, parse
from zentransfer.limits import OBJECT_CHANGE_TRIES, UPLOAD_RECORD_BYTES_MAX

NUMBER_BYTES: Final = 16
RECORDS: Final = "records"


@dataclass(frozen=True, slots=True)
class Entry:
    """A small object as it was read: the text behind its number, and the tag of all of it."""

    number: bytes
    text: bytes
    tag: str


class Entries:
    """Small objects that change by compare-and-swap."""

    def __init__(self, bucket: Bucket, random_bytes: RandomBytes) -> None:
        self._bucket = bucket
        self._random_bytes = random_bytes

    async def read(self, key: str, size_max: int) -> Entry | None:
        """Return what lies under *key*; ``None`` for nothing.  Raises ``SinkError``."""
        found = await self._bucket.get(key, NUMBER_BYTES + size_max)
        if found is None:
            return None
        return Entry(found.data[:NUMBER_BYTES], found.data[NUMBER_BYTES:], found.tag)

    async def write(self, key: str, text: bytes, tag: str | None) -> Entry:
        """Put *text* over the entry with this *tag*, or where there is none.

        Raises :class:`Taken`, ``SinkError``; after the latter it may be there, now or later.
        """
        number = self._random_bytes(NUMBER_BYTES)
        try:
            return Entry(number, text, await self._bucket.put(key, number + text, tag))
        except (Taken, SinkError) as failure:
            # The store may have done it, and its answer been lost: then a repeated request is
            # refused because of the first.
            now = await self._maybe_ours(key, number, len(text), failure)
            if now is None:
                raise
            return now

    async def _maybe_ours(
        self, key: str, number: bytes, size: int, failure: Taken | SinkError
    ) -> Entry | None:
        try:
            now = await self.read(key, size)
        except SinkError:
            raise failure from None
        return now if now is not None and now.number == number else None


@dataclass(frozen=True, slots=True)
class Stored:
    """A record as it was read or written, and the tag by which it is replaced."""

    found: Found
    tag: str


class ObjectRecords:
    """The records of all uploads in one bucket: ``records/<upload>``."""

    def __init__(self, bucket: Bucket, random_bytes: RandomBytes) -> None:
        self._entries = Entries(bucket, random_bytes)

    async def maybe(self, upload: UploadID) -> Stored | None:
        """Return the record; ``None`` for none.  Raises ``SinkError``."""
        with sink_errors("read the record"):
            entry = await self._entries.read(_key(upload), UPLOAD_RECORD_BYTES_MAX)
            if entry is None:
                return None
            record, version = read_record(entry.text)
            if record.upload != upload:
                raise Malformed("the record of another upload")
            return Stored(Versioned(record, Version(version)), entry.tag)

    async def load(self, upload: UploadID) -> Stored:
        """Return the record; raises :class:`UnknownUpload`, ``SinkError``."""
        stored = await self.maybe(upload)
        if stored is None:
            raise UnknownUpload
        return stored

    async def create(self, upload: UploadID, transition: Transition) -> Stored:
        """Make the record by *transition* without a look; as :meth:`swap` if one is there."""
        return await self._swap(upload, transition, None)

    async def swap(
        self, upload: UploadID, transition: Transition, *, seen: Stored | None = None
    ) -> Stored:
        """Change the record by *transition*; durable when it returns.

        It begins from *seen*, or else from what is read.  A transition that returns the record
        itself changes nothing.  Raises what *transition* raises, and ``SinkError``.
        """
        return await self._swap(upload, transition, seen or await self.maybe(upload))

    async def _swap(
        self, upload: UploadID, transition: Transition, before: Stored | None
    ) -> Stored:
        for _ in range(OBJECT_CHANGE_TRIES):
            after = transition(before.found if before else None)
            if before is not None and after is before.found.value:
                return before
            version = Version(before.found.version + 1 if before else 1)
            with sink_errors("change the record"):
                text = pack_record(after, version)
            try:
                entry = await self._entries.write(
                    _key(upload), text, before.tag if before else None
                )
            except Taken:
                before = await self.maybe(upload)
                continue
            return Stored(Versioned(after, version), entry.tag)
        raise SinkError("the record changes all the time", temporary=True)


def _key(upload: UploadID) -> str:
    """Return where the record is kept; raises ``Error(INVALID)`` for no id of ours."""
    return f"{RECORDS}/{parse(Kind.UPLOAD, upload)}"
