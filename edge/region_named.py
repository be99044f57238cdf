"""Which way to the region's other processes the settings name.

The rule: where none is named its library is not imported, a tenth of a process's start.
"""

from random import SystemRandom

from edge.region_state import RegionState
from edge.settings import EdgeSettings


def maybe_region_state(settings: EdgeSettings) -> RegionState | None:
    """Return the way that *settings* name, if they name one; it dials when it is run."""
    url = settings.neighbours.redis
    if url is None:
        return None
    from edge.region_redis import RedisRegionState  # noqa: PLC0415 - see above

    return RedisRegionState(url.get_secret_value(), settings.region, SystemRandom())
