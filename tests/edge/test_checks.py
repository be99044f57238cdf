import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.checks import RFC9530, TUS, Check, check
from zentransfer.errors import Code, Error

# Of "123456789": RFC 3720 appendix B.4 for CRC-32C, FIPS 180 and RFC 1321 for the others; XXH3 as
# `xxhsum -H2` prints it.
KNOWN = {
    "sha1": "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
    "sha256": "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
    "md5": "25f9e794323b453885f5181f1b624d0b",
    "crc32c": "e3069283",
}


@pytest.mark.parametrize(("algorithm", "expected"), KNOWN.items())
def test_each_checksum_is_the_one_that_others_make(algorithm: str, expected: str) -> None:
    hasher = check(algorithm, bytes.fromhex(expected), TUS).hasher()
    hasher.update(b"1234")
    hasher.update(b"56789")
    assert hasher.digest().hex() == expected


def test_xxh3_is_the_one_of_128_bits_in_canonical_order() -> None:
    # The value of the specification's own empty input, `xxhsum -H2 < /dev/null`.
    assert Check("xxh3", b"").hasher().digest().hex() == "99aa06d3014798d86001c324468d497f"


@given(st.sampled_from(TUS + RFC9530), st.lists(st.binary(max_size=99), max_size=9))
def test_parts_hash_to_what_the_whole_does(algorithm: str, parts: list[bytes]) -> None:
    apart, whole = Check(algorithm, b"").hasher(), Check(algorithm, b"").hasher()
    for part in parts:
        apart.update(part)
    whole.update(b"".join(parts))
    assert apart.digest() == whole.digest()
    assert check(algorithm, whole.digest(), TUS + RFC9530).expected == whole.digest()


def test_both_vocabularies_mean_the_same_sha_256() -> None:
    assert RFC9530 == ("sha-512", "sha-256")
    for name in ("sha256", "sha-256"):
        hasher = Check(name, b"").hasher()
        hasher.update(b"x")
        assert hasher.digest() == hashlib.sha256(b"x").digest()


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [("sha256", bytes(31)), ("sha-256", bytes(32)), ("SHA1", bytes(20)), ("adler32", bytes(4))],
)
def test_what_could_match_nothing_is_refused(algorithm: str, expected: bytes) -> None:
    with pytest.raises(Error) as raised:
        check(algorithm, expected, TUS)
    assert raised.value.code is Code.INVALID
    assert base64.b64encode(expected).decode() not in str(raised.value)
