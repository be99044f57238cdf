"""Makes a node's keys and its own certificate; ``python -m edge keys``, run before the others."""

import os
from datetime import UTC, datetime

from edge.own_certificate import make_certificate
from edge.private_keys import make_region_keys
from edge.settings import EdgeSettings
from zentransfer.clock import SystemClock
from zentransfer.disk import RealDisk
from zentransfer.service import CannotStart

FOLDER = "keys"


async def make_keys(settings: EdgeSettings) -> None:
    """Make the keys of the region in the data folder unless they are there; durable on return.

    And the certificate that the settings name, if it lies there too.  The id of a key is its
    region and month.  Raises :class:`CannotStart`.
    """
    now_ms = SystemClock().now_ms()
    month = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y-%m")
    folder = settings.data_dir / FOLDER
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        disk = RealDisk(folder)
        try:
            kid = f"{settings.region}-{month}"
            await make_region_keys(disk, settings.region, kid, os.urandom)
            await make_certificate(settings.tls, settings.data_dir, settings.node, now_ms)
        finally:
            disk.close()
    except OSError as exc:
        raise CannotStart(
            f"Cannot make the region's keys in {folder}: {exc.strerror}.",
            "Give this user the right to it, and room on its disk.",
        ) from exc
