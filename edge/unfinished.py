"""What one process knows of its unfinished uploads, and of the ones whose end it told.

The rule: how many there may be is bounded, for a process and for an account, because an upload that
was begun takes room on the disk until it ends.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable

from edge.facts import Outcome
from edge.held import HeldUploads
from edge.intake import Intake
from edge.outcome import committed_outcome
from edge.particulars import Fate
from edge.record import State, UploadRecord
from edge.settling import Unsettled
from zentransfer.errors import Code, Error
from zentransfer.ids import AccountID, UploadID
from zentransfer.limits import (
    ADMISSION_RETRY_AFTER_S,
    FTP_CANDIDATES_MAX,
    UNFINISHED_MAX,
    UNFINISHED_PER_ACCOUNT_MAX,
    UPLOADS_TOLD_KEPT,
)


class Unfinished:
    """The unfinished uploads of one process, those in hand among them."""

    def __init__(self, intake: Intake) -> None:
        self.intake = intake
        self.held = HeldUploads()
        self.on_claim: Callable[[UploadID, int], None] = lambda upload, fence: None
        """Hears of each upload that this process claims, and the fence."""
        self.on_keep: Callable[[UploadID], None] = lambda upload: None
        """Hears of each upload that a sender without an address for it may go on with."""
        self.elsewhere = OrderedDict[UploadID, None]()
        """Such uploads of the region's other processes, as far as this one was told."""
        self._accounts: dict[UploadID, AccountID] = {}
        self._of_account = Counter[AccountID]()
        self._told = OrderedDict[UploadID, None]()
        intake.begun.follow(lambda: self._accounts)

    @property
    def uploads(self) -> list[UploadID]:
        """Return those that had no end when this process last saw them."""
        return list(self._accounts)

    def must_have_room(self, account: AccountID) -> None:
        """Raise ``Error(RATE_LIMITED)`` when *account* or the process has too many."""
        of_account = self._of_account[account]
        if of_account >= UNFINISHED_PER_ACCOUNT_MAX or len(self._accounts) >= UNFINISHED_MAX:
            self.intake.ended[Code.RATE_LIMITED] += 1
            raise Error(Code.RATE_LIMITED, retry_after_s=ADMISSION_RETRY_AFTER_S)

    def began(self, upload: UploadID, account: AccountID) -> None:
        """Count *upload* as unfinished."""
        if upload not in self._accounts:
            self._accounts[upload] = account
            self._of_account[account] += 1
            self.intake.begun.changed(upload)

    def waits(self, upload: UploadID) -> None:
        """Take note that *upload* waits for its sender again, if it is unfinished."""
        if upload in self._accounts:
            self.intake.begun.changed(upload)

    def ended(self, upload: UploadID) -> None:
        """Count *upload* as unfinished no more."""
        account = self._accounts.pop(upload, None)
        self.intake.begun.ended(upload)
        if account is not None:
            self._of_account[account] -= 1
            if not self._of_account[account]:
                del self._of_account[account]

    def of(self, account: AccountID) -> list[UploadID]:
        """Return the unfinished uploads of *account*."""
        if not self._of_account[account]:
            return []
        return [upload for upload, whose in self._accounts.items() if whose == account]

    def heard_of(self, upload: UploadID) -> None:
        """Take note of an upload that was kept elsewhere; the oldest goes when there are many."""
        self.elsewhere[upload] = None
        if len(self.elsewhere) > FTP_CANDIDATES_MAX:
            self.elsewhere.popitem(last=False)

    async def tell(self, record: UploadRecord) -> Outcome:
        """Return the outcome of a committed upload, told by now; raises as ``Intake.tell``.

        Told again, it is the same; so it is told by whoever cannot know that it was.
        """
        known = self.intake.tools.settling.open(record)
        outcome = committed_outcome(record, known, record.ending, record.size)
        if record.state is State.COMMITTED and record.upload not in self._told:
            await self.intake.tools.settling.tell(outcome)
            self.was_told(record.upload)
        return outcome

    def was_told(self, upload: UploadID) -> None:
        """Remember that the outcome of *upload* is durable."""
        self._told[upload] = None
        if len(self._told) > UPLOADS_TOLD_KEPT:
            self._told.popitem(last=False)

    async def end(self, upload: UploadID, fate: Fate) -> Outcome | None:
        """End *upload* with *fate* if it has no other end; returns its outcome if told now."""
        settling, clock = self.intake.tools.settling, self.intake.tools.clock
        one = Unsettled(upload, fate, settling.outcome_id(), clock.now_ms())
        outcome = await self.intake.settle(one)
        self.ended(upload)
        return outcome
