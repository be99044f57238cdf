"""The doors of an ingest process: which there are, and the listeners they stand on.

The rule: every listener is taken before anything else is done, so that a taken port is named while
nothing has begun; and all doors bring what they take to one intake.
"""

import socket
from dataclasses import dataclass
from random import SystemRandom
from typing import Final

import geo.web
from edge.capability import Capabilities
from edge.ftp.bounds import Bounds
from edge.ftp.doors import FtpDoor
from edge.ftp.passive import PassivePorts
from edge.ftp.verbs import DIALECT as FTP
from edge.http.doors import HttpDoor, guard
from edge.http.plain import DIALECT as PLAIN
from edge.http.tus_door import TusDoor
from edge.keys import RegionPublicKeys
from edge.pace import Patience
from edge.process import Process, serve_http
from edge.resumable import Resumables
from edge.settings import EdgeSettings
from geo.health import ALL_UP, Health
from geo.region import Region
from zentransfer import health, metrics
from zentransfer.clock import SystemClock
from zentransfer.limits import FTP_SESSIONS_MAX
from zentransfer.service import Service, Stage

FLEETING: Final = frozenset({PLAIN, FTP})
"""The dialects in which nobody goes on with what a crash cut."""

_FILES_PER_SESSION: Final = 4  # descriptors: control and data connection, segment, and a record


@dataclass(frozen=True, slots=True)
class Listeners:
    """The sockets of all doors, and of the metrics."""

    http: socket.socket
    ftp: socket.socket
    metrics: socket.socket


def listen(settings: EdgeSettings) -> Listeners:
    """Take every port; raises :class:`zentransfer.service.CannotStart` for one that is taken."""
    region = settings.region
    return Listeners(
        http=health.listen(settings.http.host, settings.http.port, f"{region} HTTP"),
        ftp=health.listen(settings.ftp.host, settings.ftp.port, f"{region} FTP"),
        metrics=health.listen(settings.metrics.host, settings.metrics.port, f"{region} metrics"),
    )


async def open_doors(
    self: Process,
    service: Service,
    at: Listeners,
    resumables: Resumables,
    keys: RegionPublicKeys,
    files: int,
) -> None:
    """Serve at every listener until *service* ends; *files* is how many may be open at once.

    Raises :class:`zentransfer.service.CannotStart` for an address database that cannot be read.
    """
    settings = self.settings
    router = geo.web.router(
        settings.route, is_lab=settings.lab.client_header, health=lambda: _regions(self)
    )
    of_metrics = [*health.routes(self.health), *metrics.routes(self.registry)]
    await serve_http(service, of_metrics, at.metrics)

    patience = Patience(settings.http.body_idle_s, settings.http.body_window_s)
    clock, random = SystemClock(), SystemRandom()
    plain = HttpDoor(resumables.intake, patience, clock, random)
    tus = TusDoor(resumables, Capabilities(keys.origin), patience, clock, random)
    routes = [*health.routes(self.health), *router.routes(), *plain.routes(), *tus.routes()]
    await serve_http(service, routes, at.http, guard)

    ports = range(settings.ftp.passive_first, settings.ftp.passive_last + 1)
    passive = PassivePorts(settings.ftp.host, ports, random, settings.ftp.public_host)
    bounds = Bounds(
        sessions_max=min(FTP_SESSIONS_MAX, max(1, files // _FILES_PER_SESSION)), content=patience
    )
    ftp = FtpDoor(resumables.intake, passive, clock, bounds)
    service.on_leave(Stage.STOP_ADMITTING, "ftp", ftp.leave)
    service.on_leave(Stage.CLOSE, "ftp", ftp.close)
    await ftp.serve(at.ftp)
    metrics.watch(
        self.registry, "zt_ftp_sessions", "cameras signed in or signing in", lambda: ftp.sessions
    )


def _regions(self: Process) -> Health:
    """Return what this node knows of the regions: whether it takes anything new itself."""
    if self.duty.admits:
        return ALL_UP
    return Health(frozenset(Region) - {self.settings.region})
