"""The whole system under one seed: clients, a node, control, destinations, and all that may happen.

Each rule is one thing that happens.  The real code runs on a simulated disk, network and clock;
the model beside it holds what was promised, and at the end everything must have come true.
"""

import asyncio
import errno
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from edge.workflow.destinations.base import Fault
from tests.support.fleet import CONTROL
from tests.support.meeting import FETCH, MakeIntake, sound_intake
from tests.support.whole_client import Put, Resumed, put
from tests.support.whole_control import Control
from tests.support.whole_end import Ending
from tests.support.whole_model import Model, Violation
from tests.support.whole_node import DELIVERIES, INGESTS, NODE, Node, Seams
from tests.support.whole_places import Places
from zentransfer.errors import Code
from zentransfer.machine import Crashed
from zentransfer.network import Faults, MemoryNetwork

WORLD = Faults(delay_min_s=0.005, delay_max_s=0.3)
SIZES = (0, 1, 500, 8_190, 30_000, 300_000)
NAMES = ("IMG_1.JPG", "IMG_2.JPG", "IMG_3.JPG")
PROCESSES = (*INGESTS, *DELIVERIES)


@dataclass(frozen=True)
class Mutation:
    """One step left out or turned round; the default is production."""

    seams: Seams = field(default_factory=Seams)
    make_intake: MakeIntake = sound_intake


SOUND = Mutation()


