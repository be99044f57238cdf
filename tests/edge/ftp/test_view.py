from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.ftp.view import ROOT, Entry, Path, Stands, View, Views
from zentransfer.ids import CredentialID, UploadID
from zentransfer.limits import (
    FTP_FOLDERS_MAX,
    FTP_GHOST_KEPT_S,
    FTP_GHOSTS_IN_ALL_MAX,
    FTP_GHOSTS_MAX,
    UNFINISHED_S,
)

KEPT_MS = int(FTP_GHOST_KEPT_S * 1000)
NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(tuple)


class Watch:
    """A clock that a test sets."""

    ms = 1_000_000

    def __call__(self) -> int:
        return self.ms


def entry(ms: int = 1_000_000, stands: Stands = Stands.WHOLE, size: int = 3) -> Entry:
    return Entry(UploadID("up_x"), size, ms, ms, stands)


@pytest.mark.reaches("FTP_GHOST_KEPT_S")
def test_a_file_is_shown_for_some_hours() -> None:
    now = Watch()
    view = View(now)
    view.note(("A", "x"), entry())
    now.ms += KEPT_MS
    assert view.maybe(("A", "x")) is not None
    assert view.children(("A",)) != []
    now.ms += 1
    assert view.children(("A",)) == []
    assert view.maybe(("A", "x")) is None
    assert not view.is_folder(("A",))
    view.note(("x",), entry(0))
    assert view.maybe(("x",)) is None
    assert len(view) == 0


def test_a_cut_file_is_shown_for_as_long_as_its_bytes_are_kept() -> None:
    now = Watch()
    view = View(now)
    view.note(("x",), entry(stands=Stands.PARTIAL))
    now.ms += int(UNFINISHED_S * 1000)
    assert view.maybe(("x",)) is not None
    now.ms += 1
    assert view.maybe(("x",)) is None


@pytest.mark.reaches("FTP_GHOSTS_MAX")
def test_one_credential_sees_so_many_files_and_the_oldest_goes_first() -> None:
    view = View(Watch())
    for number in range(FTP_GHOSTS_MAX + 1):
        view.note((str(number),), entry())
    assert len(view) == FTP_GHOSTS_MAX
    assert view.maybe(("0",)) is None
    assert view.maybe(("1",)) is not None


@pytest.mark.reaches("FTP_FOLDERS_MAX")
def test_only_so_many_folders_are_remembered() -> None:
    view = View(Watch())
    for number in range(FTP_FOLDERS_MAX + 1):
        view.make((str(number),))
    assert not view.is_folder(("0",))
    assert view.is_folder((str(FTP_FOLDERS_MAX),))


@pytest.mark.reaches("FTP_GHOSTS_IN_ALL_MAX")
def test_one_process_shows_so_many_files_and_forgets_those_who_were_away_longest() -> None:
    views = Views(Watch())
    for number in range(FTP_GHOSTS_IN_ALL_MAX // FTP_GHOSTS_MAX + 2):
        view = views.of(CredentialID(f"cr_{number}"))
        for file in range(FTP_GHOSTS_MAX):
            view.note((str(file),), entry())
    views.of(CredentialID("cr_0"))
    views.prune(lambda _: True)
    assert len(views) <= FTP_GHOSTS_IN_ALL_MAX
    assert CredentialID("cr_0") in views
    assert CredentialID("cr_1") not in views


def test_nothing_is_kept_of_a_credential_that_is_gone() -> None:
    now = Watch()
    views = Views(now)
    mine, theirs, idle = (CredentialID(f"cr_{one}") for one in "abc")
    for credential in (mine, theirs):
        views.of(credential).note(("x",), entry())
    views.of(idle)
    views.prune(lambda credential: credential != theirs)
    assert list(views) == [mine]
    now.ms += KEPT_MS + 1
    views.prune(lambda _: True)
    assert list(views) == []


def test_folders_that_were_made_and_folders_of_files() -> None:
    view = View(Watch())
    view.make(("A", "B"))
    view.note(("C", "x"), entry())
    view.note(("y",), entry(size=7))
    assert [(name, one and one.size) for name, one in view.children(ROOT)] == [
        *(("A", None), ("C", None), ("y", 7))
    ]
    assert view.is_folder(("A", "B"))
    assert view.is_folder(("C",))
    assert not view.is_folder(("y",))
    view.remove(("C",))
    view.remove(("A",))
    assert [name for name, _ in view.children(ROOT)] == ["y"]


def test_what_is_not_delivered_yet_is_not_removed_with_its_folder() -> None:
    view = View(Watch())
    for name, stands in (("p", Stands.PARTIAL), ("h", Stands.HELD), ("w", Stands.WHOLE)):
        view.note(("A", name), entry(stands=stands))
    view.remove(("A",))
    assert [name for name, _ in view.children(("A",))] == ["h", "p"]


def test_renaming_and_dating_keep_what_else_is_known() -> None:
    view = View(Watch())
    view.note(("x",), entry(size=9))
    view.note(("y",), entry(size=1))
    view.dated(("x",), 5)
    view.renamed(("x",), ("y",))
    found = view.maybe(("y",))
    assert found is not None
    assert (found.size, found.modified_ms) == (9, 5)
    assert view.maybe(("x",)) is None
    view.renamed(("y",), ("y",))
    assert view.maybe(("y",)) == found
    assert view.forget(("y",)) == found
    assert view.forget(("y",)) is None
    assert view.uploads() == set()


@given(st.lists(st.tuples(st.sampled_from(["note", "make", "forget", "remove"]), PATHS)))
def test_what_is_listed_is_what_is_found(steps: list[tuple[str, Path]]) -> None:
    view = View(Watch())
    acts: dict[str, Callable[[Path], object]] = {
        "note": lambda path: view.note(path, entry()),
        "make": view.make,
        "forget": view.forget,
        "remove": view.remove,
    }
    for step, path in steps:
        acts[step](path)
    seen = list[Path]()
    folders = [ROOT]
    while folders:
        folder = folders.pop()
        assert view.is_folder(folder)
        for name, found in view.children(folder):
            path = (*folder, name)
            assert view.maybe(path) == found or found is None
            if found is not None:
                seen.append(path)
            if view.is_folder(path):
                folders.append(path)
    assert set(seen) <= {path for step, path in steps if step == "note"}
