from pathlib import Path

import pytest

from edge.process import make_folder
from zentransfer.service import CannotStart


def test_a_folder_is_made_with_those_above_it_and_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b" / "c"
    for _ in range(2):
        make_folder(folder)
        assert folder.is_dir()
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a file")
    for folder in (tmp_path / "a", tmp_path / "a" / "b"):
        with pytest.raises(CannotStart, match=str(folder)):
            make_folder(folder)
