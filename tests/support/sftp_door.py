"""The SFTP door on a real port over a simulated disk, and asyncssh's own client for it."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random
from typing import TypedDict, Unpack

import asyncssh
from asyncssh import SFTPClient, SSHClientConnection, SSHKey

from edge.facts import Outcome, OutcomeState
from edge.pace import Patience
from edge.sftp.bounds import Bounds
from edge.sftp.doors import SftpDoor
from edge.sftp.files import Terms
from edge.sftp.server import Desk
from edge.snapshot import CredentialKind
from tests.support.real_loop import real_loop
from tests.support.snapshots import Customer
from tests.support.taking import Node
from tests.support.writing import read_whole
from zentransfer import health
from zentransfer.ids import UploadID
from zentransfer.memory_disk import MemoryDisk
from zentransfer.sealed_name import FileName

QUICK = Bounds(login_pause_s=0.02)
"""The real bounds, but for the second that a wrong password costs."""

_KEYS = [asyncssh.generate_private_key("ssh-ed25519")]


class Door:
    """A door on a real port, over a simulated disk."""

    def __init__(self, node: Node, door: SftpDoor, port: int) -> None:
        self.node, self.door, self.port = node, door, port

    @asynccontextmanager
    async def connected(self, secret: str = "") -> AsyncGenerator[SSHClientConnection, None]:
        """Connect and sign in, by default with the right password."""
        shown = self.node.customer.shown
        async with asyncssh.connect(
            "127.0.0.1",
            self.port,
            username=shown.name,
            password=secret or shown.secret,
            known_hosts=None,
            config=None,
            client_keys=None,
            agent_path=None,
            gss_host=None,
        ) as connection:
            yield connection

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[SFTPClient, None]:
        async with self.connected() as connection, connection.start_sftp_client() as client:
            yield client

    async def until_told(self, count: int = 1) -> list[Outcome]:
        """Wait until *count* uploads have ended; return their outcomes."""
        async with asyncio.timeout(20):
            while len(self.node.outcomes()) < count or self.node.intake.in_flight:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return self.node.outcomes()

    async def content(self, upload: UploadID) -> bytes:
        return await read_whole(self.node.sink, upload, self.node.keys)

    async def name(self, upload: UploadID) -> FileName:
        record = (await self.node.sink.record(upload)).value
        return self.node.intake.tools.settling.open(record).name

    async def committed(self) -> list[tuple[FileName, bytes]]:
        """Return the name and content of each whole upload, in the order of their ends."""
        whole = [one for one in self.node.outcomes() if one.state is OutcomeState.COMMITTED]
        return [
            (await self.name(one.upload_id), await self.content(one.upload_id)) for one in whole
        ]


class Setup(TypedDict, total=False):
    """What a test wants otherwise of its door."""

    bounds: Bounds
    customer: Customer
    rename_s: float
    patience: Patience
    keys: Sequence[SSHKey]


def run(
    test: Callable[[Door], Awaitable[None]], *, uvloop: bool = False, **setup: Unpack[Setup]
) -> None:
    """Run *test* against a new door."""

    async def main() -> None:
        level = logging.getLogger("asyncssh").level
        customer = replace(setup.get("customer", Customer()), kind=CredentialKind.FTP)
        node = await Node(MemoryDisk(Random(1)), customer).start()
        terms = Terms(setup.get("patience", Patience()), setup.get("rename_s", 20.0))
        desk = Desk(node.resumables, node.clock, terms)
        door = SftpDoor(desk, setup.get("keys", _KEYS), setup.get("bounds", QUICK))
        listener = health.listen("127.0.0.1", 0, "test")
        entrance = Door(node, door, listener.getsockname()[1])
        await door.serve(listener)
        try:
            async with asyncio.timeout(50):
                await test(entrance)
        finally:
            await door.close()
            logging.getLogger("asyncssh").setLevel(level)

    real_loop(main(), uvloop=uvloop)
