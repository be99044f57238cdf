"""Wakes whoever watches an account when something happened to its uploads.

The rule: what is told is "look again", never the thing itself; so a watcher that was asleep misses
nothing, and one whose account is somebody else's learns nothing.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable

from zentransfer.errors import Code, Error
from zentransfer.ids import AccountID
from zentransfer.limits import (
    EVENT_STREAMS_MAX,
    EVENT_STREAMS_PER_ACCOUNT_MAX,
    EVENTS_PAUSE_S,
)


class Watch:
    """One watcher of one account; a context that gives its place back."""

    def __init__(self, feed: "EventFeed", account: AccountID) -> None:
        self._feed = feed
        self._account = account
        self._changed = asyncio.Event()

    def __enter__(self) -> "Watch":
        self._feed.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._feed.remove(self)

    @property
    def account(self) -> AccountID:
        """The account that is watched."""
        return self._account

    def wake(self) -> None:
        """Let the next or running ``changed`` return."""
        self._changed.set()

    async def changed(self) -> bool:
        """Return ``True`` when something happened since the last call, ``False`` after a pause.

        The pause is EVENTS_PAUSE_S long.
        """
        try:
            async with asyncio.timeout(EVENTS_PAUSE_S):
                await self._changed.wait()
        except TimeoutError:
            return False
        self._changed.clear()
        return True


class EventFeed:
    """All watchers."""

    def __init__(self) -> None:
        self._watches: set[Watch] = set()
        self._per_account = Counter[AccountID]()
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        """Whether watchers shall leave, because the process does."""
        return self._is_closed

    def watch(self, account: AccountID) -> Watch:
        """Return a watcher of *account*, to be entered.

        Entering raises ``Error``: RATE_LIMITED when the account has as many as it may have,
        OVERLOADED when all accounts together do, DRAINING at the end of the process.
        """
        return Watch(self, account)

    def notify(self, accounts: Iterable[AccountID]) -> None:
        """Wake the watchers of *accounts*."""
        changed = {account for account in accounts if account in self._per_account}
        for watch in self._watches if changed else ():
            if watch.account in changed:
                watch.wake()

    async def close(self) -> None:
        """Send all watchers home, and admit none; an action for the first stage of leaving."""
        self._is_closed = True
        for watch in self._watches:
            watch.wake()

    def add(self, watch: Watch) -> None:
        """Enter *watch*; see :meth:`watch`."""
        if self._is_closed:
            raise Error(Code.DRAINING)
        if self._per_account[watch.account] >= EVENT_STREAMS_PER_ACCOUNT_MAX:
            raise Error(Code.RATE_LIMITED, "the account watches enough already", EVENTS_PAUSE_S)
        if len(self._watches) >= EVENT_STREAMS_MAX:
            raise Error(Code.OVERLOADED, "too many watch already", EVENTS_PAUSE_S)
        self._watches.add(watch)
        self._per_account[watch.account] += 1

    def remove(self, watch: Watch) -> None:
        """Take *watch* out again; idempotent."""
        if watch in self._watches:
            self._watches.remove(watch)
            self._per_account[watch.account] -= 1
            if not self._per_account[watch.account]:
                del self._per_account[watch.account]
