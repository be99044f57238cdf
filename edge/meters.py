"""What an ingest process counts, for ``/metrics``: how uploads ended, and where new ones went.

The rule: the only label is a word of a closed set, a code, an outcome's state or a reason.
"""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edge.http.handed import Nearest
from edge.intake import Intake


class IntakeMeters(Collector):
    """Reads an intake's counts at each scrape, so that the path of an upload pays nothing."""

    def __init__(self, intake: Intake, into: CollectorRegistry) -> None:
        self._intake = intake
        into.register(self)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of this moment."""
        ended = CounterMetricFamily(
            "zt_uploads", "Uploads by their end, and refused ones by the reason", labels=["end"]
        )
        for end, count in self._intake.ended.items():
            ended.add_metric([str(end)], count)
        yield ended
        yield CounterMetricFamily(
            "zt_upload_bytes", "Bytes of committed uploads", value=self._intake.committed_bytes
        )
        yield GaugeMetricFamily(
            "zt_uploads_in_flight", "Uploads under way", value=self._intake.in_flight
        )


class HandingMeters(Collector):
    """Reads what was decided about new uploads at each scrape."""

    def __init__(self, nearest: Nearest, into: CollectorRegistry) -> None:
        self._nearest = nearest
        into.register(self)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of this moment."""
        ways = CounterMetricFamily(
            "zt_new_uploads", "New uploads that might have been sent on, by why", labels=["why"]
        )
        for why, count in self._nearest.ways.items():
            ways.add_metric([str(why)], count)
        yield ways
        flaws = CounterMetricFamily(
            "zt_tickets_refused", "Tickets that opened nothing here, by why", labels=["flaw"]
        )
        for flaw, count in self._nearest.flaws.items():
            flaws.add_metric([str(flaw)], count)
        yield flaws
