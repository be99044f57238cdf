from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from control.billing.ledger import Unit
from control.billing.usage import usage_account
from control.database import MemoryDatabase
from control.facts.apply import Applied, apply_batch, resume
from control.facts.model import Batch, Body, CredentialMiss, Fact, Reason, Unknown
from control.facts.plan import SetAside
from control.tables import metadata
from control.uploads.model import (
    DeliveryState,
    Outcome,
    OutcomeState,
    UploadState,
)
from tests.control.builders import (
    DELIVERY,
    FR_1,
    INGEST,
    NOW_MS,
    account,
    delivery_change,
    epoch,
    outcome,
    receipt,
    with_account,
)
from tests.support.sim import simulate
from zentransfer.errors import Code, Error
from zentransfer.ids import Region
from zentransfer.limits import (
    FACT_CLOCK_OFFSET_MS_MAX,
    FACT_ID_CHARS_MAX,
    FACT_QUARANTINE_BODY_BYTES_MAX,
    FACT_QUARANTINE_MAX,
    OUTBOX_BATCH_FACTS_MAX,
)

NINA = account("nina")


class _Crash(Exception):
    """Control dies before its commit."""


def facts(*bodies: Body, first: int = 1, of: str = "") -> tuple[Fact, ...]:
    """Return facts about *bodies*, one after the other, each with an id of its own."""
    return tuple(
        Fact(f"{of}{sequence}", sequence, NOW_MS + sequence, body)
        for sequence, body in enumerate(bodies, first)
    )


def batch(*given: Fact, **changes: Any) -> Batch:
    made = Batch(FR_1, INGEST, epoch(), given[0].sequence, given)
    return replace(made, **changes)


async def applied(database: MemoryDatabase, *batches: Batch) -> list[Applied]:
    results: list[Applied] = []
    for one in batches:
        async with database.write() as uow:
            results.append(await apply_batch(uow, one, NOW_MS))
    return results


async def filled() -> MemoryDatabase:
    database = MemoryDatabase()
    async with database.write() as uow:
        await with_account(uow, "nina")
    return database


async def dump(database: MemoryDatabase) -> dict[str, list[Any]]:
    """Return every row of every table; an event's number and order may differ."""
    content: dict[str, list[Any]] = {}
    async with database.read() as uow:
        for table in metadata.sorted_tables:
            columns = [column for column in table.c if column.name != "number"]
            rows = await uow.connection.rows(select(*columns))
            content[table.name] = sorted(repr(sorted(dict(row).items())) for row in rows)
    return content


async def used(database: MemoryDatabase) -> dict[Unit, int]:
    async with database.read() as uow:
        return await uow.ledger.balance(usage_account(NINA.id))


# -- the natural path ------------------------------------------------------------------------------


def test_a_whole_upload_is_told_by_its_facts() -> None:
    one = outcome(NINA)
    story = facts(
        one,
        delivery_change(one, DeliveryState.WAIT, attempt=0, fence=0),
        delivery_change(one, DeliveryState.RUN),
        delivery_change(one, DeliveryState.DELIVERED),
        receipt(one),
    )
    states = [
        UploadState.COMMITTED,
        UploadState.DELIVERING,
        UploadState.DELIVERING,
        UploadState.DELIVERED,
        UploadState.DESTROYED,
    ]

    async def tell() -> None:
        database = await filled()
        for fact, state in zip(story, states, strict=True):
            (result,) = await applied(database, batch(fact))
            assert result == Applied(fact.sequence, new=1, accounts=frozenset({NINA.id}))
            async with database.read() as uow:
                upload = await uow.uploads.maybe_upload(NINA.id, one.upload_id)
                assert upload is not None
                assert (upload.state, upload.outcome) == (state, one)
        async with database.read() as uow:
            events = await uow.uploads.timeline(NINA.id, one.upload_id)
            assert await uow.uploads.maybe_upload(account("ola").id, one.upload_id) is None
        assert [event.type for event in events] == [
            "upload.committed",
            "delivery.wait",
            "delivery.run",
            "delivery.delivered",
            "content.destroyed",
        ]
        assert await used(database) == {Unit.BYTE: one.size_bytes, Unit.FILE: 1}

    simulate(tell())


def test_a_batch_told_twice_changes_nothing() -> None:
    one = outcome(NINA)
    told = batch(*facts(one, delivery_change(one), receipt(one)))

    async def tell() -> None:
        database = await filled()
        first, *_ = await applied(database, told)
        before = await dump(database)
        (again,) = await applied(database, told)
        assert (first.new, again.new) == (3, 0)
        assert first.sequence == again.sequence == 3
        assert await dump(database) == before

    simulate(tell())


