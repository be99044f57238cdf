"""The doors of an ingest process: which there are, and the listeners they stand on.

The rule: every listener is taken before anything else is done, so that a taken port is named while
nothing has begun; and all doors bring what they take to one intake.

They are left in the order that loses nothing (measured: 0 of 63,100 requests, without the grace 14
of 40,300): no longer ready, no new connections, a moment for those that were accepted and not read
yet, whose answers end their connections, and then a refusal for whoever asks anew.
"""

import os
import socket
from dataclasses import dataclass
from random import SystemRandom
from typing import Final

import geo.web
from edge.capability import Capabilities
from edge.ftp.bounds import Bounds
from edge.ftp.doors import FtpDoor
from edge.ftp.hello import FTP as FTP_NAME
from edge.ftp.passive import PassivePorts
from edge.ftp.tls import CLEAR, Entrance
from edge.handover import Signer
from edge.http.collection import Collection, Homes
from edge.http.doors import HttpDoor, guard
from edge.http.handed import Handing, Nearest
from edge.http.plain import DIALECT as PLAIN
from edge.http.rufh_door import RufhDoor
from edge.http.tus_door import TusDoor
from edge.keys import RegionPublicKeys
from edge.lane import Lane
from edge.leaving import Leaving
from edge.meters import HandingMeters
from edge.pace import Patience
from edge.place import SPENT_FOLDER
from edge.process import Process, serve_http
from edge.resumable import Resumables
from edge.settings import EdgeSettings
from edge.sftp.bounds import DIALECT as SFTP
from edge.spent import SpentTickets
from geo.health import ALL_UP, Health
from geo.region import Region
from geo.web import Router
from zentransfer import health, listeners, metrics
from zentransfer.clock import SystemClock
from zentransfer.limits import FTP_SESSIONS_MAX, FTP_STRANGERS_MAX
from zentransfer.service import Service, Stage
from zentransfer.tls import Age, Certificate, Tls

FLEETING: Final = frozenset({PLAIN, SFTP})
"""The dialects in which nobody goes on with what a crash cut."""

# HTTP/2's windows would hold one upload to 64 KiB a round trip: a factor of 30 at 100 ms.  A client
# of HTTP/1.1 opens several connections instead.
_HTTP_1_1: Final = "http/1.1"
_COMMIT_TEXT: Final = "from a file's last byte by FTP until its 226 may be said"
_FILES_PER_SESSION: Final = 4  # descriptors: control and data connection, segment, and a record


@dataclass(frozen=True, slots=True)
class Listeners:
    """The sockets of all doors, and of the metrics."""

    http: socket.socket
    https: socket.socket | None
    ftp: socket.socket
    ftps: socket.socket | None
    ftp_legacy: socket.socket | None
    sftp: socket.socket | None
    metrics: socket.socket


