"""How a final begins: once, however often its sender asks for it (tus concatenation).

The rule: **what a final is made of decides its id**.  So a request whose answer was lost finds the
upload that it made, at every node of the region, also when that was delivered and destroyed
meanwhile.  Only where that ended without ever being whole, the same request begins another.
"""

import hashlib
from typing import Final

from edge.attaching import Attaching, Wanted
from edge.held import Held, Segment
from edge.incoming import Incoming
from edge.intake import Taking
from edge.partials import claim_partials, maybe_record, must_be_partials, partials_of
from edge.record import State, UploadRecord
from edge.sinks.base import Conflict
from zentransfer.errors import Code, Error
from zentransfer.ids import AccountID, CredentialID, IdMaker, Kind, UploadID
from zentransfer.limits import ADMISSION_RETRY_AFTER_S, FINALS_ANEW_MAX

_FATAL: Final = (Code.INVALID, Code.TOO_LARGE)
"""What no further request makes right."""


def final_id(
    account: AccountID, credential: CredentialID, incoming: Incoming, count: int
) -> UploadID:
    """Return the id of the final that *incoming* asks for; *count* such ended without being whole.

    Its bits are as good as random ones: they are those of a hash of ids that are random.
    """
    made_of = (account, credential, str(count), *incoming.partials, incoming.metadata)
    digest = hashlib.sha256("\0".join(made_of).encode()).digest()
    return UploadID(IdMaker(lambda size: digest[:size]).make(Kind.UPLOAD))


class Joining(Attaching):
    """A request that may begin an upload which consists of others: ``_join``."""

    _final: UploadID | None = None

    async def _join(self, incoming: Incoming) -> UploadID:
        """Begin the final, or go on with the one that such a request began before.

        Raises ``Error``: INVALID for partials that are not there, TOO_LARGE for all of them,
        LOCKED and SUPERSEDED as of :meth:`edge.held.Held.take`, and what the sink raises.
        """
        sink = self._intake.tools.sink
        credential = self._admitted.credential.id
        for count in range(FINALS_ANEW_MAX):
            upload = final_id(self.account, credential, incoming, count)
            record = await maybe_record(sink, upload)
            if record is not None and _ended_badly(record):
                continue
            if record is None:  # before anything is made, and before anybody is disturbed
                await must_be_partials(sink, self.account, incoming.partials)
            await self._have(upload, incoming)
            return upload
        raise Error(Code.INVALID, "a final of these partial uploads has failed too often")

    def _new_upload(self) -> UploadID:
        return self._final or super()._new_upload()

    async def _have(self, upload: UploadID, incoming: Incoming) -> None:
        """Make *upload*, or take it over if somebody did, perhaps this very moment."""
        wanted = Wanted(upload, incoming.dialect)
        held = self._uploads.held.of(upload)
        # Whoever asks once more knows its address as soon as there is a record, told or not.
        self._wanted, self._is_told = wanted, True
        await held.take(self)
        self._held = held
        record = await maybe_record(self._intake.tools.sink, upload)
        if record is not None and _ended_badly(record):
            raise Error(Code.LOCKED, retry_after_s=ADMISSION_RETRY_AFTER_S)
        if record is not None or not await self._make(held, upload, incoming):
            await self._take_up(held, wanted)
        if self._whole is None:
            await self._claim_partials()

    async def _make(self, held: Held, upload: UploadID, incoming: Incoming) -> bool:
        """Make *upload*; False where another process of the region was faster."""
        self._final = upload
        try:
            await Taking.begin(self, incoming)
        except Conflict:
            self._unborn = None
            return False
        except BaseException:
            # Its record may be there, or come, and be another's: so it is not ended here, and
            # whoever asks next goes on with it.
            self._unborn = None
            self._uploads.began(upload, self.account)
            raise
        unborn = self._begun()
        self._heard_ms = unborn.record.created_ms
        held.segment = Segment(unborn, self._pumped())
        self._uploads.began(upload, self.account)
        return True

    async def _claim_partials(self) -> None:
        """Let each partial know that it is needed; again, if a request before may not have."""
        sink, record = self._intake.tools.sink, self._begun().record
        try:
            await claim_partials(sink, record)
            self._found_partials = await partials_of(sink, record)
            self._must_fit(self._found_partials.length)
        except Error as failure:
            if failure.code in _FATAL:
                await self.fail(failure.code)
            raise

    def _must_fit(self, length: int | None) -> None:
        if length is not None and length > self._admitted.size_max:
            raise Error(Code.TOO_LARGE)


def _ended_badly(record: UploadRecord) -> bool:
    """Say whether the upload of *record* ended and was never whole."""
    return record.state is not State.RECEIVING and record.manifest is None
