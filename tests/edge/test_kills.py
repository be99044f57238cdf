"""Kill -9 in the n-th system call of each program, while all three work; then it goes on."""

import sys
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.support.real_proof import Sent, prove, prove_nothing_partial, settle
from tests.support.real_system import System, made
from tests.support.strace import DURABLE, FLUSHES, killed
from tests.support.waiting import until

pytestmark = [pytest.mark.peer]

WRONG = ("-H", f"Repr-Digest: sha-256=:{'A' * 43}=:")
# In delivery's own threads, as the flushes are: a part gets its name or is removed.
NAMES = "linkat,unlinkat,renameat,renameat2"
# Ingest tells delivery, and control, by sockets: between "durable" and "said" it is killed too.
SAYING = f"{DURABLE},sendto"


class Rig:
    """The whole system, with one of its programs killed again and again."""

    def __init__(self, folder: Path, program: str) -> None:
        self.system = System(folder)
        self.program = program
        self.sent = Sent()
        self.content = {
            "small": made(folder, "small", 50_000),
            "listed": made(folder, "listed", 9_000_000),  # past where a segment gets its name
        }
        self.recovered_s: list[float] = []
        self._number = 0
        self.system.start_all()
        self.token = self.system.token

    def lap(self) -> None:
        """Send one file of each kind, and see them end: by then the program may be dead."""
        system = self.system
        self._number += 1
        for kind, path in self.content.items():
            self.sent.add(system, f"{kind}-{self._number}", path, self.token)
        refused = system.put(f"wrong-{self._number}", self.content["small"], self.token, *WRONG)
        assert refused.status in (460, 100, 0)  # killed before it said anything, or all of it
        until(lambda: system.has_ended(self.program) or self._is_quiet(), "killed, or quiet", 90)
        prove_nothing_partial(system, self.sent)

    def killed_at(self, at: int, calls: str, *, laps: int) -> bool:
        """Run the program, killed in its call number *at*; False if it outlived all *laps*."""
        system, program = self.system, self.program
        system.end(program)
        system.launch(program, *killed(at, calls))
        until(lambda: system.has_ended(program) or system.is_up(program), f"{program} runs", 90)
        for _ in range(laps):
            if not system.has_ended(program):
                self.lap()
        is_killed = system.has_ended(program)
        system.end(program)
        return is_killed

    def recover(self) -> None:
        """Start the program again, and let every sender who got no answer send again."""
        self.recovered_s.append(self.system.start(self.program))
        if self.program == "control":  # the pauses between the node's dials have grown: up to 60 s
            for name in ("ingest", "delivery"):
                self.system.end(name)
                self.system.start(name)
        until(self.system.is_serving, "ingest serves", 90)
        for name in filter(self.sent.lacks, list(self.sent.digests)):
            path = self.content[name.split("-")[0]]
            assert self.sent.add(self.system, name, path, self.token) == 201

    def _is_quiet(self) -> bool:
        try:
            settle(self.system, 0)
            told = {one["id"] for one in self.system.uploads()}
        except (AssertionError, OSError, HTTPException):  # also when control is the one killed
            return False
        return told >= self.sent.acknowledged.keys()


@pytest.fixture
def rig(tmp_path: Path, program: str) -> Iterator[Rig]:
    rig = Rig(tmp_path, program)
    yield rig
    rig.system.close()


# Spread over the start, the sweep of what was left, and a lap of work; control's are mostly its
# database's.
SAMPLE = {
    "ingest": [(17, SAYING), (37, SAYING), (6, FLUSHES)],
    "delivery": [(30, DURABLE), (9, FLUSHES), (1, NAMES)],
    "control": [(40, DURABLE), (6, FLUSHES)],
}
LAPS = 8  # each makes calls, so that every number is reached


@pytest.mark.timeout(400)
@pytest.mark.parametrize("program", SAMPLE)
def test_kill_9_costs_time_and_nothing_else(rig: Rig, program: str) -> None:
    for at, calls in SAMPLE[program]:
        assert rig.killed_at(at, calls, laps=LAPS), f"{program} has no call {at} of {calls}"
        rig.recover()
    prove(rig.system, rig.sent)
    sys.stdout.write(f"{program} served again after {max(rig.recovered_s):.2f} s at most\n")


SERIES = [
    ("ingest", SAYING),
    ("ingest", FLUSHES),
    ("delivery", DURABLE),
    ("delivery", FLUSHES),
    ("delivery", NAMES),
    ("control", DURABLE),
    ("control", FLUSHES),
]


@pytest.mark.soak
@pytest.mark.timeout(14_400)
@pytest.mark.parametrize("step", [7, 1], ids=["every 7th", "every one"])
@pytest.mark.parametrize(("program", "calls"), SERIES)
def test_kill_9_in_each_call_of_a_start_and_a_lap(
    rig: Rig, program: str, calls: str, step: int
) -> None:
    """Call by call, until the program outlives a whole lap."""
    kills = 0
    while rig.killed_at(1 + kills * step, calls, laps=1):
        rig.recover()
        prove(rig.system, rig.sent)
        kills += 1
    slowest_s = max(rig.recovered_s)
    sys.stdout.write(f"{program}: {kills} kills, served again after {slowest_s:.2f} s at most\n")
