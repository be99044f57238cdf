"""The object sink on servers: a small one that keeps every condition and fails, and moto."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from edge.sinks.base import Conflict, SinkError
from edge.sinks.memory import MEMORY_RECORD_BYTES
from edge.sinks.objects import ObjectSink
from edge.sinks.objects_bucket import Taken, prove
from edge.sinks.objects_s3 import Access, S3Bucket
from edge.workflow.run import Run
from edge.workflow.store_objects import ObjectRunStore
from tests.edge.workflow.test_store_objects import make
from tests.support import s3_server
from tests.support.object_server import (
    BUCKET,
    KEY_ID,
    SECRET,
    Fault,
    ObjectServer,
    once,
    served,
)
from tests.support.real_loop import real_loop
from tests.support.region_keys import SeededKeys
from tests.support.run_store_suite import CASES as RUN_CASES
from tests.support.run_store_suite import Case as RunCase
from tests.support.s3_server import S3Server
from tests.support.sink_suite import CASES, Case, Site
from tests.support.writing import fill, read_whole
from zentransfer.clock import SystemClock
from zentransfer.errors import Code
from zentransfer.limits import OBJECT_BYTES

ACCESS: Final = Access(BUCKET, "us-east-1", KEY_ID, SECRET, prefix="zt/fr")
OBJECT_BYTES_HERE: Final = 65_536


@pytest.fixture(scope="module")
def shared() -> Iterator[ObjectServer]:
    """A server that is always well."""
    yield from served(ObjectServer(page=3))


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    """A server of one test."""
    yield from served(ObjectServer())


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    real = S3Server(tmp_path_factory.mktemp("moto") / "log")
    real.start()
    yield real
    real.stop()


def bucket_at(server: ObjectServer, **changes: str) -> S3Bucket:
    access = replace(ACCESS, endpoint=server.url, **changes)
    return S3Bucket(access, request_s=1.0, retry_s=2.0)


def moto_bucket(moto: S3Server) -> S3Bucket:
    where = {"prefix": os.urandom(4).hex(), "endpoint": moto.url}
    return S3Bucket(Access(s3_server.BUCKET, "us-east-1", s3_server.KEY_ID, s3_server.KEY, **where))


def sink_on(
    bucket: S3Bucket, keys: SeededKeys, object_bytes: int = OBJECT_BYTES_HERE
) -> ObjectSink:
    return ObjectSink(bucket, keys.public, os.urandom, MEMORY_RECORD_BYTES, object_bytes)


def site_on(make_bucket: Callable[[], S3Bucket]) -> Site:
    keys = SeededKeys()
    sinks = [sink_on(make_bucket(), keys) for _ in range(2)]
    return Site(sinks[0], sinks[1], keys, unwritten_max=600_001, lists_unborn=False)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_sink_on_a_strict_server(case: Case, shared: ObjectServer) -> None:
    async def run() -> None:
        prefix = os.urandom(4).hex()
        await case(site_on(lambda: bucket_at(shared, prefix=prefix)))

    real_loop(run())


@pytest.mark.parametrize("case", RUN_CASES, ids=lambda case: case.__name__)
def test_run_records_on_a_strict_server(case: RunCase, shared: ObjectServer) -> None:
    async def run() -> None:
        bucket = bucket_at(shared, prefix=os.urandom(4).hex())
        run_make: Callable[[int], Run] = make
        await case(ObjectRunStore(bucket, os.urandom, SystemClock()), run_make)

    real_loop(run())


@pytest.mark.peer
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_sink_on_moto(case: Case, moto: S3Server) -> None:
    async def run() -> None:
        first = moto_bucket(moto)
        await case(site_on(lambda: first))

    real_loop(run())


@pytest.mark.peer
def test_moto_keeps_conditions(moto: S3Server) -> None:
    async def run() -> None:
        await prove(moto_bucket(moto), os.urandom)

    real_loop(run())


def test_of_many_puts_at_once_one_is_done(shared: ObjectServer) -> None:
    async def run() -> None:
        bucket = bucket_at(shared, prefix=os.urandom(4).hex())
        first = await bucket.put("one", b"first", None)
        done = list[str]()

        async def put(number: int, tag: str | None, key: str) -> None:
            try:
                done.append(await bucket.put(key, f"by {number}".encode(), tag))
            except Taken:
                return

        for key, tag in (("one", first), ("two", None)):
            done.clear()
            async with asyncio.TaskGroup() as group:
                for number in range(12):
                    group.create_task(put(number, tag, key))
            assert len(done) == 1

    real_loop(run())


# What goes wrong at the start.


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"key_id": "AKIASTRANGER"}, "refuses the access key"),
        ({"bucket": "elsewhere"}, "the bucket is not there"),
    ],
)
def test_a_store_that_is_not_ours_is_named_at_the_start(
    changes: dict[str, str], says: str, shared: ObjectServer
) -> None:
    async def run() -> None:
        bucket = bucket_at(shared, **changes)
        with pytest.raises(SinkError, match=says):
            await prove(bucket, os.urandom)
        assert bucket.needs_help
        assert bucket.state()[0] is False
        assert says in bucket.state()[1]
        # Nothing may look like an upload that nobody knows.
        with pytest.raises(SinkError, match=says):
            await bucket.get("records/any", 10)
        assert "AKIA" not in bucket.state()[1]

    real_loop(run())


def test_a_store_that_ignores_conditions_is_refused() -> None:
    lax = ObjectServer(is_lax=True).start()

    async def run() -> None:
        with pytest.raises(SinkError, match="ignores the conditions") as refused:
            await prove(bucket_at(lax), os.urandom)
        assert not refused.value.temporary

    real_loop(run())
    lax.stop()


def test_a_store_that_is_not_there_is_a_temporary_trouble() -> None:
    gone = ObjectServer().start()
    gone.stop()

    async def run() -> None:
        bucket = bucket_at(gone)
        with pytest.raises(SinkError) as failed:
            await prove(bucket, os.urandom)
        assert (failed.value.temporary, failed.value.code) == (True, Code.SINK_UNAVAILABLE)
        assert not bucket.needs_help

    real_loop(run())


# Faults.

Verb = Callable[[Site], Awaitable[None]]


async def whole(site: Site) -> None:
    """Take an upload through every kind of request to its end, as often as it needs."""
    record = site.record()
    data = site.random.randbytes(200_000)
    done = 0
    for attempt in range(6):
        try:
            sink = site.sink if attempt % 2 else site.other
            if done == 0:
                claim = await sink.create(record)
            else:
                claim = await sink.claim(record.upload)
                assert claim.offset >= done - 1
            done = max(done, 1)
            writer = await claim.writer()
            fill(writer, data[claim.offset : 100_000])
            told = await writer.flush()
            fill(writer, data[told:])
            await writer.finish(None)
            break
        except Conflict:
            done = 1
        except SinkError as failure:
            if not failure.temporary:
                raise
    assert await read_whole(site.sink, record.upload, site.keys) == data
    await site.sink.destroy(record.upload)


@pytest.mark.parametrize("fault", [Fault.BEFORE, Fault.AFTER, Fault.CUT])
@pytest.mark.parametrize("method", ["PUT", "GET", "LIST", "POST"])
def test_one_failure_is_mended_by_the_library_or_by_us(
    fault: Fault, method: str, server: ObjectServer
) -> None:
    async def run() -> None:
        for skipped in range(4):
            server.plan = once(method, "", *[None] * skipped, fault)
            prefix = os.urandom(4).hex()
            site = site_on(partial(bucket_at, server, prefix=prefix))
            await whole(site)
            left = server.keys(prefix)
            assert len(left) == 1, "a tombstone, and nothing else"

    real_loop(run())


def test_a_put_that_was_done_and_answered_by_an_error_is_known_as_ours(
    server: ObjectServer,
) -> None:
    async def run() -> None:
        site = site_on(lambda: bucket_at(server))
        claim = await site.created()
        writer = await claim.writer()
        data = os.urandom(100_000)
        fill(writer, data)
        faults = [Fault.AFTER] * 9
        server.plan = once("PUT", "/0000", *faults[:1])
        assert await writer.flush() == 100_000
        server.plan = once("PUT", "records/", *faults[:1])
        await writer.finish(None)
        assert await site.read(claim.record.upload) == data

    real_loop(run())


def test_a_foreign_object_under_a_name_of_ours_is_no_success(server: ObjectServer) -> None:
    async def run() -> None:
        site = site_on(lambda: bucket_at(server))
        claim = await site.created()
        writer = await claim.writer()
        key = f"segments/{claim.record.upload}/1-1/0000000000004096"
        await bucket_at(server).put(key, b"foreign", None)
        fill(writer, bytes(100))
        with pytest.raises(SinkError):
            await writer.flush()
        await writer.close()
        assert (await site.sink.claim(claim.record.upload)).offset == 0

    real_loop(run())


def test_half_an_answer_is_never_taken_for_the_whole(server: ObjectServer) -> None:
    async def run() -> None:
        site = site_on(lambda: bucket_at(server))
        upload, data = await site.committed(150_000)
        server.plan = once("GET", "segments/", *[Fault.HALF] * 2)
        try:
            assert await site.read(upload) == data
        except SinkError as failure:
            assert failure.temporary  # noqa: PT017 - either is right
        server.plan = once("", "")
        assert await site.read(upload) == data

    real_loop(run())


def test_a_slow_store_is_a_temporary_error_and_loses_nothing(server: ObjectServer) -> None:
    async def run() -> None:
        site = site_on(lambda: bucket_at(server))
        claim = await site.created()
        writer = await claim.writer()
        fill(writer, bytes(1_000))
        assert await writer.flush() == 1_000
        server.plan = lambda method, key: Fault.SLOW if method == "PUT" else None
        fill(writer, bytes(1_000))
        with pytest.raises(SinkError) as failed:
            await writer.flush()
        assert failed.value.temporary
        await writer.close()
        server.plan = once("", "")
        assert (await site.other.claim(claim.record.upload)).offset in (1_000, 2_000)

    real_loop(run(), leaving_s=20)


# What it costs.


def test_a_small_upload_is_three_puts_and_nothing_is_asked(server: ObjectServer) -> None:
    async def run() -> None:
        site = site_on(lambda: bucket_at(server))
        writer = await (await site.sink.create(site.record(), lazily=True)).writer()
        fill(writer, bytes(3_000))
        await writer.finish(None)
        await writer.close()
        assert [method for method, _ in server.requests] == ["PUT"] * 3
        assert "/records/" in server.requests[-1][1]

    real_loop(run())


@pytest.mark.reaches("OBJECT_BYTES")
def test_a_fast_upload_is_few_objects(server: ObjectServer) -> None:
    async def run() -> None:
        keys = SeededKeys()
        sink = ObjectSink(bucket_at(server), keys.public, os.urandom)
        site = Site(sink, sink, keys)
        claim = await site.created()
        writer = await claim.writer()
        data = os.urandom(40_000_000)
        at = 0
        while at < len(data):
            fill(writer, data[at : at + 100_000])
            at += 100_000
            if writer.is_due:
                await writer.flush(mark=False)
        await writer.finish(None)
        assert await site.read(claim.record.upload) == data
        assert len(server.keys("/1-1/")) <= 2 + -(-len(data) // OBJECT_BYTES) + 3
        assert max(len(kept.data) for kept in server.objects.values()) <= OBJECT_BYTES + 262_144

    real_loop(run())


def test_nothing_of_the_content_lies_there_in_clear(server: ObjectServer, tmp_path: Path) -> None:
    async def run() -> None:
        site = site_on(lambda: bucket_at(server))
        claim = await site.created()
        writer = await claim.writer()
        plain = b"a plain text that is easily found " * 1_000
        fill(writer, plain)
        await writer.finish(None)
        assert all(plain[:16] not in kept.data for kept in server.objects.values())

    real_loop(run())
