import base64
import io
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zentransfer import ids
from zentransfer.errors import Code, Error
from zentransfer.ids import IdMaker, Kind, NodeID, Region


def seeded(seed: int) -> IdMaker:
    return IdMaker(Random(seed).randbytes)


@given(st.binary(min_size=16, max_size=16), st.sampled_from(Kind))
def test_an_id_is_a_prefix_and_26_characters_and_parses_back(data: bytes, kind: Kind) -> None:
    made = IdMaker(lambda count: data[:count]).make(kind)
    prefix, _, body = made.partition("_")
    assert prefix == kind
    assert len(prefix) == 2
    assert len(body) == 26
    assert base64.b32decode(body.upper() + "======") == data
    assert ids.parse(kind, made) == made


def test_the_prefixes_are_unlike_one_another() -> None:
    assert len({str(kind) for kind in Kind}) == len(Kind)


def test_the_same_seed_makes_the_same_ids_and_no_id_twice() -> None:
    first, second = seeded(1), seeded(1)
    made = [first.make(Kind.UPLOAD) for _ in range(1000)]
    assert made == [second.make(Kind.UPLOAD) for _ in range(1000)]
    assert len(set(made)) == 1000


@given(st.text(), st.sampled_from(Kind))
def test_what_is_no_id_is_refused_without_being_repeated(text: str, kind: Kind) -> None:
    with pytest.raises(Error) as caught:
        ids.parse(kind, text)
    assert caught.value.code is Code.INVALID
    assert caught.value.detail == f"that is not the id of a {kind.name.lower()}"


@pytest.mark.parametrize(
    "spoil",
    [
        str.upper,
        lambda text: text + "\n",
        lambda text: " " + text,
        lambda text: text[:-1],
        lambda text: text + "a",
        lambda text: text.replace("_", "-"),
        lambda text: text[:-1] + "b",  # a second spelling of the same bytes
        lambda text: "me" + text[2:],
    ],
)
def test_an_id_has_one_spelling(spoil: object) -> None:
    assert callable(spoil)
    text = spoil(seeded(2).make(Kind.UPLOAD))
    with pytest.raises(Error):
        ids.parse(Kind.UPLOAD, text)


def test_a_capability_is_128_random_bits_behind_its_regions_name() -> None:
    for region in ids.Region:
        made = f"{region}-{'a' * 26}"
        assert ids.parse_capability(made) == made


@pytest.mark.parametrize(
    "text", ["", "x", "a" * 26, "fr-" + "a" * 25, "fr-" + "A" * 26, "de-" + "a" * 26]
)
def test_a_malformed_capability_is_answered_like_an_unknown_one(text: str) -> None:
    with pytest.raises(Error) as caught:
        ids.parse_capability(text)
    assert caught.value.code is Code.NOT_FOUND
    assert caught.value.detail == ""


@given(st.randoms(use_true_random=False))
def test_what_a_camera_signs_in_with_can_be_typed_on_it(random: Random) -> None:
    name = ids.credential_name(random.randbytes)
    secret = ids.credential_secret(random.randbytes)
    assert len(name) == 8
    assert len(secret) == 20
    assert not set(name + secret) & set("01lo")
    assert (name + secret).isalnum()
    assert (name + secret) == (name + secret).lower()


def test_a_cameras_secret_uses_each_of_its_100_bits() -> None:
    zero = ids.credential_secret(bytes)
    ones = ids.credential_secret(lambda count: b"\xff" * count)
    assert zero == "a" * 20
    assert ones == "9" * 20
    seen: set[str] = set()
    for bit in range(100):
        data = (1 << (103 - bit)).to_bytes(13, "big")
        seen.add(ids.credential_secret(io.BytesIO(data).read))
    assert len(seen) == 100


@pytest.mark.parametrize(("text", "region"), [("us-1", "us"), ("fr-12", "fr"), ("sg-9999", "sg")])
def test_a_node_is_a_region_and_a_number(text: str, region: str) -> None:
    assert ids.region_of(ids.node(text)) is Region(region)


@pytest.mark.parametrize("text", ["", "us", "us-0", "us-01", "de-1", "us-10000", "us-1\n", "US-1"])
def test_what_is_no_node_is_refused(text: str) -> None:
    with pytest.raises(Error) as caught:
        ids.node(text)
    assert caught.value.code is Code.INVALID


def test_a_region_is_read_from_its_node() -> None:
    assert ids.region_of(NodeID("sg-3")) is Region.SG


@pytest.mark.parametrize("text", ["ingest-0", "delivery-12", "control", "dashboard", "launcher"])
def test_a_process_of_ours_is_known_by_name(text: str) -> None:
    assert ids.process(text) == text


@pytest.mark.parametrize("text", ["", "ingest", "ingest-00", "ingest-100", "nginx", "control-0"])
def test_what_is_no_process_of_ours_is_refused(text: str) -> None:
    with pytest.raises(Error) as caught:
        ids.process(text)
    assert caught.value.code is Code.INVALID
