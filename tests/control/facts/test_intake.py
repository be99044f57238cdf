import io
import json
from pathlib import Path

import pytest
from sqlalchemy import text

from control.database import MemoryDatabase, SqliteDatabase
from control.facts.apply import Applied
from control.facts.intake import FactIntake
from control.facts.model import Batch, Body, Fact, Reason, Unknown
from control.uploads.feed import EventFeed
from tests.control.builders import FR_1, INGEST, NOW_MS, account, epoch, outcome, with_account
from tests.support.real_loop import real_loop
from tests.support.sim import simulate
from zentransfer import log
from zentransfer.clock import ManualClock
from zentransfer.errors import Code, Error
from zentransfer.limits import OUTBOX_BATCH_FACTS_MAX
from zentransfer.log_facts import FACTS

NINA = account("nina")


async def intake(feed: EventFeed) -> FactIntake:
    database = MemoryDatabase()
    async with database.write() as uow:
        await with_account(uow, "nina")
    return FactIntake(database, ManualClock(NOW_MS), feed)


def batch(*bodies: Body, first: int = 1) -> Batch:
    told = (
        Fact(f"f{sequence}", sequence, NOW_MS, body) for sequence, body in enumerate(bodies, first)
    )
    return Batch(FR_1, INGEST, epoch(), first, tuple(told))


def test_what_is_taken_wakes_whoever_watches() -> None:
    async def check() -> None:
        feed = EventFeed()
        desk = await intake(feed)
        with feed.watch(NINA.id) as watch:
            taken = await desk.take(batch(outcome(NINA)))
            assert taken == Applied(1, new=1, accounts=frozenset({NINA.id}))
            assert await watch.changed()
            await desk.take(batch(outcome(NINA)))
            assert not await watch.changed(), "told again, nothing happened"
        assert await desk.resume(FR_1, INGEST, epoch(), 1) == 2

    simulate(check())


def test_what_is_set_aside_is_in_the_log_by_its_reason() -> None:
    lines = io.StringIO()
    log.setup("control", lines)

    async def check() -> None:
        desk = await intake(EventFeed())
        await desk.take(batch(Unknown("x"), Unknown("x"), outcome(account("nobody"))))
        assert await desk.resume(FR_1, INGEST, epoch(), 9) == 9

    try:
        simulate(check())
    finally:
        log.setup("test")
    told = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert [(line["reason"], line["count"]) for line in told] == [
        ("unknown_kind", 2),
        ("unknown_account", 1),
        ("lost", 5),
    ]
    assert {(line["fact"], line["node"], line.get("dropped")) for line in told} == {
        ("facts.set_aside", "fr-1", None)
    }


@pytest.mark.parametrize("reason", Reason)
def test_the_log_may_hold_every_reason(reason: Reason) -> None:
    assert FACTS["facts.set_aside"].fields["reason"].shown(reason) == reason


def test_what_cannot_be_committed_is_not_taken(tmp_path: Path) -> None:
    told = batch(*(outcome(NINA, number) for number in range(OUTBOX_BATCH_FACTS_MAX)))

    async def check() -> None:
        database = SqliteDatabase(tmp_path / "control.db")
        await database.open()
        desk = FactIntake(database, ManualClock(NOW_MS), EventFeed())
        async with database.write() as uow:
            await with_account(uow, "nina")
            (row,) = await uow.connection.rows(text("PRAGMA page_count"))
            await uow.connection.rows(text(f"PRAGMA max_page_count={row['page_count']}"))
        with pytest.raises(Error) as caught:
            await desk.take(told)
        assert caught.value.code is Code.INSUFFICIENT_STORAGE
        async with database.write() as uow:
            assert (await uow.facts.cursor(FR_1, epoch(), INGEST)).sequence == 0
            assert await uow.ledger.totals() == {}
            await uow.connection.rows(text("PRAGMA max_page_count=1000000"))
        assert (await desk.take(told)).new == OUTBOX_BATCH_FACTS_MAX
        await database.close()

    real_loop(check())
