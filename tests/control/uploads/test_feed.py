import asyncio
from contextlib import ExitStack

import pytest

from control.uploads.feed import EventFeed
from tests.support.sim import simulate
from zentransfer.errors import Code, Error
from zentransfer.ids import AccountID
from zentransfer.limits import (
    EVENT_STREAMS_MAX,
    EVENT_STREAMS_PER_ACCOUNT_MAX,
    EVENTS_PAUSE_S,
)

NINA, OLA = AccountID("ac_nina"), AccountID("ac_ola")


def refused(feed: EventFeed, account: AccountID) -> Code | None:
    try:
        with feed.watch(account):
            return None
    except Error as wrong:
        return wrong.code


@pytest.mark.reaches("EVENTS_PAUSE_S")
def test_a_watcher_hears_of_its_own_account_or_pauses() -> None:
    async def check() -> None:
        loop, feed = asyncio.get_running_loop(), EventFeed()
        with feed.watch(NINA) as watch:
            begin_s = loop.time()
            feed.notify({OLA})
            assert not await watch.changed()
            assert loop.time() - begin_s == pytest.approx(EVENTS_PAUSE_S)
            feed.notify({NINA, OLA})
            assert await watch.changed(), "what happened before the call is not missed"
            assert not await watch.changed()
            loop.call_later(1, feed.notify, {NINA})
            begin_s = loop.time()
            assert await watch.changed()
            assert loop.time() - begin_s == pytest.approx(1)

    simulate(check())


@pytest.mark.reaches("EVENT_STREAMS_PER_ACCOUNT_MAX")
@pytest.mark.reaches("EVENT_STREAMS_MAX")
def test_places_are_limited_and_given_back() -> None:
    feed = EventFeed()
    with ExitStack() as held:
        for _ in range(EVENT_STREAMS_PER_ACCOUNT_MAX):
            held.enter_context(feed.watch(NINA))
        assert refused(feed, NINA) is Code.RATE_LIMITED
        for number in range(EVENT_STREAMS_PER_ACCOUNT_MAX, EVENT_STREAMS_MAX):
            held.enter_context(feed.watch(AccountID(f"ac_{number}")))
        assert refused(feed, OLA) is Code.OVERLOADED
    assert refused(feed, NINA) is None
    assert refused(feed, OLA) is None


def test_a_closed_feed_wakes_all_and_admits_none() -> None:
    async def check() -> None:
        feed = EventFeed()
        with feed.watch(NINA) as watch:
            await feed.close()
            assert await watch.changed()
            assert feed.is_closed
        assert refused(feed, NINA) is Code.DRAINING

    simulate(check())
