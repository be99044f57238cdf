"""Processes of nodes with their disks, and a control with its books, over one memory network."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from control.facts.intake import FactIntake
from control.rpc.fleet import DEFAULT_TIMING, Timing
from control.rpc.lanes import Intake
from control.uploads.feed import EventFeed
from edge.facts import Fact, Outcome, pack_fact
from edge.link import Cargo, Link, Stream
from edge.link_snapshot import SnapshotReceiver
from edge.link_state import Observed, Status
from edge.outbox import Outbox, open_outbox
from edge.snapshot_file import SnapshotFile, open_snapshot_file
from tests.support import told
from tests.support.books import Books, Life, SlowDatabase, fetched
from tests.support.fleet import CONTROL, LoopClock, ToyProcess, identity
from zentransfer import ids
from zentransfer.errors import Code, Error
from zentransfer.ids import EpochID, IdMaker, Kind, region_of
from zentransfer.memory_disk import MemoryDisk
from zentransfer.network import NO_FAULTS, Faults, MemoryNetwork
from zentransfer.stream import StreamClosed
from zentransfer.v1 import types_pb2
from zentransfer.v1.fleet_pb2 import FetchSnapshotRequest, FetchSnapshotResponse

FETCH = "control/fetch"
POISON = b"\xc1 nobody can read this"

MakeIntake = Callable[[SlowDatabase, asyncio.TaskGroup], Intake]


def sound_intake(database: SlowDatabase, _: asyncio.TaskGroup) -> Intake:
    """Return the intake of production."""
    return FactIntake(database, LoopClock(), EventFeed())


@dataclass
class Told:
    """What processes made of facts, and what of that was durable when ``add`` returned."""

    made: dict[str, Outcome] = field(default_factory=dict[str, Outcome])
    durable: set[str] = field(default_factory=set[str])
    changes: set[str] = field(default_factory=set[str])
    receipts: set[str] = field(default_factory=set[str])
    poisoned: int = 0


class Carrier(ToyProcess):
    """An owner whose heartbeats tell of its outbox and snapshot."""

    outbox: Outbox
    file: SnapshotFile

    def status(self) -> Status:
        return Status(
            Observed.SERVING, outbox_lag=self.outbox.lag, snapshot_version=self.file.version
        )


class Process:
    """One process of a node: its disk stays, its lives come and go."""

    def __init__(self, meeting: "Meeting", name: str, facts_per_s: float) -> None:
        self.name = name
        self.node = ids.node(name.partition("/")[0])
        self.chance = random.Random(meeting.chance.getrandbits(64))
        self.disk = MemoryDisk(random.Random(self.chance.getrandbits(64)))
        self.owner: Carrier | None = None
        self.link: Link | None = None
        self._meeting = meeting
        self._facts_per_s = facts_per_s
        self._task: asyncio.Task[None] | None = None
        self._version = 0  # of the snapshot, when the last life ended

    @property
    def is_running(self) -> bool:
        return self._task is not None

    @property
    def is_told(self) -> bool:
        """Whether control has committed all that is durable here."""
        return self.owner is not None and self.owner.outbox.lag == 0

    @property
    def file(self) -> SnapshotFile:
        assert self.owner is not None
        return self.owner.file

    def start(self) -> None:
        """Begin a life."""
        self._task = self._meeting.tasks.create_task(self._live())

    def kill(self, *, cuts_power: bool) -> None:
        """End this life as kill -9 does, or as a power loss does."""
        if self._task is None:
            return
        self._task.cancel()
        self._task = None
        self._version = self.owner.file.version if self.owner else self._version
        self.owner, self.link = None, None
        self._meeting.network.crash(self.name)
        if cuts_power:
            self.disk = self.disk.crash()
        else:
            dead, self.disk = self.disk, self.disk.process()
            dead.kill()

    async def _live(self) -> None:
        epochs = IdMaker(self.chance.randbytes)
        outbox = await open_outbox(self.disk, "outbox", lambda: EpochID(epochs.make(Kind.EPOCH)))
        file = open_snapshot_file(self.disk, "snapshot", region_of(self.node))
        assert file.version >= self._version, "what was in force was durable"
        owner = Carrier()
        owner.outbox, owner.file = outbox, file
        owner.cargo = Cargo(outbox, SnapshotReceiver(file, self._fetch, self.node))
        seed = random.Random(self.chance.getrandbits(64))
        self.link = Link(identity(self.name, self.chance), self._dial, owner, LoopClock(), seed)
        self.owner = owner
        async with asyncio.TaskGroup() as group:
            group.create_task(self.link.run())
            group.create_task(self._make_facts(outbox))

    async def _dial(self) -> Stream:
        return await self._meeting.network.dial(self.name, CONTROL)

    async def _fetch(self, version: int) -> AsyncGenerator[FetchSnapshotResponse, None]:
        try:
            stream = await self._meeting.network.dial(self.name, FETCH)
        except StreamClosed:
            raise Error(Code.CONTROL_UNREACHABLE) from None
        who = types_pb2.Identity(node=self.node, process=self.name.partition("/")[2])
        async for part in fetched(stream, FetchSnapshotRequest(identity=who, version=version)):
            yield part

    # --- facts ---

    async def _make_facts(self, outbox: Outbox) -> None:
        while self._facts_per_s and not self._meeting.is_quiet:
            await asyncio.sleep(self.chance.expovariate(self._facts_per_s))
            count = 250 if self.chance.random() < 0.01 else 1
            async with asyncio.TaskGroup() as group:
                for _ in range(count):
                    group.create_task(self._tell(outbox))

    async def _tell(self, outbox: Outbox) -> None:
        """Make one fact durable; what was told before is told again now and then."""
        made, chance = self._meeting.told, self.chance
        which = chance.random()
        if which < 0.02:
            await outbox.add(POISON)
            made.poisoned += 1
        elif which < 0.6 or not made.made:
            size = chance.randint(0, 10**9)
            body = told.outcome(
                self._meeting.ids, self._meeting.books.owner.id, size, region_of(self.node)
            )
            made.made[body.upload_id] = body
            await outbox.add(pack_fact(told.fact(self._meeting.ids, body)))
            made.durable.add(body.upload_id)
        else:
            await self._tell_more(outbox, chance.choice(list(made.made.values())))

    async def _tell_more(self, outbox: Outbox, of: Outcome) -> None:
        ids, chance, made = self._meeting.ids, self.chance, self._meeting.told
        if of.region is not region_of(self.node):
            return
        which = chance.random()
        if which < 0.3:
            await outbox.add(pack_fact(told.fact(ids, of)))
            made.durable.add(of.upload_id)
        elif which < 0.7:
            change = told.change(ids, of)
            await outbox.add(pack_fact(told.fact(ids, change)))
            made.changes.add(change.delivery_id)
        else:
            receipt = Fact(f"rc-{of.upload_id}", told.AT_MS, told.receipt(of))
            await outbox.add(pack_fact(receipt))
            made.receipts.add(of.upload_id)


class Meeting:
    """The processes, control and its books."""

    tasks: asyncio.TaskGroup
    books: Books

    def __init__(
        self,
        seed: int,
        faults: Faults = NO_FAULTS,
        timing: Timing = DEFAULT_TIMING,
        make_intake: MakeIntake = sound_intake,
        commit_s: float = 0.3,
    ) -> None:
        self.chance = random.Random(seed)
        self.network = MemoryNetwork(random.Random(seed + 1), faults)
        self.ids = IdMaker(random.Random(seed + 2).randbytes)
        self.told = Told()
        self.processes: dict[str, Process] = {}
        self.is_quiet = False  # then nobody makes facts any more
        self.life: Life | None = None
        self._timing = timing
        self._make_intake = make_intake
        self._commit_s = commit_s
        self._control: asyncio.Task[None] | None = None

    def add(self, name: str, facts_per_s: float = 1.0) -> Process:
        """Add a process and start it."""
        made = self.processes[name] = Process(self, name, facts_per_s)
        made.start()
        return made

    # --- control ---

    @property
    def is_control_up(self) -> bool:
        return self._control is not None

    def start_control(self) -> None:
        """Begin a life of control over its books."""
        self._control = self.tasks.create_task(self._control_life())

    async def _control_life(self) -> None:
        chance = random.Random(self.chance.getrandbits(64))
        database = SlowDatabase(self.books.database, chance, self._commit_s)
        async with asyncio.TaskGroup() as group:
            intake = self._make_intake(database, group)
            life = Life(self.books, database, self._timing, intake)
            await life.publisher.refresh()
            self.life = life
            self.network.listen(CONTROL, life.service.serve_stream)
            self.network.listen(FETCH, life.serve_fetch)
            await life.run()

    def crash_control(self) -> None:
        """Kill control, with all that it had not committed."""
        self.network.crash(CONTROL)
        self.network.crash(FETCH)
        if self._control is not None:
            self._control.cancel()
        self._control, self.life = None, None

    # --- the network ---

    def partition(self, name: str, *, one_way: bool = False) -> None:
        for far in (CONTROL, FETCH):
            self.network.partition(name, far, one_way=one_way)

    def heal(self, name: str) -> None:
        for far in (CONTROL, FETCH):
            self.network.heal(name, far)

    def cut(self, name: str) -> None:
        for far in (CONTROL, FETCH):
            self.network.cut(name, far)

    def calm(self) -> None:
        """End every fault of the network."""
        for name in self.processes:
            self.heal(name)
            for far in (CONTROL, FETCH):
                self.network.set_faults(NO_FAULTS, name, far)
                self.network.set_faults(NO_FAULTS, far, name)

    # --- what is seen ---

    def is_settled(self) -> bool:
        """Whether control has all facts, and every process the newest snapshot."""
        return self.is_current() and all(one.is_told for one in self.processes.values())

    def is_current(self) -> bool:
        """Whether every process has the newest snapshot."""
        return self.life is not None and all(map(self._has_newest, self.processes.values()))

    def _has_newest(self, one: Process) -> bool:
        assert self.life is not None
        if one.owner is None:
            return False
        newest = self.life.publisher.current(region_of(one.node))
        held = one.file.current
        return held is not None and (held.version, held.digest) == (newest.version, newest.digest)

    @asynccontextmanager
    async def live(self) -> AsyncIterator["Meeting"]:
        """Let the meeting last until the end of the block."""
        # Debug mode keeps a traceback of every timer: five times the time for a simulated day.
        asyncio.get_running_loop().set_debug(False)
        self.books = await Books.open()
        async with self.network, asyncio.TaskGroup() as self.tasks:
            self.start_control()
            try:
                yield self
            finally:
                for one in self.processes.values():
                    with suppress(KeyError):
                        one.kill(cuts_power=False)
                self.crash_control()
