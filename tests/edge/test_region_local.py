import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random
from socket import create_connection

import pytest

from edge.region_local import LocalRegionState
from edge.region_state import Event, Notice, Share, Told
from edge.snapshot import Limits
from tests.edge.test_neighbours import silent_patch
from tests.edge.test_workers import MIB, Workers, content_of, created, offset_of, patched
from tests.support.real_loop import real_loop
from tests.support.snapshots import Customer
from tests.support.waiting import until
from zentransfer.ids import AccountID, IdMaker, Kind, ProcessName, UploadID
from zentransfer.limits import REGION_LOCAL_LOOK_S

NEW_ID = IdMaker(Random(1).randbytes).make


def notice(fence: int) -> Notice:
    return Notice(Event.TAKEN, UploadID(NEW_ID(Kind.UPLOAD)), fence)


@pytest.mark.reaches("REGION_LOCAL_LOOK_S")
@pytest.mark.parametrize("uvloop", [False, True])
def test_the_processes_of_a_folder_hear_of_each_other(tmp_path: Path, uvloop: bool) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()

    async def main() -> None:
        one, other = (
            LocalRegionState(folder, ProcessName(name)) for name in ("ingest-0", "ingest-1")
        )
        heard, own = list[Told](), list[Told]()
        one.listen(own.append)
        other.listen(heard.append)
        one.tell(notice(1))  # nobody is there yet, and that is no failure
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            at = [group.create_task(state.run()) for state in (one, other)]
            while not (one.check()[0] and other.check()[0]):  # noqa: ASYNC110 - no event of ours
                await asyncio.sleep(0.01)
            await asyncio.sleep(REGION_LOCAL_LOOK_S)
            told: list[Told] = [
                notice(2),
                Share("fr-1/ingest-0", AccountID(NEW_ID(Kind.ACCOUNT)), 3),
            ]
            for each in told:
                one.tell(each)
            while len(heard) < len(told):  # noqa: ASYNC110 - no event of ours
                await asyncio.sleep(0.01)
            for task in at:
                task.cancel()
        assert (heard, own) == (told, [])
        assert not one.check()[0]
        one.tell(notice(3))  # after its end it still fails nobody
        assert await one.is_first(b"", 1) is None
        assert list(folder.iterdir()) == []

    real_loop(main(), uvloop=uvloop)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Workers]:
    node = Workers(tmp_path)
    node.customer = Customer(limits=Limits(uploads_in_flight_max=2))
    node.prepare()
    node.worker(0)
    node.worker(1)
    yield node
    node.stop()


@pytest.mark.peer
@pytest.mark.timeout(180)
def test_workers_share_a_limit_and_hear_of_takeovers(node: Workers) -> None:
    whole = random.Random(1).randbytes(2 * MIB)
    node.asks(0)
    path = created(node, len(whole))
    head = (
        f"PUT /in/x HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {node.customer.token}"
        "\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"
    ).encode()

    def asks_to_put(index: int) -> int:
        """Ask to begin one more at worker *index*; returns the answer before any byte."""
        node.asks(index)
        with create_connection(("127.0.0.1", node.http), timeout=30) as line:
            line.sendall(head)
            return int(line.recv(12).split(b" ")[1])

    with ExitStack() as open_:
        silent = open_.enter_context(silent_patch(node, path, whole))
        assert asks_to_put(0) == 100, "one is under way: there is room for another"
        node.asks(1)
        other = open_.enter_context(create_connection(("127.0.0.1", node.http), timeout=30))
        other.sendall(head)
        assert other.recv(12).split(b" ")[1] == b"100"
        until(lambda: asks_to_put(0) == 429, "worker 0 heard of the one at worker 1")
        until(lambda: asks_to_put(1) == 429, "and worker 1 of the one at worker 0")
        node.asks(1)
        offset = offset_of(node, path)
        began = time.perf_counter()
        assert silent.recv(1) == b"", "whoever lost it hears of that at once"
        assert time.perf_counter() - began < 10
        sent = list[tuple[int, str | None]]()

        def goes_on() -> bool:
            sent.append(patched(node, path, offset, whole[offset:]))
            return sent[-1][0] == 204

        until(goes_on, "it is not counted beside itself")
        upload = sent[-1][1]
        assert upload is not None
        assert content_of(node, upload) == whole
