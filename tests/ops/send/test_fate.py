from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.send.fate import End, are_waiting, known, named, seen
from ops.send.sending import Known
from zentransfer.errors import Code


def delivery(state: str, error: str | None = None) -> dict[str, Any]:
    return {"destination": "d1", "state": state, "attempts": 1, "error": error}


@pytest.mark.parametrize(
    ("document", "what"),
    [
        (None, Known.UNKNOWN),
        ({"state": "committed"}, Known.WHOLE),
        ({"state": "destroyed", "committed_at": "2026-01-01"}, Known.WHOLE),
        ({"state": "cancelled", "committed_at": "2026-01-01"}, Known.WHOLE),
        ({"state": "cancelled", "committed_at": None}, Known.ENDED),
        ({"state": "failed", "committed_at": None}, Known.ENDED),
        ({"state": "destroyed", "committed_at": None}, Known.ENDED),
        ({"state": "receiving"}, Known.UNKNOWN),
    ],
)
def test_what_control_knows(document: dict[str, Any] | None, what: Known) -> None:
    assert known(document) is what


@pytest.mark.parametrize(
    ("state", "deliveries", "end", "said"),
    [
        ("committed", [], End.UNDER_WAY, "delivering 0/0"),
        ("delivering", [delivery("run"), delivery("delivered")], End.UNDER_WAY, "delivering 1/2"),
        ("delivering", [delivery("wait", "timeout")], End.UNDER_WAY, "It took too long"),
        ("delivered", [delivery("delivered")], End.UNDER_WAY, "being destroyed"),
        ("delivering", [delivery("parked", "strange")], End.WAITS, "to d1 waits: strange; it goes"),
        ("delivering", [delivery("parked"), delivery("failed")], End.FAILED, "was given up"),
        ("failed", [delivery("failed", "forbidden")], End.FAILED, "given up (This is not allowed"),
        ("cancelled", [delivery("cancelled")], End.FAILED, "was cancelled"),
        ("failed", [], End.FAILED, "the upload failed"),
        ("destroyed", [delivery("delivered")], End.DELIVERED, "delivered"),
        ("destroyed", [delivery("delivered"), delivery("run")], End.SETTLING, "1 of 2"),
        ("destroyed", [], End.SETTLING, "names no destination"),
    ],
)
def test_what_became_of_it(
    state: str, deliveries: list[dict[str, Any]], end: End, said: str
) -> None:
    fate = seen({"state": state, "deliveries": deliveries, "digest": "sha256:ab"}, "ab")
    assert fate.end is end
    assert said in fate.words
    assert len(fate.deliveries) == len(deliveries)


@pytest.mark.parametrize(
    ("outcome", "said"),
    [("failed", "failed"), ("cancelled", "was cancelled"), ("expired", "no byte came")],
)
def test_what_never_was_whole_failed_also_when_it_is_destroyed(outcome: str, said: str) -> None:
    fate = seen({"state": "destroyed", "outcome": outcome, "deliveries": []}, "ab")
    assert (fate.end, said in fate.words) == (End.FAILED, True)


def test_a_delivery_that_waits_says_where_and_why_and_gives_no_other_advice() -> None:
    held = delivery("parked", "not_found")
    held["advice"] = "the folder or bucket is not there; make it, then retry the delivery"
    document: dict[str, Any] = {"state": "delivering", "deliveries": [held]}
    assert are_waiting(document)
    assert not are_waiting({"deliveries": [delivery("run")]})
    assert seen(named(document, {"d1": "Desk"}), "ab").words == (
        "its delivery to Desk waits: the folder or bucket is not there; it goes on by itself once"
        " that is mended"
    )
    assert "its delivery to d1 waits" in seen(named(document, {}), "ab").words


@pytest.mark.parametrize("code", list(Code))
def test_no_reason_advises_to_try_again_what_goes_on_by_itself(code: Code) -> None:
    words = seen({"deliveries": [delivery("parked", code)]}, "ab").words
    assert "later" not in words
    assert "retry" not in words


def test_another_digest_is_no_success() -> None:
    document = {
        "state": "destroyed",
        "digest": "sha256:cd",
        "deliveries": [delivery("delivered")],
    }
    assert seen(document, "ab").end is End.FAILED
    assert seen({**document, "digest": None}, "ab").end is End.DELIVERED


@given(
    st.dictionaries(
        st.sampled_from(["state", "deliveries", "digest", "committed_at", "error"]),
        st.none()
        | st.integers()
        | st.text()
        | st.lists(st.none() | st.dictionaries(st.text(), st.text())),
    )
)
def test_whatever_control_says_there_is_a_fate(document: dict[str, Any]) -> None:
    assert seen(document, "ab").words
    assert known(document) in Known
