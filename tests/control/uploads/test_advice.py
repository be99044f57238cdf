import pytest

from control.uploads.advice import advice
from control.uploads.model import DeliveryState
from tests.control.builders import account, delivery_change, outcome
from zentransfer.errors import Code

UPLOAD = outcome(account())


@pytest.mark.parametrize("code", Code)
@pytest.mark.parametrize(
    "state", [DeliveryState.WAIT, DeliveryState.PARKED, DeliveryState.FAILED], ids=str
)
def test_whatever_keeps_a_delivery_back_is_said_in_words(state: DeliveryState, code: Code) -> None:
    said = advice(delivery_change(UPLOAD, state, error=code))
    assert len(said) > 10
    assert said[0].islower() or said[0].isupper()


def test_a_parked_delivery_is_told_the_cure_and_to_retry() -> None:
    missing = delivery_change(UPLOAD, DeliveryState.PARKED, error=Code.NOT_FOUND)
    assert "make it, then retry the delivery" in advice(missing)
    unasked = delivery_change(UPLOAD, DeliveryState.PARKED, error=Code.UNAVAILABLE)
    assert advice(unasked).endswith("then retry the delivery")


@pytest.mark.parametrize(
    "state", [DeliveryState.DELIVERED, DeliveryState.CANCELLED, DeliveryState.RUN], ids=str
)
def test_what_runs_or_ended_needs_no_advice(state: DeliveryState) -> None:
    assert advice(delivery_change(UPLOAD, state, error="timeout")) == ""
    assert advice(delivery_change(UPLOAD, DeliveryState.WAIT)) == ""
