"""One node of a region: its machine, and ingest and delivery processes that come and go on it."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.audit import AuditLog, keyed_id, open_audit
from edge.facts import DeletionReason, DeliveryChange, DeliveryState, unpack_fact
from edge.intake import Intake, Tools
from edge.link import Cargo, Link, Stream
from edge.link_snapshot import SnapshotReceiver
from edge.link_state import Asked, Desired, Observed, Status, Verb
from edge.outbox import Outbox, open_outbox
from edge.place import FOLDERS, Place
from edge.seal.header import Header
from edge.settling import Settling
from edge.sinks.memory import MemorySink
from edge.snapshot_file import SnapshotFile, open_snapshot_file
from edge.sweep import Sweep
from edge.workflow.deliver import Deliverer
from edge.workflow.run import Holder
from edge.workflow.site import Rules, Site, Timing
from edge.workflow.store import DiskRunStore
from edge.workflow.versions import Versions
from tests.support.books import fetched
from tests.support.fleet import CONTROL, LoopClock, identity
from tests.support.meeting import FETCH
from tests.support.region_keys import SeededKeys
from tests.support.whole_model import Model
from tests.support.whole_places import Places
from zentransfer.credential import Pepper
from zentransfer.disk import make_durable_folder
from zentransfer.errors import Code, Error
from zentransfer.ids import (
    AccountID,
    DeliveryID,
    EpochID,
    IdMaker,
    Kind,
    NodeID,
    ProcessName,
    UploadID,
    parse,
)
from zentransfer.machine import Crashed
from zentransfer.memory_disk import MemoryDisk
from zentransfer.network import MemoryNetwork
from zentransfer.service import CannotStart
from zentransfer.stream import StreamClosed
from zentransfer.v1 import types_pb2
from zentransfer.v1.fleet_pb2 import FetchSnapshotRequest, FetchSnapshotResponse

NODE: Final = NodeID("fr-1")
INGESTS: Final = ("ingest-0", "ingest-1")
DELIVERIES: Final = ("delivery-0", "delivery-1")
FLEETING: Final = frozenset({"plain"})
TIMING: Final = Timing(retry_max_s=60)
SLOW: Final = Timing(retry_max_s=60, renew_s=100_000)


def same_disk(disk: MemoryDisk) -> MemoryDisk:
    """Return *disk*: what production does."""
    return disk


@dataclass(frozen=True)
class Seams:
    """Where a mutation of a node may be put in; the defaults are those of production."""

    sink: type[MemorySink] = MemorySink
    settling: type[Settling] = Settling
    rules: Rules = field(default_factory=Rules)
    outbox_disk: Callable[[MemoryDisk], MemoryDisk] = same_disk


@dataclass
class Node:
    """What all processes of the node share, and what outlives them."""

    random: Random
    model: Model
    network: MemoryNetwork
    places: Places
    tasks: asyncio.TaskGroup
    pepper: Pepper
    seams: Seams = field(default_factory=Seams)
    clock: LoopClock = field(default_factory=LoopClock)

    def __post_init__(self) -> None:
        self.disk = MemoryDisk(self.random)
        self.ids = IdMaker(self.random.randbytes)
        self.keys = SeededKeys()
        self.root = Ed25519PrivateKey.from_private_bytes(Random(7).randbytes(32))
        self.lives: dict[str, Life] = {}
        self.slow: set[str] = set()  # processes that come too late to renew a lease
        self.uses: dict[str, int] = {}  # of the private half, by the keyed id of an upload

    async def set_up(self) -> None:
        """Make what the launcher makes: the folders."""
        for name in (*FOLDERS, "uploads", "runs", "audit"):
            await make_durable_folder(self.disk, name)

    def new_epoch(self) -> EpochID:
        """Return an epoch that no life had."""
        return EpochID(self.ids.make(Kind.EPOCH))

    def wake(self, upload: UploadID) -> None:
        """Knock at the first delivery process; knocks get lost."""
        life = self.lives.get(DELIVERIES[0])
        if isinstance(life, DeliveryLife) and life.is_serving and self.random.random() < 0.5:
            life.deliverer.wake(upload)

    # --- lives

    def start(self, name: str) -> None:
        """Start a process unless it lives."""
        life = self.lives.get(name)
        if life is not None and not life.is_over:
            return
        kind = IngestLife if name in INGESTS else DeliveryLife
        self.lives[name] = kind(self, name)

    def start_all(self) -> None:
        """Start all that does not live, as a supervisor does."""
        for name in (*INGESTS, *DELIVERIES):
            self.start(name)

    async def kill(self, name: str) -> None:
        """End a process as kill -9 does: the page cache stays."""
        life = self.lives.pop(name, None)
        if life is not None:
            await life.kill()

    async def cut_power(self) -> None:
        """End all processes and lose what was not flushed; nothing runs until it is started."""
        for life in self.lives.values():
            life.disk.kill()
        dead, self.lives = list(self.lives.values()), {}
        after = self.disk.crash()
        for life in dead:
            await life.kill()
        self.disk = after

    def ingests(self) -> list["IngestLife"]:
        """Return the ingest processes that serve."""
        lives = (self.lives.get(name) for name in INGESTS)
        return [one for one in lives if isinstance(one, IngestLife) and one.is_serving]

    def deliveries(self) -> list["DeliveryLife"]:
        """Return the delivery processes that serve."""
        lives = (self.lives.get(name) for name in DELIVERIES)
        return [one for one in lives if isinstance(one, DeliveryLife) and one.is_serving]


class Life:
    """One process from its start to its end; the owner of its link to control."""

    outbox: Outbox
    snapshots: SnapshotFile

    def __init__(self, node: Node, name: str) -> None:
        self.node = node
        self.name = ProcessName(name)
        self.full_name = f"{NODE}/{name}"
        self.disk = node.disk.process()
        self.is_serving = False
        self._is_killed = False
        self._task = node.tasks.create_task(self._lived())

    @property
    def is_over(self) -> bool:
        """Whether the process has ended, by itself or not."""
        return self._task.done()

    async def kill(self) -> None:
        """End at once."""
        self._is_killed = True
        self.is_serving = False
        self.disk.kill()
        self.node.network.crash(self.full_name)
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    @property
    def is_told(self) -> bool:
        """Whether control has committed all that this process told."""
        return self.is_serving and self.outbox.lag == 0

    # --- the owner of a link

    @property
    def cargo(self) -> Cargo:
        """Return what the stream carries."""
        return Cargo(self.outbox, SnapshotReceiver(self.snapshots, self._fetch, NODE))

    def status(self) -> Status:
        """Return what a heartbeat says."""
        version = self.snapshots.version
        return Status(Observed.SERVING, outbox_lag=self.outbox.lag, snapshot_version=version)

    async def obey(self, desired: Desired, /) -> None:
        """Take note of what the operator wants; nobody drains here."""

    async def act(self, asked: Asked, /) -> None:
        """Refuse, as ingest does."""
        raise Error(Code.METHOD_NOT_ALLOWED, f"this process does not {asked.verb}")

    # --- inside

    async def _lived(self) -> None:
        try:
            await self._live()
        except* (Crashed, CannotStart):
            pass  # the machine is off, or a supervisor tries again
        except* (OSError, Error) as errors:
            self._must_not_fall(errors, is_fault=self.is_serving)
        except* Exception as errors:  # noqa: BLE001 - the rim of a process
            self._must_not_fall(errors, is_fault=True)
        finally:
            self.is_serving = False
            self.disk.kill()

    def _must_not_fall(self, errors: BaseExceptionGroup[Exception], *, is_fault: bool) -> None:
        gone = self._is_killed or not self.disk._process.alive
        self.node.model.hold(gone or not is_fault, f"{self.name} fell: {_said(errors)}")

    async def _live(self) -> None:
        raise NotImplementedError

    async def _opened(self, place: Place) -> None:
        """Open outbox and snapshot, as every process does."""
        node = self.node
        disk = node.seams.outbox_disk(self.disk)
        self.outbox = await open_outbox(disk, place.outbox, node.new_epoch)
        self.snapshots = open_snapshot_file(self.disk, place.snapshot, node.keys.region)

    def _link(self) -> Link:
        node = self.node
        chance = Random(node.random.getrandbits(64))
        return Link(identity(self.full_name, node.random), self._dial, self, node.clock, chance)

    async def _dial(self) -> Stream:
        return await self.node.network.dial(self.full_name, CONTROL)

    async def _fetch(self, version: int) -> AsyncGenerator[FetchSnapshotResponse, None]:
        try:
            stream = await self.node.network.dial(self.full_name, FETCH)
        except StreamClosed:
            raise Error(Code.CONTROL_UNREACHABLE) from None
        who = types_pb2.Identity(node=NODE, process=self.name)
        async for part in fetched(stream, FetchSnapshotRequest(identity=who, version=version)):
            yield part


class IngestLife(Life):
    """An ingest process, composed as :mod:`edge.ingest` does."""

    intake: Intake
    sink: MemorySink
    settling: Settling
    tasks: asyncio.TaskGroup

    @property
    def cargo(self) -> Cargo:
        """Return what the stream carries, with what is being received."""
        return replace(super().cargo, receiving=self.intake.begun)

    async def _live(self) -> None:
        node, keys = self.node, self.node.keys.public
        self.sink = node.seams.sink(self.disk, keys, node.random)
        place = Place(self.disk, self.name)
        left = await place.take(self.sink)
        await self._opened(place)
        self.settling = node.seams.settling(
            self.sink, keys, self.outbox, node.clock, node.random.randbytes, node.wake
        )
        self.intake = Intake(
            Tools(
                region=keys.region,
                taken_by=self.full_name,
                sink=self.sink,
                outbox=self.outbox,
                settling=self.settling,
                snapshots=self.snapshots,
                pepper=lambda _: node.pepper,
                clock=node.clock,
                random_bytes=node.random.randbytes,
                is_admitting=lambda: True,
                free_bytes=self.disk.free_bytes,
            )
        )
        async with asyncio.TaskGroup() as self.tasks:
            self.tasks.create_task(self._link().run())
            sweep = Sweep(self.intake, left, NODE, FLEETING, _clients_come_back)
            self.tasks.create_task(sweep.run())
            self.tasks.create_task(self.intake.mend())
            self.is_serving = True


class DeliveryLife(Life):
    """A delivery process, composed as :mod:`edge.delivery` does."""

    deliverer: Deliverer

    async def act(self, asked: Asked, /) -> None:
        """Take in hand what an owner asks for."""
        if asked.verb is Verb.RETRY:
            await self.deliverer.retry(DeliveryID(parse(Kind.DELIVERY, asked.subject)))
        else:
            upload = UploadID(parse(Kind.UPLOAD, asked.subject))
            await self.deliverer.stop(upload, DeletionReason.CANCELLED)

    async def _live(self) -> None:
        node = self.node
        place = Place(self.disk, self.name)
        await place.take()
        await self._opened(place)
        audit = await open_audit(self.disk, f"audit/{self.name}", node.new_epoch)
        self.deliverer = Deliverer(self._site(audit))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._link().run())
            tasks.create_task(self.deliverer.run())
            self.is_serving = True

    def _site(self, audit: AuditLog) -> Site:
        node, keys = self.node, self.node.keys.public
        return Site(
            me=Holder(self.full_name, node.new_epoch()),
            region=keys,
            sink=node.seams.sink(self.disk, keys, node.random),
            runs=DiskRunStore(self.disk),
            outbox=_WatchedOutlet(node, self.outbox),
            audit=audit,
            keys=_WatchedKeys(node, audit),
            root=node.root,
            destinations=node.places,
            snapshot=lambda: self.snapshots.current,
            workflow=Versions(self.disk, self.snapshots, self.name, keys.region).maybe,
            clock=node.clock,
            random=node.random,
            timing=SLOW if self.name in node.slow else TIMING,
            rules=node.seams.rules,
        )


class _WatchedOutlet:
    """The outbox of a delivery process, which insists that no success is told that was none."""

    def __init__(self, node: Node, outbox: Outbox) -> None:
        self._node = node
        self._outbox = outbox

    async def add(self, payload: bytes) -> int:
        body = unpack_fact(payload).body
        if isinstance(body, DeliveryChange) and body.state is DeliveryState.DELIVERED:
            is_so = (body.delivery_id, body.fence) in self._node.places.succeeded
            told = "a delivery counts whose attempt had not succeeded"
            self._node.model.hold(is_so, told)
        return await self._outbox.add(payload)


class _WatchedKeys:
    """The private half in one process, which insists that a durable audit line was there first."""

    def __init__(self, node: Node, audit: AuditLog) -> None:
        self._node = node
        self._audit = audit
        self._uses: dict[str, int] = {}  # in this life

    async def open(self, header: Header) -> bytes:
        node = self._node
        keyed = keyed_id(node.keys.public, header.place.upload)
        self._uses[keyed] = self._uses.get(keyed, 0) + 1
        node.uses[keyed] = node.uses.get(keyed, 0) + 1
        # An attempt opens the last segment twice, for the manifest and to read it, each other once.
        must = sum(_segments(line, keyed) + 1 for line in self._audit.lines() if keyed in str(line))
        told = "a key was used before its audit record was durable"
        node.model.hold(self._uses[keyed] <= must, told)
        return await node.keys.open(header)


def _clients_come_back(upload: UploadID, account: AccountID) -> None:
    """Leave what a client may go on with to that client."""


def _segments(line: bytes, keyed: str) -> int:
    """Return for how many segments of an upload *line* lets a key be used; -1 for none."""
    entry = json.loads(line)
    is_opening = entry["kind"] == "opening" and entry["upload"] == keyed
    return int(entry["segments"][0]) if is_opening else -1


def _said(errors: BaseExceptionGroup[Exception]) -> str:
    return ", ".join(repr(one) for one in errors.exceptions)