def test_a_gap_changes_nothing_and_says_where_to_resume() -> None:
    told = facts(outcome(NINA, 1), outcome(NINA, 2), outcome(NINA, 3))

    async def tell() -> None:
        database = await filled()
        before = await dump(database)
        (gap,) = await applied(database, batch(*told[1:]))
        assert gap == Applied(0, resume_from=1)
        assert await dump(database) == before
        await applied(database, batch(told[0]))
        (gap,) = await applied(database, batch(told[2]))
        assert gap == Applied(1, resume_from=2)

    simulate(tell())


def test_a_batch_that_overlaps_what_is_known_adds_the_rest() -> None:
    told = facts(*(outcome(NINA, name) for name in range(6)))

    async def tell() -> None:
        database = await filled()
        results = await applied(database, batch(*told[:4]), batch(*told[2:]))
        assert [result.new for result in results] == [4, 2]
        assert await used(database) == {Unit.BYTE: 6000, Unit.FILE: 6}

    simulate(tell())


def test_what_was_set_aside_is_not_set_aside_again_by_a_batch_that_overlaps() -> None:
    told = facts(outcome(NINA, 1), Unknown("x"), outcome(NINA, 2))

    async def tell() -> None:
        database = await filled()
        _, second = await applied(database, batch(*told[:2]), batch(*told))
        assert (second.new, second.aside) == (1, ())

    simulate(tell())


def test_an_outbox_that_lost_its_disk_begins_again_under_a_new_epoch() -> None:
    async def tell() -> None:
        database = await filled()
        await applied(database, batch(*facts(outcome(NINA, 1), of="a")))
        (result,) = await applied(
            database, batch(*facts(outcome(NINA, 2), of="b"), epoch=epoch("new"))
        )
        assert result.new == 1
        assert await used(database) == {Unit.BYTE: 2000, Unit.FILE: 2}

    simulate(tell())


def test_the_same_outcome_from_another_outbox_counts_once() -> None:
    one = outcome(NINA)

    async def tell() -> None:
        database = await filled()
        await applied(database, batch(*facts(one, of="a")))
        (result,) = await applied(database, batch(*facts(one, of="b"), epoch=epoch("new")))
        assert result == Applied(1)
        assert await used(database) == {Unit.BYTE: 1000, Unit.FILE: 1}

    simulate(tell())


# -- what cannot be applied ------------------------------------------------------------------------

GOOD = outcome(NINA)
ASIDE: dict[str, tuple[Reason, tuple[Body, ...]]] = {
    "another size for the same outcome": (Reason.CONFLICT, (GOOD, replace(GOOD, size_bytes=1))),
    "another outcome for the same upload": (
        Reason.CONFLICT,
        (GOOD, replace(GOOD, id=outcome(NINA, 2).id)),
    ),
    "an outcome's id for another upload": (
        Reason.CONFLICT,
        (GOOD, replace(GOOD, upload_id=outcome(NINA, 2).upload_id)),
    ),
    "another receipt for the same upload": (
        Reason.CONFLICT,
        (receipt(GOOD), receipt(GOOD, size_bytes=1)),
    ),
    "a delivery that changed its destination": (
        Reason.CONFLICT,
        (
            delivery_change(GOOD),
            delivery_change(GOOD, destination_id="ds_" + "a" * 26),
        ),
    ),
    "an account that is not there": (Reason.UNKNOWN_ACCOUNT, (outcome(account("nobody")),)),
    "another account's upload": (
        Reason.FOREIGN_ACCOUNT,
        (GOOD, delivery_change(GOOD, account_id=account("ola").id)),
    ),
    "another region's outcome": (Reason.FOREIGN_REGION, (outcome(NINA, region=Region.US),)),
    "another region's receipt": (Reason.FOREIGN_REGION, (receipt(GOOD, region=Region.SG),)),
    "a kind that is not known": (Reason.UNKNOWN_KIND, (Unknown("rollup"),)),
    "a size below zero": (Reason.MALFORMED, (outcome(NINA, size_bytes=-1),)),
    "a size beyond counting": (Reason.MALFORMED, (outcome(NINA, size_bytes=2**63),)),
    "a time beyond counting": (Reason.MALFORMED, (outcome(NINA, ended_ms=2**63),)),
    "an id that is none": (Reason.MALFORMED, (outcome(NINA, id="oc_x"),)),
    "a digest that is none": (Reason.MALFORMED, (outcome(NINA, digest=b"short"),)),
    "an error that is no word of ours": (
        Reason.MALFORMED,
        (outcome(NINA, state=OutcomeState.FAILED, error="it broke at /srv"),),
    ),
    "an error although it committed": (Reason.MALFORMED, (outcome(NINA, error="timeout"),)),
    "an attempt below zero": (Reason.MALFORMED, (delivery_change(GOOD, attempt=-1),)),
    "too many destinations left out": (
        Reason.MALFORMED,
        (receipt(GOOD, undelivered=("ds_" + "a" * 26,) * 100),),
    ),
    "a signature that is none": (Reason.MALFORMED, (receipt(GOOD, signature=bytes(63)),)),
    "a signature without its key": (Reason.MALFORMED, (receipt(GOOD, root_key=b""),)),
    "a key without its signature": (Reason.MALFORMED, (receipt(GOOD, signature=b""),)),
    "a hash of another length": (Reason.MALFORMED, (receipt(GOOD, audit_hash=bytes(31)),)),
    "a place beyond counting": (Reason.MALFORMED, (receipt(GOOD, audit_sequence=2**63),)),
    "a place in the chain unsigned": (
        Reason.MALFORMED,
        (receipt(GOOD, audit_hash=b"", signature=b"", root_key=b""),),
    ),
    "a credential that has no id's form": (Reason.MALFORMED, (CredentialMiss("nina@mail", 1),)),
}


