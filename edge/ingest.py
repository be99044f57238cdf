"""The ingest process: the node's doors, its metrics listener and its link to control."""

from edge.process import Process, serve_http
from edge.settings import EdgeSettings
from zentransfer import health, metrics
from zentransfer.service import Service


async def main(service: Service, settings: EdgeSettings, process: str) -> None:
    """Live as the ingest process named *process* until *service* stops.

    Raises :class:`zentransfer.service.CannotStart` for a taken port, a missing right and a
    malformed address of control.
    """
    name = f"{settings.region} HTTP"
    http = health.listen(settings.http.host, settings.http.port, name)
    of_metrics = health.listen(
        settings.metrics.host, settings.metrics.port, f"{settings.region} metrics"
    )
    self = Process(settings, process)
    await self.start(service)
    await serve_http(
        service,
        [*health.routes(self.health), *metrics.routes(self.registry)],
        of_metrics,
    )
    await serve_http(service, health.routes(self.health), http)
    self.serve(service)
    await service.until_stopping()