class Whole:
    """One history; made by :meth:`live`, and over at the end of its block."""

    tasks: asyncio.TaskGroup
    node: Node
    control: Control
    places: Places

    def __init__(self, seed: int, mutation: Mutation = SOUND) -> None:
        self.random = Random(seed)
        self.model = Model()
        self.network = MemoryNetwork(Random(self.random.getrandbits(64)), WORLD)
        self.resumed: list[Resumed] = []
        self._mutation = mutation

    @asynccontextmanager
    async def live(self) -> AsyncIterator["Whole"]:
        """Let the history last until the end of the block."""
        # Debug mode keeps a traceback of every timer: five times the time for a simulated hour.
        asyncio.get_running_loop().set_debug(False)
        async with self.network, asyncio.TaskGroup() as self.tasks:
            await self._set_up()
            try:
                yield self
            finally:
                for name in list(self.node.lives):
                    await self.node.kill(name)
                await self.control.crash()
                self.places.close()

    async def _set_up(self) -> None:
        mutation = self._mutation
        self.places = Places(self.random, self.model, self.tasks)
        self.control = Control(self.random, self.model, self.network, mutation.make_intake)
        await self.control.set_up()
        self.node = Node(
            self.random,
            self.model,
            self.network,
            self.places,
            self.tasks,
            self.control.pepper,
            mutation.seams,
        )
        await self.node.set_up()
        self.start_all()
        await self.pass_time(20)

    # --- time

    async def pass_time(self, seconds: float) -> None:
        """Let time pass; what happened in it is looked at."""
        await asyncio.sleep(seconds)
        await self._look()

    async def _look(self) -> None:
        """Turn off a machine whose power went, and hold what must hold at every moment."""
        if self.node.disk._machine.crashed:
            await self.cut_power()
        self.model.check()

    # --- clients

    def put(self, size: int, name: str, how: Callable[[bytes], Put] | None = None) -> None:
        """A client puts a file at some ingest process that serves; it goes on by itself."""
        lives = self.node.ingests()
        sent = self.model.begin(self.random.randbytes(size), name)
        if not lives:
            sent.reply = Code.UNAVAILABLE
            return
        shown = self.random.choice(list(self.control.shown.values()))
        chosen = how(sent.content) if how else Put.drawn(shown, sent.content, self.random)
        life = self.random.choice(lives)
        life.tasks.create_task(put(life, self.model, sent, chosen))

    async def resume_begin(self, size: int, name: str) -> None:
        """A client begins a file that it will send in pieces."""
        sent = self.model.begin(self.random.randbytes(size), name)
        one = Resumed(self.model, sent, self.random)
        self.resumed.append(one)
        await self._connected(one)

    async def resume_connect(self) -> None:
        """A client connects anew, at whichever process."""
        if one := self._maybe_resumed():
            await self._connected(one)

    async def resume_append(self) -> None:
        """A client sends a piece, and perhaps waits for an offset."""
        if one := self._maybe_resumed(lambda one: one.active is not None):
            await self._safely(one.append(flushes=self.random.random() < 0.6))

    async def resume_killed(self) -> None:
        """A process dies before a client's piece is durable; the client goes on at another."""
        if one := self._maybe_resumed(lambda one: one.active is not None):
            assert one.active is not None
            life = one.active.life
            await self._safely(one.append(flushes=True))
            await self._safely(one.append(flushes=False))
            await self.kill(life.name)
            self.start_all()
            await self.pass_time(1)
            await self._connected(one)

    async def resume_overtaken(self) -> None:
        """A client connects anew while its older connection is still at work."""
        if one := self._maybe_resumed(lambda one: one.active is not None):
            await self._safely(one.append(flushes=True))
            await self._connected(one)
            await self._safely(one.append(flushes=True))
            await self._safely(one.zombie_acts())

    async def resume_finish(self) -> None:
        """A client sends the rest."""
        if one := self._maybe_resumed(lambda one: one.active is not None):
            await self._safely(one.finish())

    async def zombie_acts(self) -> None:
        """A connection that was left wakes up."""
        if one := self._maybe_resumed(lambda one: bool(one.zombies)):
            await self._safely(one.zombie_acts())

    def _maybe_resumed(self, fits: Callable[[Resumed], bool] = bool) -> Resumed | None:
        alive = [one for one in self.resumed if not one.is_over and fits(one)]
        return self.random.choice(alive) if alive else None

    async def _connected(self, one: Resumed) -> None:
        lives = self.node.ingests()
        if lives:
            await self._safely(one.attach(self.random.choice(lives)))

    async def _safely(self, step: Coroutine[Any, Any, None]) -> None:
        try:
            await step
        except Crashed:
            await self.cut_power()

    # --- faults of the node

    async def kill(self, name: str) -> None:
        """End one process as kill -9 does."""
        await self.node.kill(name)

    def start_all(self) -> None:
        """Start whatever does not run, as a supervisor does."""
        self.control.start(self.tasks)
        self.node.start_all()

    async def cut_power(self) -> None:
        """Cut the node's power: all its processes end, what was not flushed is lost."""
        await self.node.cut_power()

    def cut_power_inside(self, count: int) -> None:
        """Let the power go in the middle of the *count*-th operation from now."""
        self.node.disk.crash_at(count)

    def spoil_disk(self, count: int, code: int) -> None:
        """Let one of the next operations fail: a flush for EIO, what comes for ENOSPC."""
        if code == errno.EIO:
            self.node.disk.fail_flush(count)
        else:
            self.node.disk.fail_at(count, code)

    async def slow_down(self, name: str) -> None:
        """Start a delivery process anew, so busy that it never renews a lease in time."""
        self.places.tail_s = 40
        self.node.slow = {name}
        await self.kill(name)
        self.start_all()

    def freeze(self, name: str) -> None:
        """Let a delivery process stand still at its disk, so that it loses its leases."""
        life = self.node.lives.get(name)
        self.places.tail_s = self.random.choice((0, 30))
        if life is not None and name in DELIVERIES:
            life.disk.freeze()

    def thaw(self) -> None:
        """Let every process go on."""
        for life in self.node.lives.values():
            life.disk.thaw()

    # --- control and the network

    async def crash_control(self) -> None:
        """Kill control; then nobody may have been told of a commit that is not there (law 2)."""
        await self.control.crash()
        await self.check_acks()

    async def check_acks(self) -> None:
        """Hold that what an outbox takes for heard is committed; control is down."""
        for life in [*self.node.ingests(), *self.node.deliveries()]:
            heard = life.outbox.durable - life.outbox.lag
            async with self.control.books.database.read() as uow:
                cursor = await uow.facts.cursor(NODE, life.outbox.epoch, life.name)
            self.model.hold(heard <= cursor.sequence, "acked before it was committed")

    def partition(self, name: str, *, one_way: bool = False) -> None:
        """Let nothing pass between a process and control."""
        for far in (CONTROL, FETCH):
            self.network.partition(f"fr-1/{name}", far, one_way=one_way)

    def mend_network(self) -> None:
        """Let everything pass again."""
        for name in PROCESSES:
            for far in (CONTROL, FETCH):
                self.network.heal(f"fr-1/{name}", far)

    def cut(self, name: str) -> None:
        """Break a process's streams."""
        for far in (CONTROL, FETCH):
            self.network.cut(f"fr-1/{name}", far)

    # --- destinations and owners

    def spoil_destination(self, which: int, fault: Fault) -> None:
        """Let a destination fail, or take nothing because it is read-only."""
        self.places.faults[self.control.destinations[which]] = fault

    def mend_destinations(self) -> None:
        """Let every destination work."""
        self.places.faults.clear()
        self.places.tail_s = 0
        self.node.slow.clear()

    async def change_workflow(self, which: int) -> None:
        """An owner sends to the first destination, to the second, or to both from now on."""
        first, second = self.control.destinations
        await self.control.change_workflow([[first], [second], [first, second]][which])

    # --- the end

    async def heal(self) -> None:
        """End every fault, and let everything run."""
        machine = self.node.disk._machine
        machine.failures.clear()
        machine.flush_failures.clear()
        machine.crash_at = 0
        await self._look()
        self.mend_network()
        for name in self.node.slow & self.node.lives.keys():
            await self.kill(name)
        self.mend_destinations()
        self.thaw()
        self.start_all()

    async def to_the_end(self) -> None:
        """Heal all, let it come to rest, and hold it to every promise; raises ``Violation``."""
        await self.heal()
        await Ending(self).hold()
        self.model.check()


__all__ = ["Violation", "Whole"]
