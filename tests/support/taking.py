"""An intake on a simulated disk, and senders for it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random

from edge.admission import Request
from edge.checks import Check
from edge.expiry import Expiry
from edge.facts import DeletionReceipt, Door, Outcome, unpack_fact
from edge.incoming import Incoming
from edge.intake import Intake, Tools
from edge.outbox import Outbox, open_outbox
from edge.pace import Patience
from edge.place import Left
from edge.resumable import Resumables
from edge.resuming import Resuming, Wanted
from edge.settling import Settling
from edge.sinks.memory import MemorySink
from edge.snapshot_file import SnapshotFile
from edge.sweep import Sweep
from tests.support.region_keys import SeededKeys
from tests.support.snapshots import Customer
from zentransfer.clock import ManualClock
from zentransfer.ids import EpochID, NodeID, OutcomeID, ProcessName, UploadID
from zentransfer.memory_disk import MemoryDisk
from zentransfer.sealed_name import FileName

DIALECT = "plain"
RESUMABLE = "tus"


class Sender:
    """A source of parts: after the last one a clean end, or *error*, or silence."""

    def __init__(
        self,
        parts: Sequence[bytes],
        error: BaseException | None = None,
        *,
        pause_s: float = 0.0,
        goes_silent: bool = False,
    ) -> None:
        self._parts = list(parts)
        self._error = error
        self._pause_s = pause_s
        self._goes_silent = goes_silent

    async def readany(self) -> bytes:
        await asyncio.sleep(self._pause_s)
        if self._parts:
            return self._parts.pop(0)
        if self._error is not None:
            raise self._error
        if self._goes_silent:
            await asyncio.sleep(1e9)
        return b""


@dataclass
class Node:
    """One ingest process on a simulated disk: killed or restarted by making another one."""

    disk: MemoryDisk
    customer: Customer = field(default_factory=Customer)
    random: Random = field(init=False)
    clock: ManualClock = field(default_factory=lambda: ManualClock(1_000_000))
    process: str = "ingest-0"
    free_bytes: int = 1 << 40
    in_flight_max: int = 100
    is_admitting: bool = True
    settling_type: type[Settling] = Settling
    intake_type: type[Intake] = Intake
    woken: list[UploadID] = field(default_factory=list[UploadID])

    resumables_type: type[Resumables] = Resumables

    def __post_init__(self) -> None:
        self.random = self.disk._random  # goes on after a restart: no id is made twice

    async def start(self) -> "Node":
        """Open what an ingest process opens; the intake is ready then."""
        self.keys = SeededKeys(region=self.customer.region)
        self.sink = MemorySink(self.disk, self.keys.public, self.random)
        self.outbox: Outbox = await open_outbox(
            self.disk, f"outbox/{self.process}", lambda: EpochID("ep_a")
        )
        self.snapshots = SnapshotFile(
            self.disk, f"snapshot/{self.process}", self.customer.region, self.customer.snapshot()
        )
        settling = self.settling_type(
            self.sink,
            self.keys.public,
            self.outbox,
            self.clock,
            self.random.randbytes,
            self.woken.append,
        )
        self.intake = self.intake_type(
            Tools(
                region=self.customer.region,
                taken_by=f"fr-1/{self.process}",
                sink=self.sink,
                outbox=self.outbox,
                settling=settling,
                snapshots=self.snapshots,
                pepper=lambda _: self.customer.pepper,
                clock=self.clock,
                random_bytes=self.random.randbytes,
                is_admitting=lambda: self.is_admitting,
                free_bytes=lambda: self.free_bytes,
                in_flight_max=self.in_flight_max,
            )
        )
        self.resumables = self.resumables_type(self.intake)
        return self

    def asked(self, length: int | None = None) -> Request:
        return Request(
            self.customer.shown, self.customer.kind, length, is_tls=False, now_ms=1_000_000
        )

    async def send(
        self,
        parts: Sequence[bytes] | Sender,
        incoming: Incoming | None = None,
        patience: Patience | None = None,
    ) -> Outcome:
        """Send one file as a door does; returns the outcome, and then it counts as told."""
        sender = parts if isinstance(parts, Sender) else Sender(parts)
        what = incoming or file_named("x")
        async with self.intake.take(self.asked(what.length)) as taking:
            await taking.begin(what)
            await taking.receive(sender, patience or Patience())
            return await taking.commit()

    async def create(
        self,
        length: int | None = None,
        parts: Sequence[bytes] | Sender = (),
        incoming: Incoming | None = None,
        check: Check | None = None,
    ) -> UploadID:
        """Begin an upload that outlives its request, as a door does; its address is told then."""
        what = replace(incoming or resumable(length), is_checked=check is not None)
        async with self.resumables.create(self.asked(what.length)) as taking:
            upload = await taking.begin(what)
            await self.finish(taking, parts, check=check)
        return upload

    async def append(
        self,
        upload: UploadID,
        offset: int,
        parts: Sequence[bytes] | Sender,
        patience: Patience | None = None,
        check: Check | None = None,
    ) -> int:
        """Go on with an upload, to its commit if that is all; returns the offset that is told."""
        async with self.attach(upload, adds=True, is_checked=check is not None) as taking:
            taking.expect(offset)
            return await self.finish(taking, parts, patience, check)

    async def finish(
        self,
        taking: Resuming,
        parts: Sequence[bytes] | Sender,
        patience: Patience | None = None,
        check: Check | None = None,
    ) -> int:
        sender = parts if isinstance(parts, Sender) else Sender(parts)
        await taking.receive(sender, patience or Patience(), check)
        if not taking.is_complete:
            return await taking.keep()
        return (await taking.commit()).size_bytes

    async def look(self, upload: UploadID) -> int:
        """Ask for the offset, which commits what is whole."""
        async with self.attach(upload) as taking:
            if taking.is_complete:
                await taking.commit()
            return taking.offset

    async def terminate(self, upload: UploadID) -> Outcome | None:
        async with self.attach(upload, claims=False) as taking:
            return await taking.terminate()

    def attach(
        self,
        upload: UploadID,
        *,
        adds: bool = False,
        claims: bool = True,
        is_checked: bool = False,
    ) -> Resuming:
        wanted = Wanted(upload, RESUMABLE, adds=adds, claims=claims, is_checked=is_checked)
        return self.resumables.attach(self.asked(), wanted)

    async def look_after(self, *, finishes: bool = False) -> None:
        """Look for what is whole or has expired, as from time to time."""
        await Expiry(self.resumables, frozenset({RESUMABLE})).look(finishes=finishes)

    async def left(self, *living: str) -> Left:
        uploads = tuple([upload async for upload in self.sink.uploads()])
        return Left(uploads, frozenset(map(ProcessName, living)))

    async def sweep(self, *living: str) -> Sweep:
        """Sweep as at a start, with the processes *living* beside this one."""
        began = self.resumables.unfinished.began
        left = await self.left(*living)
        sweep = Sweep(self.intake, left, NodeID("fr-1"), frozenset({DIALECT}), began)
        await sweep.run()
        return sweep

    def told(self) -> dict[OutcomeID, set[Outcome]]:
        """Return every outcome in the outbox by its id; each set should hold one."""
        _, payloads = self.outbox.read(0, 10_000)
        found: dict[OutcomeID, set[Outcome]] = {}
        for payload in payloads:
            body = unpack_fact(payload).body
            if isinstance(body, DeletionReceipt):
                continue
            assert isinstance(body, Outcome)
            found.setdefault(body.id, set()).add(body)
        return found

    def outcomes(self) -> list[Outcome]:
        """Return every outcome that was told, each once; one told in two ways is an error."""
        told = self.told()
        assert all(len(ways) == 1 for ways in told.values()), "told twice, and not the same"
        return [outcome for ways in told.values() for outcome in ways]


def file_named(name: str, length: int | None = None, **more: object) -> Incoming:
    return Incoming(FileName("", name), Door.HTTP, DIALECT, length, **more)  # type: ignore[arg-type]


def resumable(
    length: int | None = None, name: str = "x", metadata: str = "", digest: bytes | None = None
) -> Incoming:
    what = Incoming(FileName("", name), Door.HTTP, RESUMABLE, length, metadata=metadata)
    return replace(what, digest=digest)
