"""The SFTP door in a real process: killed, started again, drained."""

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncssh
import pytest

from edge.record import State
from edge.sinks.directory import DirectorySink
from edge.snapshot import CredentialKind
from tests.support.ingest_node import IngestNode, once
from tests.support.ports import free_port
from tests.support.real_loop import real_loop
from tests.support.snapshots import Customer
from tests.support.waiting import until

pytestmark = pytest.mark.peer


@contextmanager
def node_in(folder: Path) -> Iterator[tuple[IngestNode, int]]:
    """Give a prepared node with an SFTP door, and the door's port."""
    port = free_port()
    customer = Customer(kind=CredentialKind.FTP)
    node = IngestNode(folder, customer, f"[sftp]\nport = {port}\n").prepare()
    try:
        yield node, port
    finally:
        node.stop()


@asynccontextmanager
async def signed_in(node: IngestNode, port: int) -> AsyncIterator[asyncssh.SSHClientConnection]:
    shown = node.customer.shown
    async with asyncssh.connect(
        *("127.0.0.1", port),
        username=shown.name,
        password=shown.secret,
        known_hosts=None,
        config=None,
        client_keys=None,
        agent_path=None,
        gss_host=None,
    ) as connection:
        yield connection


def committed(node: IngestNode) -> int:
    """Count the uploads in the node's sink that are whole."""

    async def count() -> int:
        sink = DirectorySink(node.data / "sink", node.public_keys(), os.urandom)
        try:
            found = [(await sink.record(one)).value async for one in sink.uploads()]
        finally:
            sink.close()
        return sum(record.state is State.COMMITTED for record in found)

    return once(count())


def test_a_kill_leaves_what_was_closed_and_nothing_else(tmp_path: Path) -> None:
    async def until_killed(node: IngestNode, port: int) -> bytes:
        async with signed_in(node, port) as connection:
            key = connection.get_server_host_key()
            assert key is not None
            client = await connection.start_sftp_client()
            for name in ("whole.bin", "held.part"):
                async with client.open(name, "wb") as file:
                    await file.write(b"x" * 100_000)
            cut = await client.open("cut.bin", "wb")
            await cut.write(b"x" * 20_000_000)  # some of it is on the disk
            node.running[0].kill()
            await connection.wait_closed()
            return key.public_data

    async def again(node: IngestNode, port: int) -> bytes:
        async with signed_in(node, port) as connection:
            key = connection.get_server_host_key()
            assert key is not None
            client = await connection.start_sftp_client()
            async with client.open("cut.bin", "wb") as file:
                await file.write(b"again")
            return key.public_data

    with node_in(tmp_path) as (node, port):
        node.start()
        keys = node.data / "sftp"
        assert stat.S_IMODE(keys.stat().st_mode) == 0o700
        assert {stat.S_IMODE(each.stat().st_mode) for each in keys.glob("*.key")} == {0o600}
        before = real_loop(until_killed(node, port))
        node.running[0].wait()
        assert len(node.facts("process.restricted")) == 1, "Landlock holds beside the keys"
        node.start()
        until(lambda: len(node.facts("sweep.ended")) == 2, "what was left is settled")
        (aborted,) = node.facts("upload.aborted")
        assert aborted["size_bytes"] < 20_000_000
        until(lambda: committed(node) == 2, "what was closed and what was held are whole")
        assert real_loop(again(node, port)) == before, "a node is known again by its key"


def test_a_drain_finishes_what_runs(tmp_path: Path) -> None:
    async def drained(node: IngestNode, port: int) -> None:
        async with signed_in(node, port) as connection:
            client = await connection.start_sftp_client()
            file = await client.open("last.bin", "wb")
            await file.write(b"y" * 1000)
            node.running[0].terminate()
            until(lambda: node.curl("/readyz").status != 200, "the node leaves")
            await asyncio.sleep(0)
            await file.write(b"z" * 1000)
            await file.close()
            await connection.wait_closed()

    with node_in(tmp_path) as (node, port):
        process = node.start()
        real_loop(drained(node, port))
        assert process.wait(20) == 0
        assert committed(node) == 1
        assert node.facts("sftp.failed") == []
        assert node.facts("process.leave_failed") == []
