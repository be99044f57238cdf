import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.region_state import MemoryRegion, Share
from edge.shares import Shares
from zentransfer.ids import AccountID
from zentransfer.limits import (
    SHARE_AGAIN_S,
    SHARE_KEPT_S,
    SHARE_PAUSE_S,
    SHARES_KEPT_MAX,
    SHARES_TOLD_MAX,
)

A, B = AccountID("ac_a"), AccountID("ac_b")


class Time:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_all_processes_count_and_one_s_own_word_says_nothing() -> None:
    shares = Shares("fr-1/ingest-0", Time())
    assert shares.of(A) == 0
    for process, count in (("fr-1/ingest-0", 9), ("fr-1/ingest-1", 2), ("fr-2/ingest-0", 3)):
        shares.heard(Share(process, A, count))
    assert (shares.of(A), shares.of(B)) == (5, 0)
    shares.heard(Share("fr-1/ingest-1", A, 1))
    assert shares.of(A) == 4
    shares.heard(Share("fr-2/ingest-0", A, 0))
    assert shares.of(A) == 1


@pytest.mark.reaches("SHARE_KEPT_S")
def test_a_word_that_nobody_repeats_counts_no_more() -> None:
    time = Time()
    shares = Shares("me", time)
    shares.heard(Share("other", A, 2))
    time.now_s = SHARE_KEPT_S - 0.1
    assert shares.of(A) == 2
    time.now_s = SHARE_KEPT_S
    assert shares.of(A) == 0
    shares.heard(Share("other", B, 1))
    assert (shares.of(A), shares.of(B)) == (0, 1)


@pytest.mark.reaches("SHARES_KEPT_MAX")
def test_no_more_words_are_kept_than_may_be() -> None:
    time = Time()
    shares = Shares("me", time)
    for number in range(SHARES_KEPT_MAX + 1):
        shares.heard(Share("other", AccountID(f"ac_{number}"), 1))
    assert shares.of(AccountID(f"ac_{SHARES_KEPT_MAX}")) == 0
    time.now_s = SHARE_KEPT_S
    shares.heard(Share("other", A, 1))
    assert shares.of(A) == 1, "there is room again"


@pytest.mark.reaches("SHARES_TOLD_MAX")
def test_those_with_the_most_uploads_are_told_first() -> None:
    shares = Shares("me", Time())
    own = {AccountID(f"ac_{number}"): number for number in range(SHARES_TOLD_MAX + 3)}
    told = shares.news(own)
    assert len(told) == SHARES_TOLD_MAX
    assert min(share.count for share in told) == 3
    assert [share.count for share in shares.news(own)] == [2, 1], "then the others"


def test_of_more_accounts_than_can_be_told_in_time_each_is_told_in_turn() -> None:
    time = Time()
    shares = Shares("me", time)
    rounds = int(SHARE_AGAIN_S / SHARE_PAUSE_S) + 2
    own = {AccountID(f"ac_{number}"): number + 1 for number in range(rounds * SHARES_TOLD_MAX)}
    for _ in range(2):
        told: set[AccountID] = set()
        for _ in range(rounds):
            time.now_s += SHARE_PAUSE_S
            told.update(share.account for share in shares.news(own))
        assert told == set(own)


@pytest.mark.reaches("SHARE_AGAIN_S")
@pytest.mark.reaches("SHARE_PAUSE_S")
def test_what_did_not_change_is_said_again_in_time() -> None:
    time = Time()
    shares = Shares("me", time)
    assert SHARE_PAUSE_S + SHARE_AGAIN_S < SHARE_KEPT_S
    assert len(shares.news({A: 1})) == 1
    time.now_s = SHARE_PAUSE_S
    assert shares.news({A: 1}) == []
    assert len(shares.news({A: 2})) == 1
    time.now_s += SHARE_AGAIN_S
    assert shares.news({A: 2}) == [Share("me", A, 2)]
    assert shares.news({}) == [Share("me", A, 0)]
    assert shares.news({}) == []


@given(st.lists(st.dictionaries(st.sampled_from([A, B]), st.integers(0, 3)), max_size=8))
def test_others_know_what_was_told(rounds: list[dict[AccountID, int]]) -> None:
    mine, theirs = Shares("me", Time()), Shares("other", Time())
    region = MemoryRegion()
    one, other = region.process(), region.process()
    other.listen(lambda told: theirs.heard(told) if isinstance(told, Share) else None)
    for own in rounds:
        for share in mine.news(own):
            one.tell(share)
        assert {A: theirs.of(A), B: theirs.of(B)} == {A: own.get(A, 0), B: own.get(B, 0)}
