"""A file's way in by FTP: begun, gone on with after a cut, held for its last name, or sent again.

The rules: a cut file is kept for the credential and the name that it came under, and **exactly**
its durable bytes count (law 1): who goes on elsewhere is refused.  Two transfers of one name at
once are two files, and neither is gone on with, since nobody can tell whose the rest would be.
The same bytes under the same name again, soon, are a resend whose 226 was lost.
"""

from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Final

import xxhash

from edge.admission import Admit, Request
from edge.facts import OutcomeState
from edge.ftp.coming import DIALECT, Storing, Target, unquoted
from edge.ftp.paths import maybe_lasting
from edge.ftp.view import Entry, Path, Stands, View, Views
from edge.names import below
from edge.particulars import Fate
from edge.record import State, UploadRecord
from edge.resumable import Resumables
from edge.resuming import Resuming, Wanted
from edge.sinks.base import UnknownUpload
from edge.upload import OffsetMismatch
from zentransfer import log
from zentransfer.clock import Clock
from zentransfer.errors import Code, Error
from zentransfer.ids import CredentialID, UploadID
from zentransfer.limits import FTP_CANDIDATES_MAX, FTP_RESEND_S

_GOES_ON: Final = (Code.PEER_GONE, Code.TIMEOUT, Code.DRAINING, Code.SUPERSEDED)
"""After these the sender may come back with the rest."""

_OVER: Final = (Code.NOT_FOUND, Code.GONE, Code.DAMAGED)
"""What these say of is no longer there to go on with."""

_NEVER: Final = (
    *(Code.TOO_LARGE, Code.SIZE_EXCEEDED, Code.DAMAGED),
    *(Code.UNAUTHENTICATED, Code.FORBIDDEN, Code.TLS_REQUIRED),
)
"""After these no further byte makes a file whole that was kept before."""

_LOOKED_MAX: Final = 64  # cut files that one look reads anew

_NOTHING_KEPT: Final = "nothing is kept of this file; send it from its start"


