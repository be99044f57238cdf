import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.send.names import checked_folder, is_changed, shown, text, virtual


@given(st.binary(min_size=1, max_size=300))
def test_every_name_of_a_disk_can_travel(name: bytes) -> None:
    assert text(name).encode()


def test_a_name_of_an_old_camera_is_read_as_latin_1() -> None:
    assert text(b"caf\xe9.jpg") == "caf\u00e9.jpg"
    assert text("caf\u00e9.jpg".encode()) == "caf\u00e9.jpg"


def test_names_stand_below_their_folder() -> None:
    assert virtual("", (b"a.jpg",)) == "a.jpg"
    assert virtual("/2026//match/", (b"a", b"b.jpg")) == "2026/match/a/b.jpg"
    assert virtual("2026", ()) == "2026"


@pytest.mark.parametrize("folder", ["../x", "a/../../b", "a\\..", "a\x1b"])
def test_a_folder_that_leads_out_or_cannot_be_read_is_refused(folder: str) -> None:
    with pytest.raises(ValueError, match="such as 2026/match"):
        checked_folder(folder)


def test_a_folder_may_hold_dots_and_a_colon_is_known_to_change() -> None:
    assert checked_folder("2026..07/a.b") == "2026..07/a.b"
    assert is_changed("a/12:30.jpg")
    assert not is_changed("a/12.30.jpg")


@given(st.text())
def test_nothing_that_is_shown_steers_a_terminal(said: str) -> None:
    assert shown(said).isprintable()
    assert len(shown(said)) == len(said)


def test_an_escape_sequence_is_shown_as_text() -> None:
    assert shown("a\x1b[31mb\n") == "a\ufffd[31mb\ufffd"
