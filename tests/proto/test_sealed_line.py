import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from zentransfer.errors import Code, Error
from zentransfer.ids import AccountID, CredentialID
from zentransfer.limits import TRACE_LINE_BYTES_MAX
from zentransfer.sealed_line import SEALED_LINE_BYTES_MAX, open_sealed, seal

KEY = X25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
NINA, CAMERA = AccountID("ac_nina"), CredentialID("cr_camera")


@given(st.text(max_size=100))
def test_a_line_comes_out_as_it_went_in(line: str) -> None:
    shown = line.encode(errors="replace").decode()
    assert open_sealed(KEY, NINA, CAMERA, seal(PUBLIC, NINA, CAMERA, line)) == shown


@pytest.mark.reaches("TRACE_LINE_BYTES_MAX")
def test_a_long_line_is_cut_in_whole_characters() -> None:
    sealed = seal(PUBLIC, NINA, CAMERA, "a" + "ü" * TRACE_LINE_BYTES_MAX)
    assert len(sealed) <= SEALED_LINE_BYTES_MAX
    assert open_sealed(KEY, NINA, CAMERA, sealed) == "a" + "ü" * (TRACE_LINE_BYTES_MAX // 2 - 1)


def test_it_is_that_credentials_of_that_account_and_whole() -> None:
    sealed = seal(PUBLIC, NINA, CAMERA, "> NOOP")
    for account, credential, wrong in [
        (AccountID("ac_ola"), CAMERA, sealed),
        (NINA, CredentialID("cr_other"), sealed),
        (NINA, CAMERA, sealed[:-1]),
        (NINA, CAMERA, b""),
    ]:
        with pytest.raises(Error) as refused:
            open_sealed(KEY, account, credential, wrong)
        assert refused.value.code is Code.DAMAGED
