"""What every keeper of run records keeps: one suite, each form passes it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

import pytest

from edge.sinks.base import Conflict
from edge.workflow.run import Run
from edge.workflow.store import RunStore, UnknownRun
from zentransfer.ids import UploadID

Case = Callable[[RunStore, Callable[[int], Run]], Awaitable[None]]


async def a_run_is_read_as_it_was_made(store: RunStore, make: Callable[[int], Run]) -> None:
    made = await store.create(make(0))
    assert await store.read(made.value.upload) == made
    assert made.value == make(0)


async def a_run_is_made_once(store: RunStore, make: Callable[[int], Run]) -> None:
    made = await store.create(make(0))
    with pytest.raises(Conflict):
        await store.create(replace(make(0), created_ms=5))
    assert (await store.read(made.value.upload)).value == made.value


async def of_many_who_make_a_run_one_does(store: RunStore, make: Callable[[int], Run]) -> None:
    done: list[int] = []

    async def create(number: int) -> None:
        try:
            await store.create(replace(make(0), created_ms=number))
        except Conflict:
            return
        done.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(create(number))
    assert len(done) == 1
    assert (await store.read(make(0).upload)).value.created_ms == done[0]


async def of_many_changes_at_once_none_is_lost(store: RunStore, make: Callable[[int], Run]) -> None:
    upload = (await store.create(make(0))).value.upload

    async def add() -> None:
        while True:
            at = await store.read(upload)
            try:
                await store.change(at, replace(at.value, fence=at.value.fence + 1))
            except Conflict:
                continue
            return

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(add())
    assert (await store.read(upload)).value.fence == 8


async def an_old_value_changes_nothing(store: RunStore, make: Callable[[int], Run]) -> None:
    old = await store.create(make(0))
    new = await store.change(old, replace(old.value, fence=1))
    with pytest.raises(Conflict):
        await store.change(old, replace(old.value, fence=7))
    with pytest.raises(Conflict):
        await store.remove(old)
    assert await store.read(old.value.upload) == new


async def what_is_removed_is_unknown(store: RunStore, make: Callable[[int], Run]) -> None:
    at = await store.create(make(0))
    await store.remove(at)
    await store.remove(at)
    with pytest.raises(UnknownRun):
        await store.read(at.value.upload)
    with pytest.raises(UnknownRun):
        await store.change(at, at.value)
    assert [one async for one in store.uploads()] == []


async def what_is_there_is_listed(store: RunStore, make: Callable[[int], Run]) -> None:
    assert [one async for one in store.uploads()] == []
    uploads: list[UploadID] = [
        (await store.create(make(number))).value.upload for number in range(5)
    ]
    assert sorted([one async for one in store.uploads()]) == sorted(uploads)


async def an_unknown_run_is_unknown(store: RunStore, make: Callable[[int], Run]) -> None:
    with pytest.raises(UnknownRun):
        await store.read(make(0).upload)


CASES: Final[list[Case]] = [
    a_run_is_read_as_it_was_made,
    a_run_is_made_once,
    of_many_who_make_a_run_one_does,
    of_many_changes_at_once_none_is_lost,
    an_old_value_changes_nothing,
    what_is_removed_is_unknown,
    what_is_there_is_listed,
    an_unknown_run_is_unknown,
]
