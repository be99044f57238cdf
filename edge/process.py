"""What ingest and delivery have in common: who they are, what they do now, the link to control.

The rule: the link is beside the work, never above it; control may be away for a day (law 5).
"""

import asyncio
import os
import socket
from importlib.metadata import version
from pathlib import Path
from random import Random, SystemRandom

from aiohttp import web

from edge.duty import Duty
from edge.link import Link
from edge.link_state import Desired, Identity, Status
from edge.settings import EdgeSettings
from zentransfer import health, ids, metrics, rpc
from zentransfer.clock import SystemClock
from zentransfer.health import Health
from zentransfer.ids import EpochID, IdMaker, Kind, ProcessName
from zentransfer.rpc_stream import Dialler
from zentransfer.service import CannotStart, Service, Stage
from zentransfer.v1.fleet_pb2 import ConnectRequest, ConnectResponse
from zentransfer.v1.fleet_pb2_grpc import FleetServiceStub

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Process:
    """One process of a node, linked to control while it lives."""

    def __init__(self, settings: EdgeSettings, name: str) -> None:
        self.settings = settings
        self.health = Health()
        self.duty = Duty(asyncio.get_running_loop().time)
        self.registry = metrics.registry()
        random: Random = SystemRandom()
        identity = Identity(
            node=ids.node(settings.node),
            process=ProcessName(name),
            epoch=EpochID(IdMaker(os.urandom).make(Kind.EPOCH)),
            boot_id=_boot_id(),
            build=version("zentransfer"),
        )
        self._dialler = Dialler[ConnectRequest, ConnectResponse](
            lambda: rpc.channel(settings.control.address),
            lambda channel: FleetServiceStub(channel).Connect,
        )
        self.link = Link(identity, self._dialler.dial, self, SystemClock(), random)
        self.health.add("duty", self.duty.check)
        self.health.add("link", self.link.state, required=False)
        metrics.watch(
            self.registry, "zt_link_up", "1 while control is linked", lambda: self.link.state()[0]
        )
        metrics.watch(
            self.registry, "zt_admits", "1 while new work is admitted", lambda: self.duty.admits
        )

    def status(self) -> Status:
        """Return what the next heartbeat says."""
        return Status(self.duty.observed(under_way=0))

    async def obey(self, desired: Desired, /) -> None:
        """Turn towards what the operator wants."""
        if self.duty.obey(desired):
            self.link.changed()

    async def start(self, service: Service) -> None:
        """Make the data folder, and link to control for as long as *service* lives."""
        _make_folder(self.settings.data_dir)
        rpc.check_address(self.settings.control.address)
        service.tasks.create_task(self._stay_linked())
        service.on_leave(Stage.STOP_ADMITTING, "duty", self._leave)
        service.on_leave(Stage.CLOSE, "link", self.link.aclose)

    def serve(self, service: Service) -> None:
        """Admit from now on, and say so to the service manager and to control."""
        self.duty.serve()
        self.link.changed()
        service.ready()

    async def _stay_linked(self) -> None:
        async with self._dialler:
            await self.link.run()

    async def _leave(self) -> None:
        self.duty.leave()
        await self.health.drain()
        self.link.changed()


async def serve_http(service: Service, routes: list[web.RouteDef], listener: socket.socket) -> None:
    """Serve *routes* on *listener* until the last stage of leaving."""
    app = web.Application()
    app.add_routes(routes)
    runner = health.http_runner(app)
    service.on_leave(Stage.CLOSE, "http", runner.cleanup)
    await runner.setup()
    await web.SockSite(runner, listener).start()


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise CannotStart(
            f"Cannot make the folder {path}: {exc.strerror}.",
            "Give this user the right to it, or set another data_dir.",
        ) from exc


def _boot_id() -> str:
    """Return the kernel's id of this run of the machine; a cloned disk has another."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
