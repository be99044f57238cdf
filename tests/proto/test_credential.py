from contextlib import suppress
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zentransfer.credential import (
    PEPPER_FILE_BYTES,
    Pepper,
    inner_hash,
    is_right,
    make_pepper,
    parse_pepper_file,
    parse_shown,
    parse_token,
    pepper_file,
    token,
    verifier,
)
from zentransfer.errors import Code, Error
from zentransfer.ids import credential_name, credential_secret

SEEDS = st.integers(0, 2**32)


@given(SEEDS)
def test_what_is_issued_is_recognised(seed: int) -> None:
    chance = Random(seed)
    name, secret = credential_name(chance.randbytes), credential_secret(chance.randbytes)
    shown = parse_token(token(name, secret))
    assert (shown.name, shown.secret) == (name, secret)
    assert parse_shown(name, secret) == shown
    assert secret not in repr(shown)


@given(st.text(max_size=40) | st.from_regex(r"zt_[a-z0-9]{8}_[a-z0-9]{20}\n?", fullmatch=True))
def test_a_token_has_one_spelling(text: str) -> None:
    with suppress(Error):
        shown = parse_token(text)
        assert token(shown.name, shown.secret) == text


@pytest.mark.parametrize(
    ("name", "secret"),
    [("abcdefgh", ""), ("", "a" * 20), ("ABCDEFGH", "a" * 20), ("abcdefgl", "a" * 20)],
)
def test_what_was_never_issued_is_refused_before_any_look_up(name: str, secret: str) -> None:
    with pytest.raises(Error) as caught:
        parse_shown(name, secret)
    assert caught.value.code is Code.UNAUTHENTICATED


@given(SEEDS, SEEDS, st.text(), st.text())
def test_a_verifier_is_of_one_secret_in_one_region(
    here: int, there: int, secret: str, other: str
) -> None:
    mine, theirs = make_pepper(Random(here).randbytes), make_pepper(Random(there).randbytes)
    right = verifier(mine, inner_hash(secret))
    assert is_right(right, verifier(mine, inner_hash(other))) == (secret == other)
    assert is_right(right, verifier(theirs, inner_hash(secret))) == (here == there)


@given(SEEDS)
def test_a_pepper_survives_its_file(seed: int) -> None:
    pepper = make_pepper(Random(seed).randbytes)
    content = pepper_file(pepper)
    assert parse_pepper_file(content) == pepper
    assert len(content) == PEPPER_FILE_BYTES
    assert pepper.key.hex() not in repr(pepper)


@pytest.mark.parametrize("content", [b"", b"\n", b"x" * 82, pepper_file(Pepper("a" * 16, b""))])
def test_a_damaged_file_holds_no_pepper(content: bytes) -> None:
    with pytest.raises(Error) as caught:
        parse_pepper_file(content)
    assert caught.value.code is Code.DAMAGED
