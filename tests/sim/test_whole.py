"""The whole system, from a client's first byte to the ledger's last line, held to its promises.

Real ingest, delivery, link and control run on a simulated disk, network and clock; anything may
crash at any moment.  What must hold is in ``tests/support/whole_model.py`` and ``whole_end.py``:
no acknowledged byte lost, nothing partial delivered, one outcome, one delivery to each destination,
the ledger equal to the bytes, nothing sealed left, an audit record before each use of a key.
"""

import asyncio
import errno
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edge.workflow.destinations.base import Fault
from tests.support.sim import SimLoop, simulate
from tests.support.whole import NAMES, PROCESSES, SIZES, Whole
from tests.support.whole_history import EVERYDAY, MOODS, History
from tests.support.whole_node import DELIVERIES

STEPS = 40


@pytest.mark.timeout(120)
@pytest.mark.parametrize("mood", MOODS)
def test_a_random_history_of_everything_keeps_every_promise(mood: str, seed: int) -> None:
    simulate(History(seed, mood).run(STEPS))


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mood", MOODS)
@pytest.mark.parametrize("block", range(50))
def test_thousands_of_longer_histories_of_everything(mood: str, block: int) -> None:
    for seed in range(1_000 + 20 * block, 1_020 + 20 * block):
        simulate(History(seed, mood).run(2 * STEPS))


def test_what_an_owner_did_last_is_in_force_before_the_end_is_judged() -> None:
    async def run() -> None:
        whole = Whole(1)
        async with whole.live():
            whole.put(100, NAMES[0])
            await whole.control.revoke()
            await whole.to_the_end()

    simulate(run())


def test_the_same_seed_is_the_same_history_of_everything() -> None:
    def played() -> list[str]:
        history = History(2, EVERYDAY)
        simulate(history.run(STEPS))
        return history.trace

    first = played()
    assert len(first) > STEPS
    assert played() == first


WHICH = st.integers(0, 1)
SOME = st.integers(1, 60)


class AnyHistory(RuleBasedStateMachine):
    """The same rules, chosen and shrunk by hypothesis; the system lives on between them."""

    @initialize(seed=st.integers(0, 2**16))
    def begin(self, seed: int) -> None:
        self.runner = asyncio.Runner(loop_factory=SimLoop)
        self.whole = Whole(seed)
        self.is_over = asyncio.Event()
        self.runner.run(self._begun())

    async def _begun(self) -> None:
        self.is_up = asyncio.Event()
        self.stage = asyncio.get_running_loop().create_task(self._lived())
        await self.is_up.wait()

    async def _lived(self) -> None:
        async with self.whole.live():
            self.is_up.set()
            await self.is_over.wait()

    def do(self, step: Coroutine[Any, Any, None]) -> None:
        """Let *step* happen, and hold what must hold at every moment."""
        self.runner.run(step)
        self.runner.run(self.whole.pass_time(0.1))
        assert not self.stage.done()

    @rule(size=st.sampled_from(SIZES), name=st.sampled_from(NAMES))
    def put(self, size: int, name: str) -> None:
        async def step() -> None:
            self.whole.put(size, name)

        self.do(step())

    @rule(size=st.sampled_from(SIZES), name=st.sampled_from(NAMES))
    def resume_begin(self, size: int, name: str) -> None:
        self.do(self.whole.resume_begin(size, name))

    @precondition(lambda self: bool(self.whole.resumed))
    @rule(what=st.sampled_from(("connect", "append", "finish", "killed", "overtaken")))
    def resume(self, what: str) -> None:
        steps = {
            "connect": self.whole.resume_connect,
            "append": self.whole.resume_append,
            "finish": self.whole.resume_finish,
            "killed": self.whole.resume_killed,
            "overtaken": self.whole.resume_overtaken,
        }
        self.do(steps[what]())

    @precondition(lambda self: any(one.zombies for one in self.whole.resumed))
    @rule()
    def zombie_acts(self) -> None:
        self.do(self.whole.zombie_acts())

    @rule(seconds=st.sampled_from((1, 5, 20, 60)))
    def time_passes(self, seconds: int) -> None:
        self.do(self.whole.pass_time(seconds))

    @rule(name=st.sampled_from(PROCESSES))
    def crash_process(self, name: str) -> None:
        self.do(self.whole.kill(name))

    @rule()
    def crash_machine(self) -> None:
        self.do(self.whole.cut_power())

    @rule(count=SOME)
    def crash_machine_inside(self, count: int) -> None:
        self.whole.cut_power_inside(count)

    @rule()
    def crash_control(self) -> None:
        self.do(self.whole.crash_control())

    @rule()
    def start(self) -> None:
        async def step() -> None:
            self.whole.start_all()

        self.do(step())

    @rule(count=SOME, code=st.sampled_from((errno.EIO, errno.ENOSPC)))
    def spoil_disk(self, count: int, code: int) -> None:
        self.whole.spoil_disk(count, code)

    @rule(name=st.sampled_from(DELIVERIES))
    def freeze(self, name: str) -> None:
        self.whole.freeze(name)

    @rule(name=st.sampled_from(DELIVERIES))
    def slow_down(self, name: str) -> None:
        self.do(self.whole.slow_down(name))

    @rule()
    def thaw(self) -> None:
        self.whole.thaw()

    @rule(name=st.sampled_from(PROCESSES), one_way=st.booleans(), heals=st.booleans())
    def partition(self, name: str, one_way: bool, heals: bool) -> None:
        async def step() -> None:
            if heals:
                self.whole.mend_network()
            else:
                self.whole.partition(name, one_way=one_way)

        self.do(step())

    @rule(which=WHICH, fault=st.sampled_from((None, Fault.TEMPORARY, Fault.DESTINATION)))
    def spoil_destination(self, which: int, fault: Fault | None) -> None:
        if fault is None:
            self.whole.mend_destinations()
        else:
            self.whole.spoil_destination(which, fault)

    @rule(which=st.integers(0, 2))
    def change_workflow(self, which: int) -> None:
        self.do(self.whole.change_workflow(which))

    @rule(what=st.sampled_from(("revoke", "cancel", "retry")))
    def owner_asks(self, what: str) -> None:
        control = self.whole.control
        steps = {"revoke": control.revoke, "cancel": control.cancel, "retry": control.retry}
        self.do(steps[what]())

    @invariant()
    def nothing_is_broken(self) -> None:
        self.whole.model.check()

    def teardown(self) -> None:
        try:
            if not self.whole.model.broken:
                self.runner.run(self.whole.to_the_end())
            self.runner.run(self._ended())
        finally:
            self.runner.close()

    async def _ended(self) -> None:
        self.is_over.set()
        await self.stage


class LongHistory(AnyHistory):
    """More of it, and longer."""


AnyHistory.TestCase.settings = settings(
    max_examples=5,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
LongHistory.TestCase.settings = settings(
    max_examples=3_000,
    stateful_step_count=50,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
TestAnyHistory = pytest.mark.timeout(300)(AnyHistory.TestCase)
TestLongHistory = pytest.mark.soak(pytest.mark.timeout(0)(LongHistory.TestCase))