@pytest.mark.parametrize("name", ASIDE)
def test_a_fact_that_cannot_be_applied_is_set_aside_and_the_others_go_on(name: str) -> None:
    reason, bodies = ASIDE[name]
    after = outcome(NINA, "after")
    told = batch(*facts(*bodies, after))

    async def tell() -> None:
        database = await filled()
        async with database.write() as uow:
            await uow.accounts.add(account("ola"))
        (result,) = await applied(database, told)
        (aside,) = result.aside
        assert (aside.reason, aside.sequence) == (reason, len(bodies))
        assert result.sequence == told.last_sequence
        async with database.read() as uow:
            assert await uow.facts.quarantined(10) == [aside]
            assert await uow.uploads.maybe_upload(NINA.id, after.upload_id)
            if len(bodies) > 1 and isinstance(bodies[0], Outcome):
                first = await uow.uploads.maybe_upload(NINA.id, bodies[0].upload_id)
                assert first is not None
                assert first.outcome == bodies[0]
            cursor = await uow.facts.cursor(FR_1, epoch(), INGEST)
        assert (cursor.sequence, cursor.quarantined) == (told.last_sequence, 1)
        before = await dump(database)
        await applied(database, told)
        assert await dump(database) == before

    simulate(tell())


def test_the_same_id_with_another_body_is_set_aside_in_a_later_batch_too() -> None:
    async def tell() -> None:
        database = await filled()
        first = Fact("same", 1, NOW_MS, GOOD)
        second = Fact("same", 2, NOW_MS, outcome(NINA, "other"))
        _, result = await applied(database, batch(first), batch(second))
        assert [aside.reason for aside in result.aside] == [Reason.CONFLICT]
        assert await used(database) == {Unit.BYTE: 1000, Unit.FILE: 1}

    simulate(tell())


def test_a_fact_that_only_the_database_refuses_is_found_and_set_aside() -> None:
    poisoned = outcome(NINA, "poisoned")
    told = batch(*facts(outcome(NINA, 1), poisoned, outcome(NINA, 2), delivery_change(poisoned)))

    async def tell() -> None:
        database = await filled()
        async with database.write() as uow:
            await uow.connection.change(
                text(
                    "CREATE TRIGGER poison BEFORE INSERT ON outcome "
                    f"WHEN NEW.upload_id = '{poisoned.upload_id}' "
                    "BEGIN SELECT RAISE(ABORT, 'no'); END"
                )
            )
        (result,) = await applied(database, told)
        assert [(aside.sequence, aside.reason) for aside in result.aside] == [(2, Reason.REFUSED)]
        assert (result.sequence, result.new) == (4, 3)
        assert await used(database) == {Unit.BYTE: 2000, Unit.FILE: 2}

    simulate(tell())


