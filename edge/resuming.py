"""One request for an upload that outlives it: it begins it, or takes it over where it stands.

The rules: an upload whose address was told is kept until its sender commits or cancels it, or it
expires; one whose address nobody knows ends with its request.  A request for an upload ends the one
before, and goes on with that one's open segment if the fence is still ours; else it claims the
upload, which says what is durable (law 1).
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final

from edge.admission import Admit
from edge.facts import Outcome, OutcomeState
from edge.held import Held, Segment
from edge.incoming import Incoming
from edge.intake import Taking
from edge.pace import Patience
from edge.particulars import Fate
from edge.pump import Pump, Source
from edge.record import State, UploadRecord
from edge.settling import Unborn
from edge.sinks.base import Conflict, Damaged, Ended, Fenced, SinkError, UnknownUpload
from edge.unfinished import Unfinished
from edge.upload import OffsetMismatch, Upload
from edge.upload import State as UploadState
from zentransfer.errors import Code, Error
from zentransfer.ids import UploadID
from zentransfer.limits import ADMISSION_RETRY_AFTER_S, UNFINISHED_S

_CONFLICTS_MAX: Final = 8  # as of edge.settling
_SHA256: Final = "sha-256"  # its name in a manifest, as of RFC 9530


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request wants of which upload.

    ``adds`` says that it brings bytes; ``claims`` that it needs the offset, which a mere end of
    the upload does not.
    """

    upload: UploadID
    dialect: str
    adds: bool = False
    claims: bool = True


