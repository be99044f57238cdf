from itertools import permutations

import pytest

from control.uploads.model import (
    Delivery,
    DeliveryState,
    OutcomeState,
    Upload,
    UploadState,
)
from tests.control.builders import FR_1, NOW_MS, account, delivery_change, outcome, receipt

ONE = outcome(account())
WAIT, RUN, PARKED = DeliveryState.WAIT, DeliveryState.RUN, DeliveryState.PARKED
DELIVERED, CANCELLED, FAILED = (
    DeliveryState.DELIVERED,
    DeliveryState.CANCELLED,
    DeliveryState.FAILED,
)


def upload(*states: DeliveryState, fate: OutcomeState = OutcomeState.COMMITTED) -> Upload:
    deliveries = tuple(Delivery(delivery_change(ONE, state), FR_1, NOW_MS) for state in states)
    return Upload(outcome(account(), state=fate), FR_1, deliveries, None)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ((), UploadState.COMMITTED),
        ((WAIT,), UploadState.DELIVERING),
        ((RUN, DELIVERED), UploadState.DELIVERING),
        ((PARKED, FAILED), UploadState.DELIVERING),
        ((DELIVERED, DELIVERED), UploadState.DELIVERED),
        ((DELIVERED, CANCELLED), UploadState.DELIVERED),
        ((DELIVERED, FAILED, CANCELLED), UploadState.FAILED),
        ((CANCELLED, CANCELLED), UploadState.CANCELLED),
    ],
)
def test_a_committed_upload_is_as_far_as_its_deliveries(
    states: tuple[DeliveryState, ...], expected: UploadState
) -> None:
    assert {upload(*order).state for order in permutations(states)} == {expected}


@pytest.mark.parametrize(
    ("fate", "expected"),
    [
        (OutcomeState.CANCELLED, UploadState.CANCELLED),
        (OutcomeState.EXPIRED, UploadState.FAILED),
        (OutcomeState.FAILED, UploadState.FAILED),
    ],
)
def test_an_upload_that_did_not_commit_is_what_became_of_it(
    fate: OutcomeState, expected: UploadState
) -> None:
    assert upload(fate=fate).state is expected


@pytest.mark.parametrize("fate", OutcomeState)
def test_destroyed_is_the_end_of_every_path(fate: OutcomeState) -> None:
    one = outcome(account(), state=fate)
    assert Upload(one, FR_1, (), receipt(one)).state is UploadState.DESTROYED


def test_the_higher_fence_then_the_attempt_then_the_time_decides() -> None:
    def at(fence: int, attempt: int, ms: int) -> tuple[Delivery, tuple[int, int, int]]:
        change = delivery_change(ONE, RUN, fence=fence, attempt=attempt)
        return Delivery(change, FR_1, ms), (fence, attempt, ms)

    places = [at(*place) for place in ((1, 1, 9), (1, 2, 5), (2, 1, 3), (2, 1, 4))]
    for (held, mine), (other, theirs) in permutations(places, 2):
        assert held.is_before(other.change, other.changed_ms) == (mine <= theirs)


@pytest.mark.parametrize("end", [DELIVERED, CANCELLED])
def test_nothing_comes_after_the_end_of_a_delivery(end: DeliveryState) -> None:
    ended = Delivery(delivery_change(ONE, end), FR_1, NOW_MS)
    for state in DeliveryState:
        assert not ended.is_before(delivery_change(ONE, state, fence=9), NOW_MS + 9)
    running = Delivery(delivery_change(ONE, RUN, fence=9), FR_1, NOW_MS)
    assert running.is_before(delivery_change(ONE, end, fence=1), 0)


def test_a_failed_delivery_may_be_tried_again() -> None:
    failed = Delivery(delivery_change(ONE, FAILED), FR_1, NOW_MS)
    assert failed.is_before(delivery_change(ONE, WAIT), NOW_MS + 1)
    assert not failed.is_before(delivery_change(ONE, RUN), NOW_MS - 1)
