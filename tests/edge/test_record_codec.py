from dataclasses import replace

import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from edge.record import Ending, ManifestPlace, Mark, Segment, State, UploadRecord
from edge.record_codec import pack_record, read_record
from edge.seal.packing import U63_MAX, Malformed, pack
from edge.seal.record import Walked
from tests.edge.test_record import NEW, PLACE, H, opened
from zentransfer.ids import AccountID, CredentialID, OutcomeID, Region, UploadID, WorkflowID
from zentransfer.limits import (
    FINALS_PER_PARTIAL_MAX,
    NAMES_BYTES_MAX,
    PARTIALS_PER_UPLOAD_MAX,
    SEGMENTS_PER_UPLOAD_MAX,
    UPLOAD_RECORD_BYTES_MAX,
)

numbers = st.integers(0, U63_MAX)
texts = st.text(max_size=30)
hashes = st.binary(max_size=32)
marks = st.builds(
    lambda offset, position, begin, written, is_end: Mark(
        offset, position, Walked(begin, written, offset, begin, written), is_end
    ),
    numbers,
    numbers,
    numbers,
    numbers,
    st.booleans(),
)
records = st.builds(
    UploadRecord,
    upload=texts.map(UploadID),
    account=texts.map(AccountID),
    region=st.sampled_from(Region),
    created_ms=numbers,
    door=texts,
    dialect=texts,
    credential=st.none() | texts.map(CredentialID),
    length=st.none() | numbers,
    names=st.binary(max_size=100),
    names_kid=texts,
    heard_ms=numbers,
    state=st.sampled_from(State),
    fence=numbers,
    segments=st.lists(
        st.builds(Segment, st.integers(0, 2**32 - 1), numbers, numbers, hashes), max_size=5
    ).map(tuple),
    mark=st.none() | marks,
    is_partial=st.booleans(),
    finals=st.lists(texts.map(UploadID), max_size=3).map(tuple),
    partials=st.lists(texts.map(UploadID), max_size=3).map(tuple),
    size=numbers,
    manifest=st.none()
    | st.builds(ManifestPlace, hashes, st.integers(4_096, U63_MAX), st.integers(0, 2**32 - 1)),
    ending=st.builds(
        Ending,
        st.none() | texts.map(WorkflowID),
        numbers,
        numbers,
        st.none() | texts.map(OutcomeID),
    ),
)


@given(record=records, version=numbers)
def test_a_record_is_read_back_as_it_was(record: UploadRecord, version: int) -> None:
    assert read_record(pack_record(record, version)) == (record, version)


@given(record=records, at=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_a_changed_byte_is_noticed(record: UploadRecord, at: int, flip: int) -> None:
    data = bytearray(pack_record(record, 1))
    data[at % len(data)] ^= flip
    with pytest.raises(Malformed):
        read_record(bytes(data))


@given(data=st.binary(max_size=200))
def test_strange_bytes_are_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        read_record(data)


def with_good_crc(text: bytes) -> bytes:
    return text + crc32c(text).to_bytes(4)


def test_a_word_that_means_nothing_is_malformed() -> None:
    good = pack_record(NEW, 1)[:-4]
    for word, other in ((b"receiving", b"receeding"), (b"\xa2fr", b"\xa2de")):
        assert word in good
        with pytest.raises(Malformed):
            read_record(with_good_crc(good.replace(word, other)))


def test_a_manifest_inside_a_header_is_malformed() -> None:
    record = opened(NEW, 0, 9).committed(replace(PLACE, position=4_095), 9, Ending())
    with pytest.raises(Malformed):
        read_record(pack_record(record, 1))


def test_a_field_of_a_later_program_is_no_error() -> None:
    good = pack_record(NEW, 1)[:-4]
    assert good[6] == 0xDE  # a map of more than 15 entries: its count is in the next two bytes
    later = good[:7] + (int.from_bytes(good[7:9]) + 1).to_bytes(2) + good[9:]
    assert read_record(with_good_crc(later + pack("later") + pack(7))) == (NEW, 1)


@pytest.mark.reaches("UPLOAD_RECORD_BYTES_MAX")
def test_the_longest_record_fits_and_a_longer_one_is_refused() -> None:
    last = U63_MAX - SEGMENTS_PER_UPLOAD_MAX
    segments = tuple(
        Segment(2**32 - 1 - n, last + n, last + n, H) for n in range(SEGMENTS_PER_UPLOAD_MAX)
    )
    upload = UploadID("up_" + "a" * 26)
    longest = replace(
        NEW,
        segments=segments,
        names=bytes(NAMES_BYTES_MAX + 28),
        finals=(upload,) * FINALS_PER_PARTIAL_MAX,
        partials=(upload,) * PARTIALS_PER_UPLOAD_MAX,
    )
    assert read_record(pack_record(longest, 1))[0] == longest
    with pytest.raises(Malformed):
        pack_record(replace(NEW, names=bytes(UPLOAD_RECORD_BYTES_MAX)), 1)
