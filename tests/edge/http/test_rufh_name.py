import base64
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.http.rufh_name import disposition_name, name_of
from zentransfer.errors import Code, Error
from zentransfer.sealed_name import FileName


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_r28_an_extended_name_is_read_as_it_was_written(name: str) -> None:
    extended = f"inline; filename=other; filename*=UTF-8''{quote(name, safe='')}"
    assert disposition_name(extended) == name


@given(st.text("abc \"\\;=*'%\u00e4,.()", min_size=1, max_size=20))
def test_r28_a_quoted_name_is_read_as_it_was_written(name: str) -> None:
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    assert disposition_name(f'inline; x=1; filename="{quoted}"; size=3') == name


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ("", ""),
        ("inline", ""),
        ("filename=x", ""),
        ("attachment; filename=a.jpg", "a.jpg"),
        ("attachment;FileName=a.jpg;filename=b.jpg", "a.jpg"),
        ("inline; filename*=iso-8859-1'en'%e4.jpg", "\u00e4.jpg"),
        ("inline; filename*=UTF-8''%ff; filename=b", "b"),
        ("inline; filename*=koi8-r''x; filename=b", "b"),
        ("inline; filename*=x; filename=b", "b"),
        ('inline; title="; filename=no"; filename=yes', "yes"),
    ],
)
def test_r28_the_name_is_found_or_there_is_none(disposition: str, name: str) -> None:
    assert disposition_name(disposition) == name


@given(st.text(max_size=60), st.text("; filename*=\"'%\\", max_size=60))
def test_no_header_breaks_the_reader(first: str, second: str) -> None:
    disposition_name(first)
    disposition_name(f"inline{second}")


def test_the_target_s_own_name_comes_first() -> None:
    given_name = {"Content-Disposition": "inline; filename=b.jpg"}
    assert name_of("/in/desk/a%20b.jpg?x", given_name) == FileName("desk", "a b.jpg")
    assert name_of("http://host/in/a.jpg", given_name) == FileName("", "a.jpg")
    assert name_of("/files/", given_name) == FileName("", "b.jpg")


def test_who_gives_no_name_gets_one_and_tus_clients_give_it_their_way() -> None:
    assert name_of("/files/", {}) == FileName("", "upload")
    name = base64.b64encode("\u00e4.jpg".encode()).decode()
    metadata = f"filename {name}"
    assert name_of("/files/", {"Upload-Metadata": metadata}) == FileName("", "\u00e4.jpg")


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/in/", {}),
        ("/in/..", {}),
        ("/files/", {"Content-Disposition": "inline; filename=.."}),
        ("/files/", {"Content-Disposition": 'inline; filename="a\x07"'}),
        ("/files/", {"Upload-Metadata": "filename /w=="}),
        ("/files/", {"Upload-Metadata": "filename !"}),
    ],
)
def test_what_is_no_name_is_refused(target: str, headers: dict[str, str]) -> None:
    with pytest.raises(Error) as raised:
        name_of(target, headers)
    assert raised.value.code is Code.INVALID
