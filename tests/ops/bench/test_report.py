import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from ops.bench import http, report
from ops.bench.report import OURS, TITLES, Bound, Run

RUN = Run(1.0, 100.0, 0.5, 50.0, 9.0, 60.0, 0.4)
MEDIANS = {("big", OURS): RUN, ("big", "nginx"): replace(RUN, gib_s=2.0, cpu_s_gib=1.0)}


def test_medians_are_of_each_measure_by_itself() -> None:
    runs = [replace(RUN, gib_s=speed, p99_ms=10 - speed) for speed in (1.0, 5.0, 3.0)]
    assert report.medians({("big", OURS): runs, ("none", OURS): []}) == {
        ("big", OURS): replace(RUN, gib_s=3.0, p99_ms=7.0)
    }


@pytest.mark.parametrize(
    ("bound", "value", "holds"),
    [
        (Bound("big", "gib_s", 0.5, "nginx"), 0.5, True),
        (Bound("big", "gib_s", 0.6, "nginx"), 0.5, False),
        (Bound("big", "cpu_s_gib", 0.5, "nginx", is_most=True), 0.5, True),
        (Bound("big", "cpu_s_gib", 0.4, "nginx", is_most=True), 0.5, False),
        (Bound("big", "rss_mib", 60, is_most=True), 60.0, True),
        (Bound("big", "rss_mib", 61), 60.0, False),
    ],
)
def test_a_bound_is_judged(bound: Bound, value: float, holds: bool) -> None:
    (verdict,) = report.judged([bound], MEDIANS)
    assert (verdict.value, verdict.holds) == (value, holds)
    assert ("reached" if holds else "MISSED") in verdict.text


def test_what_was_not_measured_is_not_judged() -> None:
    bounds = [Bound("small", "gib_s", 1), Bound("big", "gib_s", 1, "apache")]
    assert report.judged(bounds, MEDIANS) == []


def test_the_page_the_picture_and_the_document_hold_what_was_measured() -> None:
    goals = report.judged([Bound("big", "gib_s", 3, "nginx")], MEDIANS)
    page = report.markdown("Speed", {"machine": "2 cores"}, MEDIANS, goals)
    assert "| nginx | 2 | 100 | 1 |" in page
    assert "MISSED: big, GiB/s 0.50x nginx (>= 3)" in page
    picture = report.svg("a < b & c", MEDIANS, {"big": "gib_s", "small": "gib_s"})
    assert picture.startswith("<svg ")
    assert "a &lt; b &amp; c" in picture
    assert picture.count("<rect") == 1 + len(MEDIANS)
    document = report.document({"machine": "x"}, {("big", OURS): [RUN]}, goals, goals)
    assert json.loads(json.dumps(document))["runs"][0]["rounds"][0]["gib_s"] == 1.0


def test_every_bound_of_the_bench_is_about_a_load_and_a_measure_of_it() -> None:
    loads = {each.name for each in http.LOADS}
    for bound in (*http.GOALS, *http.FLOORS):
        assert bound.load in loads
        assert bound.measure in TITLES


def test_a_load_is_scaled_down_to_a_quick_look() -> None:
    assert http.BIG.scaled(0.5).size == http.BIG.size // 2
    assert http.SMALL.scaled(0.001).connections == http.SMALL.scaled(0.001).count == 20
    assert http.SLOW.scaled(1.0) == http.SLOW


@pytest.mark.peer
def test_the_load_generator_is_built_without_a_warning(tmp_path: Path) -> None:
    source = Path(http.__file__).parent / "load.c"
    target = str(tmp_path / "load")
    words = ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", target, str(source)]
    subprocess.run(words, check=True)
    assert subprocess.run([target], capture_output=True, check=False).returncode == 2
