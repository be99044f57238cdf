"""The end of an upload, found out or brought about, and told: exactly once, whatever failed before.

The rules: the record decides what became of an upload, never the memory of a process (law 3); an
end other than a commit is stamped into the record, with the id of its outcome, before it is told,
told before the content is destroyed, and the tombstone knows until it is told that the content is
gone.  So every step can be repeated by whoever comes next.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from edge.facts import DeletionReason, Outcome, OutcomeState, of_outcome, pack_fact
from edge.keys import RegionPublicKeys
from edge.outbox import Outbox
from edge.outcome import gone_fact, maybe_outcome
from edge.partials import destroy
from edge.particulars import Fate, Particulars, open_particulars, seal_particulars
from edge.record import Ending, State, UploadRecord
from edge.seal.broken import Broken
from edge.seal.names import NONCE_BYTES
from edge.sinks.base import Conflict, Sink, UnknownUpload
from edge.wakeup import Wake
from zentransfer import log
from zentransfer.clock import Clock
from zentransfer.errors import Code
from zentransfer.ids import IdMaker, Kind, OutcomeID, RandomBytes, UploadID
from zentransfer.sealed_name import FileName

_CONFLICTS_MAX: Final = 8  # another process changes a record once or twice in its life
_LOST: Final = Fate(OutcomeState.FAILED, Code.DAMAGED)
_UNKNOWN: Final = Particulars(FileName("", ""))


@dataclass(frozen=True, slots=True)
class Unborn:
    """An upload as it was begun in this process, for the case that no record of it is durable."""

    record: UploadRecord
    known: Particulars


@dataclass(frozen=True, slots=True)
class Unsettled:
    """An upload that shall end as *fate* says, unless its record says that it ended already.

    ``outcome`` and ``ended_ms`` (UTC) are those of that end: however often it is told, it is one.
    """

    upload: UploadID
    fate: Fate
    outcome: OutcomeID
    ended_ms: int
    unborn: Unborn | None = None


class Settling:
    """Ends uploads of one region and tells their outcomes to one outbox."""

    def __init__(
        self,
        sink: Sink,
        keys: RegionPublicKeys,
        outbox: Outbox,
        clock: Clock,
        random_bytes: RandomBytes,
        wake: Wake,
    ) -> None:
        self._sink = sink
        self._keys = keys
        self._outbox = outbox
        self._clock = clock
        self._random_bytes = random_bytes
        self._wake = wake
        self._make: Callable[[Kind], str] = IdMaker(random_bytes).make

    def outcome_id(self) -> OutcomeID:
        """Return the id of an outcome to come; it is stored before it is first sent."""
        return OutcomeID(self._make(Kind.OUTCOME))

    def seal(self, upload: UploadID, known: Particulars) -> tuple[bytes, str]:
        """Return *known* as the record keeps it, and the id of the key that it is sealed under."""
        kid = self._keys.metadata_kid
        nonce = self._random_bytes(NONCE_BYTES)
        return seal_particulars(self._keys.metadata[kid], upload, known, nonce), kid

    def open(self, record: UploadRecord) -> Particulars:
        """Return what *record* keeps sealed; nothing, where that is destroyed or its key is."""
        key = self._keys.metadata.get(record.names_kid)
        if not record.names or key is None:
            return _UNKNOWN
        try:
            return open_particulars(key, record.upload, record.names)
        except Broken as broken:
            log.error("upload.names_broken", broken, upload=record.upload)
            return _UNKNOWN

    async def tell(self, outcome: Outcome) -> None:
        """Make *outcome* durable in the outbox, then wake delivery if there is anything for it.

        Raises ``Error``: OUTBOX_FULL, SINK_UNAVAILABLE; then tell it again.
        """
        await self._outbox.add(pack_fact(of_outcome(outcome)))
        if outcome.state is OutcomeState.COMMITTED:
            self._wake(outcome.upload_id)

    async def settle(self, one: Unsettled) -> Outcome | None:
        """Bring about the one end of an upload, tell it, destroy what may not stay.

        Returns the outcome as it was told, COMMITTED if its commit had succeeded after all;
        ``None`` where there was nothing to tell.  To be repeated until it returns: raises
        ``SinkError`` and what :meth:`tell` raises.  Then comes :meth:`tell_gone`.
        """
        record = await self._ended(one)
        if record is not None and record.state is State.RECEIVING:
            return None  # another process took it over and goes on with it
        if record is None or (record.state is State.DESTROYED and record.ending.outcome is None):
            return await self._settle_unborn(one)
        if record.state is State.DESTROYED:
            return None  # it was told before, and what would tell it again is gone
        outcome = maybe_outcome(record, self.open(record))
        if outcome is not None:
            await self.tell(outcome)
        if record.manifest is None or (record.is_partial and record.state is State.DESTROYING):
            await destroy(self._sink, one.upload)
        return outcome

    async def named(self, upload: UploadID, name: FileName) -> bool:
        """Give *upload*, which waits for it, its last *name*, and let it be delivered.

        Returns whether it still waited; durable.  Raises ``Conflict``, ``SinkError``.
        """
        return await self._released(upload, lambda known: replace(known, name=name))

    async def withdrawn(self, upload: UploadID) -> bool:
        """Let *upload*, which waits for its last name, be delivered nowhere; as :meth:`named`."""
        return await self._released(upload, lambda known: replace(known, is_withdrawn=True))

    async def _released(
        self, upload: UploadID, change: Callable[[Particulars], Particulars]
    ) -> bool:
        for _ in range(_CONFLICTS_MAX):
            try:
                found = await self._sink.record(upload)
            except UnknownUpload:
                return False
            record, known = found.value, self.open(found.value)
            waits_until_ms = known.waits_until_ms(record.ending.ended_ms)
            if record.state is not State.COMMITTED or self._clock.now_ms() >= waits_until_ms:
                return False
            sealed, kid = self.seal(upload, replace(change(known), is_held=False))
            with suppress(Conflict):
                await self._sink.change(upload, found.version, record.named(sealed, kid))
                self._wake(upload)
                return True
        raise Conflict

    async def _settle_unborn(self, one: Unsettled) -> Outcome | None:
        """Let nothing of an upload without a record ever look whole; then tell, if it was ours.

        Destroyed first: a record whose flush failed might come back with the power.
        """
        await self._sink.destroy(one.upload)
        if one.unborn is None:
            return None  # it was never told of, not even to control
        known = replace(one.unborn.known, fate=one.fate)
        outcome = maybe_outcome(one.unborn.record.ended(_ending(one)), known)
        if outcome is None:
            return None  # a partial: nobody is told of it
        # In one fact: there is no tombstone that would still know it after a crash.
        outcome = replace(outcome, destroyed_ms=one.ended_ms)
        await self.tell(outcome)
        return outcome

    async def tell_gone(self, upload: UploadID) -> None:
        """Tell that nothing is left of an upload that never was whole, if that is not told yet.

        To be repeated until it returns: raises ``SinkError`` and what :meth:`tell` raises.
        """
        now_ms = self._clock.now_ms()
        try:
            record = await self._changed(upload, lambda now: now.gone(now_ms))
            if record.lacks_receipt():
                await self._outbox.add(pack_fact(gone_fact(record)))
                await self._changed(upload, UploadRecord.gone_told)
                reason = DeletionReason.UNFINISHED
                log.fact("content.destroyed", upload=upload, reason=reason, bytes=record.size)
        except UnknownUpload:
            return  # nothing of it was durable, and its outcome has said so

    async def _changed(
        self, upload: UploadID, change: Callable[[UploadRecord], UploadRecord]
    ) -> UploadRecord:
        """Return the record, changed if it is a tombstone that has to be told of; durable."""
        for _ in range(_CONFLICTS_MAX):
            found = await self._sink.record(upload)
            if not found.value.lacks_receipt():
                return found.value
            with suppress(Conflict):
                to = change(found.value)
                if to is not found.value:
                    await self._sink.change(upload, found.version, to)
                return to
        raise Conflict

    async def _ended(self, one: Unsettled) -> UploadRecord | None:
        """Return the record with an end in it, durable; ``None`` if there is no record.

        One that another process claimed since is returned as it is, without an end.
        """
        for _ in range(_CONFLICTS_MAX):
            try:
                found = await self._sink.record(one.upload)
            except UnknownUpload:
                return None
            record = found.value
            if not _lacks_end(record) or _is_anothers(record, one):
                return record
            with suppress(Conflict):
                to = self._stamped(record, one)
                await self._sink.change(one.upload, found.version, to)
                return to
        raise Conflict

    def _stamped(self, record: UploadRecord, one: Unsettled) -> UploadRecord:
        """Return *record* on its way to destruction, with all that its outcome is made of."""
        fate = _LOST if record.state is State.DAMAGED else one.fate
        known = replace(self.open(record), fate=fate)
        sealed, kid = self.seal(record.upload, known)
        return record.named(sealed, kid).ended(_ending(one)).destroying()


def _lacks_end(record: UploadRecord) -> bool:
    """Say whether *record* is of an upload without a commit that no end was stamped into.

    One that somebody destroys without having said why is one too; a tombstone that stands for what
    never was has no account.
    """
    is_open = record.state in (State.RECEIVING, State.DAMAGED)
    is_going = record.state is State.DESTROYING and record.manifest is None
    is_spare = record.state is State.PARTIAL and not record.finals
    return (
        is_open or is_spare or (is_going and record.account != "" and record.ending.outcome is None)
    )


def _is_anothers(record: UploadRecord, one: Unsettled) -> bool:
    """Say whether *record* is open under a newer fence than that of who wants the end *one*."""
    is_newer = one.unborn is not None and record.fence > one.unborn.record.fence
    return is_newer and record.state is State.RECEIVING


def _ending(one: Unsettled) -> Ending:
    return Ending(ended_ms=one.ended_ms, outcome=one.outcome)
