"""Random histories of the whole system: a seed, so many steps, and then every promise is held."""

import errno
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from edge.workflow.destinations.base import Fault
from tests.support.whole import NAMES, PROCESSES, SIZES, SOUND, Mutation, Whole
from tests.support.whole_node import DELIVERIES

Step = Callable[[], Awaitable[None]]


CODES: Final = (errno.EIO, errno.ENOSPC)
EVERYDAY: Final = "everyday"

# A history that does a little of everything goes deep into nothing.  So each has its mood, which
# says how likely a step is; what a mood does not name is as likely as the rarest.
MOODS: Final[Mapping[str, Mapping[str, int]]] = {
    EVERYDAY: {"put": 14, "connect": 4, "append": 4, "kill": 4, "start": 8, "power": 3, "disk": 3}
    | {"power inside": 3, "thaw": 4, "mend": 4, "destination": 3, "mended": 4, "wait": 4},
    "coming back": {"put": 2, "begin": 6, "connect": 20, "append": 20, "finish": 1, "zombie": 10}
    | {"overtaken": 14, "killed": 16, "start": 4, "power": 12, "disk": 2},
    "out of touch": {"put": 24, "start": 16, "control": 12, "partition": 4, "mend": 6, "cut": 4}
    | {"power": 4, "workflow": 3, "revoke": 2, "cancel": 2, "retry": 2},
    "standing still": {"put": 16, "start": 6, "slow": 8, "freeze": 2, "thaw": 6, "wait": 12}
    | {"destination": 2, "mended": 2, "kill": 2, "retry": 2, "power": 2},
}


class History:
    """One seed, one mood, one history; ``trace`` is what happened, in order."""

    def __init__(self, seed: int, mood: str = EVERYDAY, mutation: Mutation = SOUND) -> None:
        self.mood = mood
        self.whole = Whole(seed, mutation)
        self.random = self.whole.random

    @property
    def trace(self) -> list[str]:
        """What happened, and what was answered."""
        return self.whole.model.trace

    async def run(self, steps: int) -> None:
        """Play *steps* steps, then heal everything and hold it to its promises."""
        async with self.whole.live():
            weighted = self._steps()
            for _ in range(MOODS[self.mood].get("begin", 0) // 2):
                await self._resume_begin()
            for _ in range(steps):
                (step,) = self.random.choices(
                    [step for step, _ in weighted], [weight for _, weight in weighted]
                )
                self.trace.append(step.__name__)
                await step()
                if self.random.random() < 0.5:  # as a supervisor does
                    self.whole.start_all()
                await self.whole.pass_time(self.random.choice((0, 0.1, 1, 5)))
            await self.whole.to_the_end()
            self.trace.append(self.whole.network.history_digest)

    def _steps(self) -> list[tuple[Step, int]]:
        """Return the steps with their weights, as the mood has them."""
        whole, control = self.whole, self.whole.control
        steps: dict[str, Step] = {
            "put": self._put,
            "begin": self._resume_begin,
            "connect": whole.resume_connect,
            "append": whole.resume_append,
            "killed": whole.resume_killed,
            "overtaken": whole.resume_overtaken,
            "finish": whole.resume_finish,
            "zombie": whole.zombie_acts,
            "kill": self._kill,
            "start": self._start,
            "power": whole.cut_power,
            "power inside": self._cut_power_inside,
            "disk": self._spoil_disk,
            "freeze": self._freeze,
            "slow": self._slow_down,
            "thaw": self._thaw,
            "control": whole.crash_control,
            "partition": self._partition,
            "mend": self._mend_network,
            "cut": self._cut,
            "destination": self._spoil_destination,
            "mended": self._mend_destinations,
            "workflow": self._change_workflow,
            "revoke": control.revoke,
            "cancel": control.cancel,
            "retry": control.retry,
            "wait": self._wait,
        }
        weights = MOODS[self.mood]
        return [(step, weights.get(name, 1)) for name, step in steps.items()]

    async def _put(self) -> None:
        self.whole.put(self.random.choice(SIZES), self.random.choice(NAMES))

    async def _resume_begin(self) -> None:
        await self.whole.resume_begin(self.random.choice(SIZES[3:]), self.random.choice(NAMES))

    async def _kill(self) -> None:
        await self.whole.kill(self.random.choice(PROCESSES))

    async def _start(self) -> None:
        self.whole.start_all()

    async def _cut_power_inside(self) -> None:
        self.whole.cut_power_inside(self.random.randint(1, 60))

    async def _spoil_disk(self) -> None:
        self.whole.spoil_disk(self.random.randint(1, 40), self.random.choice(CODES))

    async def _freeze(self) -> None:
        self.whole.freeze(self.random.choice(DELIVERIES))

    async def _slow_down(self) -> None:
        await self.whole.slow_down(self.random.choice(DELIVERIES))

    async def _thaw(self) -> None:
        self.whole.thaw()

    async def _partition(self) -> None:
        name = self.random.choice(PROCESSES)
        self.whole.partition(name, one_way=self.random.random() < 0.3)

    async def _mend_network(self) -> None:
        self.whole.mend_network()

    async def _cut(self) -> None:
        self.whole.cut(self.random.choice(PROCESSES))

    async def _spoil_destination(self) -> None:
        fault = self.random.choice((Fault.TEMPORARY, Fault.DESTINATION))
        self.whole.spoil_destination(self.random.choice((0, 1)), fault)

    async def _mend_destinations(self) -> None:
        self.whole.mend_destinations()

    async def _change_workflow(self) -> None:
        await self.whole.change_workflow(self.random.choice((0, 1, 2)))

    async def _wait(self) -> None:
        await self.whole.pass_time(self.random.choice((5, 16, 60)))
