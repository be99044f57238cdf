"""Many slow senders at one ingest process: none is refused, each costs little memory (law 8)."""

import asyncio
import random
import resource
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.snapshot import Limits
from tests.support.ingest_node import IngestNode
from tests.support.real_loop import real_loop
from tests.support.snapshots import Customer

pytestmark = [pytest.mark.peer, pytest.mark.timeout(900)]

MIB = 1 << 20
PIECE = 2_048
PAUSE_S = 1.0
ANSWER_S = 120.0
BEGUN_A_SECOND = 100  # more at once is a burst of work, and no load of slow senders


@pytest.fixture
def node(tmp_path: Path) -> Iterator[IngestNode]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    customer = Customer(limits=Limits(uploads_in_flight_max=10_000))
    node = IngestNode(tmp_path, customer).prepare()
    node.start()
    yield node
    node.stop()


def memory_of(node: IngestNode) -> int:
    """Return what the process holds of its own, in bytes: no file's pages are counted."""
    status = Path(f"/proc/{node.running[-1].pid}/status").read_text()
    (anonymous,) = [line for line in status.splitlines() if line.startswith("RssAnon")]
    return int(anonymous.split()[1]) * 1024


async def sent_slowly(node: IngestNode, name: str, content: bytes, first_s: float) -> str:
    """Send *content*, a piece a second; returns the status line."""
    await asyncio.sleep(first_s)
    reader, writer = await asyncio.open_connection("127.0.0.1", node.http)
    try:
        head = (
            f"PUT /in/{name} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(content)}\r\n"
            f"Authorization: Bearer {node.customer.token}\r\n\r\n"
        )
        writer.write(head.encode())
        answer = asyncio.ensure_future(reader.readline())  # noqa: TID251 - also one that comes early
        for begin in range(0, len(content), PIECE):
            if answer.done():
                break
            writer.write(content[begin : begin + PIECE])
            await asyncio.sleep(PAUSE_S)
        async with asyncio.timeout(ANSWER_S):
            return (await answer).decode().strip()
    except (ConnectionError, TimeoutError) as failure:
        return type(failure).__name__
    finally:
        writer.close()


async def all_sent(node: IngestNode, count: int, pieces: int) -> tuple[Counter[str], int]:
    """Send *count* files at once; returns their answers, and the most memory that it took."""
    content = random.Random(1).randbytes(pieces * PIECE)
    most = 0
    async with asyncio.TaskGroup() as group:
        sending = [
            group.create_task(sent_slowly(node, f"{n}.bin", content, n / BEGUN_A_SECOND))
            for n in range(count)
        ]
        while not all(task.done() for task in sending):
            most = max(most, memory_of(node))
            await asyncio.sleep(0.2)
    return Counter(task.result() for task in sending), most


@pytest.mark.parametrize(
    ("count", "pieces"), [(100, 3), pytest.param(5_000, 60, marks=pytest.mark.soak)]
)
def test_slow_senders_are_all_served_and_cost_little(
    node: IngestNode, count: int, pieces: int
) -> None:
    before = memory_of(node)
    answers, most = real_loop(all_sent(node, count, pieces), uvloop=True)
    assert answers == {"HTTP/1.1 201 Created": count}
    assert (most - before) / count < MIB
