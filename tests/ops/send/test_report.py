import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.send import report
from ops.send.report import Result, State, Whole

GOOD = Result("a.jpg", "x/a.jpg", 3_000, State.DELIVERED, "fr", "up_1", "ab", seconds=1.5)


@given(st.lists(st.sampled_from(State)), st.booleans(), st.booleans())
def test_zero_means_that_everything_is_as_it_was_asked_for(
    states: list[State], waits: bool, is_interrupted: bool
) -> None:
    results = [replace(GOOD, state=state) for state in states]
    whole = Whole(results, 1.0, is_interrupted=is_interrupted, waits=waits)
    enough = {State.DELIVERED} if waits else {State.DELIVERED, State.UPLOADED}
    good = 0 if set(states) <= enough else 1
    assert whole.exit_code == (130 if is_interrupted else good)
    told = json.loads(report.json_summary(whole))
    assert sum(told[state] for state in State) == told["files"] == len(states)
    assert told["exit_code"] == whole.exit_code


def test_a_result_is_one_line_for_people_and_for_programs() -> None:
    assert report.line(GOOD) == "a.jpg: delivered by fr (3.0 kB in 1.5 s), sha256 ab"
    told = json.loads(report.json_line(GOOD))
    assert (told["type"], told["state"], told["seconds"]) == ("file", "delivered", 1.5)
    failed = Result("a\x1b.jpg", "a", 0, State.FAILED, error="is not there; check the path")
    assert report.line(failed) == "a\ufffd.jpg: is not there; check the path"
    assert "\n" not in report.json_line(replace(GOOD, path="a\nb\udcff"))
    assert "interrupted once" in report.line(replace(GOOD, interruptions=1))


def test_the_summary_counts() -> None:
    whole = Whole([GOOD, replace(GOOD, state=State.FAILED)], 2.0)
    assert report.summary(whole) == "1 delivered, 1 failed; 3.0 kB in 2.0 s."
    assert report.summary(replace(whole, left=1)).endswith("end by themselves: 1.")


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1_500, "1.5 kB"), (3e8, "300.0 MB")],
)
def test_amounts_are_in_decimal_units(count: float, said: str) -> None:
    assert report.amount(count) == said
    assert report.amount(5e15) == "5000.0 TB"


def test_who_was_stopped_is_told_what_became_of_it() -> None:
    assert report.stopped(replace(GOOD, state=State.UPLOADED)).error.startswith("whole there")
    assert report.stopped(Result("a", "a", 1)).error == "not sent"
