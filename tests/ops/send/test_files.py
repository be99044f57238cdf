import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ops.send.files import TooMany, Wanted, wanted
from tests.ops.system import ordinary_user
from zentransfer.limits import SEND_FILES_MAX


def tree(root: Path) -> Path:
    for name in ("b.jpg", "sub/a.jpg", "sub/deep/c.jpg"):
        path = root / "shoot" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root / "shoot"


def test_a_folder_goes_with_its_own_name(tmp_path: Path) -> None:
    found = wanted([tree(tmp_path)], folder="2026", recursive=True)
    assert [(one.name, one.size, one.problem) for one in found] == [
        ("2026/shoot/b.jpg", 5, ""),
        ("2026/shoot/sub/a.jpg", 9, ""),
        ("2026/shoot/sub/deep/c.jpg", 14, ""),
    ]


def test_what_is_in_here_goes_without_a_name_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree(tmp_path) / "sub")
    assert [one.name for one in wanted([Path()], folder="", recursive=True)] == [
        "a.jpg",
        "deep/c.jpg",
    ]
    names = [one.name for one in wanted([Path("..")], folder="", recursive=True)]
    assert names == ["b.jpg", "sub/a.jpg", "sub/deep/c.jpg"]


def test_a_folder_by_mistake_is_said_with_the_cure(tmp_path: Path) -> None:
    (one,) = wanted([tree(tmp_path)], folder="", recursive=False)
    assert one.problem.startswith("is a folder; with -r (--recursive) folders are sent too")


def test_what_is_no_file_is_said(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to("nothing")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "good").write_text("x")
    found = wanted([tmp_path], folder="", recursive=True)
    assert {one.path.name: one.problem.partition(";")[0] for one in found} == {
        "dangling": "is not there",
        "good": "",
        "loop": "cannot be looked at (Too many levels of symbolic links)",
        "pipe": "is no regular file",
    }


def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    shoot = tree(tmp_path)
    (shoot / "again").symlink_to(shoot, target_is_directory=True)
    (shoot / "z.jpg").symlink_to("b.jpg")
    names = [one.name for one in wanted([shoot], folder="", recursive=True)]
    assert names == ["shoot/b.jpg", "shoot/sub/a.jpg", "shoot/sub/deep/c.jpg", "shoot/z.jpg"]


def test_one_path_goes_once_and_one_name_as_often_as_it_is_there(tmp_path: Path) -> None:
    shoot = tree(tmp_path)
    again = shoot / "sub" / "b.jpg"
    again.write_text("another")
    found = wanted([shoot / "b.jpg", again, shoot / "b.jpg"], folder="", recursive=False)
    assert [one.name for one in found] == ["b.jpg", "b.jpg"]


def test_a_name_that_is_no_text_is_sent_as_latin_1(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg"))
    path.write_text("x")
    assert [one.name for one in wanted([path], folder="", recursive=False)] == ["caf\u00e9.jpg"]


def test_a_folder_that_may_not_be_opened_is_said() -> None:
    # Not in tmp_path, above which only its owner may look.
    with TemporaryDirectory() as name:
        shoot = tree(Path(name))
        Path(name).chmod(0o755)
        (shoot / "sub").chmod(0)

        def said() -> str:
            found = wanted([shoot], folder="", recursive=True)
            return "\n".join(f"{one.name}: {one.problem}" for one in found)

        assert "shoot/sub: cannot be opened (Permission denied)" in ordinary_user(said)
        (shoot / "sub").chmod(0o755)


@pytest.mark.reaches("SEND_FILES_MAX")
def test_one_call_takes_so_many_files(tmp_path: Path) -> None:
    there = [tmp_path / str(number) for number in range(SEND_FILES_MAX)]
    assert len(wanted(there, folder="", recursive=False)) == SEND_FILES_MAX
    with pytest.raises(TooMany, match="send them in turns"):
        wanted([*there, tmp_path / "more"], folder="", recursive=False)


def test_a_problem_is_a_part_of_what_is_wanted() -> None:
    assert Wanted(Path("x"), "x", problem="no").size == 0
