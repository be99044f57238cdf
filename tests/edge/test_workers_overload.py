"""More uploads than an ingest process can take: it says so at once, and goes on with the others."""

import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from edge.capacity import uploads_for
from tests.support.ingest_node import IngestNode
from tests.support.waiting import until

pytestmark = [pytest.mark.peer, pytest.mark.timeout(180)]

FILES = 256  # descriptors: enough for some dozens of uploads
SOON_S = 0.05


@pytest.fixture
def node(tmp_path: Path) -> Iterator[IngestNode]:
    node = IngestNode(tmp_path)
    node.prepare().start("prlimit", f"--nofile={FILES}:{FILES}")
    yield node
    node.stop()


def begun(node: IngestNode, name: str, length: int) -> socket.socket:
    """Ask to send a file of *length* bytes, and send nothing of it."""
    asked = socket.create_connection(("127.0.0.1", node.http), timeout=30)
    asked.sendall(
        (
            f"PUT /in/{name} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: Bearer {node.customer.token}\r\nExpect: 100-continue\r\n"
            f"Content-Length: {length}\r\n\r\n"
        ).encode()
    )
    return asked


def head_of(asked: socket.socket) -> str:
    head = b""
    while b"\r\n\r\n" not in head:
        more = asked.recv(4096)
        assert more, "it was cut without a word"
        head += more
    return head.decode()


def test_beyond_its_capacity_it_refuses_at_once_and_what_runs_is_never_shed(
    node: IngestNode,
) -> None:
    most = uploads_for(FILES)
    taken = most - most // 10  # the rest is kept for uploads that were begun before
    with ExitStack() as stack:
        running = [stack.enter_context(begun(node, f"{n}", 10)) for n in range(taken)]
        for each in running:
            assert head_of(each).startswith("HTTP/1.1 100")
        waits, pauses = list[float](), set[str]()
        for number in range(2 * most):
            began = time.perf_counter()
            with begun(node, f"more-{number}", 10) as asked:
                head = head_of(asked)
            waits.append(time.perf_counter() - began)
            assert head.startswith("HTTP/1.1 503"), head
            lines = dict(line.split(": ", 1) for line in head.splitlines()[1:] if line)
            pauses.add(lines["Retry-After"])
        assert statistics.median(waits) < SOON_S  # a busy machine may hold up a few
        assert len(pauses) > 1, "so that they do not come back as one"
        assert node.is_ready(), "it is full, and not ill"
        for each in running:
            each.sendall(b"0123456789")
        for each in running:
            assert head_of(each).startswith("HTTP/1.1 201")
    until(lambda: node.put("after.jpg", b"there is room again").status == 201, "room", 30)


def test_who_never_ends_the_headers_is_cut_and_holds_up_nobody(node: IngestNode) -> None:
    with ExitStack() as stack:
        slow = [
            stack.enter_context(socket.create_connection(("127.0.0.1", node.http), timeout=60))
            for _ in range(FILES // 2)  # all that the listener takes
        ]
        for each in slow:
            each.sendall(b"PUT /in/x HTTP/1.1\r\nHost")
        with socket.create_connection(("127.0.0.1", node.http), timeout=60) as refused:
            assert head_of(refused).startswith("HTTP/1.1 503")
        until(lambda: node.put("x.jpg", b"content").status == 201, "the slow ones are cut", 60)


@pytest.mark.parametrize("dialect", ["plain", "tus", "draft"])
def test_a_body_that_goes_silent_is_cut_in_every_dialect(tmp_path: Path, dialect: str) -> None:
    node = IngestNode(tmp_path, extra="body_idle_s = 0.5\nbody_window_s = 1.0")
    node.prepare().start()
    told = {
        "plain": "PUT /in/x.jpg HTTP/1.1\r\n",
        "tus": "POST /files/ HTTP/1.1\r\nTus-Resumable: 1.0.0\r\nUpload-Length: 1000\r\n"
        "Content-Type: application/offset+octet-stream\r\n",
        "draft": "POST /files/ HTTP/1.1\r\nUpload-Complete: ?1\r\n"
        "Upload-Draft-Interop-Version: 6\r\n",
    }[dialect]
    try:
        with socket.create_connection(("127.0.0.1", node.http), timeout=60) as silent:
            silent.sendall(
                (
                    f"{told}Host: 127.0.0.1\r\nAuthorization: Bearer {node.customer.token}\r\n"
                    "Content-Length: 1000\r\n\r\nonly this"
                ).encode()
            )
            answer = b""
            while more := silent.recv(4096):
                answer += more
            assert b"HTTP/1.1 408" in answer, answer
    finally:
        node.stop()
