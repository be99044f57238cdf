"""How a further request comes to have an upload: from the request before, or by a claim.

The rules: who asks is asked before anybody is disturbed, and what is hopeless by then is refused;
any other request of the same account takes the upload over, because a sender that lost its
connection knows of that before we do.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from edge.admission import Admit
from edge.checks import Hasher
from edge.facts import OutcomeState
from edge.held import Held, Segment
from edge.intake import Taking
from edge.partials import Partials, partials_of
from edge.particulars import Fate
from edge.pump import Pump
from edge.record import State, UploadRecord
from edge.settling import Unborn
from edge.sinks.base import Conflict, Damaged, Ended, Fenced, UnknownUpload
from edge.unfinished import Unfinished
from edge.upload import OffsetMismatch, Upload
from zentransfer.errors import Code, Error
from zentransfer.ids import UploadID

_CONFLICTS_MAX: Final = 8  # as of edge.settling


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request wants of which upload.

    ``adds`` says that it brings bytes, ``offset`` where, if that is to be known before anybody is
    disturbed; ``is_checked`` that they come with a checksum; ``claims`` that it needs the offset,
    which a mere end of the upload does not; ``is_there`` that its sender is not known to be gone.
    """

    upload: UploadID
    dialect: str
    adds: bool = False
    claims: bool = True
    is_checked: bool = False
    offset: int | None = None
    is_there: Callable[[], bool] = lambda: True