class Resuming(Taking):
    """One request for an upload that outlives it: ``begin`` it, or enter it where it stands.

    Leaving the ``with`` without a commit keeps what came, once the address was told.
    """

    def __init__(
        self, uploads: Unfinished, admitted: Admit, length: int | None, wanted: Wanted | None
    ) -> None:
        super().__init__(uploads.intake, admitted, length)
        self._uploads = uploads
        self._wanted = wanted
        self._held: Held | None = None
        self._whole: UploadRecord | None = None
        self._is_told = wanted is not None

    async def __aenter__(self) -> "Resuming":
        """Count as under way, and take the upload over if it is there."""
        await super().__aenter__()
        try:
            if self._wanted is not None:
                await self._attach(self._wanted)
        except BaseException:
            await self._let_go()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Keep the upload, or end it if nobody can ever come back to it."""
        try:
            if self._ended or self._whole is not None or self._unborn is None:
                return
            if not self._is_told:
                await self._abort(error)
            elif _may_flush(error):
                await self._keep_if_possible()
            else:
                await self.drop()
        except BaseException:
            await self.drop()
            raise
        finally:
            await self._let_go()

    @property
    def upload(self) -> UploadID:
        """Which upload it is."""
        assert self._unborn is not None or self._wanted is not None, "begin first"
        return self._unborn.record.upload if self._unborn else self._known_wanted().upload

    @property
    def offset(self) -> int:
        """The durable offset, in bytes."""
        return self._whole.size if self._whole is not None else self._pumped().upload.offset

    @property
    def length(self) -> int | None:
        """The announced length in bytes, or of an upload that is whole, its size."""
        return self._whole.size if self._whole is not None else self._pumped().upload.length

    @property
    def is_complete(self) -> bool:
        """Whether every announced byte came: what is missing is the commit, at most."""
        return self._whole is not None or self._pumped().is_complete

    @property
    def metadata(self) -> str:
        """What the sender wanted to read again; nothing, once the upload's names are destroyed."""
        if self._whole is not None:
            return self._intake.tools.settling.open(self._whole).metadata
        assert self._unborn is not None
        return self._unborn.known.metadata

    @property
    def expires_ms(self) -> int | None:
        """When it expires if no byte comes (UTC milliseconds); ``None`` if it is whole."""
        is_over = self._ended or self._whole is not None
        return None if is_over else self._intake.tools.clock.now_ms() + int(UNFINISHED_S * 1000)

    def expect(self, offset: int) -> None:
        """Agree that the next byte is *offset*; raises ``OffsetMismatch``."""
        if self._whole is None:
            self._pumped().upload.expect(offset)
        elif offset != self._whole.size:
            raise OffsetMismatch(self._whole.size)

    async def announce(self, length: int) -> None:
        """Let the upload be *length* bytes long, durably.

        Raises ``Error``: TOO_LARGE, INCONSISTENT_LENGTH, and what the sink raises.
        """
        if length == self.length:
            return
        if self._whole is not None:
            raise Error(Code.INCONSISTENT_LENGTH)
        self._pumped().upload.announced(length)
        await self._change(lambda record: record.announced(length))
        self._pumped().announced(length)
        self._length = length

    async def begin(self, incoming: Incoming) -> UploadID:
        """Make the upload; nobody may be told of it before ``keep`` or ``commit`` returned."""
        upload = await super().begin(incoming)
        assert self._unborn is not None
        held = self._uploads.held.of(upload)
        held.segment = Segment(self._unborn, self._pumped())
        await held.take(self)
        self._held = held
        self._uploads.began(upload, self.account)
        return upload

    async def receive(self, source: Source, patience: Patience) -> None:
        """Take all parts of *source*; raises as :meth:`edge.pump.Pump.run`."""
        if self._whole is None:
            await super().receive(source, patience)
        elif await source.readany():
            raise Error(Code.SIZE_EXCEEDED)

    async def keep(self) -> int:
        """Return the offset, with all that came durable and the upload too: it may be told now.

        Raises ``Fenced``, ``SinkError``: then the next request finds out what is durable.
        """
        if self._whole is None:
            try:
                await self._pumped().flush(mark=True, now_ms=self._intake.tools.clock.now_ms())
            except BaseException:
                await self.drop()
                raise
            self._is_told = True
        return self.offset

    async def commit(self) -> Outcome:
        """Commit, as :meth:`edge.intake.Taking.commit`; what is whole already is told again."""
        if self._whole is not None:
            return await self._uploads.tell(self._whole)
        pump = self._pumped()
        try:
            outcome = await super().commit()
        except BaseException as failure:
            if pump.upload.state is UploadState.COMMITTED:  # and still to be told
                self._intake.left_open(self._unsettled(Code.INTERNAL))
                self._ended = True
            elif isinstance(failure, Error) and failure.code is Code.CHECKSUM_MISMATCH:
                await self._settled(failure.code)  # no further byte makes it right
            raise
        finally:
            if self._ended:
                self._uploads.ended(self.upload)
                await self.drop()
        self._uploads.was_told(self.upload)
        if pump.upload.state is not UploadState.COMMITTED:  # it was found out to be whole
            self._whole = (await self._intake.tools.sink.record(self.upload)).value
        return outcome

    async def terminate(self) -> Outcome:
        """End the upload as cancelled, content and all; returns the outcome, told.

        Raises ``Error``: FORBIDDEN when it is whole and so no longer its sender's to end here,
        UNAVAILABLE when the end is begun and goes on in the background.
        """
        outcome = None
        if self._whole is None:
            await self.drop()
            self._ended = True
            fate = Fate(OutcomeState.CANCELLED, Code.GONE)
            outcome = await self._uploads.end(self.upload, fate)
            if outcome is None:
                raise Error(Code.UNAVAILABLE, retry_after_s=ADMISSION_RETRY_AFTER_S)
        if outcome is None or outcome.state is OutcomeState.COMMITTED:
            raise Error(Code.FORBIDDEN, "the upload is whole; cancel its deliveries instead")
        return outcome

    async def drop(self) -> None:
        """Close the segment, which keeps what is durable; the next request claims the upload."""
        if self._held is not None:
            await self._held.drop()
        elif self._pump is not None:
            await self._pump.close()

    # -- taking over -----------------------------------------------------------------------------

    async def _attach(self, wanted: Wanted) -> None:
        """Take the upload over, from the request before or by a claim."""
        await self._must_be_ours(wanted)  # before anybody is disturbed
        held = self._uploads.held.of(wanted.upload)
        await held.take(self)
        self._held = held
        if held.segment is not None and not await self._is_current(held.segment):
            await held.drop()
        if held.segment is None:
            record = await self._must_be_ours(wanted)
            if record.state is not State.RECEIVING:
                await self._found_ended(record)
            elif wanted.claims:
                held.segment = await self._claimed(wanted.upload)
        if held.segment is not None:
            self._go_on(held.segment)

    async def _must_be_ours(self, wanted: Wanted) -> UploadRecord:
        record = (await self._intake.tools.sink.record(wanted.upload)).value
        if record.account != self.account:
            raise Error(Code.NOT_FOUND)
        if record.dialect != wanted.dialect:
            raise Error(Code.FORBIDDEN, "the upload was begun in another dialect")
        return record

    async def _is_current(self, segment: Segment) -> bool:
        """Say whether nobody claimed the upload since *segment* was opened."""
        try:
            record = (await self._intake.tools.sink.record(segment.record.upload)).value
        except UnknownUpload:
            return False
        return record.fence == segment.record.fence and record.state is State.RECEIVING

    async def _claimed(self, upload: UploadID) -> Segment | None:
        """Claim the upload and open a segment; ``None`` if it turns out to be whole."""
        tools = self._intake.tools
        try:
            claim = await tools.sink.claim(upload)
        except Ended as ended:
            await self._found_ended(ended.record)
            return None
        except Damaged:
            if (await tools.sink.record(upload)).value.state is State.DAMAGED:
                await self._uploads.end(upload, Fate(OutcomeState.FAILED, Code.DAMAGED))
            raise
        known = tools.settling.open(claim.record)
        self._unborn = Unborn(claim.record, known)
        if known.taken_by != tools.taken_by:  # so that whoever sweeps knows whose it is
            known = replace(known, taken_by=tools.taken_by)
            names, kid = tools.settling.seal(upload, known)
            await self._change(lambda record: record.named(names, kid))
        bound = Upload(self._admitted.size_max, claim.record.length, claim.offset)
        saw_all = claim.offset == 0 and known.digest is not None
        pump = Pump(await claim.writer(), bound, hashlib.sha256() if saw_all else None)
        self._uploads.began(upload, self.account)
        return Segment(Unborn(claim.record, known), pump)

    async def _found_ended(self, record: UploadRecord) -> None:
        """Go on with what is whole as far as that goes; raises ``Error(GONE)`` for the rest."""
        if record.manifest is None:
            raise Error(Code.GONE)
        self._uploads.ended(record.upload)
        await self._uploads.tell(record)  # before anybody hears that it is whole (law 2)
        self._whole = record

    def _go_on(self, segment: Segment) -> None:
        segment.pump.renewed()
        self._pump, self._unborn = segment.pump, segment.unborn
        self._length = segment.pump.upload.length

    async def _change(self, change: Callable[[UploadRecord], UploadRecord]) -> None:
        """Change the record while it is still ours; raises ``Fenced``, ``SinkError``."""
        assert self._unborn is not None
        sink, ours = self._intake.tools.sink, self._unborn.record
        for _ in range(_CONFLICTS_MAX):
            found = await sink.record(ours.upload)
            if found.value.fence != ours.fence or found.value.state is not State.RECEIVING:
                raise Fenced
            try:
                await sink.change(ours.upload, found.version, change(found.value))
            except Conflict:
                continue
            return
        raise Conflict

    # -- letting go ------------------------------------------------------------------------------

    async def _keep_if_possible(self) -> None:
        if self._pump is None or not self._pump.has_unflushed:
            return
        try:
            await self.keep()
        except Error:
            return  # the segment is closed; what is durable stays, and a claim counts it

    async def _let_go(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            if not self._is_told or self._ended:
                await held.drop()
                self._uploads.ended(self.upload)
            await self._uploads.held.released(self.upload)
        self._intake.left(self, self.account)

    # -- inside ----------------------------------------------------------------------------------

    def _unchecked(self) -> Mapping[str, bytes]:
        assert self._unborn is not None
        announced = self._unborn.known.digest
        if announced is None or self._pumped().digest() is not None:
            return super()._unchecked()
        return {_SHA256: announced}  # some bytes came before this process: delivery compares

    async def _found_out(self, failure: Error) -> Outcome:
        """Return the outcome if *failure* left the upload whole; else leave it to the next one."""
        if not self._is_told:
            return await super()._found_out(failure)
        await self.drop()
        record = (await self._intake.tools.sink.record(self.upload)).value
        if record.state is not State.COMMITTED:
            raise failure
        self._ended = True
        return await self._uploads.tell(record)

    def _known_wanted(self) -> Wanted:
        assert self._wanted is not None, "begin first"
        return self._wanted

    def _pumped(self) -> Pump:
        assert self._pump is not None, "begin first, or attach with a claim"
        return self._pump


def _may_flush(error: BaseException | None) -> bool:
    """Say whether a request that ended with *error* may still flush what came.

    Not where the segment has ended; nor after a cancel or a fault of ours, where nothing more is
    awaited.
    """
    return error is None or (isinstance(error, Error) and not isinstance(error, SinkError | Fenced))
