from dataclasses import replace
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.accounts.model import AccountState, folder, label
from tests.control.builders import NOW_MS, account, credential, workflow
from zentransfer.errors import Code, Error
from zentransfer.limits import FOLDER_CHARS_MAX, FOLDER_DEPTH_MAX, LABEL_CHARS_MAX


def refused(text: str, made: str) -> bool:
    try:
        (label if made == "label" else folder)(text)
    except Error as wrong:
        return wrong.code is Code.INVALID
    return False


@given(st.text(max_size=30))
def test_a_label_that_is_taken_is_taken_again_unchanged(text: str) -> None:
    if not refused(text, "label"):
        assert label(label(text)) == label(text)


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.text("./\\ a", max_size=9)
)
def test_a_folder_never_leaves_its_root(text: str) -> None:
    if refused(text, "folder"):
        return
    clean = folder(text)
    assert folder(clean) == clean
    path = PurePosixPath("/srv/below", clean)
    assert path.is_relative_to("/srv/below")
    assert ".." not in path.parts
    assert "\\" not in clean


@pytest.mark.reaches("LABEL_CHARS_MAX")
def test_a_label_has_a_longest() -> None:
    assert label("x" * LABEL_CHARS_MAX)
    assert refused("x" * (LABEL_CHARS_MAX + 1), "label")


@pytest.mark.reaches("FOLDER_CHARS_MAX")
@pytest.mark.reaches("FOLDER_DEPTH_MAX")
def test_a_folder_has_a_longest_and_a_deepest() -> None:
    assert folder("x" * FOLDER_CHARS_MAX)
    assert refused("x" * (FOLDER_CHARS_MAX + 1), "folder")
    assert folder("/".join("a" * FOLDER_DEPTH_MAX))
    assert refused("/".join("a" * (FOLDER_DEPTH_MAX + 1)), "folder")


@pytest.mark.parametrize("text", ["", "  ", "a\nb", "a\0b", "\u202eevil", "\ud800", "\u2028"])
def test_a_label_hides_nothing(text: str) -> None:
    assert refused(text, "label")


@pytest.mark.parametrize(
    "text", ["..", "a/../b", "a//b", "a/./b", "a\\b", "a/ /b", "a\x00", "a\u200b"]
)
def test_a_folder_that_could_surprise_is_refused(text: str) -> None:
    assert refused(text, "folder")


@pytest.mark.parametrize("text", ["Nina's Z9", "Fußball 🏟", "می‌خواهم", "👨‍👩‍👧"])
def test_people_may_write_as_they_do(text: str) -> None:
    assert label(f" {text} ") == text


def test_a_credential_is_good_until_one_thing_ends_it() -> None:
    nina = account()
    good = credential(workflow(nina))
    assert good.is_good(nina, NOW_MS)
    assert replace(good, not_after_ms=NOW_MS + 1).is_good(nina, NOW_MS)
    assert good.is_good(replace(nina, state=AccountState.SUSPENDED), NOW_MS)
    assert not replace(good, not_after_ms=NOW_MS).is_good(nina, NOW_MS)
    assert not replace(good, revoked_ms=1).is_good(nina, NOW_MS)
    assert not good.is_good(replace(nina, epoch=2), NOW_MS)
    assert not good.is_good(replace(nina, state=AccountState.CLOSED), NOW_MS)
