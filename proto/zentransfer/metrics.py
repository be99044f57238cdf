"""The metrics listener: /metrics in Prometheus' text format, on a port of its own.

The rule: a metric's labels are region, node, process and words of closed sets; never an id of an
account or upload, an address or a name (law 11), and never unbounded (law 7).
"""

from collections.abc import Callable
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

_SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


def registry() -> CollectorRegistry:
    """Return a registry of its own that already counts this process's CPU, memory and files."""
    fresh = CollectorRegistry()
    ProcessCollector(registry=fresh)
    PlatformCollector(registry=fresh)
    return fresh


def watch(into: CollectorRegistry, name: str, text: str, read: Callable[[], float]) -> None:
    """Add the gauge *name*, which asks *read* at each scrape."""
    Gauge(name, text, registry=into).set_function(read)


def seconds(into: CollectorRegistry, name: str, text: str) -> Callable[[float], None]:
    """Add the histogram *name* of times in seconds; returns what takes one in."""
    return Histogram(name, text, registry=into, buckets=_SECONDS).observe


def routes(of: CollectorRegistry) -> list[web.RouteDef]:
    """Return the route of /metrics."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(of), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return [web.get("/metrics", metrics)]
