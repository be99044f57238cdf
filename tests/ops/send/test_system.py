"""``zentransfer send`` as a program, against a real system: control, ingest and delivery of fr."""

import asyncio
import hashlib
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.ops.system import COMMAND, System, started
from tests.support.real_loop import real_loop
from tests.support.relay import Relay
from zentransfer.service import inherited

pytestmark = pytest.mark.timeout(120)  # the system of this module starts within the first one
MIB = 1 << 20


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with started(tmp_path_factory.mktemp("system")) as running:
        yield running


def made(folder: Path, name: str, size: int) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        random, left = Random(f"{name}{size}"), size
        while left:
            left -= file.write(random.randbytes(min(left, MIB)))
    return path


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sending(system: System, *words: str | Path, **variables: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [COMMAND, "send", "--json", "--dir", system.folder, *words],
        env=inherited() | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: "subprocess.Popen[str]") -> tuple[int, list[dict[str, Any]], str]:
    out, notes = process.communicate(timeout=55)
    return process.returncode, [json.loads(line) for line in out.splitlines()], notes


def delivered(system: System) -> dict[str, str]:
    """Return the digests of what lies in the folder destination, by path."""
    ready = system.ready()
    assert ready is not None
    root = Path(ready["delivered"])
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): digest(path) for path in files}


@pytest.mark.peer
def test_three_files_one_of_them_empty_are_delivered(system: System, tmp_path: Path) -> None:
    sizes = {"a.jpg": 300_000, "empty.txt": 0, "sub/\u00fcber 1.jpg": 5 * MIB}
    files = {name: made(tmp_path / "shoot", name, size) for name, size in sizes.items()}
    code, lines, notes = ended(
        sending(system, "-r", tmp_path / "shoot", "--folder", "2026", "--region", "fr")
    )
    assert code == 0, (lines, notes)
    assert notes == ""
    assert lines[-1]["delivered"] == 3
    found = delivered(system)
    for name, path in files.items():
        assert found.pop(f"2026/shoot/{name}") == digest(path)
    assert {line["sha256"] for line in lines[:-1]} == set(map(digest, files.values()))


@pytest.mark.peer
def test_a_killed_ingest_in_the_middle_costs_nothing_but_time(
    system: System, tmp_path: Path
) -> None:
    path = made(tmp_path, "killed.bin", 200 * MIB)
    process = sending(system, path)
    pid, sink = system.pids()["ingest-0"], system.folder / "fr"
    before = kept(sink)
    system.until(lambda: kept(sink) - before > 40 * MIB)
    assert process.poll() is None
    os.kill(pid, signal.SIGKILL)
    code, lines, notes = ended(process)
    assert code == 0, (lines, notes)
    assert lines[0]["interruptions"] > 0
    found = {name: sha for name, sha in delivered(system).items() if "killed" in name}
    assert list(found.values()) == [digest(path)]
    system.until(lambda: system.pids().get("ingest-0") not in (None, pid))


class Between:
    """What stands between ``send`` and the system: a relay to the node, and who names it."""

    def __init__(self, control: str, node: str, relay: Relay) -> None:
        self.url = ""
        self._control = control
        self._node = node
        self._relay = relay

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Between"]:
        """Answer as control does, with the relay in place of the node."""
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with aiohttp.ClientSession() as self._session:
            yield self
        await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        shown = {"Authorization": request.headers["Authorization"]}
        async with self._session.get(self._control + request.path, headers=shown) as answer:
            text = (await answer.text()).replace(self._node, self._relay.url)
            return web.Response(status=answer.status, text=text, content_type="application/json")


@pytest.mark.peer
def test_a_network_that_is_cut_and_one_that_hangs(system: System, tmp_path: Path) -> None:
    ready = system.ready()
    assert ready is not None
    node, path = ready["edges"]["fr"]["http"], made(tmp_path, "cut.bin", 60 * MIB)
    relay = Relay(int(node.rpartition(":")[2]))
    relay.cut_after = [10 * MIB, 20 * MIB]

    async def troubles() -> None:
        await relay.until(30 * MIB)
        relay.stall()
        await asyncio.sleep(2.5)
        relay.resume()
        await relay.until(40 * MIB)
        relay.is_open = False  # and now there is no network at all
        relay.cut()
        await asyncio.sleep(1.5)
        relay.is_open = True

    async def sent() -> tuple[int | None, list[dict[str, Any]]]:
        between = Between(ready["control"]["url"], node, relay)
        async with relay.running(), between.running(), asyncio.TaskGroup() as tasks:
            tasks.create_task(troubles())
            process = await asyncio.create_subprocess_exec(
                *(COMMAND, "send", "--json", path, "--control", between.url),
                env=inherited()
                | {
                    "ZT_SEND_TOKEN": ready["account"]["api_token"],
                    "ZT_SEND_STALL_S": "1",
                    "ZT_SEND_ANSWER_S": "2",
                },
                stdout=asyncio.subprocess.PIPE,
            )
            out, _ = await process.communicate()
        return process.returncode, [json.loads(line) for line in out.splitlines()]

    code, lines = real_loop(sent())
    assert code == 0, lines
    assert relay.connections >= 5
    assert lines[0]["interruptions"] >= 4
    assert lines[0]["sha256"] == digest(path)
    found = {name: sha for name, sha in delivered(system).items() if "cut" in name}
    assert list(found.values()) == [digest(path)]
    assert relay.passed < 2 * path.stat().st_size, "it went on where it was cut"


@pytest.mark.peer
def test_ctrl_c_says_what_was_not_sent_and_leaves_nothing(system: System, tmp_path: Path) -> None:
    path = made(tmp_path, "stopped.bin", 200 * MIB)
    process = sending(system, path)
    sink = system.folder / "fr"
    before = kept(sink)
    system.until(lambda: kept(sink) - before > 10 * MIB)
    process.send_signal(signal.SIGINT)
    code, lines, notes = ended(process)
    assert (code, notes) == (130, "")
    assert (lines[0]["state"], lines[-1]["stopped"]) == ("stopped", 1)
    assert "that went to fr are destroyed there" in lines[0]["error"]
    system.until(lambda: kept(sink) - before < 10 * MIB)
    assert not [name for name in delivered(system) if "stopped" in name]


def kept(folder: Path) -> int:
    """Return the bytes in *folder*, of files that may go meanwhile."""
    total = 0
    for one in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += one.stat().st_size
    return total