class Attaching(Taking):
    """One request for an upload that may be there already: ``_attach`` takes it over."""

    def __init__(
        self, uploads: Unfinished, admitted: Admit, length: int | None, wanted: Wanted | None
    ) -> None:
        super().__init__(uploads.intake, admitted, length)
        self._uploads = uploads
        self._wanted: Wanted | None = wanted
        self._held: Held | None = None
        self._whole: UploadRecord | None = None
        self._found_partials: Partials | None = None
        self._heard_ms: int = 0  # when the last byte came, as the record that was seen last says
        self._noted: int = 0  # the offset up to which the record knows when bytes came
        self._is_told = wanted is not None

    @property
    def upload(self) -> UploadID:
        """Which upload it is."""
        assert self._unborn is not None or self._wanted is not None, "begin first"
        return self._unborn.record.upload if self._unborn else self._known_wanted().upload

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
        _must_have_hope(held, wanted)
        await held.take(self)
        self._held = held
        await self._take_up(held, wanted)

    async def _take_up(self, held: Held, wanted: Wanted) -> None:
        """Go on with the open segment of *held*, which is ours now, or claim the upload."""
        if held.segment is not None and not await self._is_current(held.segment):
            await held.drop()
        before = held.segment
        if before is not None and wanted.is_checked and not before.pump.is_provisional:
            await held.drop()  # plain data counts at once: these bytes need a segment of their own
        if held.segment is None:
            record = await self._must_be_ours(wanted)
            if record.state is not State.RECEIVING:
                await self._found_ended(record)
            elif wanted.claims:
                held.segment = await self._claimed(wanted, before)
        if held.segment is not None:
            self._go_on(held.segment)
            await self._look_at_partials()

    async def _look_at_partials(self) -> None:
        """Find out about the partials of an upload that consists of others.

        Raises ``Error(GONE)`` when one is gone: that is the end of this one too.
        """
        assert self._unborn is not None
        record = self._unborn.record
        if record.partials:
            self._found_partials = await partials_of(self._intake.tools.sink, record)
            if self._found_partials.is_lost:
                await self.fail(Code.GONE)
                raise Error(Code.GONE)

    async def fail(self, code: Code, state: OutcomeState = OutcomeState.FAILED) -> None:
        """End the upload as failed (or *state*) with *code*, content and all, and tell its outcome.

        For what no further request makes right.  What is whole already stays so.
        """
        if self._whole is not None or self._ended:
            return
        await self.drop()
        if self._unborn is not None:
            await self._settled(code, state)
            return
        self._ended = True
        await self._uploads.end(self.upload, Fate(state, code))

    async def _must_be_ours(self, wanted: Wanted) -> UploadRecord:
        record = (await self._intake.tools.sink.record(wanted.upload)).value
        self._heard_ms = record.last_heard_ms
        if record.account != self.account:
            raise Error(Code.NOT_FOUND)
        if record.dialect != wanted.dialect:
            raise Error(Code.FORBIDDEN, "the upload was begun in another dialect")
        if record.partials and wanted.adds:
            raise Error(Code.FORBIDDEN, "the upload consists of others and takes no bytes")
        return record

    async def _is_current(self, segment: Segment) -> bool:
        """Say whether nobody claimed the upload since *segment* was opened."""
        try:
            record = (await self._intake.tools.sink.record(segment.record.upload)).value
        except UnknownUpload:
            return False
        self._heard_ms = record.last_heard_ms
        return record.fence == segment.record.fence and record.state is State.RECEIVING

    async def _claimed(self, wanted: Wanted, before: Segment | None) -> Segment | None:
        """Claim the upload and open a segment; ``None`` if it turns out to be whole.

        *before* is our own one that ended with the last durable byte, if one did.
        """
        tools, upload = self._intake.tools, wanted.upload
        self._uploads.held.cuts.must_be_seldom(upload)
        try:
            claim = await tools.sink.claim(upload)
        except Ended as ended:
            await self._found_ended(ended.record)
            return None
        except Damaged:
            if (await tools.sink.record(upload)).value.state is State.DAMAGED:
                await self._uploads.end(upload, Fate(OutcomeState.FAILED, Code.DAMAGED))
            raise
        self._uploads.on_claim(upload, claim.fence)
        known = tools.settling.open(claim.record)
        self._unborn = Unborn(claim.record, known)
        if known.taken_by != tools.taken_by:  # so that whoever sweeps knows whose it is
            known = replace(known, taken_by=tools.taken_by)
            names, kid = tools.settling.seal(upload, known)
            await self._change(lambda record: record.named(names, kid))
        bound = Upload(self._admitted.size_max, claim.record.length, claim.offset)
        saw_all = claim.offset == 0 and known.digest is not None
        digest: Hasher | None = hashlib.sha256() if saw_all else None
        if before is not None and before.pump.upload.offset == claim.offset:
            digest = before.pump.given_up_digest()
        is_checked = wanted.is_checked
        writer = await claim.writer(provisional=is_checked)
        pump = Pump(writer, bound, digest, is_provisional=is_checked)
        self._uploads.began(upload, self.account)
        return Segment(Unborn(claim.record, known), pump)

    async def _found_ended(self, record: UploadRecord) -> None:
        """Go on with what is whole as far as that goes; raises ``Error(GONE)`` for the rest."""
        if record.manifest is None or (record.is_partial and record.state is not State.PARTIAL):
            raise Error(Code.GONE)
        self._heard_ms = record.last_heard_ms
        if not record.is_partial:
            self._uploads.ended(record.upload)
            await self._uploads.tell(record)  # before anybody hears that it is whole (law 2)
        self._whole = record

    def _go_on(self, segment: Segment) -> None:
        segment.pump.renewed()
        self._pump, self._unborn = segment.pump, segment.unborn
        self._length = segment.pump.upload.length
        self._noted = segment.pump.written

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

    # -- inside ----------------------------------------------------------------------------------

    def _begun(self) -> Unborn:
        assert self._unborn is not None, "begin first, or attach with a claim"
        return self._unborn

    def _known_wanted(self) -> Wanted:
        assert self._wanted is not None, "begin first"
        return self._wanted

    def _pumped(self) -> Pump:
        assert self._pump is not None, "begin first, or attach with a claim"
        return self._pump


def _must_have_hope(held: Held, wanted: Wanted) -> None:
    """Refuse, without disturbing a running request, bytes whose place is not the next one.

    Behind what is durable, or past all that has come: neither can become the offset by ending that
    request.  Whoever asks for the offset, or goes on at one that may be it, takes over.
    """
    pump = None if held.segment is None else held.segment.pump
    if held.user is None or pump is None or wanted.offset is None:
        return
    if not pump.upload.offset <= wanted.offset <= pump.written:
        raise OffsetMismatch(pump.upload.offset)
