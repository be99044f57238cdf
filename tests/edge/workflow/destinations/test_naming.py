from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.workflow.destinations.base import RemoteName
from edge.workflow.destinations.naming import checked_folder, checked_name, numbered, part_name
from zentransfer.errors import Code, Error
from zentransfer.ids import DeliveryID
from zentransfer.limits import FOLDER_DEPTH_MAX, REMOTE_NAME_BYTES_MAX


def maybe_name(text: str) -> str | None:
    try:
        return checked_name(text)
    except Error as refused:
        if refused.code is not Code.INVALID:
            raise
        return None


NAMES = st.text(max_size=260).map(maybe_name).filter(lambda name: name is not None)


@given(st.text(), st.lists(st.text()))
def test_no_name_leaves_its_folder(name: str, folder: list[str]) -> None:
    if maybe_name(name) is None or any(maybe_name(each) is None for each in folder):
        return
    path = PurePosixPath("/srv", *checked_folder("/".join(folder[:8])), checked_name(name))
    assert path.is_relative_to("/srv")
    assert ".." not in path.parts
    assert path.name == name


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "a\0", "a\r\n", "\x7f", "\ud800"])
def test_what_is_no_name_is_refused(name: str) -> None:
    assert maybe_name(name) is None


def test_a_folder_has_a_depth() -> None:
    deepest = "/".join("a" * FOLDER_DEPTH_MAX)
    assert len(checked_folder(deepest)) == FOLDER_DEPTH_MAX
    assert checked_folder("") == ()
    assert checked_folder("/a//b/") == ("a", "b")
    with pytest.raises(Error):
        checked_folder(deepest + "/a")


@given(NAMES, st.integers(1, 1_000))
def test_a_number_makes_another_name_that_can_be_one(name: str, number: int) -> None:
    made = numbered(name, number)
    assert checked_name(made) == made
    if number > 1:
        assert f"({number})" in made
        suffix = PurePosixPath(name).suffix
        assert made.endswith(suffix) or len(suffix.encode()) > 240


@given(NAMES)
def test_numbers_of_one_name_differ(name: str) -> None:
    assert len({numbered(name, number) for number in range(1, 12)}) == 11


@given(NAMES, st.integers(1, 10**9), st.integers(1, 10**9))
def test_parts_of_different_attempts_differ(name: str, one: int, other: int) -> None:
    first = RemoteName((), name, DeliveryID("de_" + "a" * 26), 1)
    second = RemoteName((), name, DeliveryID("de_" + "b" * 25 + "a"), 1)
    assert len(part_name(first, one).encode()) <= REMOTE_NAME_BYTES_MAX
    assert checked_name(part_name(first, one)).endswith(".part")
    assert part_name(first, one) != part_name(second, one)
    assert (part_name(first, one) == part_name(first, other)) == (one == other)


def test_numbers_stand_before_the_last_suffix() -> None:
    assert numbered("a.tar.gz", 2) == "a.tar (2).gz"
    assert numbered("a", 3) == "a (3)"
    assert numbered(".profile", 2) == ".profile (2)"