def listen(settings: EdgeSettings, index: int) -> Listeners:
    """Take every port of the ingest process *index*, those first that it inherited by name.

    Raises :class:`zentransfer.service.CannotStart` for one that is taken.
    """
    region, https, of_metrics = settings.region, settings.https, settings.metrics
    sftp = settings.sftp
    given = listeners.inherited(("http", "https", "ftp", "ftps", "ftp_legacy", "sftp"))

    def maybe_ftp(name: str, port: int | None, role: str) -> socket.socket | None:
        host = settings.ftp.host
        return None if port is None else given.take(name, host, port, f"{region} {role}")

    try:
        return Listeners(
            http=given.take("http", settings.http.host, settings.http.port, f"{region} HTTP"),
            https=None
            if https.port is None
            else given.take("https", https.host, https.port, f"{region} HTTPS"),
            ftp=given.take("ftp", settings.ftp.host, settings.ftp.port, f"{region} FTP"),
            ftps=maybe_ftp("ftps", settings.ftps.port, "FTPS"),
            ftp_legacy=maybe_ftp("ftp_legacy", settings.ftps.legacy_port, "FTP of old bodies"),
            sftp=given.take("sftp", sftp.host, sftp.port, f"{region} SFTP")
            if sftp.port or given.has("sftp")
            else None,
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
    homes = Homes(settings.region, settings.route.http)
    takers = Collection(plain, tus, rufh, homes, _nearest(self, router, resumables, keys))
    routes = [*health.routes(self.health), *router.routes(), *takers.routes()]
    lane = Lane()
    service.on_leave(Stage.CLOSE, "lane", lane.aclose)
    leaving = Leaving()
    inner = (leaving.middleware(), guard, takers.anywhere)
    front = settings.http.front
    site = await serve_http(service, routes, at.http, *inner, lane=lane, front=front)
    leaving.shuts(site.stop)
    certificate = _maybe_certificate(self, service, "tls", settings.tls)
    if at.https is not None:
        assert certificate is not None, "the settings see to it"
        tls = certificate.context(_HTTP_1_1)
        site = await serve_http(service, routes, at.https, *inner, tls=tls)
        leaving.shuts(site.stop)

    sessions_max = min(FTP_SESSIONS_MAX, max(1, files // _FILES_PER_SESSION))
    bounds = Bounds(
        sessions_max=sessions_max,
        strangers_max=min(FTP_STRANGERS_MAX, max(1, sessions_max // 2)),
        enters_any=settings.ftp.enters_any_folder,
        content=patience,
    )
    ftp = await _open_ftp(self, service, at, resumables, certificate, bounds)
    leaving.shuts(ftp.shut)
    if at.sftp is not None:
        from edge.sftp.opening import open_sftp  # noqa: PLC0415 - asyncssh only where it serves

        sftp = await open_sftp(self, service, at.sftp, resumables, patience, ftp.defence)
        leaving.shuts(sftp.shut)
    # The newest of a stage is first: the doors are shut before anybody is refused.
    service.on_leave(Stage.STOP_ADMITTING, "doors", leaving.run)
    service.on_leave(Stage.STOP_ADMITTING, "readiness", self.health.drain)


async def _open_ftp(
    self: Process,
    service: Service,
    at: Listeners,
    resumables: Resumables,
    certificate: Certificate | None,
    bounds: Bounds,
) -> FtpDoor:
    """Serve FTP at its listeners until *service* ends; by TLS too where there is a certificate."""
    settings = self.settings
    ports, random = passive_ports(settings, self.index), SystemRandom()
    passive = PassivePorts(settings.ftp.host, ports, random, settings.ftp.nat())
    policy = settings.ftps.policy(is_required=settings.ftp.tls_required)
    ftp = FtpDoor(resumables, passive, SystemClock(), bounds, policy)
    if self.tracing is not None:
        ftp.trace(self.tracing.traces)
    ftp.observe(metrics.seconds(self.registry, "zt_ftp_commit_seconds", _COMMIT_TEXT))
    metrics.watch(
        self.registry, "zt_ftp_sessions", "cameras signed in or signing in", lambda: ftp.sessions
    )
    service.tasks.create_task(ftp.tend())
    service.on_leave(Stage.STOP_ADMITTING, "ftp", ftp.leave)
    service.on_leave(Stage.CLOSE, "ftp", ftp.close)
    own = _maybe_certificate(self, service, "ftps", settings.ftps.tls)
    for listener, entrance in _entrances(at, own or certificate):
        await ftp.serve(listener, entrance)
    return ftp


def _nearest(
    self: Process, router: Router, resumables: Resumables, keys: RegionPublicKeys
) -> Nearest:
    """Return what sends new uploads on, and takes in those that others sent."""
    clock, settings = SystemClock(), self.settings
    nearest = Nearest(
        settings.route,
        Handing(
            intake=resumables.intake,
            unfinished=resumables.unfinished,
            router=router,
            signer=Signer(keys.origin, settings.region),
            spent=SpentTickets(self.disk, SPENT_FOLDER, self.region_state, clock),
            clock=clock,
            random_bytes=os.urandom,
        ),
    )
    HandingMeters(nearest, self.registry)
    return nearest


def _entrances(
    at: Listeners, certificate: Certificate | None
) -> list[tuple[socket.socket, Entrance]]:
    """Return the listeners of the FTP door, each with the TLS that it offers."""
    if certificate is None:
        return [(at.ftp, CLEAR)]
    name = FTP_NAME.decode()
    context = certificate.context(name, age=Age.CAMERA)
    found = [(at.ftp, Entrance(context))]
    if at.ftps is not None:
        found.append((at.ftps, Entrance(context, is_implicit=True)))
    if at.ftp_legacy is not None:
        found.append((at.ftp_legacy, Entrance(certificate.context(name, age=Age.LEGACY))))
    return found


def _maybe_certificate(
    self: Process, service: Service, name: str, of_doors: Tls
) -> Certificate | None:
    """Return the certificate in *of_doors*, if there is one, looked after until *service* ends."""
    if of_doors.certificate_file is None or of_doors.key_file is None:
        return None
    certificate = Certificate(of_doors.certificate_file, of_doors.key_file, SystemClock())
    self.health.add(name, certificate.check, required=False)
    service.tasks.create_task(certificate.watch())
    return certificate


def _regions(self: Process) -> Health:
    """Return what this node knows of the regions: whether it takes anything new itself."""
    if self.duty.admits:
        return ALL_UP
    return Health(frozenset(Region) - {self.settings.region})