@pytest.mark.reaches("FACT_QUARANTINE_MAX")
def test_a_full_quarantine_keeps_the_first_and_counts_the_rest() -> None:
    async def tell() -> None:
        database = await filled()
        async with database.write() as uow:
            many = [
                SetAside(sequence, "x", "Unknown", Reason.UNKNOWN_KIND, b"")
                for sequence in range(FACT_QUARANTINE_MAX - 1)
            ]
            await uow.facts.add_aside(FR_1, epoch("old"), many, NOW_MS)
        (result,) = await applied(database, batch(*facts(*[Unknown("x")] * 5)))
        assert len(result.aside) == 5
        async with database.read() as uow:
            assert len(await uow.facts.quarantined(FACT_QUARANTINE_MAX + 9)) == FACT_QUARANTINE_MAX
            assert (await uow.facts.cursor(FR_1, epoch(), INGEST)).quarantined == 5

    simulate(tell())


@pytest.mark.reaches("FACT_ID_CHARS_MAX")
@pytest.mark.reaches("FACT_QUARANTINE_BODY_BYTES_MAX")
def test_what_is_set_aside_is_cut_to_its_limits() -> None:
    long = Fact("x" * (FACT_ID_CHARS_MAX + 1), 1, NOW_MS, Unknown("y" * 100_000))
    fine = Fact("x" * FACT_ID_CHARS_MAX, 2, NOW_MS, GOOD)

    async def tell() -> None:
        database = await filled()
        (result,) = await applied(database, batch(long, fine))
        (aside,) = result.aside
        assert len(aside.fact_id) == len(aside.kind) == FACT_ID_CHARS_MAX
        assert len(aside.body) == FACT_QUARANTINE_BODY_BYTES_MAX
        assert result.new == 1

    simulate(tell())


def test_facts_that_are_gone_for_good_are_written_down_and_do_not_stop_the_rest() -> None:
    async def tell() -> None:
        database = await filled()
        await applied(database, batch(*facts(outcome(NINA, 1), outcome(NINA, 2))))
        async with database.write() as uow:
            assert await resume(uow, FR_1, INGEST, epoch(), 1, NOW_MS) == 3
            assert await resume(uow, FR_1, INGEST, epoch(), 3, NOW_MS) == 3
            assert await uow.facts.quarantined(9) == []
            assert await resume(uow, FR_1, INGEST, epoch(), 10, NOW_MS) == 10
            assert await resume(uow, FR_1, INGEST, epoch(), 10, NOW_MS) == 10
            (gap,) = await uow.facts.quarantined(9)
        assert gap == SetAside(9, "", "gap", Reason.LOST, b"3")
        (result,) = await applied(database, batch(*facts(outcome(NINA, 10), first=10)))
        assert (result.sequence, result.new) == (10, 1)

    simulate(tell())


# -- batches that are none -------------------------------------------------------------------------


@pytest.mark.reaches("OUTBOX_BATCH_FACTS_MAX")
def test_a_full_batch_is_taken_and_a_fuller_one_refused() -> None:
    told = facts(*[Unknown("x")] * (OUTBOX_BATCH_FACTS_MAX + 1))
    assert len(batch(*told[:-1]).facts) == OUTBOX_BATCH_FACTS_MAX
    with pytest.raises(Error) as caught:
        batch(*told)
    assert caught.value.code is Code.INVALID


