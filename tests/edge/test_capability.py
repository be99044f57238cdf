from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.capability import Capabilities
from zentransfer.errors import Code, Error
from zentransfer.ids import IdMaker, Kind, UploadID, parse_capability

ORIGIN = bytes(range(32))
HERE = Capabilities(ORIGIN)


def upload_of(data: bytes) -> UploadID:
    return UploadID(IdMaker(lambda _: data).make(Kind.UPLOAD))


uploads = st.binary(min_size=16, max_size=16).map(upload_of)


@given(uploads)
def test_every_process_of_the_region_finds_the_upload(upload: UploadID) -> None:
    made = HERE.of(upload)
    assert parse_capability(made) == made
    assert Capabilities(ORIGIN).upload(made) == upload


@given(uploads)
def test_the_id_gives_the_capability_to_nobody_else(upload: UploadID) -> None:
    made = HERE.of(upload)
    assert made != upload.removeprefix("up_")
    assert Capabilities(bytes(32)).of(upload) != made
    assert Capabilities(bytes(32)).upload(made) != upload


@given(st.text(max_size=40) | st.from_regex("[a-z2-7]{26}", fullmatch=True))
def test_a_guess_names_nothing_that_is_there(text: str) -> None:
    with suppress(Error):
        found = HERE.upload(text)
        assert HERE.of(found) == text, "one capability for each upload, and no second spelling"


@pytest.mark.parametrize("text", ["", "up_a", "a" * 25, "A" * 26, "a" * 27, "../" + "a" * 23])
def test_what_has_another_form_is_not_found(text: str) -> None:
    with pytest.raises(Error) as raised:
        HERE.upload(text)
    assert raised.value.code is Code.NOT_FOUND
