"""What ingest and delivery have in common: who they are, what they hold, the link to control.

The rules: the link is beside the work, never above it; control may be away for a day (law 5).  And
each process has a place of its own in the node's data folder, which nobody else writes.
"""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from importlib.metadata import version
from pathlib import Path
from random import Random, SystemRandom
from ssl import SSLContext
from typing import cast

from aiohttp import web
from aiohttp.typedefs import Middleware

from edge.duty import Duty
from edge.http.exchange import LANE
from edge.lane import Lane
from edge.link import Cargo, Link
from edge.link_facts import ReceivingSource, oldest_ms
from edge.link_snapshot import SnapshotReceiver
from edge.link_state import (
    Asked,
    Desired,
    Identity,
    Observed,
    SealingKey,
    Status,
    Verb,
    VerifyingKey,
)
from edge.outbox import Outbox, open_outbox
from edge.place import FOLDERS, Left, Place
from edge.region_state import RegionState
from edge.settings import EdgeSettings
from edge.sinks.base import Sink
from edge.snapshot_file import SnapshotFile, open_snapshot_file
from edge.traced import Tracing
from zentransfer import fronted, health, ids, metrics, rpc
from zentransfer.clock import SystemClock
from zentransfer.disk import RealDisk
from zentransfer.errors import Code, Error
from zentransfer.fronted import Front
from zentransfer.health import Health
from zentransfer.ids import CredentialID, EpochID, IdMaker, Kind, ProcessName
from zentransfer.limits import LINK_FETCH_S, LISTEN_BACKLOG
from zentransfer.rpc_stream import Dialler
from zentransfer.service import CannotStart, Service, Stage
from zentransfer.v1 import types_pb2
from zentransfer.v1.fleet_pb2 import (
    ConnectRequest,
    ConnectResponse,
    FetchSnapshotRequest,
    FetchSnapshotResponse,
)
from zentransfer.v1.fleet_pb2_grpc import FleetServiceStub

