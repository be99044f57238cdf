"""The run as a state machine: random transitions by several processes, and what always holds."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edge.facts import DeletionReason, DeliveryState
from edge.workflow.run import (
    ENDED,
    Delivery,
    Gone,
    Holder,
    LeaseLost,
    NotDue,
    Run,
    RunState,
)
from tests.support.delivery_site import ACCOUNT, WORKFLOW, destination_id
from zentransfer.errors import Code
from zentransfer.ids import DeliveryID, RunID, UploadID

UPLOAD = UploadID("up_" + "a" * 26)
LEASE_MS = 15_000
KEEP_MS = 1_000_000
HOLDERS = [
    Holder("fr-1/delivery-0", "ep_1"),
    Holder("fr-1/delivery-0", "ep_2"),
    Holder("x", "ep_3"),
]
RANK = {RunState.OPEN: 0, RunState.ERASABLE: 1, RunState.ERASED: 2}


def new_run(count: int) -> Run:
    deliveries = tuple(Delivery(DeliveryID(f"de_{n}"), destination_id(n)) for n in range(count))
    return Run(
        id=RunID("ru_x"),
        upload=UPLOAD,
        account=ACCOUNT,
        workflow=WORKFLOW,
        workflow_version=1,
        size_bytes=10,
        created_ms=0,
        keep_until_ms=KEEP_MS,
        deliveries=deliveries,
    )


ONE = DeliveryID("de_0")
ME, OTHER = HOLDERS[0], HOLDERS[2]


def begun(now_ms: int = 0) -> Run:
    return new_run(1).claimed(ONE, ME, now_ms, LEASE_MS)


def test_an_attempt_has_a_fence_a_lease_and_counts() -> None:
    held = begun(7).delivery(ONE)
    assert (held.state, held.attempt, held.fence) == (DeliveryState.RUN, 1, 1)
    assert held.lease.until_ms == 7 + LEASE_MS
    with pytest.raises(NotDue):
        begun().claimed(ONE, OTHER, LEASE_MS - 1, LEASE_MS)
    assert begun().claimed(ONE, OTHER, LEASE_MS, LEASE_MS).delivery(ONE).fence == 2


def test_a_process_that_was_started_again_takes_its_own_lease_back_at_once() -> None:
    assert begun().claimed(ONE, HOLDERS[1], 1, LEASE_MS).delivery(ONE).fence == 2
    assert begun().next_ms(HOLDERS[1], 1) == 0
    assert begun().next_ms(ME, 1) == begun().next_ms(OTHER, 1) == LEASE_MS
    with pytest.raises(NotDue):
        begun().claimed(ONE, ME, 1, LEASE_MS)


def test_nothing_counts_under_a_lease_that_was_lost() -> None:
    lost = begun().claimed(ONE, OTHER, LEASE_MS, LEASE_MS)
    acts: list[Callable[[], Run]] = [
        lambda: lost.renewed(ONE, 1, 0, LEASE_MS),
        lambda: lost.delivered(ONE, 1, 0, "1"),
        lambda: lost.postponed(ONE, 1, 0, Code.TIMEOUT, 9),
        lambda: lost.failed(ONE, 1, 0, Code.INVALID),
        lambda: lost.parked(ONE, 1, 0, Code.NOT_FOUND),
        lambda: lost.released(ONE, 1, 0),
    ]
    for act in acts:
        with pytest.raises(LeaseLost):
            act()


def test_a_delivered_run_is_erasable_erased_and_stays_so() -> None:
    run = begun().delivered(ONE, 1, 9, "2")
    assert (run.state, run.reason, run.pending) == (RunState.ERASABLE, DeletionReason.DELIVERED, 0)
    assert run.delivery(ONE).size_bytes == 10
    run = run.erasing(ME, 9, LEASE_MS)
    with pytest.raises(NotDue):
        run.erasing(OTHER, 10, LEASE_MS)
    gone = run.erased(1, Gone(11, 12))
    assert gone.state is RunState.ERASED
    again = gone.erasing(OTHER, LEASE_MS + 9, LEASE_MS)
    assert again.erased(2, Gone(99, 99)).gone == Gone(11, 12)
    with pytest.raises(LeaseLost):
        again.erased(1, Gone(99, 99))


def test_a_failed_delivery_keeps_the_content_and_can_be_tried_again() -> None:
    failed = begun().failed(ONE, 1, 5, Code.INVALID)
    assert (failed.state, failed.pending) == (RunState.OPEN, 0)
    assert failed.next_ms(ME, 6) == KEEP_MS
    tried = failed.retried(ONE, 6).claimed(ONE, ME, 6, LEASE_MS)
    assert tried.delivered(ONE, 2, 7, "").state is RunState.ERASABLE


def test_a_parked_delivery_waits_for_its_destination_and_for_no_time() -> None:
    parked = begun().parked(ONE, 1, 5, Code.NOT_FOUND)
    assert parked.next_ms(ME, 6) == KEEP_MS
    assert parked.delivery(ONE).is_claimable(ME, 5)
    unasked = new_run(1).parked(ONE, 0, 5, Code.UNAVAILABLE)
    assert unasked.delivery(ONE).state is DeliveryState.PARKED


def test_a_released_attempt_does_not_count() -> None:
    held = begun().released(ONE, 1, 4).delivery(ONE)
    assert (held.state, held.attempt, held.fence, held.due_ms) == (DeliveryState.WAIT, 0, 1, 4)


def test_what_its_owner_stops_is_over_for_an_attempt_under_way() -> None:
    run = new_run(2).claimed(ONE, ME, 0, LEASE_MS)
    stopped = run.stopped(DeletionReason.CANCELLED, 3)
    assert stopped.state is RunState.ERASABLE
    assert {d.state for d in stopped.deliveries} == {DeliveryState.CANCELLED}
    assert stopped.undelivered == (destination_id(0), destination_id(1))
    with pytest.raises(LeaseLost):
        stopped.delivered(ONE, 1, 4, "")
    assert stopped.stopped(DeletionReason.EXPIRED, 9) is stopped


def test_policy_ends_a_run_but_waits_for_an_attempt() -> None:
    other = DeliveryID("de_1")
    run = new_run(2).claimed(other, ME, 0, LEASE_MS).failed(other, 1, 1, Code.INVALID)
    run = run.claimed(ONE, ME, KEEP_MS - 1, LEASE_MS)
    assert run.expired(OTHER, KEEP_MS) is run
    ended = run.expired(OTHER, KEEP_MS + LEASE_MS)
    assert (ended.state, ended.reason) == (RunState.ERASABLE, DeletionReason.EXPIRED)
    assert [d.error for d in ended.deliveries] == [Code.TIMEOUT, Code.INVALID]
    assert {d.state for d in ended.deliveries} == {DeliveryState.FAILED}
    assert begun().expired(ME, KEEP_MS - 1).state is RunState.OPEN


def test_policy_ends_nothing_that_was_never_tried() -> None:
    run = new_run(1)
    assert run.expired(ME, 2 * KEEP_MS) is run
    tried = run.claimed(ONE, ME, 2 * KEEP_MS, LEASE_MS)
    late = tried.postponed(ONE, 1, 2 * KEEP_MS, Code.UNAVAILABLE, 3 * KEEP_MS)
    assert late.expired(ME, 2 * KEEP_MS).state is RunState.ERASABLE
    given_back = tried.released(ONE, 1, 2 * KEEP_MS)
    assert given_back.expired(ME, 2 * KEEP_MS) is given_back


def test_a_clock_that_goes_back_makes_nothing_wait_for_the_time_it_had() -> None:
    now_ms = 900_000
    waiting = begun(now_ms).postponed(ONE, 1, now_ms, Code.UNAVAILABLE, now_ms + 5_000)
    assert not waiting.delivery(ONE).is_claimable(ME, now_ms + 4_999)
    assert waiting.next_ms(ME, now_ms) == now_ms + 5_000
    earlier_ms = now_ms - 600_000
    assert waiting.next_ms(ME, earlier_ms) == earlier_ms
    again = waiting.claimed(ONE, ME, earlier_ms, LEASE_MS)
    later = again.postponed(ONE, 2, earlier_ms, Code.UNAVAILABLE, earlier_ms + 5_000)
    assert not later.delivery(ONE).is_claimable(ME, earlier_ms + 4_999)


def test_what_was_told_is_never_untold() -> None:
    run = begun()
    assert run.delivery(ONE).has_news
    told = run.told(ONE, 1)
    assert not told.delivery(ONE).has_news
    assert told.told(ONE, 0) == told
    assert told.told(ONE, 99) == told


@given(st.integers(0, 3))
def test_an_empty_run_settles_only_if_somebody_chose_so(count: int) -> None:
    run = new_run(count)
    assert (run.settled().state is RunState.ERASABLE) == (count == 0)
    assert replace(run, is_kept=True).settled().state is RunState.OPEN


class Runs(RuleBasedStateMachine):
    """Several processes at one run; each remembers the fences it was given."""

    @initialize(count=st.integers(1, 3))
    def begin(self, count: int) -> None:
        self.run = new_run(count)
        self.before = self.run
        self.now_ms = 0
        self.given: set[tuple[DeliveryID, int]] = set()
        self.ended: dict[DeliveryID, DeliveryState] = {}
        self.erasures: set[int] = set()

    def change(self, to: Run) -> None:
        self.before, self.run = self.run, to

    @rule(ms=st.sampled_from([1, 5_000, LEASE_MS, 100_000]))
    def wait(self, ms: int) -> None:
        self.now_ms += ms

    @rule(n=st.integers(0, 2), who=st.sampled_from(HOLDERS))
    def claim(self, n: int, who: Holder) -> None:
        which = self.run.deliveries[n % len(self.run.deliveries)].id
        try:
            to = self.run.claimed(which, who, self.now_ms, LEASE_MS)
        except NotDue:
            return
        fence = to.delivery(which).fence
        assert (which, fence) not in self.given, "a fence was given twice"
        self.given.add((which, fence))
        self.change(to)

    @rule(
        data=st.data(),
        act=st.sampled_from(["renew", "deliver", "postpone", "fail", "park", "release"]),
    )
    def finish(self, data: st.DataObject, act: str) -> None:
        if not self.given:
            return
        which, fence = data.draw(st.sampled_from(sorted(self.given)))
        now = self.now_ms
        acts = {
            "renew": lambda: self.run.renewed(which, fence, now, LEASE_MS),
            "deliver": lambda: self.run.delivered(which, fence, now, "1"),
            "postpone": lambda: self.run.postponed(which, fence, now, Code.TIMEOUT, now + 5),
            "fail": lambda: self.run.failed(which, fence, now, Code.INVALID),
            "park": lambda: self.run.parked(which, fence, now, Code.NOT_FOUND),
            "release": lambda: self.run.released(which, fence, now),
        }
        newest = self.run.delivery(which).fence == fence
        try:
            to = acts[act]()
        except LeaseLost:
            return
        assert newest, "an attempt that lost its lease changed something"
        self.change(to)

    @rule(n=st.integers(0, 2))
    def retry(self, n: int) -> None:
        which = self.run.deliveries[n % len(self.run.deliveries)].id
        try:
            to = self.run.retried(which, self.now_ms)
        except NotDue:
            return
        self.ended.pop(which, None)
        self.change(to)

    @rule(who=st.sampled_from(HOLDERS))
    def expire(self, who: Holder) -> None:
        self.change(self.run.expired(who, self.now_ms))

    @rule(reason=st.sampled_from([DeletionReason.CANCELLED, DeletionReason.ERASED]))
    def stop(self, reason: DeletionReason) -> None:
        self.change(self.run.stopped(reason, self.now_ms))

    @rule(who=st.sampled_from(HOLDERS))
    def erase(self, who: Holder) -> None:
        try:
            to = self.run.erasing(who, self.now_ms, LEASE_MS)
        except NotDue:
            return
        assert to.fence not in self.erasures
        self.erasures.add(to.fence)
        self.change(to)

    @rule(data=st.data())
    def erased(self, data: st.DataObject) -> None:
        if not self.erasures:
            return
        fence = data.draw(st.sampled_from(sorted(self.erasures)))
        try:
            self.change(self.run.erased(fence, Gone(self.now_ms, self.now_ms)))
        except LeaseLost:
            return

    @invariant()
    def nothing_goes_back(self) -> None:
        if not hasattr(self, "run"):
            return
        run, before = self.run, self.before
        assert 0 <= run.pending <= len(run.deliveries)
        assert RANK[run.state] >= RANK[before.state]
        assert run.fence >= before.fence
        assert before.gone in (None, run.gone), "a receipt changed"
        for old, new in zip(before.deliveries, run.deliveries, strict=True):
            assert new.fence >= old.fence
            assert new.changes >= old.changes
            if new.state in ENDED:
                assert self.ended.setdefault(new.id, new.state) is new.state, "two ends"
        if run.state is not RunState.OPEN:
            assert run.reason is not None
            assert run.pending == 0


Runs.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestRuns = Runs.TestCase
