from collections.abc import Callable

import pytest

from edge.record import State, UploadRecord
from edge.sinks.log_parts import Rules
from edge.sinks.objects import ObjectSink
from tests.support.object_history import ObjectHistory
from tests.support.sim import simulate
from tests.support.sink_model import Violation

SEEDS = 80
STEPS = 40


@pytest.mark.parametrize("part", range(5))
def test_random_histories_keep_every_promise(part: int) -> None:
    for seed in range(part, SEEDS, 5):
        try:
            simulate(ObjectHistory(seed).run(STEPS))
        except Violation as violation:
            raise AssertionError(f"seed {seed}: {violation}") from violation


def noticed(sink: type[ObjectSink]) -> bool:
    """Say whether some history goes wrong with a *sink* that leaves a step out."""
    for seed in range(SEEDS):
        try:
            simulate(ObjectHistory(seed, sink).run(STEPS))
        except Exception:  # noqa: BLE001 - whatever goes wrong is what is looked for
            return True
    return False


class NoFenceBeforeReply(Rules):
    def may_reply(self, record: UploadRecord, fence: int) -> bool:
        return record.state is State.RECEIVING


class NoFenceBeforeCommit(Rules):
    def may_commit(self, record: UploadRecord, fence: int) -> bool:
        return record.state is State.RECEIVING


@pytest.mark.parametrize("rules", [NoFenceBeforeReply, NoFenceBeforeCommit])
def test_the_histories_notice_a_step_that_is_left_out(rules: Callable[[], Rules]) -> None:
    class Careless(ObjectSink):
        """A sink without that step."""

    Careless.rules = rules()
    assert noticed(Careless)
