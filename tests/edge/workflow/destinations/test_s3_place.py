from hashlib import md5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.workflow.destinations.base import RemoteName
from edge.workflow.destinations.s3_place import ETag, bucket, key, part_bytes
from zentransfer.errors import Error
from zentransfer.ids import DeliveryID
from zentransfer.limits import S3_PART_BYTES, S3_PARTS_MAX, UPLOAD_BYTES_MAX

DESK = bucket("s3://desk/in box", "https://s3.example.com", "auto")


def named(name: str, *folder: str) -> RemoteName:
    return RemoteName(folder, name, DeliveryID("de_a"), 1)


def test_a_bucket_is_taken_apart_once() -> None:
    assert (DESK.host, DESK.port, DESK.name, DESK.prefix) == (
        "s3.example.com",
        443,
        "desk",
        "in box/",
    )
    assert not DESK.is_clear
    lab = bucket("s3://desk", "http://[::1]:9000", "auto")
    assert (lab.host, lab.port, lab.prefix, lab.is_clear) == ("::1", 9000, "", True)


def test_a_key_is_prefix_folder_and_name() -> None:
    assert key(DESK, named("a.jpg", "may", "day"), 1) == "in box/may/day/a.jpg"
    assert key(DESK, named("a.jpg"), 2) == "in box/a (2).jpg"


@given(st.text(max_size=9), st.lists(st.text(max_size=5), max_size=3), st.integers(1, 30))
def test_a_key_stays_below_its_prefix_and_tells_names_apart(
    name: str, folder: list[str], number: int
) -> None:
    try:
        found = key(DESK, named(name, *folder), number)
    except Error:
        return
    parts = found.split("/")
    assert parts[0] == "in box"
    assert parts[1:-1] == folder
    assert not {"", ".", ".."} & set(parts)


@pytest.mark.reaches("S3_PARTS_MAX")
@given(st.integers(1, UPLOAD_BYTES_MAX))
def test_there_are_never_too_many_parts(size: int) -> None:
    part = part_bytes(size)
    assert part >= S3_PART_BYTES
    assert -(-size // part) <= S3_PARTS_MAX


def test_the_largest_file_has_just_so_many_parts() -> None:
    assert -(-UPLOAD_BYTES_MAX // part_bytes(UPLOAD_BYTES_MAX)) == S3_PARTS_MAX


def test_a_tag_is_made_as_s3_makes_it() -> None:
    tag = ETag()
    tag.update(memoryview(b"hello"))
    assert tag.whole() == md5(b"hello").hexdigest()
    tag.end_part()
    tag.update(memoryview(b"x"))
    tag.end_part()
    digests = md5(b"hello").digest() + md5(b"x").digest()
    assert tag.joined() == md5(digests).hexdigest() + "-2"
    assert ETag().whole() == md5(b"").hexdigest()
