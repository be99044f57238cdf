from prometheus_client.exposition import generate_latest

from zentransfer import metrics


def test_times_are_counted_and_a_gauge_is_asked() -> None:
    into = metrics.registry()
    hear = metrics.seconds(into, "zt_x_seconds", "how long x takes")
    metrics.watch(into, "zt_y", "how many y there are", lambda: 7.0)
    for seconds in (0.0015, 0.3, 60.0):
        hear(seconds)
    text = generate_latest(into).decode()
    assert 'zt_x_seconds_bucket{le="0.002"} 1.0' in text
    assert 'zt_x_seconds_bucket{le="10.0"} 2.0' in text
    assert "zt_x_seconds_count 3.0" in text
    assert "zt_y 7.0" in text
