from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.ftp.paths import ROOT, Folder, file_name, folder_at, path_at, quoted
from zentransfer.errors import Code, Error
from zentransfer.limits import (
    FOLDER_DEPTH_MAX,
    FTP_NAME_BYTES_MAX,
    NAME_BYTES_MAX,
    NAME_PATH_BYTES_MAX,
)
from zentransfer.sealed_name import FileName

# Any bytes, as they come out of a command line.
SENT = st.binary(max_size=40).map(lambda raw: raw.decode(errors="surrogateescape"))


def sent(raw: bytes) -> str:
    return raw.decode(errors="surrogateescape")


@given(st.lists(SENT, max_size=12))
def test_no_walk_leads_above_the_root_or_to_a_place_where_nothing_can_be_stored(
    walk: list[str],
) -> None:
    folder: Folder = ROOT
    for path in walk:
        with suppress(Error):  # then the client stays where it was
            folder = folder_at(folder, path)
    assert len(folder) <= FOLDER_DEPTH_MAX
    assert not {"", ".", ".."} & set(folder)
    assert file_name(folder, "x").name == "x"
    shown = quoted(folder)
    assert folder_at(ROOT, shown[1:-1].replace('""', '"')) == folder


@given(SENT, SENT)
def test_a_name_is_safe_text_or_refused(folder: str, path: str) -> None:
    try:
        found = file_name(folder_at(ROOT, folder), path)
    except Error:
        return
    text = f"{found.folder}/{found.name}"
    text.encode()  # it is UTF-8
    assert ".." not in text.split("/")
    assert "\\" not in text
    assert not any(char < " " for char in text)
    assert found.name


@given(st.binary(min_size=1, max_size=30))
def test_names_in_other_bytes_stay_different(raw: bytes) -> None:
    if not all(byte >= 0xA0 for byte in raw) or not _is_not_utf8(raw):
        return
    name = file_name(ROOT, sent(raw)).name
    assert name.encode("cp1252") == raw


def _is_not_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return True
    return False


def test_names_as_cameras_send_them() -> None:
    assert file_name(ROOT, "IMG 0001.JPG") == FileName("", "IMG 0001.JPG")
    assert file_name(("DCIM", "100X"), "å.jpg") == FileName("DCIM/100X", "å.jpg")
    assert file_name(("DCIM",), "/A/b.jpg") == FileName("A", "b.jpg")
    assert file_name(ROOT, sent(b"caf\xe9.jpg")) == FileName("", "café.jpg")
    # Shift-JIS: two bytes of it have no letter in Windows-1252, and one is a backslash.
    assert file_name(ROOT, sent(b"\x95\x5c\x81\x40.jpg")).name == "•%5C%81@.jpg"
    long = file_name(ROOT, "n" * 251 + ".jpg").name
    assert len(long) == NAME_BYTES_MAX
    assert long.endswith(".jpg")


@pytest.mark.parametrize(
    "path", ["", "/", "a/", "..", "../x", "a/../../x", "a\x00b", "a\rb", "\x1b[2Jx", "...", " "]
)
def test_names_that_are_none_are_refused(path: str) -> None:
    with pytest.raises(Error) as raised:
        file_name(("DCIM",), path)
    assert raised.value.code is Code.INVALID


def test_a_folder_is_entered_and_left() -> None:
    at = folder_at(ROOT, "DCIM/100X/")
    assert at == ("DCIM", "100X")
    assert folder_at(at, "..") == ("DCIM",)
    assert folder_at(at, "../../../..") == ROOT
    assert folder_at(at, "/A//./B") == ("A", "B")
    assert folder_at(at, "") == at


def test_a_path_is_bounded() -> None:
    deepest = "/".join("x" * FOLDER_DEPTH_MAX)
    assert len(folder_at(ROOT, deepest)) == FOLDER_DEPTH_MAX
    for path in (deepest + "/x", "y" * NAME_PATH_BYTES_MAX):
        with pytest.raises(Error):
            folder_at(ROOT, path)


def test_a_folder_is_shown_as_it_was_sent() -> None:
    assert quoted(ROOT) == '"/"'
    assert quoted(('a"b', sent(b"\xe9"))) == sent(b'"/a""b/\xe9"')


@pytest.mark.reaches("FTP_NAME_BYTES_MAX")
def test_a_name_that_no_file_system_takes_is_refused() -> None:
    longest = b"\xe9" * FTP_NAME_BYTES_MAX
    assert path_at(ROOT, sent(longest)) == (sent(longest),)
    for path in (longest + b"x", b"a/" + longest + b"x/b"):
        with pytest.raises(Error) as raised:
            path_at(ROOT, sent(path))
        assert raised.value.code is Code.INVALID


def test_a_path_is_in_parts_as_they_were_sent() -> None:
    assert path_at(("A",), "b//./c d.jpg") == ("A", "b", "c d.jpg")
    assert path_at(("A",), "/b") == ("b",)
    assert path_at(ROOT, sent(b"caf\xe9")) == (sent(b"caf\xe9"),)


@given(SENT)
def test_a_path_names_the_same_file_wherever_it_is_seen_from(path: str) -> None:
    with suppress(Error):
        parts = path_at(("A",), path)
        assert file_name(ROOT, "/".join(parts)) == file_name(("A",), path)
