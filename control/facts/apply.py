"""Apply a batch of facts: one transaction, and only behind it the ack.

The rule: **the cursor moves in the transaction that holds the rows**, so a crash at any moment
leaves both or neither, and what was cut off comes again.  Whoever sends the ack does so after the
unit of work has ended.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import exc

from control.facts.model import Batch, Fact, Reason
from control.facts.plan import Known, SetAside, Writes, planned, set_aside, uploads_named
from control.unit_of_work import UnitOfWork
from control.uploads.model import DeletionReceipt, DeliveryChange, Outcome
from zentransfer.ids import AccountID, EpochID, NodeID, ProcessName


@dataclass(frozen=True, slots=True)
class Applied:
    """What to tell the node once the transaction is committed, and what else came of the batch.

    ``sequence`` is the highest one without a gap; ``resume_from`` is where to send again from when
    there is one, else ``None``.  ``new`` counts the facts that were applied now, ``aside`` are
    those that were set aside; ``missed`` are credentials that a node did not know; ``accounts``
    are those whose uploads changed.
    """

    sequence: int
    resume_from: int | None = None
    new: int = 0
    aside: tuple[SetAside, ...] = ()
    missed: frozenset[str] = frozenset()
    accounts: frozenset[AccountID] = frozenset()


async def apply_batch(uow: UnitOfWork, batch: Batch, now_ms: int) -> Applied:
    """Apply what is new in *batch*; commit, then ack ``sequence``.

    Facts at or below the cursor are skipped; a batch that begins behind a gap changes nothing and
    says where to resume.
    """
    cursor = await uow.facts.cursor(batch.node, batch.epoch, batch.process)
    if batch.first_sequence > cursor.sequence + 1:
        return Applied(cursor.sequence, resume_from=cursor.sequence + 1)
    if batch.last_sequence <= cursor.sequence:
        return Applied(cursor.sequence)
    facts = batch.facts[cursor.sequence + 1 - batch.first_sequence :]
    known = await _known(uow, facts)
    writes = await _written(uow, batch, facts, known, now_ms)
    await uow.facts.add_aside(batch.node, batch.epoch, writes.aside, now_ms)
    aside = tuple(writes.aside)
    moved = replace(
        cursor, sequence=batch.last_sequence, quarantined=cursor.quarantined + len(aside)
    )
    await uow.facts.move(moved, now_ms)
    return Applied(
        sequence=batch.last_sequence,
        new=len(writes.events),
        aside=aside,
        missed=frozenset(writes.missed),
        accounts=frozenset(event.account_id for event in writes.events),
    )


async def resume(
    uow: UnitOfWork,
    node: NodeID,
    process: ProcessName,
    epoch: EpochID,
    first_kept: int,
    now_ms: int,
) -> int:
    """Return the sequence that the outbox shall send from, as its hello says what it still keeps.

    When facts are gone for good (an outbox lost them, or control came back from a backup older
    than what nodes keep), the gap is written down as one set-aside fact and the rest goes on.
    """
    cursor = await uow.facts.cursor(node, epoch, process)
    if first_kept <= cursor.sequence + 1:
        return cursor.sequence + 1
    gap = SetAside(first_kept - 1, "", "gap", Reason.LOST, str(cursor.sequence + 1).encode())
    await uow.facts.add_aside(node, epoch, [gap], now_ms)
    lost = replace(cursor, sequence=first_kept - 1, quarantined=cursor.quarantined + 1)
    await uow.facts.move(lost, now_ms)
    return first_kept


async def _known(uow: UnitOfWork, facts: Sequence[Fact]) -> Known:
    bodies = [fact.body for fact in facts]
    named = [
        body for body in bodies if isinstance(body, Outcome | DeliveryChange | DeletionReceipt)
    ]
    return await uow.uploads.known(
        accounts={body.account_id for body in named},
        uploads=uploads_named(facts),
        outcomes={body.id for body in bodies if isinstance(body, Outcome)},
        deliveries={body.delivery_id for body in bodies if isinstance(body, DeliveryChange)},
        facts={fact.id for fact in facts},
    )


async def _written(
    uow: UnitOfWork, batch: Batch, facts: Sequence[Fact], known: Known, now_ms: int
) -> Writes:
    """Plan and write *facts*; those that the database refuses are set aside, the others stay."""
    writes = planned(batch, facts, known, now_ms)
    try:
        async with uow.connection.savepoint():
            await _write(uow, batch.node, writes, now_ms)
        return writes
    except exc.IntegrityError:
        pass  # one of them is poisoned in a way that no check foresaw: find it, one by one
    merged = Writes()
    for fact in facts:
        one = planned(batch, [fact], await _known(uow, [fact]), now_ms)
        try:
            async with uow.connection.savepoint():
                await _write(uow, batch.node, one, now_ms)
        except exc.IntegrityError:
            one = Writes(aside=[set_aside(fact, Reason.REFUSED)])
        merged.events += one.events
        merged.aside += one.aside
        merged.missed |= one.missed
    return merged


async def _write(uow: UnitOfWork, node: NodeID, writes: Writes, now_ms: int) -> None:
    await uow.uploads.add_outcomes(writes.outcomes, node, now_ms)
    await uow.ledger.enter(writes.transactions, now_ms)
    await uow.uploads.put_deliveries(writes.deliveries.values())
    await uow.uploads.add_receipts(writes.receipts, now_ms)
    await uow.uploads.add_events(writes.events, now_ms)
    await uow.accounts.used(writes.used)
