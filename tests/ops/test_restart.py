"""Every process of two nodes is replaced while clients send: nobody notices."""

import asyncio
import json
import signal
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest

from tests.ops.system import System, free_base
from zentransfer.ids import Region

pytestmark = [pytest.mark.peer, pytest.mark.timeout(900)]

CLIENTS = 2
PATIENCE_S = 180.0


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    with free_base((Region.FR, Region.SG)) as base:
        system = System(tmp_path / "var", base, regions="fr,sg")
        try:
            system.until_ready()
            yield system
        finally:
            system.close()


class Burst:
    """Clients that keep their connections and send one small file after another."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.token = document["account"]["api_token"]
        self.doors = [edge["http"] for edge in document["edges"].values()]
        self.answers = Counter[str]()
        self.uploads = set[str]()
        self.is_over = False

    async def send(self, client: int) -> None:
        random = Random(client)
        headers = {"Authorization": f"Bearer {self.token}"}
        async with aiohttp.ClientSession(headers=headers) as session:
            number = 0
            while not self.is_over:
                number += 1
                url = f"{self.doors[number % 2]}/in/{client}-{number}.bin"
                try:
                    async with session.put(url, data=random.randbytes(10_000)) as answer:
                        self.answers[str(answer.status)] += 1
                        if answer.status == 201:
                            self.uploads.add((await answer.json())["id"])
                except (aiohttp.ClientError, OSError) as failure:
                    self.answers[type(failure).__name__] += 1
                await asyncio.sleep(random.uniform(0.1, 0.7))

    async def send_slowly(self, until_over: asyncio.Event) -> str:
        """Send one file that begins before a restart and ends after it; returns its id."""
        host, port = self.doors[0].removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        part, count = b"x" * 1_000, 0
        head = (
            f"PUT /in/slow.bin HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {self.token}\r\n"
        )
        writer.write(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
        while not until_over.is_set() or count < 10:
            writer.write(b"3e8\r\n" + part + b"\r\n")
            await writer.drain()
            count += 1
            await asyncio.sleep(0.05)
        writer.write(b"0\r\n\r\n")
        answer = await reader.read()  # it ends its connection: this process leaves
        writer.close()
        head_of, _, body = answer.partition(b"\r\n\r\n")
        assert b" 201 " in head_of.splitlines()[0], answer
        assert b"connection: close" in head_of.lower()
        found = json.loads(body)
        assert found["size"] == count * 1_000
        return str(found["id"])


async def restarted(system: System, time: int) -> None:
    log = system.folder / "log" / "launcher.log"
    system.process.send_signal(signal.SIGHUP)
    async with asyncio.timeout(PATIENCE_S):
        while log.read_text().count('"launcher.replaced"') < time:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def known(document: dict[str, Any]) -> set[str]:
    """Return the uploads that control has heard of."""
    found, cursor = set[str](), None
    while True:
        query = "?limit=200" + (f"&cursor={cursor}" if cursor else "")
        request = urllib.request.Request(
            f"{document['control']['url']}/api/v1/uploads{query}",
            headers={"Authorization": f"Bearer {document['account']['api_token']}"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            page = json.loads(answer.read())
        found |= {one["id"] for one in page["items"]}
        cursor = page["next"]
        if not cursor:
            return found


@pytest.mark.parametrize("restarts", [1, pytest.param(15, marks=pytest.mark.soak)])
def test_restarts_under_load_cost_no_request_and_no_upload(system: System, restarts: int) -> None:
    document = system.until_ready()
    before = system.pids()
    burst = Burst(document)

    async def main() -> None:
        is_restarted = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for client in range(CLIENTS):
                group.create_task(burst.send(client))
            slow = group.create_task(burst.send_slowly(is_restarted))
            await asyncio.sleep(0.5)
            for time in range(1, restarts + 1):
                await restarted(system, time)
                is_restarted.set()
            burst.is_over = True
        burst.uploads.add(slow.result())

    with asyncio.Runner() as runner:
        runner.run(main())
    assert set(burst.answers) == {"201"}, burst.answers
    system.until(lambda: "ingest-1" in system.pids())
    after = system.pids()
    assert after["control"] == before["control"]
    assert set(before) - set(after) == {"ingest-0"}, "they take turns"
    assert after["delivery-0"] != before["delivery-0"]
    system.until(lambda: burst.uploads <= known(document))
    system.process.send_signal(signal.SIGTERM)
    code, said = system.ended()
    assert code == 0, said
    assert said.count("Every process of the nodes was replaced") == restarts
    assert system.left_over() == []
