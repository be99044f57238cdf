"""A region with whole uploads and delivery processes, on a simulated disk or a real one."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.audit import AuditLog, keyed_id, open_audit
from edge.facts import (
    DeletionReceipt,
    DeliveryChange,
    DeliveryState,
    Fact,
    Outcome,
    unpack_fact,
)
from edge.folders import make_folder_for_good
from edge.outbox import Outbox, open_outbox
from edge.particulars import Particulars, seal_particulars
from edge.record import Ending, State, UploadRecord
from edge.seal.header import Header
from edge.sinks.base import SinkError
from edge.sinks.log import LogSink
from edge.snapshot import (
    AccountEntry,
    AccountState,
    Clash,
    DestinationEntry,
    DestinationKind,
    Limits,
    Snapshot,
    WorkflowEntry,
    snapshot_of,
)
from edge.workflow.deliver import Deliverer
from edge.workflow.destinations.base import (
    Abilities,
    Destination,
    DestinationError,
    Fault,
    RemoteName,
    RemoteRef,
)
from edge.workflow.destinations.memory import MemoryDestination
from edge.workflow.receipt import is_signed
from edge.workflow.run import Holder
from edge.workflow.site import Rules, Site, Timing
from edge.workflow.store import DiskRunStore
from tests.support.region_keys import SeededKeys
from tests.support.writing import fill
from zentransfer.clock import Clock
from zentransfer.disk import Disk
from zentransfer.errors import Code
from zentransfer.ids import (
    AccountID,
    DestinationID,
    EpochID,
    IdMaker,
    Kind,
    OutcomeID,
    UploadID,
    WorkflowID,
)
from zentransfer.sealed_name import FileName

ACCOUNT: Final = AccountID("ac_aaaaaaaaaaaaaaaaaaaaaaaaaa")
WORKFLOW: Final = WorkflowID("wf_aaaaaaaaaaaaaaaaaaaaaaaaaa")
BEGUN_MS: Final = 1_795_000_000_000
RECORD_BYTES: Final = 8_192


class LoopClock:
    """A wall clock that goes as the loop's, so that a simulated hour is one."""

    def now_ms(self) -> int:
        return BEGUN_MS + int(asyncio.get_running_loop().time() * 1_000)


class Violation(AssertionError):
    """A promise that was not kept."""


def destination_id(number: int) -> DestinationID:
    return DestinationID("ds_" + "abcdefgh"[number] * 25 + "a")


def account(keep_ms: int = 0) -> AccountEntry:
    return AccountEntry(
        ACCOUNT, AccountState.ACTIVE, Limits(content_keep_ms=keep_ms), None, 1, "k1", bytes(32)
    )


def snapshot(
    addresses: Mapping[DestinationID, str],
    *,
    version: int = 1,
    keep_ms: int = 0,
    clash: Clash = Clash.KEEP_BOTH,
    workflow: WorkflowEntry | None = None,
) -> Snapshot:
    """Return what control tells of one account that sends all its files to *addresses*."""
    return snapshot_of(
        SeededKeys().region,
        version,
        BEGUN_MS,
        [
            account(keep_ms),
            workflow or WorkflowEntry(WORKFLOW, 1, ACCOUNT, (), tuple(addresses)),
            *(
                DestinationEntry(each, version, ACCOUNT, DestinationKind.FOLDER, address, clash)
                for each, address in addresses.items()
            ),
        ],
    )


@dataclass(frozen=True)
class Sent:
    """An upload that was committed: its content and its name."""

    upload: UploadID
    content: bytes
    name: str
    folder: str = ""

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.name}".lstrip("/")


@dataclass
class Region:
    """One region: its keys, its truth, what was sent to it."""

    random: Random
    addresses: dict[DestinationID, str]
    keys: SeededKeys = field(default_factory=SeededKeys)
    sent: list[Sent] = field(default_factory=list[Sent])
    cancelled: set[UploadID] = field(default_factory=set[UploadID])
    violations: list[str] = field(default_factory=list[str])
    clock: Clock = field(default_factory=LoopClock)

    def __post_init__(self) -> None:
        self.ids = IdMaker(self.random.randbytes)
        self.root = Ed25519PrivateKey.from_private_bytes(Random(7).randbytes(32))
        self.snapshot: Snapshot | None = snapshot(self.addresses)

    def sink(self, disk: Disk) -> LogSink:
        return LogSink(disk, self.keys.public, self.random.randbytes, RECORD_BYTES)

    async def commit(
        self,
        disk: Disk,
        content: bytes,
        name: str = "IMG_0001.JPG",
        folder: str = "",
        *,
        digest: bool = True,
        expected: Mapping[str, bytes] | None = None,
    ) -> Sent:
        """Let an upload be whole and durable in the sink, as ingest leaves it."""
        upload = UploadID(self.ids.make(Kind.UPLOAD))
        public = self.keys.public
        record = UploadRecord(
            upload, ACCOUNT, public.region, self.clock.now_ms(), door="http", dialect="plain"
        )
        known = Particulars(FileName(folder, name), taken_by="fr-1/ingest-0")
        sealed = seal_particulars(
            public.metadata[public.metadata_kid], upload, known, self.random.randbytes(12)
        )
        claim = await self.sink(disk).create(record.named(sealed, public.metadata_kid))
        writer = await claim.writer()
        fill(writer, content)
        ending = Ending(WORKFLOW, 1, self.clock.now_ms(), OutcomeID(self.ids.make(Kind.OUTCOME)))
        known_digest = sha256(content).digest() if digest else None
        await writer.finish(known_digest, ending, expected=expected or {})
        sent = Sent(upload, content, name, folder)
        self.sent.append(sent)
        return sent


