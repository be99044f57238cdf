from collections.abc import Callable
from dataclasses import replace

import pytest

from edge.record import (
    Ending,
    ManifestPlace,
    Mark,
    Segment,
    State,
    UploadRecord,
    WrongState,
)
from edge.seal.record import Walked
from zentransfer.ids import AccountID, OutcomeID, Region, UploadID, WorkflowID
from zentransfer.limits import FINALS_PER_PARTIAL_MAX, SEGMENTS_PER_UPLOAD_MAX

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


# Uploads that consist of others.

PART = replace(NEW, is_partial=True)
A, B = UploadID("up_a"), UploadID("up_b")


def test_a_part_that_is_whole_is_no_upload_to_deliver() -> None:
    assert opened(PART, 0, 9).committed(PLACE, 9, Ending()).state is State.PARTIAL
    assert opened(NEW, 0, 9).committed(PLACE, 9, Ending()).state is State.COMMITTED


def test_a_part_knows_each_that_it_is_named_by_once() -> None:
    named = PART.named_by(A).named_by(B).named_by(A)
    assert named.finals == (A, B)
    assert named.named_by(A) is named
    for other in (NEW, replace(PART, state=State.DAMAGED), PART.destroying()):
        with pytest.raises(WrongState):
            other.named_by(A)


@pytest.mark.reaches("FINALS_PER_PARTIAL_MAX")
def test_a_part_is_of_so_many_and_no_more() -> None:
    record = PART
    for number in range(FINALS_PER_PARTIAL_MAX):
        record = record.named_by(UploadID(f"up_{number}"))
    with pytest.raises(WrongState):
        record.named_by(A)


def test_a_part_goes_with_the_last_whole_upload_that_left_it() -> None:
    named = PART.named_by(A).named_by(B)
    left = named.left_by(A, was_whole=True)
    assert (left.finals, left.state) == ((B,), State.RECEIVING)
    assert left.left_by(A, was_whole=True) is left
    assert left.left_by(B, was_whole=True).state is State.DESTROYING
    assert left.left_by(B, was_whole=False) == PART


def test_a_tombstone_names_no_others_and_needs_no_receipt_as_a_part() -> None:
    record = replace(PART, finals=(A,), partials=(B,), ending=Ending(outcome=OutcomeID("ou_a")))
    gone = record.destroying().destroyed()
    assert (gone.finals, gone.partials) == ((), ())
    assert not gone.lacks_receipt()
    assert replace(gone, is_partial=False).lacks_receipt()
