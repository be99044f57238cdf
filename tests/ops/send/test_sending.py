"""The way of one upload, against worlds in which everything goes wrong."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.send.nearby import Door
from ops.send.sending import ENDS, Known, Patience, Sending, Step
from ops.send.tus import Created, Refused, Standing
from zentransfer.ids import Region
from zentransfer.limits import (
    SEND_BEGINS_MAX,
    SEND_PART_BYTES,
    SEND_PATIENCE_S,
    SEND_REGION_FAILURES_MAX,
)

DOORS = tuple(Door(region, f"http://{region}.test") for region in Region)


@dataclass
class There:
    """An upload at a node: durable bytes, and whether it is no more."""

    region: Region
    size: int
    came: int = 0
    is_ended: bool = False

    @property
    def is_whole(self) -> bool:
        return self.came == self.size and not self.is_ended


@dataclass
class World:
    """Nodes and control; every answer may be lost, before or after the deed."""

    size: int
    data: st.DataObject
    quiet: bool = False
    """From now on everything works."""
    uploads: dict[str, There] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)
    """Uploads that a PATCH was sent to: of an empty file, those that can be whole."""

    def whole(self) -> list[There]:
        return [
            one
            for url, one in self.uploads.items()
            if one.is_whole and (one.size or url in self.touched)
        ]

    def _is(self, *, often: int = 1) -> bool:
        """Draw whether something goes wrong."""
        return not self.quiet and self.data.draw(st.integers(0, 3)) < often

    def stepped(self, state: Sending, now_s: float) -> Sending:
        """Do the step of *state* with faults, and return what it became."""
        if state.step is Step.ROUTE:
            return state.routed(self.data.draw(st.permutations(DOORS)))
        if self._is():
            return state.lost("lost before", now_s)
        if self._is() and state.step is not Step.CONFIRM:
            status = self.data.draw(st.sampled_from([409, 421, 423, 429, 500, 503, 507]))
            return state.refused(Refused(status, "no", 1.0), now_s)
        match state.step:
            case Step.CREATE:
                done = self._create(state)
            case Step.APPEND:
                return self._append(state, now_s)
            case Step.LOOK:
                done = self._look(state, now_s)
            case Step.TERMINATE:
                done = self._terminate(state, now_s)
            case _:
                done = self._confirm(state, now_s)
        return state.lost("lost after", now_s) if self._is() else done

    def _create(self, state: Sending) -> Sending:
        url = f"{state.door.http}/{len(self.uploads)}"
        self.uploads[url] = There(state.door.region, self.size)
        return state.created(Created(url, "up_" if self.data.draw(st.booleans()) else ""))

    def _append(self, state: Sending, now_s: float) -> Sending:
        there = self.uploads[state.url]
        if there.is_ended or self._forgets(there):
            return state.refused(Refused(404, "gone"), now_s)
        if state.offset != there.came:
            return state.refused(Refused(409, "offset"), now_s)
        sent = state.end
        if self._is():
            sent = self.data.draw(st.integers(state.offset, state.end))
        out = state.all_out() if sent == self.size else state
        if sent == self.size:
            self.touched.add(state.url)
        there.came = sent if not self._is() else self.data.draw(st.integers(there.came, sent))
        if sent < state.end or there.came < sent or self._is():
            return out.lost("cut", now_s)
        return out.appended(there.came, now_s)

    def _look(self, state: Sending, now_s: float) -> Sending:
        there = self.uploads[state.url]
        if there.is_ended or self._forgets(there):
            return state.refused(Refused(410, "gone"), now_s)
        if there.is_whole and self._is():
            return state.refused(Refused(404, "delivered and destroyed long ago"), now_s)
        length = self.size if self.size or state.url in self.touched else None
        return state.found(Standing(there.came, length), now_s)

    def _terminate(self, state: Sending, now_s: float) -> Sending:
        there = self.uploads[state.url]
        if there.is_whole and (self.size or state.url in self.touched):
            status = 404 if self._is() else 403  # delivered and destroyed long ago
            return state.refused(Refused(status, "whole"), now_s)
        if there.is_ended:
            return state.refused(Refused(404, "gone"), now_s)
        there.is_ended = True
        return state.terminated()

    def _confirm(self, state: Sending, now_s: float) -> Sending:
        there = self.uploads[state.url]
        if self._is():
            return state.confirmed(Known.UNKNOWN, now_s)
        if there in self.whole():
            return state.confirmed(Known.WHOLE, now_s)
        return state.confirmed(Known.ENDED if there.is_ended else Known.UNKNOWN, now_s)

    def _forgets(self, there: There) -> bool:
        """Draw whether a node lost an upload that is not whole."""
        if there.is_whole or not self._is():
            return False
        there.is_ended = True
        return True


@settings(max_examples=300)
@given(data=st.data(), size=st.integers(0, 3 * SEND_PART_BYTES), may_move=st.booleans())
def test_whatever_goes_wrong_a_file_is_whole_at_most_once(
    data: st.DataObject, size: int, may_move: bool
) -> None:
    world = World(size, data)
    state = Sending(size, DOORS[1], 0.0, Patience(may_move=may_move, give_up_s=100.0))
    now_s = 0.0
    for number in range(200):
        if state.step in ENDS:
            break
        world.quiet = number >= 60
        now_s += 1.0 if state.is_hurt else 0.1
        state = world.stepped(state, now_s)
        assert len(world.whole()) <= 1
        assert 0 <= state.offset <= size
        assert may_move or state.door is DOORS[1]
    assert state.step in ENDS, "it never ended"
    if state.step is Step.WHOLE:
        assert len(world.whole()) == 1
    elif world.whole():
        assert "may have arrived" in state.why


@given(size=st.integers(0, 10 * SEND_PART_BYTES))
def test_where_nothing_goes_wrong_every_byte_is_sent_once(size: int) -> None:
    state = Sending(size, DOORS[0], 0.0).created(Created("u", "up_"))
    sent = 0
    while state.step is Step.APPEND:
        sent += state.end - state.offset
        state = state.appended(state.end, 1.0)
    assert state.step is Step.WHOLE
    assert sent == size
    assert state.interruptions == 0


@pytest.mark.reaches("SEND_PART_BYTES")
def test_a_big_file_goes_in_parts() -> None:
    state = Sending(SEND_PART_BYTES + 1, DOORS[0], 0.0).created(Created("u", ""))
    assert state.end == SEND_PART_BYTES
    assert state.appended(SEND_PART_BYTES, 1.0).end == SEND_PART_BYTES + 1


@pytest.mark.reaches("SEND_REGION_FAILURES_MAX")
def test_a_region_that_keeps_failing_is_left_and_the_upload_there_ended() -> None:
    state = Sending(100, DOORS[0], 0.0).created(Created("u", "up_"))
    for number in range(SEND_REGION_FAILURES_MAX):
        assert state.step in (Step.APPEND, Step.LOOK), number
        state = state.lost("cut", 1.0)
    state = state.routed(DOORS)
    assert (state.step, state.url) == (Step.TERMINATE, "u")
    state = state.terminated()
    assert (state.step, state.door, state.url) == (Step.CREATE, DOORS[1], "")
    assert state.left == ()


def test_a_region_that_was_chosen_is_not_left() -> None:
    state = Sending(100, DOORS[0], 0.0, Patience(may_move=False))
    for _ in range(3 * SEND_REGION_FAILURES_MAX):
        state = state.lost("cut", 1.0)
        assert state.step is Step.CREATE


def test_a_node_that_is_away_is_left_with_its_part_remembered() -> None:
    state = replace(Sending(100, DOORS[0], 0.0).created(Created("u", "up_")), offset=50)
    state = replace(state, step=Step.TERMINATE, bound_for=DOORS[2])
    assert state.lost("away", 1.0).left == ("u",)
    # but what may be whole there is not sent elsewhere
    asked = state.all_out().lost("away", 1.0)
    assert (asked.step, asked.door) == (Step.CONFIRM, DOORS[0])
    assert asked.confirmed(Known.ENDED, 1.0).door == DOORS[2]
    assert asked.confirmed(Known.UNKNOWN, 1.0).step is Step.LOOK


@pytest.mark.parametrize("status", [404, 410])
def test_an_upload_that_is_no_more_may_have_been_delivered(status: int) -> None:
    begun = Sending(100, DOORS[0], 0.0).created(Created("u", "up_"))
    leaving = replace(begun, step=Step.TERMINATE, bound_for=DOORS[2])
    assert leaving.refused(Refused(status, "gone"), 1.0).step is Step.CREATE
    asked = leaving.all_out().refused(Refused(status, "gone"), 1.0)
    assert (asked.step, asked.url) == (Step.CONFIRM, "u")
    assert asked.confirmed(Known.WHOLE, 1.0).step is Step.WHOLE
    kept = leaving.all_out().refused(Refused(403, "whole"), 1.0)
    assert (kept.step, kept.url) == (Step.LOOK, "u")
    # of an upload without an id nobody can ask
    nameless = replace(leaving.all_out(), upload="")
    assert nameless.refused(Refused(status, "gone"), 1.0).step is Step.LOOK
    looking = replace(nameless, step=Step.LOOK).refused(Refused(status, "gone"), 1.0)
    assert looking.step is Step.FAILED
    assert "may have arrived" in looking.why


@pytest.mark.reaches("SEND_PATIENCE_S")
def test_a_file_is_given_up_when_nothing_moved_for_long() -> None:
    state = Sending(100, DOORS[0], 0.0)
    assert state.lost("cut", SEND_PATIENCE_S - 1).step is Step.CREATE
    assert state.lost("cut", SEND_PATIENCE_S).step is Step.FAILED


@pytest.mark.reaches("SEND_BEGINS_MAX")
def test_a_node_that_loses_every_upload_is_given_up() -> None:
    state = Sending(100, DOORS[0], 0.0, Patience(may_move=False))
    for number in range(SEND_BEGINS_MAX):
        assert state.step is Step.CREATE, number
        state = state.created(Created("u", "")).appended(50, 1.0)
        state = state.refused(Refused(404, "it is gone"), 1.0)
    assert (state.step, state.why) == (Step.FAILED, "it is gone")


@pytest.mark.parametrize("status", [400, 401, 403, 412, 413, 415])
def test_what_no_repetition_cures_is_not_repeated(status: int) -> None:
    state = Sending(100, DOORS[0], 0.0).refused(Refused(status, "no"), 1.0)
    assert (state.step, state.why) == (Step.FAILED, "no")


def test_an_answer_of_a_node_that_makes_no_sense_fails() -> None:
    state = Sending(100, DOORS[0], 0.0).created(Created("u", ""))
    assert state.appended(101, 1.0).step is Step.FAILED
    assert state.appended(0, 1.0).step is Step.LOOK
    assert state.found(Standing(101, 101), 1.0).step is Step.CREATE
    assert state.found(Standing(0, 99), 1.0).step is Step.CREATE