class WatchedKeys:
    """The private half, which insists that a durable audit line was there first."""

    def __init__(self, region: Region, audit: AuditLog) -> None:
        self._region = region
        self._audit = audit
        self._uses: dict[str, int] = {}  # in this life

    async def open(self, header: Header) -> bytes:
        keyed = keyed_id(self._region.keys.public, header.place.upload)
        self._uses[keyed] = self._uses.get(keyed, 0) + 1
        lines = sum(f'"upload":"{keyed}"'.encode() in line for line in self._audit.lines())
        # An attempt uses the key of a log of one segment twice: for its manifest and to read it.
        if self._uses[keyed] > 2 * lines:
            self._region.violations.append("a key was used before its audit record was durable")
        return await self._region.keys.open(header)


class SharedPlaces:
    """The destinations of a simulated region: they outlive its processes.

    ``faults`` are what a destination says for now; ``tail_s`` is how long it may take between the
    end of the content and its answer.
    """

    def __init__(self, region: Region) -> None:
        self.random = region.random
        self.places = {each: MemoryDestination(region.random) for each in region.addresses}
        self.faults: dict[DestinationID, Fault] = {}
        self.tail_s = 0.0
        self.whole: set[tuple[str, int]] = set()  # (delivery, fence) of each put that succeeded

    def get(self, entry: DestinationEntry) -> Destination:
        return _Watched(self, entry.id)


class _Watched:
    def __init__(self, all_of_them: SharedPlaces, which: DestinationID) -> None:
        self._all = all_of_them
        self._which = which
        self._inner = all_of_them.places[which]

    @property
    def abilities(self) -> Abilities:
        return self._inner.abilities

    async def put(
        self,
        name: RemoteName,
        content: AsyncIterator[memoryview],
        *,
        size: int,
        digest: bytes | None,
        resume_ref: str,
    ) -> RemoteRef:
        self._fail()
        ref = await self._inner.put(name, content, size=size, digest=digest, resume_ref=resume_ref)
        await asyncio.sleep(self._all.random.uniform(0, self._all.tail_s))
        self._fail()  # it is there, and nobody is told
        self._all.whole.add((name.delivery, name.fence))
        return ref

    def _fail(self) -> None:
        fault = self._all.faults.get(self._which)
        if fault is not None and self._all.random.random() < 0.7:
            raise DestinationError(Code.UNAVAILABLE, "planned", fault)

    def close(self) -> None:
        self._inner.close()


@dataclass
class Worker:
    """One delivery process, alive between ``start`` and the end of its task."""

    site: Site
    deliverer: Deliverer
    outbox: Outbox
    audit: AuditLog

    def facts(self) -> list[Fact]:
        return facts_of(self.outbox)

    def close(self) -> None:
        self.outbox.close()
        self.audit.close()


def facts_of(outbox: Outbox) -> list[Fact]:
    found: list[Fact] = []
    after = outbox.first_kept - 1
    while True:
        first, payloads = outbox.read(after)
        if not payloads:
            return found
        found += map(unpack_fact, payloads)
        after = first + len(payloads) - 1


async def start(
    region: Region,
    disk: Disk,
    places: SharedPlaces,
    process: str = "delivery-0",
    *,
    rules: Rules | None = None,
    timing: Timing | None = None,
) -> Worker:
    """Open what a delivery process needs, and make it; raises what the disk raises."""

    def epoch() -> EpochID:
        return EpochID(region.ids.make(Kind.EPOCH))

    await make_folder_for_good(disk, f"outbox/{process}")
    outbox = await open_outbox(disk, f"outbox/{process}", epoch)
    audit = await open_audit(disk, f"audit/{process}", epoch)

    def workflow(wanted: WorkflowID, version: int) -> WorkflowEntry | None:
        now = region.snapshot
        return None if now is None else now.maybe_workflow(wanted, version)

    site = Site(
        me=Holder(f"fr-1/{process}", epoch()),
        region=region.keys.public,
        sink=region.sink(disk),
        runs=DiskRunStore(disk),
        outbox=outbox,
        audit=audit,
        keys=WatchedKeys(region, audit),
        root=region.root,
        destinations=places,
        snapshot=lambda: region.snapshot,
        workflow=workflow,
        clock=region.clock,
        random=region.random,
        timing=timing or Timing(),
        rules=rules or Rules(),
    )
    return Worker(site, Deliverer(site), outbox, audit)