_Parts = AsyncGenerator[FetchSnapshotResponse, None]
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Process:
    """One process of a node, linked to control while it lives.

    ``disk`` (the data folder), ``place``, ``outbox`` and ``snapshots`` are there from
    :meth:`take_place` on.
    """

    disk: RealDisk
    place: Place
    outbox: Outbox
    snapshots: SnapshotFile

    def __init__(self, settings: EdgeSettings, name: str) -> None:
        self.settings = settings
        self.name = ProcessName(name)
        self.under_way: Callable[[], int] = lambda: 0
        """Says how many uploads or deliveries this process is at."""
        self.destination_key: SealingKey | None = None
        """What control shall seal destinations' secrets to; a process that opens them says it."""
        self.ticket_key: VerifyingKey | None = None
        """What verifies the region's tickets; a process that signs them says it."""
        self.region_state: RegionState | None = None
        """The way to the region's other processes, where there is one."""
        self.receiving: ReceivingSource | None = None
        """Says what uploads this process is taking, for their owners to see."""
        self.tracing: Tracing | None = None
        """Tells what sessions say whose owners asked to see it."""
        self.health = Health()
        self.duty = Duty(asyncio.get_running_loop().time)
        self.registry = metrics.registry()
        random: Random = SystemRandom()
        identity = Identity(
            node=ids.node(settings.node),
            process=self.name,
            epoch=new_epoch(),
            boot_id=_boot_id(),
            build=version("zentransfer"),
        )
        self._dialler = Dialler[ConnectRequest, ConnectResponse](
            lambda: rpc.channel(settings.control.address),
            lambda channel: FleetServiceStub(channel).Connect,
        )
        self._identity = identity
        self._clock = SystemClock()
        self.link = Link(identity, self._dialler.dial, self, self._clock, random)
        self.health.add("duty", self.duty.check)
        self.health.add("link", self.link.state, required=False)
        metrics.watch(
            self.registry, "zt_link_up", "1 while control is linked", lambda: self.link.state()[0]
        )
        metrics.watch(
            self.registry, "zt_admits", "1 while new work is admitted", lambda: self.duty.admits
        )

    @property
    def index(self) -> int:
        """Return which of its kind on the node this process is."""
        return int(self.name.rpartition("-")[2])

    @property
    def cargo(self) -> Cargo:
        """Return what the stream to control carries; there from :meth:`start` on."""
        return Cargo(
            outbox=self.outbox,
            snapshots=self._receiver,
            destination_key=self.destination_key,
            receiving=self.receiving,
            ticket_key=self.ticket_key,
            tracing=self.tracing,
        )

    def status(self) -> Status:
        """Return what the next heartbeat says."""
        under_way = self.under_way()
        observed = self.duty.observed(under_way)
        if observed is Observed.SERVING and self.snapshots.current is None:
            observed = Observed.JOINING  # it would refuse whoever is sent here
        return Status(
            observed=observed,
            uploads_in_flight=under_way,
            outbox_lag=self.outbox.lag,
            outbox_age_ms=self._outbox_age_ms(),
            snapshot_version=self.snapshots.version,
        )

    async def obey(self, desired: Desired, /) -> None:
        """Turn towards what the operator wants."""
        if self.duty.obey(desired):
            self.link.changed()

    async def act(self, asked: Asked, /) -> None:
        """Trace a credential; refuse what is asked of a delivery, upload or account.

        Delivery knows better.
        """
        if asked.verb is Verb.TRACE and self.tracing is not None:
            self.tracing.open(CredentialID(asked.subject), asked.lasts_s)
            return
        raise Error(Code.METHOD_NOT_ALLOWED, f"this process does not {asked.verb}")

    def make_folders(self) -> None:
        """Make the data folder and what stands in it; raises :class:`CannotStart`.

        To be done before anything is shut off from this process, and before :meth:`take_place`.
        """
        for name in FOLDERS:
            make_folder(self.settings.data_dir / name)

    async def take_place(self, service: Service, sink: Sink | None = None) -> Left:
        """Take this process's place until *service* ends; returns what is *left* in *sink*.

        Raises :class:`CannotStart` while another process has the place, and ``OSError``.
        """
        disk = RealDisk(self.settings.data_dir)

        async def close() -> None:
            disk.close()

        service.on_leave(Stage.CLOSE, "disk", close)
        self.place = place = Place(disk, self.name)
        left = await place.take(sink)
        service.on_leave(Stage.CLOSE, "place", place.aclose)
        self.outbox = await open_outbox(disk, place.outbox, new_epoch)
        # The newest action of a stage comes first: whoever ends uploads there registers after us.
        service.on_leave(Stage.FLUSH_OUTBOX, "facts", self.link.tell_all)

        async def close_outbox() -> None:
            self.outbox.close()

        service.on_leave(Stage.CLOSE, "outbox", close_outbox)
        self.snapshots = open_snapshot_file(disk, place.snapshot, self.settings.region)
        self.disk = disk
        await self._learn_from(left.living)
        return left

    async def _learn_from(self, living: Iterable[ProcessName]) -> None:
        """Begin with the newest snapshot that a living process of this node serves by.

        So one that never ran before, or long ago, can take over also while control is away.
        """
        folders = [Place(self.disk, name).snapshot for name in living]
        region = self.settings.region
        found = [open_snapshot_file(self.disk, each, region).current for each in folders]
        newest = max((one for one in found if one), key=lambda one: one.version, default=None)
        if newest is not None and newest.version > self.snapshots.version:
            await self.snapshots.keep(newest)

    async def start(self, service: Service) -> None:
        """Link to control for as long as *service* lives."""
        rpc.check_address(self.settings.control.address)
        self._receiver = SnapshotReceiver(
            self.snapshots,
            self._fetched,
            self._identity.node,
            self.link.changed,  # with a first one it serves, and control must not wait to hear it
        )
        metrics.watch(
            self.registry, "zt_outbox_lag", "facts not yet at control", lambda: self.outbox.lag
        )
        metrics.watch(
            self.registry,
            "zt_snapshot_version",
            "version of the snapshot in force",
            lambda: self.snapshots.version,
        )
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

    async def _fetched(self, version: int) -> AsyncGenerator[FetchSnapshotResponse, None]:
        """Yield the parts of a snapshot of control; raises ``Error``."""
        us = types_pb2.Identity(node=self._identity.node, process=self.name)
        channel = rpc.channel(self.settings.control.address)
        try:
            method = FleetServiceStub(channel).FetchSnapshot
            request = FetchSnapshotRequest(identity=us, version=version)
            asked: AsyncIterator[FetchSnapshotResponse] = rpc.ask_parts(
                method, request, timeout_s=LINK_FETCH_S
            )
            async with aclosing(cast("_Parts", asked)) as parts:
                async for part in parts:
                    yield part
        finally:
            await channel.close()

    def _outbox_age_ms(self) -> int:
        """Return how long ago the oldest fact happened that control has not committed."""
        oldest = oldest_ms(self.outbox, self.outbox.durable - self.outbox.lag)
        return 0 if oldest is None else max(0, self._clock.now_ms() - oldest)

    async def _leave(self) -> None:
        self.duty.leave()
        await self.health.drain()
        self.link.changed()


async def serve_http(
    service: Service,
    routes: list[web.RouteDef],
    listener: socket.socket,
    *middlewares: Middleware,
    lane: Lane | None = None,
    front: Front | None = None,
    tls: SSLContext | None = None,
) -> web.SockSite:
    """Serve *routes* on *listener*, behind *middlewares*, until the last stage of leaving.

    Bodies of fast senders may go through *lane*; who is behind *front* is told by it.  Returns the
    site, which may be stopped before: then it takes no more connections.
    """
    front = front or Front()
    app = web.Application(middlewares=[fronted.middleware(front), *middlewares])
    if lane is not None:
        app[LANE] = lane
    app.add_routes(routes)
    runner = health.http_runner(app, fronted.kind(front))
    service.on_leave(Stage.CLOSE, "http", runner.cleanup)
    await runner.setup()
    site = web.SockSite(runner, listener, ssl_context=tls, backlog=LISTEN_BACKLOG)
    await site.start()
    return site


def make_folder(path: Path) -> None:
    """Make the folder *path* and those above it, durably; raises :class:`CannotStart`."""
    try:
        missing = [each for each in (path, *path.parents) if not each.exists()]
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        # One that is there may be of a life that ended before its name was durable.
        for each in missing or [path]:
            _flush_names(each.parent)
    except OSError as exc:
        raise CannotStart(
            f"Cannot make the folder {path}: {exc.strerror}.",
            "Give this user the right to it, or set another data_dir.",
        ) from exc


def _flush_names(folder: Path) -> None:
    """Make durable which names *folder* holds, if this user may look into it."""
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        return  # then none of the names in it is of our making
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def new_epoch() -> EpochID:
    """Return an epoch that nobody ever had."""
    return EpochID(IdMaker(os.urandom).make(Kind.EPOCH))


def _boot_id() -> str:
    """Return the kernel's id of this run of the machine; a cloned disk has another."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
