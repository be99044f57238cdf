"""The doors of an ingest process: which there are, and the listeners they stand on.

The rule: every listener is taken before anything else is done, so that a taken port is named while
nothing has begun; and all doors bring what they take to one intake.

They are left in the order that loses nothing (measured: 0 of 63,100 requests, without the grace 14
of 40,300): no longer ready, no new connections, a moment for those that were accepted and not read
yet, whose answers end their connections, and then a refusal for whoever asks anew.
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
from edge.http.collection import Collection, Homes
from edge.http.doors import HttpDoor, guard
from edge.http.plain import DIALECT as PLAIN
from edge.http.rufh_door import RufhDoor
from edge.http.tus_door import TusDoor
from edge.keys import RegionPublicKeys
from edge.lane import Lane
from edge.leaving import Leaving
from edge.pace import Patience
from edge.process import Process, serve_http
from edge.resumable import Resumables
from edge.settings import EdgeSettings
from geo.health import ALL_UP, Health
from geo.region import Region
from zentransfer import health, listeners, metrics
from zentransfer.clock import SystemClock
from zentransfer.limits import FTP_SESSIONS_MAX
from zentransfer.service import Service, Stage
from zentransfer.tls import Certificate

FLEETING: Final = frozenset({PLAIN, FTP})
"""The dialects in which nobody goes on with what a crash cut."""

# HTTP/2's windows would hold one upload to 64 KiB a round trip: a factor of 30 at 100 ms.  A client
# of HTTP/1.1 opens several connections instead.
_HTTP_1_1: Final = "http/1.1"
_FILES_PER_SESSION: Final = 4  # descriptors: control and data connection, segment, and a record


@dataclass(frozen=True, slots=True)
class Listeners:
    """The sockets of all doors, and of the metrics."""

    http: socket.socket
    https: socket.socket | None
    ftp: socket.socket
    metrics: socket.socket


def listen(settings: EdgeSettings, index: int) -> Listeners:
    """Take every port of the ingest process *index*, those first that it inherited by name.

    Raises :class:`zentransfer.service.CannotStart` for one that is taken.
    """
    region, https, of_metrics = settings.region, settings.https, settings.metrics
    given = listeners.inherited(("http", "https", "ftp"))
    try:
        return Listeners(
            http=given.take("http", settings.http.host, settings.http.port, f"{region} HTTP"),
            https=None
            if https.port is None
            else given.take("https", https.host, https.port, f"{region} HTTPS"),
            ftp=given.take("ftp", settings.ftp.host, settings.ftp.port, f"{region} FTP"),
            metrics=health.listen(
                of_metrics.host,
                of_metrics.port + index if of_metrics.port else 0,
                f"{region} metrics",
            ),
        )
    finally:
        given.close()


def passive_ports(settings: EdgeSettings, index: int) -> range:
    """Return the ports for data connections of the ingest process *index*.

    Those of two workers are never the same; a successor shares those of the one it replaces, and
    each passes over what the other has open.
    """
    first, last = settings.ftp.passive_first, settings.ftp.passive_last
    each = (last + 1 - first) // settings.workers
    begin = first + each * (index % settings.workers)
    return range(begin, begin + each)


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
    capabilities = Capabilities(keys.origin, settings.region)
    tus = TusDoor(resumables, capabilities, patience, clock, random)
    has_interim = settings.http.interim_responses
    rufh = RufhDoor(resumables, capabilities, patience, clock, random, has_interim=has_interim)
    takers = Collection(plain, tus, rufh, Homes(settings.region, settings.route.http))
    routes = [*health.routes(self.health), *router.routes(), *takers.routes()]
    lane = Lane()
    service.on_leave(Stage.CLOSE, "lane", lane.aclose)
    leaving = Leaving()
    inner = (leaving.middleware(), guard, takers.anywhere)
    front = settings.http.front
    site = await serve_http(service, routes, at.http, *inner, lane=lane, front=front)
    leaving.shuts(site.stop)
    if at.https is not None:
        tls = _certificate(self, service).context(_HTTP_1_1)
        site = await serve_http(service, routes, at.https, *inner, tls=tls)
        leaving.shuts(site.stop)

    ports = passive_ports(settings, self.index)
    passive = PassivePorts(settings.ftp.host, ports, random, settings.ftp.public_host)
    bounds = Bounds(
        sessions_max=min(FTP_SESSIONS_MAX, max(1, files // _FILES_PER_SESSION)), content=patience
    )
    ftp = FtpDoor(resumables.intake, passive, clock, bounds)
    service.on_leave(Stage.STOP_ADMITTING, "ftp", ftp.leave)
    service.on_leave(Stage.CLOSE, "ftp", ftp.close)
    await ftp.serve(at.ftp)

    async def shut() -> None:
        ftp.server.close()

    leaving.shuts(shut)
    # The newest of a stage is first: the doors are shut before anybody is refused.
    service.on_leave(Stage.STOP_ADMITTING, "doors", leaving.run)
    service.on_leave(Stage.STOP_ADMITTING, "readiness", self.health.drain)
    metrics.watch(
        self.registry, "zt_ftp_sessions", "cameras signed in or signing in", lambda: ftp.sessions
    )


def _certificate(self: Process, service: Service) -> Certificate:
    """Return the certificate of the doors, looked after until *service* ends."""
    of_doors = self.settings.tls
    assert of_doors.certificate_file is not None, "the settings see to it"
    assert of_doors.key_file is not None, "the settings see to it"
    certificate = Certificate(of_doors.certificate_file, of_doors.key_file, SystemClock())
    self.health.add("tls", certificate.check, required=False)
    service.tasks.create_task(certificate.watch())
    return certificate


def _regions(self: Process) -> Health:
    """Return what this node knows of the regions: whether it takes anything new itself."""
    if self.duty.admits:
        return ALL_UP
    return Health(frozenset(Region) - {self.settings.region})
