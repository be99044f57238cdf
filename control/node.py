"""The control plane's composition root: its HTTP listener and the listener that nodes dial."""

import os
from contextlib import AsyncExitStack
from pathlib import Path

from aiohttp import web

from control.fleet.model import Fleet
from control.rpc.fleet import FleetService
from control.settings import ControlSettings
from zentransfer import health, rpc
from zentransfer.clock import SystemClock
from zentransfer.health import Health
from zentransfer.ids import IdMaker
from zentransfer.service import CannotStart, Service, Stage


async def main(service: Service, settings: ControlSettings) -> None:
    """Live as the control plane until *service* stops.

    Raises :class:`zentransfer.service.CannotStart` for a taken port and a missing right.
    """
    _make_folder(settings.data_dir)
    listener = health.listen(settings.http.host, settings.http.port, "control HTTP")
    checks = Health()
    service.on_leave(Stage.STOP_ADMITTING, "health", checks.drain)

    stack = AsyncExitStack()
    service.on_leave(Stage.CLOSE, "listeners", stack.aclose)
    fleet = FleetService(Fleet(), SystemClock(), IdMaker(os.urandom))
    grpc = settings.grpc
    await stack.enter_async_context(rpc.server(f"{grpc.host}:{grpc.port}", fleet.register))
    service.tasks.create_task(fleet.watch())

    app = web.Application()
    app.add_routes(health.routes(checks))
    runner = health.http_runner(app)
    stack.push_async_callback(runner.cleanup)
    await runner.setup()
    await web.SockSite(runner, listener).start()

    service.ready()
    await service.until_stopping()


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise CannotStart(
            f"Cannot make the folder {path}: {exc.strerror}.",
            "Give this user the right to it, or set another data_dir.",
        ) from exc