async def is_quiet(region: Region, disk: Disk) -> bool:
    """Say whether every upload that was sent is gone and no run is left."""
    sink = region.sink(disk)
    try:
        for sent in region.sent:
            if (await sink.record(sent.upload)).value.state is not State.DESTROYED:
                return False
        return not [one async for one in DiskRunStore(disk).uploads()]
    except SinkError:  # a fault that was planned hit the one who asks
        return False


async def until_quiet(region: Region, disk: Disk, within_s: float = 3_600.0) -> None:
    """Return when all is delivered and gone; raises ``Violation`` if that takes too long."""
    try:
        async with asyncio.timeout(within_s):
            while not await is_quiet(region, disk):  # noqa: ASYNC110 - the records tell nobody
                await asyncio.sleep(0.5)
    except TimeoutError:
        raise Violation("the work never ends") from None


async def work(worker: Worker) -> None:
    """Let *worker* work until it is cancelled or its machine crashes."""
    with suppress(asyncio.CancelledError):
        await worker.deliverer.run()


def check_objects(region: Region, places: SharedPlaces) -> None:
    """Raise ``Violation`` unless every destination shows each upload once, whole, and no more.

    What its owner cancelled may be there, too, but once.
    """
    for place in places.places.values():
        found = sorted(place.objects.values())
        must = [sent.content for sent in region.sent if sent.upload not in region.cancelled]
        may = [sent.content for sent in region.sent if sent.upload in region.cancelled]
        for content in found:
            if content in must:
                must.remove(content)
            elif content in may:
                may.remove(content)
            else:
                raise Violation("an object twice, or one that nobody sent")
        if must:
            raise Violation(f"{len(must)} objects are missing")
        stems = {sent.path.rpartition(".")[0] for sent in region.sent}
        if any(path.rpartition(".")[0].partition(" (")[0] not in stems for path in place.objects):
            raise Violation("an object has another name")


def check_facts(region: Region, places: SharedPlaces, facts: list[Fact]) -> None:
    """Raise ``Violation`` unless the facts tell each thing once, and nothing that is not so."""
    if region.violations:
        raise Violation(region.violations[0])
    by_id: dict[str, Fact] = {}
    for fact in facts:
        if by_id.setdefault(fact.id, fact) != fact:
            raise Violation("one id, two facts")
    bodies = [fact.body for fact in by_id.values()]
    uploads = sorted(sent.upload for sent in region.sent)
    receipts = [one for one in bodies if isinstance(one, DeletionReceipt)]
    for kind in (Outcome, DeletionReceipt):
        told = sorted(one.upload_id for one in bodies if isinstance(one, kind))
        if told != uploads:
            raise Violation(f"{len(told)} of {kind.__name__} for {len(uploads)} uploads")
    changes = [one for one in bodies if isinstance(one, DeliveryChange)]
    done = [one for one in changes if one.state is DeliveryState.DELIVERED]
    if any((one.delivery_id, one.fence) not in places.whole for one in done):
        raise Violation("a delivery counts whose attempt had not succeeded")
    for receipt in receipts:
        _check_receipt(region, receipt, done)


def _check_receipt(region: Region, receipt: DeletionReceipt, done: list[DeliveryChange]) -> None:
    got = [one.destination_id for one in done if one.upload_id == receipt.upload_id]
    if sorted(got) != sorted(set(region.addresses) - set(receipt.undelivered)):
        raise Violation("not delivered once to each destination")
    if receipt.undelivered and receipt.upload_id not in region.cancelled:
        raise Violation("destroyed before it was delivered")
    if not is_signed(receipt, region.root.public_key().public_bytes_raw()):
        raise Violation("a receipt that the region did not sign")


async def check_gone(region: Region, disk: Disk) -> None:
    """Raise ``Violation`` if anything sealed is left."""
    sink = region.sink(disk)
    for sent in region.sent:
        record = (await sink.record(sent.upload)).value
        folder = f"uploads/{sent.upload[3:5]}/{sent.upload}"
        if record.names or record.segments or disk.names(folder) != ["record"]:
            raise Violation("something is left of an upload")
