"""Run records in a bucket, beside the content: any node of the region delivers any upload.

The rule: a run changes by conditional put only, and so does its end: it becomes an **entry without
text** first, because a store deletes without a condition, and might delete another one.
"""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

from edge.seal.packing import Malformed
from edge.sinks.base import Conflict, Version, Versioned
from edge.sinks.objects_bucket import Bucket, Taken
from edge.sinks.objects_records import NUMBER_BYTES, Entries, Entry
from edge.sinks.records import sink_errors
from edge.workflow.run import Run
from edge.workflow.run_record import pack_run, read_run
from edge.workflow.store import UnknownRun
from zentransfer.clock import Clock
from zentransfer.errors import Error
from zentransfer.ids import Kind, RandomBytes, UploadID, parse
from zentransfer.limits import OBJECT_ORPHAN_S, RUN_RECORD_BYTES_MAX

_RUNS: Final = "runs"
_OVER: Final = b""  # the text of a run that is over


class ObjectRunStore:
    """A :class:`edge.workflow.store.RunStore` in a bucket: ``runs/<upload>``."""

    def __init__(self, bucket: Bucket, random_bytes: RandomBytes, clock: Clock) -> None:
        """Stand on *bucket*; what is over by *clock* for long is removed when it is listed."""
        self._bucket = bucket
        self._entries = Entries(bucket, random_bytes)
        self._clock = clock

    async def create(self, run: Run) -> Versioned[Run]:
        """Keep a new run; see :class:`edge.workflow.store.RunStore`."""
        text = pack_run(run, 1)
        try:
            await self._entries.write(_key(run.upload), text, None)
        except Taken as taken:
            before = await self._entry(run.upload)
            if before is None or before.text != _OVER:
                raise Conflict from taken
            await self._replace(run.upload, text, before)
        return Versioned(run, Version(1))

    async def read(self, upload: UploadID) -> Versioned[Run]:
        """Return a run; see :class:`edge.workflow.store.RunStore`."""
        return (await self._load(upload))[0]

    async def change(self, at: Versioned[Run], to: Run) -> Versioned[Run]:
        """Replace a run; see :class:`edge.workflow.store.RunStore`."""
        assert to.upload == at.value.upload, "a run belongs to its upload"
        now, entry = await self._load(to.upload)
        if now.version != at.version:
            raise Conflict
        version = Version(now.version + 1)
        await self._replace(to.upload, pack_run(to, version), entry)
        return Versioned(to, version)

    async def remove(self, at: Versioned[Run]) -> None:
        """Forget a run; see :class:`edge.workflow.store.RunStore`."""
        try:
            now, entry = await self._load(at.value.upload)
        except UnknownRun:
            return
        if now.version != at.version:
            raise Conflict
        await self._replace(at.value.upload, _OVER, entry)

    async def uploads(self) -> AsyncIterator[UploadID]:
        """Yield the upload of every run; see :class:`edge.workflow.store.RunStore`.

        What is over for a day is removed here: nobody makes a run of such an upload again.
        """
        late_ms = self._clock.now_ms() - int(OBJECT_ORPHAN_S * 1_000)
        over = list[str]()
        async for listed in self._bucket.names(f"{_RUNS}/"):
            if listed.size > NUMBER_BYTES:
                with suppress(Error):  # no run of ours
                    yield UploadID(parse(Kind.UPLOAD, listed.key.removeprefix(f"{_RUNS}/")))
            elif listed.put_ms < late_ms:
                over.append(listed.key)
        await self._bucket.delete(over)

    async def _load(self, upload: UploadID) -> tuple[Versioned[Run], Entry]:
        entry = await self._entry(upload)
        if entry is None or entry.text == _OVER:
            raise UnknownRun
        with sink_errors("read the run"):
            run, version = read_run(entry.text)
            if run.upload != upload:
                raise Malformed("the run of another upload")
        return Versioned(run, Version(version)), entry

    async def _entry(self, upload: UploadID) -> Entry | None:
        return await self._entries.read(_key(upload), RUN_RECORD_BYTES_MAX)

    async def _replace(self, upload: UploadID, text: bytes, before: Entry) -> None:
        try:
            await self._entries.write(_key(upload), text, before.tag)
        except Taken as taken:
            raise Conflict from taken


def _key(upload: UploadID) -> str:
    return f"{_RUNS}/{parse(Kind.UPLOAD, upload)}"
