"""Processes of a region that hear of each other by Redis, and go on without it."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import create_connection, socket

import pytest

from tests.edge.test_workers import MIB, Workers, content_of, created, offset_of, patched
from tests.support.redis_server import RedisServer
from tests.support.waiting import until

pytestmark = [pytest.mark.peer, pytest.mark.timeout(180)]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path).start()
    yield server
    server.kill()


@pytest.fixture
def node(tmp_path: Path, redis: RedisServer) -> Iterator[Workers]:
    node = Workers(tmp_path)
    node.settings.write_text(node.settings.read_text() + f'[neighbours]\nredis = "{redis.url}"\n')
    node.prepare()
    node.worker(0)
    node.worker(1)
    yield node
    node.stop()


def is_linked(node: Workers, index: int) -> bool:
    node.asks(index)
    return bool(node.curl("/readyz").json["checks"]["neighbours"]["ok"])


@contextmanager
def silent_patch(node: Workers, path: str, whole: bytes) -> Iterator[socket]:
    """Send half of *whole* to worker 0, and then nothing more."""
    node.asks(0)
    head = (
        f"PATCH {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {node.customer.token}"
        "\r\nTus-Resumable: 1.0.0\r\nContent-Type: application/offset+octet-stream"
        f"\r\nUpload-Offset: 0\r\nContent-Length: {len(whole)}\r\n\r\n"
    )
    with create_connection(("127.0.0.1", node.http), timeout=30) as silent:
        silent.sendall(head.encode() + whole[: len(whole) // 2])
        stored = node.data / "sink" / "uploads"
        until(
            lambda: any(one.stat().st_size > MIB // 2 for one in stored.rglob("*.seg*")),
            "the silent request has sent",
        )
        yield silent


def test_who_lost_an_upload_hears_of_it_at_once(node: Workers) -> None:
    until(lambda: is_linked(node, 0) and is_linked(node, 1), "both are linked")
    whole = random.Random(1).randbytes(2 * MIB)
    node.asks(0)
    path = created(node, len(whole))
    with silent_patch(node, path, whole) as silent:
        node.asks(1)
        offset = offset_of(node, path)
        began = time.perf_counter()
        assert silent.recv(1) == b"", "it is hung up on, long before it would have been too slow"
        assert time.perf_counter() - began < 10
    status, upload = patched(node, path, offset, whole[offset:])
    assert status == 204
    assert upload is not None
    assert content_of(node, upload) == whole


def test_a_segment_that_lies_idle_is_given_up_too(node: Workers) -> None:
    """Many small pieces, each at the other worker: no offset is ever false."""
    whole = random.Random(2).randbytes(300_000)
    path = created(node, len(whole))
    upload = None
    for turn, begin in enumerate(range(0, len(whole), 30_000)):
        node.asks(turn % 2)
        status, upload = patched(node, path, begin, whole[begin : begin + 30_000])
        assert status == 204
    assert upload is not None
    assert content_of(node, upload) == whole


def test_without_redis_everything_goes_on_a_little_later(node: Workers, redis: RedisServer) -> None:
    redis.kill()
    whole = random.Random(3).randbytes(2 * MIB)
    node.asks(0)
    path = created(node, len(whole))
    with silent_patch(node, path, whole):
        node.asks(1)
        began = time.perf_counter()
        offset = offset_of(node, path)
        assert time.perf_counter() - began < 10
        status, upload = patched(node, path, offset, whole[offset:])
    assert status == 204
    assert upload is not None
    assert content_of(node, upload) == whole
    until(lambda: not is_linked(node, 1), "it says that it is away")
    assert node.curl("/readyz").status == 200, "and is ready all the same"
    redis.start()
    until(lambda: is_linked(node, 0) and is_linked(node, 1), "both are back, and Redis is empty")
