import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from zentransfer.errors import Code, Error
from zentransfer.ids import AccountID, UploadID
from zentransfer.limits import SEALED_NAME_BYTES_MAX
from zentransfer.sealed_name import SUITE, FileName, open_sealed, seal

KEY = X25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
NINA, OLA = AccountID("ac_nina"), AccountID("ac_ola")
ONE, TWO = UploadID("up_one"), UploadID("up_two")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)


@settings(deadline=None)
@given(TEXT, TEXT)
def test_a_name_comes_out_as_it_went_in(folder: str, name: str) -> None:
    sealed = seal(PUBLIC, NINA, ONE, FileName(folder, name))
    assert open_sealed(KEY, NINA, ONE, sealed) == FileName(folder, name)
    if len(name) > 3:
        assert name.encode() not in sealed


@pytest.mark.parametrize(("account", "upload"), [(NINA, TWO), (OLA, ONE)])
def test_a_name_opens_in_its_own_place_only(account: AccountID, upload: UploadID) -> None:
    sealed = seal(PUBLIC, NINA, ONE, FileName("", "a.jpg"))
    with pytest.raises(Error) as caught:
        open_sealed(KEY, account, upload, sealed)
    assert caught.value.code is Code.DAMAGED


@settings(deadline=None)
@given(st.integers(0, 200), st.integers(1, 255))
def test_a_changed_byte_is_noticed(position: int, flip: int) -> None:
    sealed = bytearray(seal(PUBLIC, NINA, ONE, FileName("match", "a.jpg")))
    sealed[position % len(sealed)] ^= flip
    with pytest.raises(Error) as caught:
        open_sealed(KEY, NINA, ONE, bytes(sealed))
    assert caught.value.code is Code.DAMAGED


@pytest.mark.parametrize("packed", [b"\0\1\xff", b"\0\0\xff", b"\0\1\xc3\xb8"])
def test_what_holds_no_name_is_damaged(packed: bytes) -> None:
    info = b"zentransfer file name 1\0" + f"{NINA}\0{ONE}".encode()
    sealed = SUITE.encrypt(packed, KEY.public_key(), info)
    with pytest.raises(Error) as caught:
        open_sealed(KEY, NINA, ONE, sealed)
    assert caught.value.code is Code.DAMAGED


@pytest.mark.reaches("SEALED_NAME_BYTES_MAX")
def test_a_long_name_is_cut_in_whole_characters() -> None:
    sealed = seal(PUBLIC, NINA, ONE, FileName("ø" * 5000, "日" * 5000))
    assert SEALED_NAME_BYTES_MAX - 40 < len(sealed) <= SEALED_NAME_BYTES_MAX
    opened = open_sealed(KEY, NINA, ONE, sealed)
    assert set(opened.folder) == {"ø"}
    assert set(opened.name) == {"日"}


def test_a_name_is_not_shown_by_accident() -> None:
    assert "secret" not in repr(FileName("secret", "secret"))


def test_half_a_character_does_not_stop_an_upload() -> None:
    sealed = seal(PUBLIC, NINA, ONE, FileName("", "a\ud800.jpg"))
    assert open_sealed(KEY, NINA, ONE, sealed).name == "a?.jpg"
