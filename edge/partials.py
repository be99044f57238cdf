"""Finals, which consist of other uploads, and those, their partials (tus concatenation).

The rules: no byte is copied: a final names its partials, and each partial the finals that need it.
What a whole final consists of is destroyed with the last of those; what no whole one ever consisted
of stays its sender's, and expires as unfinished uploads do.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from edge.record import State, UploadRecord, WrongState
from edge.sinks.base import Conflict, Partial, Sink, UnknownUpload
from zentransfer.errors import Code, Error
from zentransfer.ids import AccountID, UploadID

_CONFLICTS_MAX: Final = 8  # as of edge.settling: its writer, and a few wholes
_OPEN: Final = (State.RECEIVING, State.PARTIAL)


class Partials:
    """The partials of a final, in its order, as they were when they were read."""

    def __init__(self, final: UploadID, records: Sequence[UploadRecord | None]) -> None:
        """Hold *records* of the partials of *final*; ``None`` for one that is not there."""
        self._final = final
        self._records = records

    @property
    def is_lost(self) -> bool:
        """Whether one is gone, so that the final can never be whole."""
        return any(each is None or each.state not in _OPEN for each in self._records)

    @property
    def is_complete(self) -> bool:
        """Whether every one is whole, and knows that it is needed."""
        return all(
            each is not None and each.state is State.PARTIAL and self._final in each.finals
            for each in self._records
        )

    @property
    def length(self) -> int | None:
        """The length of all of them in bytes, if that of each is known."""
        lengths = [_maybe_length(each) for each in self._records]
        known = [length for length in lengths if length is not None]
        return sum(known) if len(known) == len(lengths) else None

    def places(self) -> tuple[Partial, ...]:
        """Return them as a manifest names them; once they are complete."""
        found: list[Partial] = []
        for each in self._records:
            assert each is not None and each.manifest is not None, "ask whether it is complete"  # noqa: PT018 - one thing
            found.append(Partial(each.upload, each.manifest.digest, each.size))
        return tuple(found)


async def partials_of(sink: Sink, record: UploadRecord) -> Partials:
    """Return the partials of the final of *record*; raises ``SinkError``."""
    known: dict[UploadID, UploadRecord | None] = {}
    for partial in record.partials:
        if partial not in known:
            known[partial] = await maybe_record(sink, partial)
    return Partials(record.upload, [known[partial] for partial in record.partials])


async def must_be_partials(sink: Sink, account: AccountID, partials: Sequence[UploadID]) -> None:
    """Refuse what cannot be joined, before anything is made; ``Error(INVALID)``.

    It says the same of what is not there and of what is another account's.
    """
    for partial in dict.fromkeys(partials):
        record = await maybe_record(sink, partial)
        if record is None or record.account != account or not record.is_partial:
            raise Error(Code.INVALID, "a partial upload is not there, or is no partial one")
        if record.state not in _OPEN:
            raise Error(Code.INVALID, "a partial upload has ended")


async def claim_partials(sink: Sink, record: UploadRecord) -> None:
    """Let every partial of the final of *record* know that it is needed; durable.

    Raises ``Error(INVALID)`` when one has ended meanwhile, and ``SinkError``.
    """
    for partial in dict.fromkeys(record.partials):
        try:
            await _changed(sink, partial, lambda now: now.named_by(record.upload))
        except (WrongState, UnknownUpload) as gone:
            raise Error(Code.INVALID, "a partial upload has ended, or has many finals") from gone


async def destroy(sink: Sink, upload: UploadID) -> None:
    """Destroy *upload* as ``Sink.destroy`` does, with all partials that no other final needs.

    To be repeated after a crash or a ``SinkError``: its record names them to the end.
    """
    record = await maybe_record(sink, upload)
    if record is not None and record.partials and record.state is not State.DESTROYED:
        was_whole = record.manifest is not None
        await _changed(sink, upload, UploadRecord.destroying)  # nobody reads or joins it any more
        for partial in dict.fromkeys(record.partials):
            with suppress(UnknownUpload):
                left = await _changed(
                    sink, partial, lambda now: now.left_by(upload, was_whole=was_whole)
                )
                if left.state is State.DESTROYING:
                    await sink.destroy(partial)
    await sink.destroy(upload)


def _maybe_length(record: UploadRecord | None) -> int | None:
    if record is None:
        return None
    return record.size if record.state is State.PARTIAL else record.length


async def maybe_record(sink: Sink, upload: UploadID) -> UploadRecord | None:
    """Return the record of *upload*; ``None`` for none.  Raises ``SinkError``."""
    try:
        return (await sink.record(upload)).value
    except UnknownUpload:
        return None


async def _changed(
    sink: Sink, upload: UploadID, change: Callable[[UploadRecord], UploadRecord]
) -> UploadRecord:
    """Return the record, changed durably; raises what *change* and the sink raise."""
    for _ in range(_CONFLICTS_MAX):
        found = await sink.record(upload)
        to = change(found.value)
        if to is found.value:
            return to
        with suppress(Conflict):
            await sink.change(upload, found.version, to)
            return to
    raise Conflict
