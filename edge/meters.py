"""What an ingest process counts, for ``/metrics``: how uploads ended, and how many are under way.

The rule: the only label is a word of a closed set, a code or an outcome's state.
"""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

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
