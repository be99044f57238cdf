"""What nodes are receiving, as they told last: in memory only, for owners to see it come.

The rule: it is hearsay, and an outcome always wins.  A node says all of it anew on each stream, so
nothing is lost with control; what has a durable trace at its node is kept until its outcome comes,
and forgotten after RECEIVING_KEPT_S without a word; what has none ends with its stream.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from heapq import nlargest

from control.uploads.model import Receiving
from zentransfer.ids import AccountID, UploadID
from zentransfer.limits import RECEIVING_KEPT_MAX, RECEIVING_KEPT_S

Place = tuple[int, str]
"""Creation time (UTC milliseconds) and id: where an upload stands in its owner's list."""


class ReceivingBook:
    """The uploads that are under way, by account; those told longest ago first."""

    def __init__(self) -> None:
        self._told = OrderedDict[UploadID, tuple[int, object, Receiving]]()
        self._of_account = defaultdict[AccountID, set[UploadID]](set)

    def __len__(self) -> int:
        """Return how many are known."""
        return len(self._told)

    def take(self, told: Iterable[Receiving], stream: object, now_ms: int) -> None:
        """Take what a node says on *stream* at *now_ms*; a known upload keeps its owner."""
        for one in told:
            known = self._told.get(one.upload_id)
            if known is not None:
                if known[2].account_id != one.account_id:
                    continue
                # What was durable stays so, whoever says less: a record notes it late.
                received = max(one.received_bytes, known[2].received_bytes)
                one = replace(one, received_bytes=received)  # noqa: PLW2901 - the same upload
            self._told[one.upload_id] = (now_ms, stream, one)
            self._told.move_to_end(one.upload_id)
            self._of_account[one.account_id].add(one.upload_id)
        self._trim(now_ms)

    def ended(self, uploads: Iterable[UploadID]) -> None:
        """Forget *uploads*, whose outcomes are known."""
        for upload in uploads:
            known = self._told.pop(upload, None)
            if known is not None:
                owner = known[2].account_id
                self._of_account[owner].discard(upload)
                if not self._of_account[owner]:
                    del self._of_account[owner]

    def closed(self, stream: object) -> None:
        """Forget what was told on *stream* only and is durable nowhere."""
        found = [one for _, on, one in self._told.values() if on == stream and not one.durable]
        self.ended(one.upload_id for one in found)

    def maybe(self, owner: AccountID, upload: UploadID) -> Receiving | None:
        """Return an upload of *owner* that is under way, or ``None``."""
        known = self._told.get(upload)
        return known[2] if known is not None and known[2].account_id == owner else None

    def newest(self, owner: AccountID, count: int, after: Place | None) -> list[Receiving]:
        """Return up to *count* uploads of *owner*, the newest first, from behind *after*."""
        if owner not in self._of_account:
            return []
        mine = (self._told[upload][2] for upload in self._of_account[owner])
        behind = (one for one in mine if after is None or place(one) < after)
        return nlargest(count, behind, key=place)

    def _trim(self, now_ms: int) -> None:
        oldest_ms = now_ms - int(RECEIVING_KEPT_S * 1_000)
        while self._told:
            upload, (told_ms, _, _) = next(iter(self._told.items()))
            if told_ms >= oldest_ms and len(self._told) <= RECEIVING_KEPT_MAX:
                return
            self.ended([upload])


def place(one: Receiving) -> Place:
    """Return where *one* stands in its owner's list."""
    return one.created_ms, one.upload_id
