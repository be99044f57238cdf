"""One attempt of one delivery: under a lease, after the audit record, straight to the destination.

The rule: plaintext passes through and is never kept on our side; and the content ends cleanly only
if it is whole, is what its sender announced, and the lease still holds.  Whatever else ends it is
an error to the destination, which then shows nothing.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, cast

from edge.audit import Attempted
from edge.particulars import Particulars
from edge.record import State, UploadRecord
from edge.seal.manifest import Manifest
from edge.sinks.base import SinkError, UnknownUpload
from edge.snapshot import DestinationEntry
from edge.workflow.destinations.base import DestinationError, Fault, RemoteName, RemoteRef
from edge.workflow.destinations.naming import checked_folder, checked_name
from edge.workflow.index import Index
from edge.workflow.run import Delivery, LeaseLost, Run
from edge.workflow.site import Site
from edge.workflow.store import UnknownRun
from zentransfer import log
from zentransfer.errors import Code, Error
from zentransfer.limits import DELIVERY_VERIFY_BYTES_PER_S

# RFC 9530 and tus spell them so.  One that is not here is not compared: its sender asked for more
# than was promised when the upload was taken.
_SHA256: Final = "sha-256"
_ALGORITHMS: Final[Mapping[str, str]] = {
    _SHA256: "sha256",
    "sha-512": "sha512",
    "sha": "sha1",
    "sha-1": "sha1",
    "sha1": "sha1",
    "md5": "md5",
}


class How(StrEnum):
    """How an attempt ended."""

    DONE = "done"
    LOST = "lost"
    """Its lease went to another: nothing of it counts."""
    GONE = "gone"
    """The content is not there any more: somebody else ended the upload."""
    LATER = "later"
    NEVER = "never"
    SHUT = "shut"
    """Its destination takes nothing for now."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an attempt ended; ``fault`` is set if it was the destination that spoke.

    ``digest`` is the SHA-256 of all the content, where the attempt was the first to compute it.
    """

    how: How
    ref: str = ""
    error: Code = Code.INTERNAL
    fault: Fault | None = None
    digest: bytes | None = None


class _Gone(Exception):
    """There is no content to deliver."""


class Attempt:
    """One attempt; ``fence`` is that of the lease under which it was begun."""

    def __init__(self, site: Site, index: Index, run: Run, delivery: Delivery) -> None:
        """Take the attempt in hand, whose lease was got a moment ago."""
        self._site = site
        self._index = index
        self._run = run
        self._delivery = delivery
        self.fence = delivery.fence
        self._loop = asyncio.get_running_loop()
        self._held_until_s = self._loop.time() + site.timing.lease_s
        self._patience: asyncio.Timeout | None = None
        self._digest: bytes | None = None

    async def run(self) -> Verdict:
        """Try; returns how it ended.  Raises nothing but a cancellation."""
        verdict = Verdict(How.LOST)
        try:
            async with asyncio.TaskGroup() as group:
                renewing = group.create_task(self._renew())
                ref = await self._put()
                renewing.cancel()
            verdict = Verdict(How.DONE, ref.text, digest=self._digest)
        except* Exception as errors:  # noqa: BLE001 - one that fails must not stop the others
            verdict = _verdict(errors)
        return verdict

    async def _renew(self) -> None:
        """Keep the lease for as long as the attempt lasts; raises :class:`LeaseLost`."""
        timing = self._site.timing
        lease_ms = int(timing.lease_s * 1_000)
        while True:
            await asyncio.sleep(timing.renew_s)
            begun_s = self._loop.time()
            try:
                await self._index.change(
                    self._run.upload,
                    lambda run: run.renewed(
                        self._delivery.id, self.fence, self._site.clock.now_ms(), lease_ms
                    ),
                )
            except UnknownRun as gone:
                raise LeaseLost from gone
            except SinkError:
                self._must_hold()  # the disk may be back before it runs out
            else:
                self._held_until_s = begun_s + timing.lease_s

    def _must_hold(self) -> None:
        if self._loop.time() >= self._held_until_s:
            raise LeaseLost

    async def _put(self) -> RemoteRef:
        site, upload = self._site, self._run.upload
        record = await self._record()
        known = site.particulars(record)
        destination = site.destinations.get(self._entry())
        name = self._name(known)
        keys = site.rules.open_key(
            site.keys, site.audit, site.region, site.clock, self._attempted(record)
        )
        manifest = await site.sink.manifest(upload, keys)
        # It may have to read all of what lies there already, and at the end what it has written.
        whole_s = site.timing.stall_s + record.size / DELIVERY_VERIFY_BYTES_PER_S
        async with asyncio.timeout(whole_s) as self._patience:
            content = self._content(site.sink.reader(upload, keys), manifest, whole_s)
            async with aclosing(content):
                return await destination.put(
                    name,
                    content,
                    size=record.size,
                    digest=manifest.digest,
                    resume_ref=self._delivery.ref,
                )

    async def _record(self) -> UploadRecord:
        try:
            record = (await self._site.sink.record(self._run.upload)).value
        except UnknownUpload as unknown:
            raise _Gone from unknown
        if record.state is not State.COMMITTED:
            raise _Gone
        return record

    def _entry(self) -> DestinationEntry:
        entry = self._site.maybe_destination(self._delivery.destination)
        if entry is None or entry.account_id != self._run.account:
            detail = "the destination is not known here"
            raise DestinationError(Code.NOT_FOUND, detail, Fault.DESTINATION)
        return entry

    def _name(self, known: Particulars) -> RemoteName:
        try:
            folder, name = checked_folder(known.name.folder), checked_name(known.name.name)
        except Error as wrong:
            raise DestinationError(wrong.code, wrong.detail, Fault.OBJECT) from wrong
        return RemoteName(folder, name, self._delivery.id, self.fence)

    def _attempted(self, record: UploadRecord) -> Attempted:
        numbers = [segment.number for segment in record.segments]
        return Attempted(
            process=self._site.me.process,
            delivery=self._delivery.id,
            fence=self.fence,
            segments={record.upload: (len(numbers), numbers[0], numbers[-1])},
            must_hold=self._must_hold,
        )

    async def _content(
        self, texts: AsyncIterator[memoryview], manifest: Manifest, whole_s: float
    ) -> AsyncGenerator[memoryview, None]:
        """Yield the plaintext; ends only if the object may become visible."""
        wanted = {name for name in manifest.expected if name in _ALGORITHMS}
        if manifest.digest is None:  # nobody has computed it yet: the owner is shown it
            wanted.add(_SHA256)
        running = {
            name: hashlib.new(_ALGORITHMS[name], usedforsecurity=False) for name in sorted(wanted)
        }
        async with _closed(texts):
            async for text in texts:
                self._must_hold()
                for each in running.values():
                    each.update(text)
                yield text
                self._progressed(self._site.timing.stall_s)
        found = {name: each.digest() for name, each in running.items()}
        if any(found[name] != manifest.expected[name] for name in found.keys() & manifest.expected):
            raise SinkError(
                "the content is not what its sender announced",
                temporary=False,
                code=Code.CHECKSUM_MISMATCH,
            )
        await self._confirm()
        self._digest = found.get(_SHA256)
        self._progressed(whole_s)

    async def _confirm(self) -> None:
        """Raise :class:`LeaseLost` unless the record still names this attempt."""
        self._must_hold()
        try:
            run = await self._index.load(self._run.upload)
        except UnknownRun as gone:
            raise LeaseLost from gone
        if not self._site.rules.still_holds(run, self._delivery.id, self.fence):
            raise LeaseLost

    def _progressed(self, patience_s: float) -> None:
        if self._patience is not None and not self._patience.expired():
            self._patience.reschedule(self._loop.time() + patience_s)


def _closed(texts: AsyncIterator[memoryview]) -> AbstractAsyncContextManager[object]:
    """Return what closes the reader at the end of the ``with``, if it is one to be closed."""
    if not isinstance(texts, AsyncGenerator):
        return nullcontext()
    return aclosing(cast("AsyncGenerator[memoryview, None]", texts))


def _verdict(errors: BaseExceptionGroup[Exception]) -> Verdict:
    """Return the verdict of the error that says most, and log what nobody foresaw."""
    found = list(_leaves(errors))
    for judge in (_of_lease, _of_destination, _of_ours):
        for error in found:
            verdict = judge(error)
            if verdict is not None:
                return verdict
    for error in found:
        log.error("delivery.fault", error)
    return Verdict(How.LATER)


def _of_lease(error: Exception) -> Verdict | None:
    if isinstance(error, LeaseLost):
        return Verdict(How.LOST)
    return Verdict(How.GONE) if isinstance(error, _Gone) else None


def _of_destination(error: Exception) -> Verdict | None:
    if not isinstance(error, DestinationError):
        return None
    how = {Fault.TEMPORARY: How.LATER, Fault.OBJECT: How.NEVER, Fault.DESTINATION: How.SHUT}
    return Verdict(how[error.fault], error=error.code, fault=error.fault)


def _of_ours(error: Exception) -> Verdict | None:
    if isinstance(error, TimeoutError):
        return Verdict(How.LATER, error=Code.TIMEOUT, fault=Fault.TEMPORARY)
    if isinstance(error, SinkError) and not error.temporary:
        return Verdict(How.NEVER, error=error.code)
    return Verdict(How.LATER, error=error.code) if isinstance(error, Error) else None


def _leaves(errors: BaseExceptionGroup[Exception]) -> list[Exception]:
    found: list[Exception] = []
    for error in errors.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
