"""Uploads that outlive a request, for every door: begun, gone on with, finished or expired.

The rule: each request is admitted anew.  What its sender never comes back for ends all the same:
committed if it is whole, else expired when no byte came for UNFINISHED_S.
"""

from edge.admission import Refuse, Request, standing
from edge.facts import OutcomeState
from edge.intake import Intake
from edge.particulars import Fate
from edge.record import UploadRecord
from edge.resuming import Resuming, Wanted
from edge.unfinished import Unfinished
from zentransfer import log
from zentransfer.errors import Code, Error
from zentransfer.ids import UploadID


class Resumables:
    """All uploads of one process that outlive a request."""

    def __init__(self, intake: Intake) -> None:
        self.intake = intake
        self.unfinished = Unfinished(intake)

    def create(self, request: Request) -> "Resuming":
        """Return the upload that *request* may begin, to be entered; raises ``Error``."""
        admitted = self.intake.admitted(request)
        self.unfinished.must_have_room(admitted.account.id)
        return Resuming(self.unfinished, admitted, request.length, None)

    def attach(self, request: Request, wanted: Wanted) -> "Resuming":
        """Return a further request for an upload, to be entered; raises ``Error`` if refused.

        Entering it ends the request before it, and raises ``Error``: NOT_FOUND for no upload of
        this account, FORBIDDEN in another dialect, GONE after a bad end, LOCKED and SUPERSEDED as
        of :meth:`edge.held.Held.take`, and what a claim raises.
        """
        spared = self.unfinished.held.user(wanted.upload)
        admitted = self.intake.admitted_again(request, adds=wanted.adds, spared=spared)
        return Resuming(self.unfinished, admitted, request.length, wanted)

    async def finish(self, record: UploadRecord) -> bool:
        """Commit the upload of *record* if all its bytes are durable; says whether it did.

        For a sender that never comes back for the answer: the credential that began it decides.
        Raises ``Error`` as entering does.
        """
        tools = self.intake.tools
        snapshot = tools.snapshots.current
        if snapshot is None or record.credential is None:
            return False
        admitted = standing(snapshot, record.credential, tools.clock.now_ms())
        if isinstance(admitted, Refuse):
            return False
        wanted = Wanted(record.upload, record.dialect)
        async with Resuming(self.unfinished, admitted, record.length, wanted) as taking:
            if not taking.is_complete:
                await taking.drop()
                return False
            await taking.commit()
            is_partial = taking.is_partial
        if is_partial:
            await self.join(record.upload)
        return True

    async def join(self, upload: UploadID) -> None:
        """Commit each final of *upload*, a partial, as far as all partials of it are whole.

        Nobody waits for it: what cannot be committed now is when somebody asks for it.
        """
        sink = self.intake.tools.sink
        try:
            for final in (await sink.record(upload)).value.finals:
                await self.finish((await sink.record(final)).value)
        except Error as failure:
            if failure.code is not Code.GONE:  # of one that ended meanwhile
                log.error("upload.unsettled", failure, upload=upload)

    async def expire(self, upload: UploadID) -> None:
        """End *upload* as expired, unless a request has it now."""
        if self.unfinished.held.is_idle(upload):
            await self.unfinished.held.forget(upload)
            await self.unfinished.end(upload, Fate(OutcomeState.EXPIRED, Code.TIMEOUT))
