from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.send.backoff import pause_s
from zentransfer.limits import SEND_RETRY_AFTER_MAX_S, SEND_RETRY_FIRST_S, SEND_RETRY_MAX_S


@given(st.integers(1, 10_000), st.floats(allow_nan=False), st.integers())
def test_every_pause_is_bounded(tries: int, retry_after_s: float, seed: int) -> None:
    pause = pause_s(tries, Random(seed), retry_after_s)
    assert 0 <= pause <= SEND_RETRY_AFTER_MAX_S + SEND_RETRY_MAX_S
    assert pause >= min(retry_after_s, SEND_RETRY_AFTER_MAX_S)


@pytest.mark.reaches("SEND_RETRY_FIRST_S")
def test_the_first_pause_is_short() -> None:
    pauses = [pause_s(1, Random(seed)) for seed in range(200)]
    assert 0.9 * SEND_RETRY_FIRST_S < max(pauses) <= SEND_RETRY_FIRST_S
    assert min(pauses) < 0.1 * SEND_RETRY_FIRST_S, "full jitter"


@pytest.mark.reaches("SEND_RETRY_MAX_S")
def test_pauses_grow_to_their_bound() -> None:
    pauses = [pause_s(100, Random(seed)) for seed in range(200)]
    assert 0.9 * SEND_RETRY_MAX_S < max(pauses) <= SEND_RETRY_MAX_S


@pytest.mark.reaches("SEND_RETRY_AFTER_MAX_S")
def test_a_node_cannot_send_us_away_for_ever() -> None:
    pause = pause_s(1, Random(1), 1e9)
    assert SEND_RETRY_AFTER_MAX_S <= pause <= SEND_RETRY_AFTER_MAX_S + SEND_RETRY_FIRST_S
