from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.capability import Capabilities, region_in
from zentransfer.errors import Code, Error
from zentransfer.ids import IdMaker, Kind, Region, UploadID, parse_capability

ORIGIN = bytes(range(32))
HERE = Capabilities(ORIGIN, Region.FR)


def upload_of(data: bytes) -> UploadID:
    return UploadID(IdMaker(lambda _: data).make(Kind.UPLOAD))


uploads = st.binary(min_size=16, max_size=16).map(upload_of)


@given(uploads)
def test_every_process_of_the_region_finds_the_upload(upload: UploadID) -> None:
    made = HERE.of(upload)
    assert parse_capability(made) == made
    assert Capabilities(ORIGIN, Region.FR).upload(made) == upload


@given(uploads)
def test_the_id_gives_the_capability_to_nobody_else(upload: UploadID) -> None:
    made = HERE.of(upload)
    assert made != upload.removeprefix("up_")
    assert Capabilities(bytes(32), Region.FR).of(upload) != made
    assert Capabilities(bytes(32), Region.FR).upload(made) != upload


@given(st.text(max_size=40) | st.from_regex("fr-[a-z2-7]{25}[aeimquy4]", fullmatch=True))
def test_a_guess_names_nothing_that_is_there(text: str) -> None:
    with suppress(Error):
        found = HERE.upload(text)
        assert HERE.of(found) == text, "one capability for each upload, and no second spelling"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "up_a",
        "fr-" + "a" * 25,
        "fr-" + "A" * 26,
        "fr-" + "a" * 27,
        "us-" + "a" * 26,
        "../" + "a" * 26,
    ],
)
def test_what_has_another_form_is_not_found(text: str) -> None:
    with pytest.raises(Error) as raised:
        HERE.upload(text)
    assert raised.value.code is Code.NOT_FOUND


@given(uploads, st.sampled_from(Region))
def test_every_node_knows_whose_it_is_and_only_its_region_which(
    upload: UploadID, region: Region
) -> None:
    made = Capabilities(ORIGIN, region).of(upload)
    assert region_in(made) is region
    if region is not Region.FR:
        with pytest.raises(Error):
            HERE.upload(made)


@pytest.mark.parametrize("text", ["", "fr-", "de-" + "a" * 26, "fr-" + "a" * 26 + "/"])
def test_other_words_name_no_region(text: str) -> None:
    assert region_in(text) is None
