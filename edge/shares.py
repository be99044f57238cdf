"""How many uploads each account has under way at the other processes of the region.

The rules: a process says so of itself, again and again, and its word counts for SHARE_KEPT_S; so an
account's limit holds for all of them together, a moment late, and for each process alone when
nobody hears the others.  What is not told in one round is told before anything newer: who waits
longest comes first, then who has most.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping

from edge.region_state import Share
from zentransfer.ids import AccountID
from zentransfer.limits import SHARE_AGAIN_S, SHARE_KEPT_S, SHARES_KEPT_MAX, SHARES_TOLD_MAX


class Shares:
    """What one process knows of the others' uploads, and what it says of its own."""

    def __init__(self, me: str, time_s: Callable[[], float]) -> None:
        """Be the process *me*, of a node; *time_s* is the loop's clock."""
        self._me = me
        self._time_s = time_s
        self._heard: dict[AccountID, dict[str, tuple[float, int]]] = {}
        self._order = OrderedDict[tuple[AccountID, str], None]()  # the one heard longest ago first
        self._told: dict[AccountID, tuple[int, float]] = {}  # how many, and until when that holds
        self._due: dict[AccountID, float] = {}  # who waits to be told of, since when

    def heard(self, share: Share) -> None:
        """Take the word of another process; one's own says nothing new."""
        if share.process == self._me:
            return
        self._forget()
        key = share.account, share.process
        self._drop(key)
        if share.count and len(self._order) < SHARES_KEPT_MAX:
            self._heard.setdefault(share.account, {})[share.process] = (
                self._time_s() + SHARE_KEPT_S,
                share.count,
            )
            self._order[key] = None

    def of(self, account: AccountID) -> int:
        """Return how many uploads of *account* are under way elsewhere, as far as is known."""
        now_s = self._time_s()
        heard = self._heard.get(account)
        return sum(count for until_s, count in heard.values() if until_s > now_s) if heard else 0

    def news(self, own: Mapping[AccountID, int]) -> list[Share]:
        """Return what is to be told of *own* uploads now, SHARES_TOLD_MAX accounts at most."""
        now_s = self._time_s()
        gone = [account for account in self._told if not own.get(account)]
        counts = [*((account, 0) for account in gone), *(each for each in own.items() if each[1])]
        due = [each for each in counts if self._is_new(*each, now_s)]
        self._due = {account: self._due.get(account, now_s) for account, _ in due}
        new = sorted(due, key=lambda each: (self._due[each[0]], -each[1]))[:SHARES_TOLD_MAX]
        for account, count in new:
            del self._due[account]
            self._told[account] = (count, now_s + SHARE_AGAIN_S)
            if not count:
                del self._told[account]
        return [Share(self._me, account, count) for account, count in new]

    def _is_new(self, account: AccountID, count: int, now_s: float) -> bool:
        """Say whether *count* was not told, or so long ago that the others forget it soon."""
        told, until_s = self._told.get(account, (0, now_s))
        return told != count or now_s >= until_s

    def _forget(self) -> None:
        """Forget what nobody repeated in time."""
        now_s = self._time_s()
        while self._order:
            account, process = key = next(iter(self._order))
            if self._heard[account][process][0] > now_s:
                return
            self._drop(key)

    def _drop(self, key: tuple[AccountID, str]) -> None:
        account, process = key
        if key in self._order:
            del self._order[key], self._heard[account][process]
            if not self._heard[account]:
                del self._heard[account]
