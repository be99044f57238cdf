"""One request for an upload that outlives it: it begins it, or takes it over where it stands.

The rules: an upload whose address was told is kept until its sender commits or cancels it, or it
expires; one whose address nobody knows ends with its request.  A request for an upload ends the one
before, and goes on with that one's open segment if the fence is still ours; else it claims the
upload, which says what is durable (law 1).
"""

from collections.abc import Mapping
from types import TracebackType
from typing import Final

from edge.attaching import Wanted
from edge.checks import Check
from edge.facts import Outcome, OutcomeState
from edge.held import Segment
from edge.incoming import Incoming
from edge.joining import Joining
from edge.pace import Patience
from edge.particulars import Fate, Particulars
from edge.pump import Source
from edge.record import State
from edge.sinks.base import Fenced, Partial, SinkError
from edge.upload import OffsetMismatch
from edge.upload import State as UploadState
from zentransfer.errors import Code, Error
from zentransfer.ids import UploadID
from zentransfer.limits import ADMISSION_RETRY_AFTER_S, UNFINISHED_S

__all__ = ["Resuming", "Wanted"]

_SHA256: Final = "sha-256"  # its name in a manifest, as of RFC 9530
_FATAL: Final = (Code.CHECKSUM_MISMATCH, Code.TOO_LARGE)
"""What no further byte, and no further request, makes right at a commit."""


