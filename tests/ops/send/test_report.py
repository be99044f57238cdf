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
    bad = set(states) - enough
    good = 1 if bad - {State.TAKEN} else 3 if bad else 0
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
    nothing = report.stopped(Result("a", "a", 1))
    assert report.line(nothing) == "a: stopped by you: nothing of it was sent"
    assert report.lost(1_500, 3_000, "fr", is_ended=True) == (
        "the 1.5 kB of 3.0 kB that went to fr are destroyed there; sending it again starts anew"
    )
    assert "when nobody goes on" in report.lost(1, 2, "fr", is_ended=False)


def test_what_was_taken_and_waits_is_no_failure_and_its_bytes_count() -> None:
    waits = replace(GOOD, state=State.TAKEN, error="its delivery to Desk waits: it is full")
    assert report.line(waits) == (
        "a.jpg: taken by fr; its delivery to Desk waits: it is full (3.0 kB in 1.5 s), sha256 ab"
    )
    whole = Whole([GOOD, waits], 2.0)
    assert report.summary(whole) == "1 delivered, 1 taken, delivery waits; 6.0 kB in 2.0 s."
    assert json.loads(report.json_summary(whole))["bytes"] == 6_000
