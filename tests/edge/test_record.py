from collections.abc import Callable
from dataclasses import replace

import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from edge.record import (
    Ending,
    ManifestPlace,
    Mark,
    Segment,
    State,
    UploadRecord,
    WrongState,
    pack_record,
    read_record,
)
from edge.seal.packing import U63_MAX, Malformed, pack
from edge.seal.record import Walked
from zentransfer.ids import AccountID, CredentialID, OutcomeID, Region, UploadID, WorkflowID
from zentransfer.limits import (
    NAMES_BYTES_MAX,
    SEGMENTS_PER_UPLOAD_MAX,
    UPLOAD_RECORD_BYTES_MAX,
)

H = bytes(32)
NEW = UploadRecord(UploadID("up_a"), AccountID("ac_a"), Region.FR, created_ms=5)
PLACE = ManifestPlace(H, 4_096, 1)


def walked(written: int, position: int = 5_000, last: int = 4_096) -> Walked:
    return Walked(position, written, written, last, 0)


def opened(record: UploadRecord, start: int, end: int) -> UploadRecord:
    segment = Segment(record.next_number, record.fence, start, H)
    return record.opened(segment, Mark.at(end, walked(end)))


def scanned(record: UploadRecord, end: int) -> UploadRecord:
    return record.scanned(Mark.at(end, walked(end)))


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
    longest = replace(NEW, segments=segments, names=bytes(NAMES_BYTES_MAX + 28))
    assert read_record(pack_record(longest, 1))[0] == longest
    with pytest.raises(Malformed):
        pack_record(replace(NEW, names=bytes(UPLOAD_RECORD_BYTES_MAX)), 1)


# Transitions.


def test_a_claim_raises_the_fence_and_nothing_else() -> None:
    assert NEW.claimed() == replace(NEW, fence=2)
    assert NEW.claimed().claimed().fence == 3


def test_segments_follow_one_another_and_are_named_anew() -> None:
    record = opened(NEW, 0, 100)
    assert record.next_number == 2
    record = opened(scanned(record.claimed(), 150), 150, 200)
    assert [(s.number, s.fence, s.start) for s in record.segments] == [(1, 1, 0), (2, 2, 150)]
    assert record.mark is not None
    assert (record.mark.offset, record.mark.is_end) == (200, False)


def test_a_scan_writes_down_where_the_segment_ends() -> None:
    record = scanned(opened(NEW, 0, 100).claimed(), 150)
    assert record.mark is not None
    assert (record.mark.offset, record.mark.is_end) == (150, True)


def test_an_empty_segment_is_dropped_by_the_scan() -> None:
    assert scanned(opened(NEW, 0, 0).claimed(), 0) == NEW.claimed()
    first = scanned(opened(NEW, 0, 100).claimed(), 100)
    second = scanned(opened(first, 100, 100).claimed(), 100)
    assert second.segments == first.segments
    assert second.mark is not None
    assert (second.mark.offset, second.mark.is_end) == (100, True)
    assert second.next_number == 2


def test_a_mark_is_scanned_from_its_last_record_on() -> None:
    mark = Mark.at(700, Walked(9_000, 800, 700, 8_192, 650))
    assert (mark.offset, mark.position) == (700, 9_000)
    assert mark.walked == Walked(8_192, 650, 700, 8_192, 650)


def test_only_the_holder_of_the_fence_opens_a_segment() -> None:
    with pytest.raises(WrongState):
        NEW.claimed().opened(Segment(1, 1, 0, H), Mark.at(0, walked(0)))
    still_open = opened(NEW, 0, 100)
    with pytest.raises(WrongState):
        opened(still_open, 100, 200)
    full = replace(NEW, segments=(Segment(1, 1, 0, H),) * SEGMENTS_PER_UPLOAD_MAX)
    assert full.is_full
    with pytest.raises(WrongState):
        opened(full, 0, 1)


def test_a_length_is_announced_once() -> None:
    record = NEW.announced(9).announced(9)
    assert record.length == 9
    with pytest.raises(WrongState):
        record.announced(10)


def test_a_commit_stamps_its_ending() -> None:
    ending = Ending(WorkflowID("wf_a"), 3, 99, OutcomeID("oc_a"))
    record = opened(NEW, 0, 9).committed(PLACE, 9, ending)
    assert (record.state, record.size, record.manifest) == (State.COMMITTED, 9, PLACE)
    assert (record.ending, record.mark) == (ending, None)
    assert NEW.ended(ending).ending == ending


def test_only_as_many_bytes_as_announced_are_whole() -> None:
    record = opened(NEW.announced(9), 0, 9)
    assert record.committed(PLACE, 9, Ending()).size == 9
    for size in (8, 10):
        with pytest.raises(WrongState):
            record.committed(PLACE, size, Ending())


def test_a_tombstone_holds_no_name_and_no_segment() -> None:
    whole = opened(NEW.named(b"sealed", "kid"), 0, 9).committed(PLACE, 9, Ending())
    going = whole.destroying()
    assert (going.fence, going.segments) == (whole.fence + 1, whole.segments)
    assert going.destroying() is going
    gone = going.destroyed()
    assert (gone.names, gone.names_kid, gone.segments, gone.mark) == (b"", "", (), None)
    assert gone.size == 9
    assert gone.destroying() is gone


TRANSITIONS: dict[str, tuple[Callable[[UploadRecord], UploadRecord], set[State]]] = {
    "claimed": (lambda r: r.claimed(), {State.RECEIVING}),
    "scanned": (lambda r: scanned(r, 9), {State.RECEIVING}),
    "marked": (lambda r: r.marked(Mark.at(9, walked(9))), {State.RECEIVING}),
    "opened": (lambda r: opened(replace(r, mark=None), 0, 9), {State.RECEIVING}),
    "announced": (lambda r: r.announced(9), {State.RECEIVING}),
    "committed": (lambda r: r.committed(PLACE, 9, Ending()), {State.RECEIVING}),
    "damaged": (lambda r: r.damaged(), {State.RECEIVING}),
    "destroying": (lambda r: r.destroying(), set(State)),
    "destroyed": (lambda r: r.destroyed(), {State.DESTROYING}),
}


@pytest.mark.parametrize("name", TRANSITIONS)
@pytest.mark.parametrize("state", State)
def test_each_state_has_its_transitions_and_no_others(name: str, state: State) -> None:
    transition, allowed = TRANSITIONS[name]
    record = replace(opened(NEW, 0, 9), state=state)
    if state in allowed:
        after = transition(record)
        assert after.fence >= record.fence
        assert list(State).index(after.state) >= list(State).index(state)
    else:
        with pytest.raises(WrongState):
            transition(record)


def test_when_bytes_came_is_known_and_never_goes_back() -> None:
    assert NEW.heard_ms == 0
    assert NEW.heard(7).heard(3).heard_ms == 7
