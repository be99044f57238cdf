"""A fleet in memory: links, control's service and the network between them, for one test."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from control.fleet.model import Fleet
from control.fleet.states import Observed as Seen
from control.rpc.fleet import DEFAULT_TIMING, FleetService, Timing
from edge.link import Cargo, Dial, Link, Stream
from edge.link_state import Asked, Desired, DesiredState, Identity, Observed, Status
from zentransfer import ids
from zentransfer.errors import Error
from zentransfer.ids import EpochID, IdMaker, Kind
from zentransfer.network import NO_FAULTS, Faults, MemoryNetwork

CONTROL = "control"
START_MS = 1_700_000_000_000  # wall time of control when a simulation starts


@dataclass
class LoopClock:
    """Wall time that goes with the loop's time, wrong by so many milliseconds."""

    skew_ms: int = 0

    def now_ms(self) -> int:
        return START_MS + self.skew_ms + int(asyncio.get_running_loop().time() * 1000)


@dataclass
class ToyProcess:
    """An owner that turns to what is desired at once, and remembers what it was told."""

    observed: Observed = Observed.SERVING
    told: list[Desired] = field(default_factory=list[Desired])
    error: Error | None = None
    takes_s: float = 0.0
    cargo: Cargo = field(default_factory=Cargo)
    asked: list[Asked] = field(default_factory=list[Asked])

    def status(self) -> Status:
        return Status(self.observed, utilisation=0.25, uploads_in_flight=3)

    async def obey(self, desired: Desired, /) -> None:
        await asyncio.sleep(self.takes_s)
        if self.error is not None:
            raise self.error
        self.told.append(desired)
        is_drain = desired.state is DesiredState.DRAIN
        self.observed = Observed.DRAINING if is_drain else Observed.SERVING

    async def act(self, asked: Asked, /) -> None:
        if self.error is not None:
            raise self.error
        self.asked.append(asked)


def identity(name: str, chance: random.Random) -> Identity:
    """Return a new run of the process *name*, such as fr-1/ingest-0."""
    node, _, process = name.partition("/")
    epoch = EpochID(IdMaker(chance.randbytes).make(Kind.EPOCH))
    return Identity(ids.node(node), ids.process(process), epoch, boot_id="boot", build="0.1.0")


@dataclass
class Running:
    """A process of a node that runs in the simulation."""

    name: str
    link: Link
    owner: ToyProcess
    clock: LoopClock
    task: asyncio.Task[None]
    dials_s: list[float]


class World:
    """One control and any number of processes over one memory network."""

    def __init__(
        self, seed: int, faults: Faults = NO_FAULTS, timing: Timing = DEFAULT_TIMING
    ) -> None:
        self.chance = random.Random(seed)
        self.network = MemoryNetwork(random.Random(seed + 1), faults)
        self.running: dict[str, Running] = {}
        self.zombies: list[Running] = []
        self._timing = timing
        self.fleet = Fleet()
        self.service = self._made_service()
        self._tasks = asyncio.TaskGroup()
        self._watch: asyncio.Task[None] | None = None

    # --- processes ---

    def start(self, name: str, skew_ms: int = 0) -> Running:
        """Start a new run of the process *name*; one that ran already becomes a zombie."""
        if name in self.running:
            self.zombies.append(self.running.pop(name))
        owner, clock = ToyProcess(), LoopClock(skew_ms)
        dials_s: list[float] = []
        link = Link(
            identity(name, self.chance),
            self._dial(name, dials_s),
            owner,
            clock,
            random.Random(self.chance.getrandbits(64)),
        )
        task = self._tasks.create_task(link.run())
        self.running[name] = Running(name, link, owner, clock, task, dials_s)
        return self.running[name]

    def _dial(self, name: str, dials_s: list[float]) -> Dial:
        async def dial() -> Stream:
            dials_s.append(asyncio.get_running_loop().time())
            return await self.network.dial(name, CONTROL)

        return dial

    def crash(self, name: str) -> None:
        """Kill the process *name*: nobody is told more than a network would tell."""
        self.network.crash(name)
        self.running.pop(name).task.cancel()

    # --- control ---

    def start_control(self) -> None:
        """Start a control that knows of nobody yet."""
        self.fleet = Fleet()
        self.service = self._made_service()
        self.network.listen(CONTROL, self.service.serve_stream)
        self._watch = self._tasks.create_task(self.service.watch())

    def _made_service(self) -> FleetService:
        ids = IdMaker(self.chance.randbytes)
        return FleetService(self.fleet, LoopClock(), ids, self._timing)

    def crash_control(self) -> None:
        """Kill control, with all that it knows."""
        self.network.crash(CONTROL)
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    @property
    def is_control_up(self) -> bool:
        return self._watch is not None

    # --- what is seen ---

    def seen(self) -> dict[str, Seen]:
        """Return what control sees of every process that has a live stream."""
        return {
            f"{node.node}/{process.name}": process.observed
            for node in self.fleet.nodes()
            for process in node.processes
            if process.is_connected
        }

    def linked(self) -> set[str]:
        """Return the processes whose link says that it is up."""
        return {name for name, one in self.running.items() if one.link.state()[0]}

    def live_streams(self) -> list[str]:
        """Return for each stream that control serves, after its first heartbeat, whose it is."""
        return [
            f"{session.identity.node}/{session.identity.process}"
            for session in self.service._sessions.values()
            if session.identity and session._since_s is not None and session.refusal is None
        ]

    @asynccontextmanager
    async def live(self) -> AsyncIterator["World"]:
        """Run the world until the end of the block."""
        # Debug mode keeps a traceback of every timer: five times the time for a simulated day.
        asyncio.get_running_loop().set_debug(False)
        async with self._tasks, self.network:
            self.start_control()
            try:
                yield self
            finally:
                for one in (*self.running.values(), *self.zombies):
                    one.task.cancel()
                self.crash_control()
