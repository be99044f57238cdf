from pathlib import Path
from typing import Any

import pytest

from ops.demo import verify
from ops.demo.inputs import Input
from ops.demo.world import DemoFailed
from tests.support.digests import digest


@pytest.fixture
def inputs(tmp_path: Path) -> list[Input]:
    made: list[Input] = []
    for name in ("a.jpg", "b.jpg"):
        path = tmp_path / name
        path.write_bytes(name.encode() * 1000)
        made.append(Input(path, path.stat().st_size, digest(path)))
    return made


def arrived(folder: Path, inputs: list[Input]) -> dict[str, str]:
    return verify.folder_digests(folder, [one.name for one in inputs])


def test_what_arrived_whole_passes(tmp_path: Path, inputs: list[Input]) -> None:
    verify.check_arrived(inputs, "folder", arrived(tmp_path, inputs))
    verify.check_only(inputs, "folder", [one.name for one in inputs])


def test_a_file_that_is_missing_is_named(tmp_path: Path, inputs: list[Input]) -> None:
    inputs[1].path.unlink()
    with pytest.raises(DemoFailed, match=r"b\.jpg is not in the folder"):
        verify.check_arrived(inputs, "folder", arrived(tmp_path, inputs))


def test_a_file_of_other_bytes_is_named(tmp_path: Path, inputs: list[Input]) -> None:
    inputs[0].path.write_bytes(b"x" * inputs[0].size)
    with pytest.raises(DemoFailed, match=r"a\.jpg is another file"):
        verify.check_arrived(inputs, "folder", arrived(tmp_path, inputs))


def test_a_second_copy_is_named(inputs: list[Input]) -> None:
    with pytest.raises(DemoFailed, match=r"what nobody sent: a \(2\)\.jpg"):
        verify.check_only(inputs, "folder", ["a.jpg", "b.jpg", "a (2).jpg"])


def upload(one: Input, **changes: Any) -> dict[str, Any]:
    told = {
        "name": one.name,
        "size": one.size,
        "state": "destroyed",
        "deliveries": [{"state": "delivered"}, {"state": "delivered"}],
    }
    return told | changes


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "delivering"},
        {"deliveries": [{"state": "delivered"}]},
        {"deliveries": [{"state": "delivered"}, {"state": "retrying"}]},
        {"size": 1},
        {"name": "c.jpg"},
    ],
)
def test_an_upload_that_is_told_otherwise_fails_the_demo(
    inputs: list[Input], changes: dict[str, Any]
) -> None:
    first, second = inputs
    verify.check_uploads(inputs, [upload(first), upload(second)])
    with pytest.raises(DemoFailed):
        verify.check_uploads(inputs, [upload(first), upload(second, **changes)])
    with pytest.raises(DemoFailed):
        verify.check_uploads(inputs, [upload(first)])
