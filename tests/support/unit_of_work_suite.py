"""What every form of control's database must do: each case gets an empty one.

A form runs them all: ``@pytest.mark.parametrize("case", CASES)`` and the loop that suits it.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from sqlalchemy import exc

from control.billing.ledger import Cause, Transaction, Unit, moved
from control.unit_of_work import Database, UnitOfWork
from tests.control.builders import account, destination
from zentransfer.errors import Code, Error
from zentransfer.limits import DATABASE_WAIT_S

Case = Callable[[Database], Coroutine[Any, Any, None]]

CASES: list[Case] = []


def _case(case: Case) -> Case:
    CASES.append(case)
    return case


class _Failure(Exception):
    pass


@_case
async def what_is_committed_is_read(database: Database) -> None:
    nina = account("nina")
    async with database.write() as uow:
        await uow.accounts.add(nina)
        assert await uow.accounts.maybe_account(nina.id) == nina
    async with database.read() as uow:
        assert await uow.accounts.maybe_account(nina.id) == nina


@_case
async def a_block_that_raises_changes_nothing(database: Database) -> None:
    nina = account("nina")

    async def fail() -> None:
        async with database.write() as uow:
            await uow.accounts.add(nina)
            raise _Failure

    with pytest.raises(_Failure):
        await fail()
    async with database.read() as uow:
        assert await uow.accounts.maybe_account(nina.id) is None


@_case
async def a_block_that_is_cancelled_changes_nothing_and_frees_its_turn(database: Database) -> None:
    nina = account("nina")
    inside = asyncio.Event()

    async def work() -> None:
        async with database.write() as uow:
            await uow.accounts.add(nina)
            inside.set()
            await asyncio.sleep(3600)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(work())
        await inside.wait()
        task.cancel()
    async with database.write() as uow:
        assert await uow.accounts.maybe_account(nina.id) is None
        await uow.accounts.add(nina)


@_case
async def a_cancellation_at_any_await_leaves_a_database_that_works(database: Database) -> None:
    for turns in range(12):

        async def work(number: int) -> None:
            async with database.write() as uow:
                for name in range(3):
                    await uow.accounts.add(account((number, name)))

        async with asyncio.TaskGroup() as group:
            task = group.create_task(work(turns))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
        async with database.read() as uow:
            found = [
                await uow.accounts.maybe_account(account((turns, name)).id) for name in range(3)
            ]
        assert all(found) or not any(found), "half a transaction was left"
    async with database.write() as uow:
        await uow.accounts.add(account("after"))


@_case
async def a_reader_cannot_write(database: Database) -> None:
    with pytest.raises(Error) as caught:
        async with database.read() as uow:
            await uow.accounts.add(account())
    assert caught.value.code is Code.UNAVAILABLE
    async with database.write() as uow:
        await uow.accounts.add(account())


@_case
async def a_savepoint_undoes_its_own_block_only(database: Database) -> None:
    nina, ola = account("nina"), account("ola")

    async def fail(uow: UnitOfWork) -> None:
        async with uow.connection.savepoint():
            await uow.accounts.add(ola)
            raise _Failure

    async with database.write() as uow:
        await uow.accounts.add(nina)
        with pytest.raises(_Failure):
            await fail(uow)
    async with database.read() as uow:
        assert await uow.accounts.maybe_account(nina.id) == nina
        assert await uow.accounts.maybe_account(ola.id) is None


@_case
async def a_refused_row_leaves_the_transaction_usable(database: Database) -> None:
    nina, ola = account("nina"), account("ola")
    async with database.write() as uow:
        await uow.accounts.add(nina)
        with pytest.raises(exc.IntegrityError):
            await uow.accounts.add(nina)
        await uow.accounts.add(ola)
    async with database.read() as uow:
        assert await uow.accounts.maybe_account(ola.id) == ola


@_case
async def a_row_that_refers_to_nothing_is_refused(database: Database) -> None:
    with pytest.raises(exc.IntegrityError):
        async with database.write() as uow:
            await uow.workflows.add_destination(destination(account("nobody")))


@_case
async def writers_take_turns(database: Database) -> None:
    order: list[str] = []

    async def work(name: str) -> None:
        async with database.write() as uow:
            order.append(f"{name} begins")
            await uow.accounts.add(account(name))
            await asyncio.sleep(0)
            order.append(f"{name} ends")

    async with asyncio.TaskGroup() as group:
        for name in "abcd":
            group.create_task(work(name))
    assert order == [f"{name} {what}" for name in "abcd" for what in ("begins", "ends")]


@_case
async def the_same_transaction_entered_twice_is_there_once(database: Database) -> None:
    postings = moved(Unit.BYTE, 10, debit="usage:a", credit="accepted:fr")
    entry = Transaction(Cause.OUTCOME, "oc_1", 5, postings)
    for expected in (1, 0):
        async with database.write() as uow:
            assert await uow.ledger.enter([entry, entry], 6) == expected
    async with database.read() as uow:
        assert await uow.ledger.balance("usage:a") == {Unit.BYTE: 10}
        assert await uow.ledger.balance("accepted:fr") == {Unit.BYTE: -10}
        assert await uow.ledger.totals() == {Unit.BYTE: 10}


@_case
async def closing_twice_is_fine(database: Database) -> None:
    await database.close()
    await database.close()


async def waiting_too_long_is_refused(database: Database) -> None:
    """Hold the writer's turn; another writer is told to come again.  Takes DATABASE_WAIT_S."""
    loop = asyncio.get_running_loop()
    async with database.write():
        begin_s = loop.time()
        with pytest.raises(Error) as caught:
            async with database.write():
                pass
        assert loop.time() - begin_s == pytest.approx(DATABASE_WAIT_S, abs=1)
    assert caught.value.code is Code.OVERLOADED
    assert caught.value.retry_after_s is not None
    async with database.write() as uow:
        await uow.accounts.add(account())
