"""The control plane's composition root: one database under the API and the listener of nodes.

The rule: everything that control knows is in its data folder, the tables in ``control.db`` and the
keys, which are in no backup of it, in ``keys``.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

import geo.web
from control.accounts.first import FirstAccount, first_account
from control.accounts.handlers import Tools
from control.accounts.probe import BucketProbe, FolderProbe, Probes
from control.accounts.traces import TraceBook, TraceDesk
from control.database import SqliteDatabase
from control.facts.intake import FactIntake
from control.fleet.introduction import Introduction
from control.fleet.model import Fleet
from control.fleet.publisher import Publisher
from control.keystore import KeyStore, open_keystore
from control.migrations import NewerDatabase
from control.rpc.fleet import FleetService, Truth
from control.rpc.snapshots import Snapshots
from control.settings import ControlSettings
from control.uploads.feed import EventFeed
from control.uploads.receiving import ReceivingBook
from control.web import api, route
from control.web.routes import Services
from zentransfer import health, rpc
from zentransfer.clock import SystemClock
from zentransfer.disk import RealDisk, write_atomic
from zentransfer.errors import Error
from zentransfer.health import Health
from zentransfer.ids import IdMaker
from zentransfer.limits import FOLDER_THREADS
from zentransfer.service import CannotStart, Service, Stage

DATABASE_FILE: Final = "control.db"
KEYS_FOLDER: Final = "keys"
FIRST_ACCOUNT_FILE: Final = "first-account.json"


async def main(service: Service, settings: ControlSettings) -> None:
    """Live as the control plane until *service* stops.

    Raises :class:`zentransfer.service.CannotStart` for a taken port, a missing right and a database
    that this release cannot use.
    """
    _make_folder(settings.data_dir / KEYS_FOLDER)
    listener = health.listen(settings.http.host, settings.http.port, "control HTTP")
    checks = Health()
    service.on_leave(Stage.STOP_ADMITTING, "health", checks.drain)
    books = await _books(service, settings)
    fleet, feed = _fleet(service, books), books.feed
    service.on_leave(Stage.STOP_ADMITTING, "streams of events", feed.close)

    stack = AsyncExitStack()
    service.on_leave(Stage.CLOSE, "listeners", stack.aclose)
    probes = ThreadPoolExecutor(FOLDER_THREADS, thread_name_prefix="probe")
    stack.callback(probes.shutdown, wait=False, cancel_futures=True)
    grpc = settings.grpc
    await stack.enter_async_context(rpc.server(f"{grpc.host}:{grpc.port}", fleet.register))
    checks.add("grpc", lambda: (True, "takes nodes"))

    services = Services(
        database=books.database,
        tools=books.tools,
        clock=books.clock,
        commands=fleet,
        probe=Probes(FolderProbe(probes), BucketProbe(books.database)),
        feed=feed,
        receiving=books.receiving,
        traces=books.traces,
        trace=fleet.trace,
        changed=books.publisher.touch,
    )
    app = web.Application()
    router = geo.web.router(settings.route, is_lab=settings.lab.client_header, health=fleet.health)
    app.add_routes([*health.routes(checks), *route.routes(services, router), *api.routes(services)])
    runner = health.http_runner(app)
    stack.push_async_callback(runner.cleanup)
    await runner.setup()
    await web.SockSite(runner, listener).start()

    service.ready()
    await service.until_stopping()


@dataclass(frozen=True, slots=True)
class _Books:
    """What control keeps, and what is told of it."""

    database: SqliteDatabase
    tools: Tools
    publisher: Publisher
    feed: EventFeed
    receiving: ReceivingBook
    clock: SystemClock
    traces: TraceBook


async def _books(service: Service, settings: ControlSettings) -> _Books:
    """Open everything that control keeps, and make the first account; raises ``CannotStart``."""
    database = await _database(settings.data_dir / DATABASE_FILE)
    service.on_leave(Stage.CLOSE, "database", database.close)
    try:
        tools = Tools(
            ids=IdMaker(os.urandom),
            keys=await _keys(service, settings.data_dir / KEYS_FOLDER),
            random_bytes=os.urandom,
            folder_roots=tuple(str(root.absolute()) for root in settings.folder_roots),
            allow_private_destinations=settings.lab.allow_private_destinations,
        )
        clock = SystemClock()
        if settings.first_account:
            await _make_first_account(database, settings, tools, clock.now_ms())
        publisher = Publisher(database, tools.keys, clock)
        await publisher.refresh()
    except (OSError, Error) as failed:
        raise CannotStart(
            f"What control keeps in {settings.data_dir} cannot be read or written: {failed}.",
            "Look at the disk and at the rights of that folder.",
            temporary=True,
        ) from failed
    return _Books(database, tools, publisher, EventFeed(), ReceivingBook(), clock, TraceBook())


def _fleet(service: Service, books: _Books) -> FleetService:
    """Return the service for nodes, whose snapshots follow what changes in the books."""
    intake = FactIntake(books.database, books.clock, books.feed, books.receiving)
    introduction = Introduction(books.database, books.clock, books.publisher.touch)
    traces = TraceDesk(books.traces, books.clock, books.feed.notify)
    truth = Truth(intake, Snapshots(books.publisher), introduction, books.receiving, traces)
    fleet = FleetService(Fleet(), books.clock, books.tools.ids, truth=truth)
    service.tasks.create_task(fleet.watch())
    service.tasks.create_task(books.publisher.run(fleet.publish))
    return fleet


async def _database(path: Path) -> SqliteDatabase:
    database = SqliteDatabase(path)
    try:
        await database.open()
    except NewerDatabase as newer:
        raise CannotStart(
            f"The database {path} was written by a newer release.",
            "Start that release, or restore a backup from before it.",
        ) from newer
    except (OSError, Error) as failed:
        raise CannotStart(
            f"The database {path} cannot be opened: {failed}.",
            "Look at the disk and at the rights of that file.",
            temporary=True,
        ) from failed
    return database


async def _keys(service: Service, folder: Path) -> KeyStore:
    disk = RealDisk(folder)

    async def close() -> None:
        disk.close()

    service.on_leave(Stage.CLOSE, "keys", close)
    return await open_keystore(disk, os.urandom)


async def _make_first_account(
    database: SqliteDatabase, settings: ControlSettings, tools: Tools, now_ms: int
) -> None:
    """Make the first account with a folder for its files, and write down how to sign in, once."""
    folder = settings.folder_roots[0].absolute()
    _make_folder(folder)
    keys = RealDisk(settings.data_dir / KEYS_FOLDER)
    data = RealDisk(settings.data_dir)
    try:
        first = await first_account(database, keys, str(folder), now_ms, tools)
        if not data.exists(FIRST_ACCOUNT_FILE):
            await write_atomic(data, FIRST_ACCOUNT_FILE, _shown(first))
    finally:
        keys.close()
        data.close()


def _shown(first: FirstAccount) -> bytes:
    """Return what the launcher shows of the account: everything that one signs in with."""
    document = {
        "id": first.id,
        "email": first.email,
        "api_token": first.api_token,
        "ftp_user": first.ftp_name,
        "ftp_password": first.ftp_secret,
    }
    return (json.dumps(document, indent=1) + "\n").encode()


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise CannotStart(
            f"Cannot make the folder {path}: {exc.strerror}.",
            "Give this user the right to it, or set another data_dir.",
        ) from exc