class Resuming(Joining):
    """One request for an upload that outlives it: ``begin`` it, or enter it where it stands.

    Leaving the ``with`` without a commit keeps what came, once the address was told.
    """

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
        was_cut = isinstance(error, Error) and error.code is Code.SUPERSEDED and self._is_there()
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
            await self._let_go(was_cut=was_cut)

    @property
    def offset(self) -> int:
        """The durable offset, in bytes."""
        return self._whole.size if self._whole is not None else self._pumped().upload.offset

    @property
    def length(self) -> int | None:
        """The announced length in bytes, or of an upload that is whole, its size.

        Of one that consists of others, that of all of them.
        """
        if self._whole is None and self._found_partials is not None:
            return self._found_partials.length
        return self._whole.size if self._whole is not None else self._pumped().upload.length

    @property
    def is_complete(self) -> bool:
        """Whether every announced byte came: what is missing is the commit, at most."""
        if self._whole is None and self._found_partials is not None:
            return self._found_partials.is_complete
        return self._whole is not None or self._pumped().is_complete

    @property
    def is_partial(self) -> bool:
        """Whether it is only a piece of finals to come."""
        record = self._whole if self._whole is not None else self._begun().record
        return record.is_partial

    @property
    def is_final(self) -> bool:
        """Whether it consists of others."""
        record = self._whole if self._whole is not None else self._begun().record
        return bool(record.partials)

    @property
    def known(self) -> Particulars:
        """What is known beside the bytes; nothing, once the upload's names are destroyed."""
        if self._whole is not None:
            return self._intake.tools.settling.open(self._whole)
        return self._begun().known

    @property
    def metadata(self) -> str:
        """What the sender wanted to read again; nothing, once the upload's names are destroyed."""
        return self.known.metadata

    @property
    def expires_ms(self) -> int | None:
        """When it expires if no byte comes (UTC milliseconds); ``None`` if it is whole.

        That is so long after its last byte, however often it was looked at since.  A partial
        expires all the same, for as long as it has no final.
        """
        is_over = self._ended or self._whole is not None
        if is_over and (not self.is_partial or (self._whole is not None and self._whole.finals)):
            return None
        return self._heard_ms + int(UNFINISHED_S * 1000)

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
        """Make the upload; nobody may be told of it before ``keep`` or ``commit`` returned.

        One that consists of others is begun once: asked for again, it is the same.  Then it raises
        ``Error`` too: INVALID for partials that are not there, TOO_LARGE for all of them, LOCKED.
        """
        if incoming.partials:
            return await self._join(incoming)
        upload = await super().begin(incoming)
        unborn = self._begun()
        self._heard_ms = unborn.record.created_ms
        held = self._uploads.held.of(upload)
        held.segment = Segment(unborn, self._pumped())
        await held.take(self)
        self._held = held
        self._uploads.began(upload, self.account)
        return upload

    async def receive(self, source: Source, patience: Patience, check: Check | None = None) -> None:
        """Take all parts of *source*; raises as :meth:`edge.pump.Pump.run`.

        With *check*, for which the request was begun or attached, nothing of them counts unless
        all came and it says so: else ``Error(CHECKSUM_MISMATCH)``, and the upload goes on from
        where it stood.
        """
        if self._whole is not None:
            if await source.readany():
                raise Error(Code.SIZE_EXCEEDED)
            return
        try:
            await super().receive(source, patience, check)
        except BaseException:
            if check is not None:
                await self.drop()  # what came stands in the segment; a claim leaves it out
            raise

    async def keep(self) -> int:
        """Return the offset, with all that came durable and the upload too: it may be told now.

        Raises ``Fenced``, ``SinkError``: then the next request finds out what is durable.
        """
        if self._whole is None:
            pump, now_ms = self._pumped(), self._intake.tools.clock.now_ms()
            has_come = pump.written != self._noted  # a request without bytes keeps nothing alive
            try:
                await pump.flush(mark=True, now_ms=now_ms if has_come else 0)
            except BaseException:
                await self.drop()
                raise
            self._is_told = True
            if has_come:
                self._heard_ms, self._noted = now_ms, pump.written
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
            elif isinstance(failure, Error) and failure.code in _FATAL:
                await self._settled(failure.code)  # no further byte makes it right
            raise
        finally:
            if self._ended:
                if not self._stays:
                    self._uploads.ended(self.upload)
                await self.drop()
        self._uploads.was_told(self.upload)
        self._heard_ms = outcome.ended_ms
        if pump.upload.state is not UploadState.COMMITTED:  # it was found out to be whole
            self._whole = (await self._intake.tools.sink.record(self.upload)).value
        return outcome

    async def terminate(self) -> Outcome | None:
        """End the upload as cancelled, content and all; returns the outcome, told.

        A partial has none.  Raises ``Error``: FORBIDDEN when it is whole and so no longer its
        sender's to end here, or a partial with a final; GONE when it was delivered and
        destroyed, UNAVAILABLE when the end is begun and goes on in the background.
        """
        whole = self._whole
        if whole is not None and whole.finals:
            raise Error(Code.FORBIDDEN, "another upload consists of it; end that one")
        if whole is not None and not whole.is_partial:
            if whole.state is not State.COMMITTED:
                raise Error(Code.GONE)
            raise Error(Code.FORBIDDEN, "the upload is whole; cancel its deliveries instead")
        await self.drop()
        self._ended = True
        fate = Fate(OutcomeState.CANCELLED, Code.GONE)
        outcome = await self._uploads.end(self.upload, fate)
        if outcome is None and not await self._is_destroyed():
            raise Error(Code.UNAVAILABLE, retry_after_s=ADMISSION_RETRY_AFTER_S)
        if outcome is not None and outcome.state is OutcomeState.COMMITTED:
            raise Error(Code.FORBIDDEN, "the upload is whole; cancel its deliveries instead")
        return outcome

    # -- letting go ------------------------------------------------------------------------------

    async def _keep_if_possible(self) -> None:
        is_over = self._held is None or self._held.segment is None
        if is_over or self._pump is None or self._pump.written == self._noted:
            return
        try:
            await self.keep()
        except Error:
            return  # the segment is closed; what is durable stays, and a claim counts it

    async def _let_go(self, *, was_cut: bool = False) -> None:
        held, self._held = self._held, None
        if held is not None:
            if not self._is_told or self._ended:
                await held.drop()
                if not self._stays:
                    self._uploads.ended(self.upload)
            await self._uploads.held.released(self.upload, was_cut=was_cut)
            self._uploads.waits(self.upload)
        self._intake.left(self, self.account)

    # -- inside ----------------------------------------------------------------------------------

    @property
    def _stays(self) -> bool:
        """Whether it is a whole partial, which nothing but its finals or time ends."""
        is_whole = self._pump is not None and self._pump.upload.state is UploadState.COMMITTED
        return is_whole and self._begun().record.is_partial

    def _is_there(self) -> bool:
        """Say whether the sender is not known to be gone: else it lost nothing by a takeover."""
        return self._wanted is None or self._wanted.is_there()

    def _partials(self) -> tuple[Partial, ...]:
        if self._found_partials is None:
            return ()
        self._must_fit(self._found_partials.length)
        return self._found_partials.places()

    async def _is_destroyed(self) -> bool:
        record = (await self._intake.tools.sink.record(self.upload)).value
        return record.state is State.DESTROYED

    def _unchecked(self) -> Mapping[str, bytes]:
        announced = self._begun().known.digest
        if announced is None or self._pumped().digest() is not None:
            return super()._unchecked()
        return {_SHA256: announced}  # some bytes came before this process: delivery compares

    async def _found_out(self, failure: Error) -> Outcome:
        """Return the outcome if *failure* left the upload whole; else leave it to the next one.

        Who brought bytes is told so only if they were made whole by this request: by another's,
        they may be others.
        """
        if not self._is_told:
            return await super()._found_out(failure)
        await self.drop()
        record = (await self._intake.tools.sink.record(self.upload)).value
        if record.state not in (State.COMMITTED, State.PARTIAL):
            raise failure
        self._ended = True
        brings = self._wanted is None or self._wanted.adds
        if brings and record.ending.outcome != self._outcome:
            raise failure
        return await self._uploads.tell(record)


def _may_flush(error: BaseException | None) -> bool:
    """Say whether a request that ended with *error* may still flush what came.

    Not where the segment has ended; nor after a cancel or a fault of ours, where nothing more is
    awaited.
    """
    return error is None or (isinstance(error, Error) and not isinstance(error, SinkError | Fenced))