BROKEN: dict[str, Callable[[], Batch]] = {
    "no facts": lambda: Batch(FR_1, INGEST, epoch(), 1, ()),
    "a sequence of 0": lambda: batch(*facts(GOOD, first=0)),
    "a sequence left out": lambda: batch(facts(GOOD)[0], facts(GOOD, first=3)[0]),
    "another first sequence": lambda: batch(*facts(GOOD), first_sequence=2),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_batch_whose_sequences_do_not_follow_is_refused(name: str) -> None:
    with pytest.raises(Error) as caught:
        BROKEN[name]()
    assert caught.value.code is Code.INVALID


# -- what else a batch does ------------------------------------------------------------------------


@pytest.mark.reaches("FACT_CLOCK_OFFSET_MS_MAX")
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_clock_that_is_far_off_does_not_decide_when_usage_counts(sign: int) -> None:
    async def tell() -> None:
        database = await filled()
        for name, offset in (("near", 0), ("far", 1)):
            told = batch(*facts(outcome(NINA, name), of=name), epoch=epoch(name))
            offset_ms = sign * (FACT_CLOCK_OFFSET_MS_MAX + offset)
            await applied(database, replace(told, clock_offset_ms=offset_ms))
        async with database.read() as uow:
            rows = await uow.connection.rows(
                text("SELECT at_ms FROM ledger_transaction ORDER BY at_ms")
            )
        assert [row["at_ms"] for row in rows] == [NOW_MS, NOW_MS + 1000]

    simulate(tell())


def test_a_credential_that_a_node_missed_is_named_and_leaves_no_row() -> None:
    missing = "cr_" + "a" * 26

    async def tell() -> None:
        database = await filled()
        (result,) = await applied(database, batch(*facts(CredentialMiss(missing, 3))))
        assert result.missed == {missing}
        assert not result.aside

    simulate(tell())


# -- properties ------------------------------------------------------------------------------------


def story(uploads: int, kinds: Sequence[int]) -> tuple[list[Fact], list[Fact]]:
    """Return what an ingest and a delivery process tell of some uploads, good and bad facts."""
    ingest: list[Body] = []
    delivery: list[Body] = []
    for number in range(uploads):
        kind = kinds[number % len(kinds)]
        one = outcome(NINA, number, size_bytes=1000 + number)
        match kind:
            case 0:
                ingest.append(replace(one, state=OutcomeState.CANCELLED))
            case 1:
                ingest += [one, replace(one, size_bytes=7)]  # the second is set aside
            case 2:
                ingest += [outcome(NINA, (number, "bad"), size_bytes=-1), one]
            case _:
                ingest += [one, one]
        delivery += [
            delivery_change(one, DeliveryState.WAIT, attempt=0, fence=0),
            delivery_change(one, DeliveryState.RUN, attempt=1, fence=1),
            delivery_change(one, DeliveryState.WAIT, attempt=1, fence=1, error="timeout"),
            delivery_change(one, DeliveryState.RUN, attempt=2, fence=2),
        ]
        if kind != 0:
            delivery += [delivery_change(one, attempt=2, fence=2), receipt(one)]
        else:
            delivery.append(
                delivery_change(one, DeliveryState.FAILED, attempt=2, fence=2, error="forbidden")
            )
    return list(facts(*ingest, of="i")), list(facts(*delivery, of="d"))


async def tell_all(database: MemoryDatabase, outboxes: Sequence[list[Fact]]) -> None:
    """Tell everything in order, with the largest batches that there are."""
    for number, kept in enumerate(outboxes):
        for first in range(0, len(kept), OUTBOX_BATCH_FACTS_MAX):
            await applied(database, of_outbox(number, kept[first : first + OUTBOX_BATCH_FACTS_MAX]))


def of_outbox(number: int, told: Sequence[Fact]) -> Batch:
    process = (INGEST, DELIVERY)[number]
    return Batch(FR_1, process, epoch(number), told[0].sequence, tuple(told))


async def cut_short(database: MemoryDatabase, told: Batch) -> None:
    """Apply a batch and die before the commit."""
    async with database.write() as uow:
        await apply_batch(uow, told, NOW_MS)
        raise _Crash


# An outbox, how far behind or ahead of what was acked it tells, how much, and whether control dies.
STEPS = st.lists(
    st.tuples(st.integers(0, 1), st.integers(-6, 2), st.integers(1, 9), st.booleans()), max_size=16
)


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 5), st.lists(st.integers(0, 3), min_size=1, max_size=5), STEPS)
def test_duplicates_other_orders_other_cuts_and_crashes_give_the_same_truth(
    uploads: int, kinds: list[int], steps: list[tuple[int, int, int, bool]]
) -> None:
    outboxes = story(uploads, kinds)

    async def compare() -> None:
        straight, troubled = await filled(), await filled()
        await tell_all(straight, outboxes)
        acked = [0, 0]
        for number, distance, count, crashes in steps:
            first = max(acked[number] + distance, 0)
            told = outboxes[number][first : first + count]
            if not told:
                continue
            if crashes:  # nobody was acked, so it is told again
                with pytest.raises(_Crash):
                    await cut_short(troubled, of_outbox(number, told))
            else:
                (result,) = await applied(troubled, of_outbox(number, told))
                assert (result.resume_from is not None) == (first > acked[number])
                acked[number] = result.sequence
        await tell_all(troubled, outboxes)
        assert await dump(troubled) == await dump(straight)
        committed = {
            fact.body.upload_id: fact.body.size_bytes
            for fact in reversed(outboxes[0])
            if isinstance(fact.body, Outcome)
            and fact.body.state is OutcomeState.COMMITTED
            and fact.body.size_bytes >= 0
        }
        assert await used(troubled) == (
            {Unit.BYTE: sum(committed.values()), Unit.FILE: len(committed)} if committed else {}
        )

    simulate(compare())
