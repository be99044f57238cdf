from contextlib import suppress
from dataclasses import replace
from random import Random

import pytest

from edge.sinks.base import SinkError
from edge.sinks.objects_memory import Failure, MemoryBucket
from edge.workflow.run import Run
from edge.workflow.store_objects import ObjectRunStore
from tests.edge.workflow.test_run import new_run
from tests.support.run_store_suite import CASES, Case
from tests.support.sim import simulate
from zentransfer.clock import ManualClock
from zentransfer.ids import IdMaker, Kind, UploadID
from zentransfer.limits import OBJECT_ORPHAN_S


def make(number: int) -> Run:
    maker = IdMaker(Random(number).randbytes)
    return replace(new_run(2), upload=UploadID(maker.make(Kind.UPLOAD)))


def store_on(bucket: MemoryBucket, now_ms: int = 1_000) -> ObjectRunStore:
    return ObjectRunStore(bucket, Random(7).randbytes, ManualClock(now_ms))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_bucket_keeps_the_contract(case: Case) -> None:
    simulate(case(store_on(MemoryBucket(Random(1), page=2)), make))  # type: ignore[arg-type]


def test_a_run_that_is_over_can_be_made_again_by_one_only() -> None:
    async def run() -> None:
        bucket = MemoryBucket(Random(1))
        store, other = store_on(bucket), store_on(bucket.process())
        at = await store.create(make(0))
        await store.remove(at)
        again = await other.create(make(0))
        assert await store.read(at.value.upload) == again
        assert [one async for one in store.uploads()] == [at.value.upload]

    simulate(run())


@pytest.mark.reaches("OBJECT_ORPHAN_S")
def test_what_is_over_for_a_day_is_removed_for_good() -> None:
    async def run() -> None:
        bucket = MemoryBucket(Random(1))
        store = store_on(bucket)
        await store.remove(await store.create(make(0)))
        kept = await store.create(make(1))
        assert [one async for one in store.uploads()] == [kept.value.upload]
        assert len(bucket.keys) == 2
        late = store_on(bucket, now_ms=int(OBJECT_ORPHAN_S * 1_000) + 10_000)
        assert [one async for one in late.uploads()] == [kept.value.upload]
        assert len(bucket.keys) == 1

    simulate(run())


@pytest.mark.parametrize("failure", list(Failure))
def test_a_change_whose_answer_is_lost_is_known_or_tried_again(failure: Failure) -> None:
    async def run(seed: int) -> None:
        bucket = MemoryBucket(Random(seed))
        store = store_on(bucket)
        at = await store.create(make(0))
        bucket.fail_at(2, failure)  # the put: the record is read before
        with suppress(SinkError):
            at = await store.change(at, replace(at.value, fence=1))
        now = await store_on(bucket.process()).read(at.value.upload)
        assert now == at, "whoever was told of an error knows that nothing happened yet"

    for seed in range(10):
        simulate(run(seed))
