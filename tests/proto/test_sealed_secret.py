from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from zentransfer.errors import Code, Error
from zentransfer.ids import AccountID, DestinationID, Region
from zentransfer.sealed_secret import Bound, S3Secret, open_sealed, packed, seal, unpacked

PRIVATE = X25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = PRIVATE.public_key().public_bytes_raw()
BOUND = Bound(Region.FR, AccountID("ac_a"), DestinationID("ds_a"), 3)


@given(st.text(), st.text())
def test_a_secret_is_opened_as_it_was_sealed(key_id: str, key: str) -> None:
    secret = S3Secret(key_id, key)
    assert unpacked(open_sealed(PRIVATE, BOUND, seal(PUBLIC, BOUND, packed(secret)))) == secret


@pytest.mark.parametrize(
    "other",
    [
        replace(BOUND, region=Region.US),
        replace(BOUND, account=AccountID("ac_b")),
        replace(BOUND, destination=DestinationID("ds_b")),
        replace(BOUND, version=4),
    ],
)
def test_it_is_no_other_destinations(other: Bound) -> None:
    with pytest.raises(Error) as caught:
        open_sealed(PRIVATE, other, seal(PUBLIC, BOUND, b"x"))
    assert caught.value.code is Code.DAMAGED


@given(st.binary(max_size=100))
def test_what_is_no_secret_is_refused(data: bytes) -> None:
    for read in (lambda: open_sealed(PRIVATE, BOUND, data), lambda: unpacked(data)):
        with pytest.raises(Error) as caught:
            read()
        assert caught.value.code is Code.DAMAGED


def test_a_secret_does_not_show_itself() -> None:
    shown = repr(S3Secret("AKIA-shown", "very-secret"))
    assert "AKIA" not in shown
    assert "very" not in shown
