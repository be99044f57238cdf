import pytest

from edge.sftp.view import Seen, SessionView, changed, is_temporary
from zentransfer.limits import SFTP_SEEN_MAX


def view() -> SessionView:
    return SessionView(lambda: 7)


def test_the_root_is_always_there_and_a_file_brings_its_folders() -> None:
    seen = view()
    assert seen.seen(()) == Seen(None, 7)
    seen.put(("DCIM", "100", "a.jpg"), Seen(3, 1))
    assert seen.seen(("DCIM",)) == Seen(None, 1)
    assert seen.inside(("DCIM",)) == [("100", Seen(None, 1))]
    assert seen.inside(("DCIM", "100")) == [("a.jpg", Seen(3, 1))]
    assert seen.seen(("a.jpg",)) is None


def test_a_folder_moves_with_what_is_in_it() -> None:
    seen = view()
    seen.put(("a", "b", "x"), Seen(1, 1))
    seen.move(("a", "b"), ("c",))
    assert seen.seen(("c", "x")) == Seen(1, 1)
    assert seen.seen(("a", "b", "x")) is None
    seen.drop(("c", "x"))
    assert seen.inside(("c",)) == []


@pytest.mark.reaches("SFTP_SEEN_MAX")
def test_the_newest_names_stay() -> None:
    seen = view()
    for number in range(SFTP_SEEN_MAX + 2):
        seen.put((str(number),), Seen(1, 1))
    assert len(seen.inside(())) == SFTP_SEEN_MAX
    assert seen.seen(("1",)) is None
    assert seen.seen(("2",)) is not None


def test_a_time_that_was_given_is_shown() -> None:
    assert changed(Seen(1, 5), None) == Seen(1, 5)
    assert changed(Seen(1, 5), 2) == Seen(1, 2_000)


@pytest.mark.parametrize("name", ["a.part", "A.PARTIAL", "b.tmp", "c.jpg.filepart", ".in.d.jpg"])
def test_names_of_files_that_are_not_whole_yet_are_known(name: str) -> None:
    assert is_temporary(name)
    assert not is_temporary("part.jpg")
