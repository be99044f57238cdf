import ntpath
import posixpath
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge.names import below, cleaned, from_url
from zentransfer.errors import Code, Error
from zentransfer.limits import FOLDER_DEPTH_MAX, NAME_BYTES_MAX, NAME_PATH_BYTES_MAX
from zentransfer.sealed_name import FileName

HOSTILE = st.text(
    st.sampled_from("ab.C: /\\-~%_\u0301\u212b\x00\x7f\u202e\ud800e\u00e9con1\u00b9"), max_size=40
)
LONG = st.text(st.sampled_from("a\u00e4\U0001f4f7. "), min_size=60, max_size=300)
REPLACED = {
    "IMG_0001.JPG": "IMG_0001.JPG",
    "with space.jpg": "with space.jpg",
    "e\u0301.jpg": "\u00e9.jpg",
    "CON": "_CON",
    "con.jpg": "_con.jpg",
    "Lpt\u00b9.txt": "_Lpt\u00b9.txt",
    "com1 .txt": "_com1 .txt",
    "COM10": "COM10",
    "name. . ": "name",
    "-rf": "_-rf",
    "~x": "_~x",
    "a:b": "a_b",
    "100%.jpg": "100%.jpg",
    "{name}": "{name}",
    "..x": "..x",
}
REFUSED = ["", ".", "..", "a/..", "../a", "a/../b", "..\\a", "a/", "/", ". ", "x/. /y", "a\x00b"]
REFUSED += ["a\nb", "a\x1fb", "a\x7fb", "a\x85b", "\u202ea", "\u2066a", "a\u2028b", "\ud800"]


def clean(text: str) -> FileName | None:
    try:
        return cleaned(text)
    except Error:
        return None


def joined(name: FileName) -> str:
    return f"{name.folder}/{name.name}" if name.folder else name.name


@pytest.mark.parametrize("text", REPLACED)
def test_a_name_is_made_safe(text: str) -> None:
    assert cleaned(text) == FileName("", REPLACED[text])


@pytest.mark.parametrize("text", REFUSED, ids=ascii)
def test_what_misleads_is_refused(text: str) -> None:
    with pytest.raises(Error) as raised:
        cleaned(text)
    assert raised.value.code is Code.INVALID


def test_folders_are_kept_between_slashes_of_either_kind() -> None:
    expected = FileName("2026/con_/a", "b.jpg")
    assert cleaned("//2026/./con_\\a//b.jpg") == expected


@given(HOSTILE | LONG | st.text(max_size=60))
@example("\u212b/" * 3 + "x")
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    name = clean(text)
    if name is not None:
        assert cleaned(joined(name)) == name
        assert unicodedata.is_normalized("NFC", joined(name))


@given(HOSTILE | LONG | st.text(max_size=60))
def test_the_joined_path_stays_below_its_root_on_every_system(text: str) -> None:
    name = clean(text)
    if name is None:
        return
    for system, root in ((posixpath, "/srv/root"), (ntpath, "C:\\root")):
        path = system.normpath(system.join(root, name.folder, name.name))
        assert path.startswith(root + system.sep)
        assert system.normpath(system.join(root, name.folder)) in (root, system.dirname(path))


@given(HOSTILE | LONG)
@pytest.mark.reaches("NAME_BYTES_MAX")
def test_no_part_is_longer_than_the_limit(text: str) -> None:
    name = clean(text)
    if name is not None:
        assert all(len(part.encode()) <= NAME_BYTES_MAX for part in joined(name).split("/"))


def test_a_long_name_keeps_its_extension() -> None:
    name = cleaned("\u00e4" * 255 + ".jpeg").name
    assert name.endswith("\u00e4.jpeg")
    assert len(name.encode()) in (NAME_BYTES_MAX, NAME_BYTES_MAX - 1)
    assert cleaned("x" * 255).name == "x" * NAME_BYTES_MAX


@pytest.mark.reaches("FOLDER_DEPTH_MAX")
def test_folders_have_a_depth() -> None:
    assert clean("d/" * FOLDER_DEPTH_MAX + "x") is not None
    assert clean("d/" * (FOLDER_DEPTH_MAX + 1) + "x") is None


def test_a_url_is_decoded_once() -> None:
    assert from_url("IMG%20%C3%A4.jpg") == FileName("", "IMG \u00e4.jpg")
    assert from_url("a%252Fb") == FileName("", "a%2Fb")
    assert from_url("a%2Fb") == FileName("a", "b")


@pytest.mark.parametrize("path", ["%ff", "a%zz", "a%2", "%00", "%2e%2e", "a/%2E%2E/b", "", "%"])
def test_a_malformed_url_is_refused(path: str) -> None:
    with pytest.raises(Error) as raised:
        from_url(path)
    assert raised.value.code is Code.INVALID


@pytest.mark.reaches("NAME_PATH_BYTES_MAX")
def test_a_url_has_a_length() -> None:
    from_url("a/" * 5 + "%41" * (NAME_PATH_BYTES_MAX // 3 - 10))
    with pytest.raises(Error):
        from_url("a" * (NAME_PATH_BYTES_MAX + 1))


def test_a_credentials_folder_comes_first() -> None:
    assert below("desk", FileName("a/b", "c")) == FileName("desk/a/b", "c")
    assert below("", FileName("", "c")) == FileName("", "c")
    assert below("desk", FileName("", "c")) == FileName("desk", "c")
