"""The delivery process.  It has no port: the service manager hears how it is doing."""

from edge.process import Process
from edge.settings import EdgeSettings
from zentransfer.service import Service


async def main(service: Service, settings: EdgeSettings, process: str) -> None:
    """Live as the delivery process named *process* until *service* stops.

    Raises :class:`zentransfer.service.CannotStart` for a missing right and a malformed address.
    """
    self = Process(settings, process)
    await self.start(service)
    self.serve(service)
    await service.until_stopping()
