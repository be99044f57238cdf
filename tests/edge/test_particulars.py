import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.facts import OutcomeState, SealedName
from edge.particulars import Fate, Particulars, open_particulars, seal_particulars
from edge.seal.broken import Broken
from edge.seal.packing import Malformed
from zentransfer.errors import Code
from zentransfer.ids import UploadID
from zentransfer.limits import NAMES_BYTES_MAX, SEALED_NAME_BYTES_MAX
from zentransfer.sealed_name import FileName

KEY, OTHER_KEY, NONCE = bytes(32), bytes([1]) * 32, bytes(12)
UPLOAD = UploadID("up_a")
TEXTS = st.text(st.characters(codec="utf-8"), max_size=60)

KNOWN = st.builds(
    Particulars,
    name=st.builds(FileName, TEXTS, TEXTS),
    taken_by=TEXTS,
    sealed_name=st.none()
    | st.builds(SealedName, TEXTS, st.binary(min_size=1, max_size=SEALED_NAME_BYTES_MAX)),
    media_type=TEXTS,
    content_encoding=TEXTS,
    digest=st.none() | st.binary(min_size=32, max_size=32),
    metadata=TEXTS,
    concat=TEXTS,
    fate=st.none() | st.builds(Fate, st.sampled_from(OutcomeState), st.sampled_from(Code)),
)


@given(KNOWN)
def test_what_is_sealed_comes_back(known: Particulars) -> None:
    sealed = seal_particulars(KEY, UPLOAD, known, NONCE)
    assert open_particulars(KEY, UPLOAD, sealed) == known


@given(KNOWN)
def test_it_opens_for_its_own_upload_and_key_only(known: Particulars) -> None:
    sealed = seal_particulars(KEY, UPLOAD, known, NONCE)
    for key, upload in ((OTHER_KEY, UPLOAD), (KEY, UploadID("up_b"))):
        with pytest.raises(Broken):
            open_particulars(key, upload, sealed)


def test_the_name_is_not_in_what_is_stored() -> None:
    sealed = seal_particulars(KEY, UPLOAD, Particulars(FileName("desk", "IMG_0001.JPG")), NONCE)
    assert b"IMG" not in sealed
    assert "IMG" not in repr(Particulars(FileName("desk", "IMG_0001.JPG")))


def test_what_is_too_long_is_refused() -> None:
    with pytest.raises(Malformed):
        seal_particulars(KEY, UPLOAD, Particulars(FileName("", "x" * (NAMES_BYTES_MAX + 1))), NONCE)
