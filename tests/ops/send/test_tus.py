import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.send import tus
from ops.send.tus import Answer, Lost, Refused, Standing

AT = "https://fr.test/files/"
UPLOAD = "up_" + "a" * 26


@given(st.text(min_size=1).filter(lambda name: name.isprintable()), st.integers(0, 1 << 50))
def test_a_creation_says_name_and_size_and_brings_no_byte(name: str, size: int) -> None:
    headers = tus.creating(name, size)
    key, value = headers["Upload-Metadata"].split(" ")
    assert (key, base64.b64decode(value).decode()) == ("filename", name)
    assert headers["Tus-Resumable"] == "1.0.0"
    if size:
        assert headers["Upload-Length"] == str(size)
    else:  # else a lost answer could mean a file that is whole already
        assert headers["Upload-Defer-Length"] == "1"
        assert tus.appending(0, 0, 0)["Upload-Length"] == "0"


def test_an_append_says_where_its_bytes_go() -> None:
    assert tus.appending(5, 9, 10) == {
        "Tus-Resumable": "1.0.0",
        "Upload-Offset": "5",
        "Content-Type": "application/offset+octet-stream",
        "Content-Length": "4",
    }


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/files/x", "https://fr.test/files/x"),
        ("x", "https://fr.test/files/x"),
        ("https://other.test/files/x?t=1", "https://other.test/files/x?t=1"),
    ],
)
def test_a_location_is_absolute_or_relative(location: str, url: str) -> None:
    answer = Answer(201, {"Location": location, "ZT-Upload-Id": UPLOAD})
    created = tus.created(answer, AT)
    assert (created.url, created.upload) == (url, UPLOAD)


@pytest.mark.parametrize("location", ["", "http://fr.test/files/x", "ftp://fr.test/x", "https://"])
def test_a_location_that_cannot_be_trusted_is_not_followed(location: str) -> None:
    with pytest.raises(Lost):
        tus.created(Answer(201, {"Location": location}), AT)


@pytest.mark.parametrize("told", ["", "../../secret", "up_1", UPLOAD + "/x"])
def test_an_id_that_is_none_is_not_asked_about(told: str) -> None:
    answer = Answer(201, {"Location": "/files/x", "ZT-Upload-Id": told})
    assert tus.created(answer, AT).upload == ""


def test_where_an_upload_stands() -> None:
    assert tus.found(Answer(200, {"Upload-Offset": "5", "Upload-Length": "9"})) == Standing(5, 9)
    assert tus.found(Answer(204, {"Upload-Offset": "0"})) == Standing(0, None)
    for wrong in ({}, {"Upload-Offset": "-1"}, {"Upload-Offset": "5", "Upload-Length": "x"}):
        with pytest.raises(Lost):
            tus.found(Answer(200, wrong))
    assert tus.appended(Answer(204, {"Upload-Offset": "7"})) == 7
    with pytest.raises(Lost):
        tus.appended(Answer(302, {"Upload-Offset": "7"}))


def test_a_refusal_has_words_and_a_time() -> None:
    body = b'{"title": "We are busy", "detail": "come back", "status": 503}'
    with pytest.raises(Refused) as caught:
        tus.appended(Answer(503, {"Retry-After": "7"}, body))
    assert caught.value.status == 503
    assert caught.value.words == "We are busy: come back"
    assert caught.value.retry_after_s == 7


@given(st.integers(400, 599), st.binary(max_size=200), st.text(max_size=20))
def test_whatever_a_refusal_holds_there_are_words(status: int, body: bytes, after: str) -> None:
    refused = tus.refusal(Answer(status, {"Retry-After": after}, body))
    assert refused.words
    assert refused.retry_after_s >= 0