class Stores:
    """All transfers of one process, and what its clients may look at."""

    def __init__(self, resumables: Resumables, clock: Clock) -> None:
        self._resumables = resumables
        self._clock = clock
        self.views = Views(clock.now_ms)
        self._coming: dict[tuple[CredentialID, Path], list[Storing]] = {}
        self._hashers = OrderedDict[UploadID, tuple[int, xxhash.xxh3_128]]()
        self._seen = OrderedDict[UploadID, None]()

    def prune(self) -> None:
        """Forget what nobody may look at any more: too old, or its credential is gone."""
        snapshot = self._resumables.intake.tools.snapshots.current
        if snapshot is not None:
            self.views.prune(lambda one: snapshot.maybe_credential(one) is not None)

    # -- coming in -------------------------------------------------------------------------------

    @asynccontextmanager
    async def entered(
        self, request: Request, target: Target, restart: int | None, *, appends: bool
    ) -> AsyncGenerator[Storing, None]:
        """Give the transfer to *target*, which goes on at *restart* (bytes) or where it *appends*.

        Raises ``Error``: OFFSET_MISMATCH for another place than what we hold ends at, FORBIDDEN to
        append to what is whole, and what admission says.
        """
        taking, is_new = await self._chosen(request, target, restart, appends=appends)
        async with taking:
            storing = Storing(target, taking, is_new=is_new)
            if not is_new:
                self._goes_on(storing, restart)
            key = (target.credential, target.path)
            beside = self._coming.setdefault(key, [])
            beside.append(storing)
            for each in beside if len(beside) > 1 else ():
                each.is_contested = True
            try:
                yield storing
            except Error as error:
                await self._cut(storing, error)
                raise
            finally:
                beside.remove(storing)
                if not beside:
                    del self._coming[key]

    async def finish(self, storing: Storing) -> None:
        """Commit; returns when all of it is durable, or when it came before all the same.

        Raises as :meth:`edge.resuming.Resuming.commit`.
        """
        target, taking = storing.target, storing.taking
        before = target.view.maybe(target.path)
        whole = _maybe_whole(before)
        if whole is not None and self._is_resend(whole, storing):
            await taking.fail(Code.DUPLICATE, OutcomeState.CANCELLED)
            target.view.note(target.path, whole)
            await self._superseded(before, whole.upload)
            return
        outcome = await taking.commit()
        stands = Stands.WHOLE if maybe_lasting(target.name) is None else Stands.HELD
        self._note(storing, Entry(outcome.upload_id, storing.size, 0, 0, stands, storing.digest))
        await self._superseded(before, outcome.upload_id)

    # -- looking back ----------------------------------------------------------------------------

    async def learn(self, whose: Admit) -> None:
        """Let what was cut before, here or elsewhere in the region, be seen by its sender.

        What cannot be read is passed over: it may be another customer's.
        """
        unfinished = self._resumables.unfinished
        for upload in unfinished.of(whose.account.id):
            if upload not in self._seen and upload not in unfinished.elsewhere:
                await self._read(upload)
        for upload in list(unfinished.elsewhere):  # told again, so it is another one by now
            await self._read(upload)
            unfinished.elsewhere.pop(upload, None)

    async def look(self, view: View) -> None:
        """Read anew what *view* shows as cut: another process may have gone on with it."""
        held = self._resumables.unfinished.held
        for path, entry in view.cut()[-_LOOKED_MAX:]:
            record = await self._maybe_record(entry.upload) if held.is_idle(entry.upload) else None
            if record is None or view.maybe(path) != entry:
                continue
            if record.manifest is not None:
                whole = replace(entry, size=record.size, stands=Stands.WHOLE, whole=None)
                view.note(path, whole)
            elif record.state is not State.RECEIVING:
                view.forget(path)
            elif record.mark is not None and record.mark.offset > entry.size:
                now = _partial(entry.upload, record.mark.offset, record.last_heard_ms, entry)
                view.note(path, now)

    async def sure(self, request: Request, view: View, path: Path) -> None:
        """Find out how much of a cut file we hold, if that is not known for sure.

        What can no longer be gone on with is shown no more.
        """
        entry = view.maybe(path)
        if entry is None or entry.is_whole:
            return
        if not self._resumables.unfinished.held.is_idle(entry.upload):
            self._noted_under_way(view, path, entry)
            return
        try:
            wanted = Wanted(entry.upload, DIALECT)
            async with self._resumables.attach(request, wanted) as taking:
                offset, is_whole = taking.offset, taking.is_complete
        except Error as error:
            if error.code in _OVER:
                view.forget(path)
            return
        now = _partial(entry.upload, offset, self._clock.now_ms(), entry)
        view.note(path, replace(now, stands=Stands.WHOLE, whole=None) if is_whole else now)

    async def delete(self, view: View, path: Path) -> None:
        """Show the file no more; what is not on its way yet never will be.

        A cut one is cancelled, and one that waits for its last name is taken back.  What is being
        delivered is its owner's to stop.  Raises ``Error``: NOT_FOUND, and what the sink raises.
        """
        entry = view.maybe(path)
        if entry is None:
            raise Error(Code.NOT_FOUND)
        if entry.stands is Stands.HELD:
            await self._resumables.intake.tools.settling.withdrawn(entry.upload)
        view.forget(path)
        await self._end(entry, Fate(OutcomeState.CANCELLED, Code.GONE))

    async def rename(self, target: Target, path: Path) -> None:
        """Show the file at *path* where *target* is.

        One that waits for its last name gets that, and is delivered by it; what was delivered stays
        as it was.  Raises ``Error``: NOT_FOUND, and what the sink raises.
        """
        view = target.view
        entry = view.maybe(path)
        if entry is None:
            raise Error(Code.NOT_FOUND)
        if entry.stands is Stands.HELD:
            name = below(target.whose.credential.folder, target.name)
            await self._resumables.intake.tools.settling.named(entry.upload, name)
            view.note(path, _noted(replace(entry, stands=Stands.WHOLE), self._clock.now_ms()))
        before = view.maybe(target.path)
        view.renamed(path, target.path)
        await self._superseded(before, entry.upload)

    # -- inside ----------------------------------------------------------------------------------

    async def _chosen(
        self, request: Request, target: Target, restart: int | None, *, appends: bool
    ) -> tuple[Resuming, bool]:
        """Return the upload that the transfer belongs to, and whether it is a new one."""
        goes_on = bool(restart) or (appends and restart is None)
        if not goes_on:
            return self._resumables.create(request), True
        await self.learn(target.whose)
        await self.sure(request, target.view, target.path)
        entry = target.view.maybe(target.path)
        if entry is not None and not entry.is_whole:
            wanted = Wanted(entry.upload, DIALECT, adds=True, offset=restart)
            return self._resumables.attach(request, wanted), False
        if entry is not None and appends:
            raise Error(Code.FORBIDDEN, "the file is whole here; send all of it with STOR")
        if restart:
            raise Error(Code.OFFSET_MISMATCH, _NOTHING_KEPT)
        return self._resumables.create(request), True

    def _goes_on(self, storing: Storing, restart: int | None) -> None:
        """Begin where the upload stands; raises ``OffsetMismatch`` if that is not *restart*."""
        taking, target = storing.taking, storing.target
        hashed, hasher = self._hashers.pop(taking.upload, (-1, None))
        if restart not in (None, taking.offset):
            before = target.view.maybe(target.path)
            now = _partial(taking.upload, taking.offset, self._clock.now_ms(), before)
            target.view.note(target.path, now)
            raise OffsetMismatch(taking.offset)
        if hashed == taking.offset:
            storing.hasher = hasher

    async def _cut(self, storing: Storing, error: Error) -> None:
        """Keep what came of a transfer that *error* ended, if its sender may go on with it."""
        target, taking = storing.target, storing.taking
        if storing.is_new or error.code is Code.FENCED:  # then it is another one's to go on with
            return
        is_kept = error.code not in _NEVER if storing.was_kept else error.code in _GOES_ON
        if storing.is_contested or not is_kept or not storing.size:
            await taking.fail(error.code)
            return
        with suppress(Error):  # then its end is that of any upload whose disk failed
            offset = await taking.keep()
            if storing.hasher is not None and storing.size == offset:
                self._hashers[taking.upload] = (offset, storing.hasher)
                if len(self._hashers) > FTP_CANDIDATES_MAX:
                    self._hashers.popitem(last=False)
            before = target.view.maybe(target.path)
            self._note(storing, _partial(taking.upload, offset, self._clock.now_ms(), before))
            self._resumables.unfinished.on_keep(taking.upload)
            await self._superseded(before, taking.upload)

    async def _superseded(self, entry: Entry | None, by: UploadID) -> None:
        """End the cut file that *entry* is, because a newer one has its name."""
        if entry is not None and entry.upload != by:
            await self._end(entry, Fate(OutcomeState.CANCELLED, Code.SUPERSEDED))

    async def _end(self, entry: Entry, fate: Fate) -> None:
        """End a cut file; what is whole goes its way."""
        unfinished = self._resumables.unfinished
        if entry.is_whole or not unfinished.held.is_idle(entry.upload):
            return
        self._hashers.pop(entry.upload, None)
        try:
            await unfinished.held.forget(entry.upload)
            await unfinished.end(entry.upload, fate)
        except Error as failure:  # it expires
            log.error("upload.unsettled", failure, upload=entry.upload)

    def _is_resend(self, before: Entry, storing: Storing) -> bool:
        """Say whether the file came before, all of it, and a moment ago."""
        is_new = self._clock.now_ms() - before.noted_ms <= FTP_RESEND_S * 1000
        is_same = before.digest == storing.digest and before.size == storing.size
        return is_new and is_same and before.digest != b""

    def _note(self, storing: Storing, entry: Entry) -> None:
        target, now_ms = storing.target, self._clock.now_ms()
        target.view.make(target.path[:-1])
        target.view.note(target.path, _noted(entry, now_ms))
        self._saw(entry.upload)

    def _learn(self, record: UploadRecord) -> None:
        """Let the cut file of *record* be seen, unless another one is."""
        if record.dialect != DIALECT or record.state is not State.RECEIVING:
            return
        path = unquoted(self._resumables.intake.tools.settling.open(record).metadata)
        if record.credential is None or not path:
            return
        view = self.views.of(record.credential)
        before = view.maybe(path)
        is_shown = before is not None and before.upload != record.upload
        if (record.credential, path) not in self._coming and not is_shown:
            offset = record.mark.offset if record.mark else 0
            view.note(path, _partial(record.upload, offset, record.last_heard_ms, before))

    async def _read(self, upload: UploadID) -> None:
        """Learn of *upload*, if it can be read; else say so, once if that is final."""
        record = await self._maybe_record(upload)
        if record is not None:
            self._learn(record)

    async def _maybe_record(self, upload: UploadID) -> UploadRecord | None:
        """Return the record of *upload*, ``None`` if it is not there or cannot be read."""
        record: UploadRecord | None = None
        try:
            record = (await self._resumables.intake.tools.sink.record(upload)).value
        except UnknownUpload:
            pass  # it is nobody's
        except Error as failure:
            log.error("upload.unsettled", failure, upload=upload)
            if failure.reply.temporary:
                return None
        self._saw(upload)
        return record

    def _noted_under_way(self, view: View, path: Path, entry: Entry) -> None:
        """Show how much is durable by now of *entry*, whose transfer may be a dead client's."""
        for each in (each for beside in self._coming.values() for each in beside):
            if not each.is_new and each.taking.upload == entry.upload:
                now = _partial(entry.upload, each.taking.offset, self._clock.now_ms(), entry)
                view.note(path, now)

    def _saw(self, upload: UploadID) -> None:
        self._seen[upload] = None
        if len(self._seen) > FTP_CANDIDATES_MAX:
            self._seen.popitem(last=False)


def _partial(upload: UploadID, offset: int, now_ms: int, before: Entry | None) -> Entry:
    """Return a cut file, at the path where *before* was shown."""
    whole = _maybe_whole(before)
    return Entry(upload, offset, now_ms, now_ms, Stands.PARTIAL, whole=whole)


def _maybe_whole(entry: Entry | None) -> Entry | None:
    """Return the whole file at the path of *entry*, be it one that a cut one hides."""
    return entry if entry is None or entry.is_whole else entry.whole


def _noted(entry: Entry, now_ms: int) -> Entry:
    """Return *entry* as of now; its time stays what its sender made it, if he did."""
    return replace(entry, noted_ms=now_ms, modified_ms=entry.modified_ms or now_ms)
