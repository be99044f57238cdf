"""What a process is receiving, for owners to see it come: said again and again, kept nowhere.

The rules: it is no fact.  An upload is named here once its address was told, or when it is still
coming after RECEIVING_AFTER_S, so that a quick one costs nothing; and what is named as durable has
a record, so that it will have an outcome whatever becomes of this process (law 3).
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from edge.facts import SealedName
from edge.particulars import Particulars
from edge.record import State, UploadRecord
from edge.sinks.base import Sink, SinkError, UnknownUpload
from zentransfer.clock import Clock
from zentransfer.ids import AccountID, Region, UploadID
from zentransfer.limits import RECEIVING_AFTER_S, RECEIVING_PAUSE_S, RECEIVING_REPORT_MAX


@dataclass(frozen=True, slots=True)
class Receiving:
    """One upload without an end: ``received_bytes`` are durable, ``created_ms`` is UTC.

    ``announced_bytes`` is how long it will be, as far as its sender says.  One that is not
    ``durable`` may vanish with the process.
    """

    upload_id: UploadID
    account_id: AccountID
    region: Region
    name: SealedName | None
    created_ms: int
    received_bytes: int
    announced_bytes: int | None
    durable: bool


def receiving(record: UploadRecord, known: Particulars, offset: int, *, durable: bool) -> Receiving:
    """Return the upload of *record*, *offset* bytes of which are durable, as it is told."""
    return Receiving(
        upload_id=record.upload,
        account_id=record.account,
        region=record.region,
        name=known.sealed_name,
        created_ms=record.created_ms,
        received_bytes=offset,
        announced_bytes=record.length,
        durable=durable,
    )


class InHand(Protocol):
    """One request that sends an upload."""

    def receiving(self) -> Receiving | None:
        """Return what it sends; ``None`` before its beginning and after its end."""
        ...


class Begun:
    """The news of what one process is receiving."""

    def __init__(
        self,
        sink: Sink,
        opened: Callable[[UploadRecord], Particulars],
        clock: Clock,
        in_hand: Callable[[], Iterable[InHand]],
    ) -> None:
        """Look at what is *in_hand*, and through *opened* at what waits in *sink*."""
        self._sink = sink
        self._opened = opened
        self._clock = clock
        self._in_hand = in_hand
        self._unfinished: Callable[[], Iterable[UploadID]] = tuple
        self._idle: dict[UploadID, None] = {}  # to be looked at in the sink: bounded with those
        self._said: dict[UploadID, tuple[int, Receiving]] = {}  # when, of what is in hand
        self._round = 0
        self._stirred = asyncio.Event()

    def follow(self, unfinished: Callable[[], Iterable[UploadID]]) -> None:
        """Take *unfinished* for all the uploads that wait for their sender."""
        self._unfinished = unfinished

    def stir(self) -> None:
        """Look again: a request began."""
        self._stirred.set()

    def changed(self, upload: UploadID) -> None:
        """Look at *upload* in the sink: it waits for its sender there, with more bytes perhaps."""
        self._idle[upload] = None
        self._stirred.set()

    def ended(self, upload: UploadID) -> None:
        """Look at *upload* no more."""
        self._idle.pop(upload, None)

    def forget(self) -> None:
        """Say everything anew: nobody has heard anything yet."""
        self._said.clear()
        self._idle = dict.fromkeys(self._unfinished())
        self._stirred.set()

    async def news(self) -> list[Receiving]:
        """Return what is new, RECEIVING_REPORT_MAX of it at most, as soon as there is any.

        What was said longest ago goes first.
        """
        while True:
            await self._stirred.wait()
            found = self._of_requests()
            found += await self._of_idle(RECEIVING_REPORT_MAX - len(found))
            if found:
                return found
            if not self._idle and not any(True for _ in self._in_hand()):
                self._stirred.clear()
            else:
                await asyncio.sleep(RECEIVING_PAUSE_S)

    def _of_requests(self) -> list[Receiving]:
        """Return what came by requests that are under way, and note that it is said."""
        self._round += 1
        until_ms = self._clock.now_ms() - int(RECEIVING_AFTER_S * 1_000)
        seen = [found for one in self._in_hand() if (found := one.receiving()) is not None]
        said = {one.upload_id: self._said.get(one.upload_id, (0, None)) for one in seen}
        new = [one for one in seen if one.created_ms <= until_ms and said[one.upload_id][1] != one]
        new.sort(key=lambda one: said[one.upload_id][0])
        now = {one.upload_id: (self._round, one) for one in new[:RECEIVING_REPORT_MAX]}
        held = {upload: (when, what) for upload, (when, what) in said.items() if what is not None}
        self._said = held | now
        return new[:RECEIVING_REPORT_MAX]

    async def _of_idle(self, count: int) -> list[Receiving]:
        """Return up to *count* of the uploads that wait in the sink, as their records have them."""
        found: list[Receiving] = []
        for upload in list(islice(self._idle, max(count, 0))):
            self._idle.pop(upload, None)
            try:
                record = (await self._sink.record(upload)).value
            except UnknownUpload:
                continue  # nobody was told of it yet: its request says when
            except SinkError:
                self._idle[upload] = None
                break
            if record.state is State.RECEIVING and not record.is_partial:
                offset = record.mark.offset if record.mark else 0
                found.append(receiving(record, self._opened(record), offset, durable=True))
        return found
