"""What a delivery process stands on: one region's content, keys and truth, and its own pace."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.audit import Attempted, AuditedOpenKey, AuditLog
from edge.facts import Fact, pack_fact
from edge.keys import OpenKey, RegionPublicKeys
from edge.particulars import Particulars, open_particulars
from edge.record import UploadRecord
from edge.seal.broken import Broken, Reason
from edge.sinks.base import Damaged, Sink
from edge.snapshot import DestinationEntry, Snapshot, WorkflowEntry
from edge.workflow.destinations.base import Destination
from edge.workflow.run import Holder, Run
from edge.workflow.store import RunStore
from zentransfer.clock import Clock
from zentransfer.ids import AccountID, DeliveryID, DestinationID, WorkflowID


class Outlet(Protocol):
    """Where facts go, to be told to control."""

    async def add(self, payload: bytes) -> int:
        """Let one fact be durable; see :class:`edge.outbox.Outbox`.  Raises ``Error``."""
        ...


class Destinations(Protocol):
    """Where destinations come from, ready to be used."""

    def get(self, entry: DestinationEntry) -> Destination:
        """Return the destination of *entry*; raises ``DestinationError`` for a kind not offered."""
        ...


@dataclass(frozen=True, slots=True)
class Timing:
    """The pace of deliveries, in seconds.

    ``stall_s`` is how long an attempt may go without a byte; ``keep_s`` how long content is kept
    at most where the account's plan does not say.
    """

    sweep_s: float = 5.0
    lease_s: float = 15.0
    renew_s: float = 5.0
    retry_first_s: float = 5.0
    retry_max_s: float = 21_600.0
    stall_s: float = 120.0
    keep_s: float = 604_800.0


class Rules:
    """The steps that the promises of a delivery stand on, each by itself.

    Tests leave out one at a time, and the histories must notice.
    """

    def open_key(
        self,
        keys: OpenKey,
        log: AuditLog,
        region: RegionPublicKeys,
        clock: Clock,
        attempt: Attempted,
    ) -> OpenKey:
        """Return the private half for one attempt, behind the audit log."""
        return AuditedOpenKey(keys, log, region, clock, attempt)

    def delivered(self, run: Run, which: DeliveryID, fence: int, now_ms: int, ref: str) -> Run:
        """Return *run* with the delivery done; raises ``LeaseLost`` under any but its own fence."""
        return run.delivered(which, fence, now_ms, ref)

    def still_holds(self, run: Run, which: DeliveryID, fence: int) -> bool:
        """Say whether the content may end, and so the object become visible."""
        return run.is_held(which, fence)


@dataclass(frozen=True)
class Site:
    """Everything around a delivery; ``me`` is who takes leases here."""

    me: Holder
    region: RegionPublicKeys
    sink: Sink
    runs: RunStore
    outbox: Outlet
    audit: AuditLog
    keys: OpenKey = field(repr=False)
    root: Ed25519PrivateKey = field(repr=False)
    destinations: Destinations
    snapshot: Callable[[], Snapshot | None]
    workflow: Callable[[WorkflowID, int], WorkflowEntry | None]
    clock: Clock
    random: Random
    timing: Timing = Timing()
    rules: Rules = field(default_factory=Rules)

    async def tell(self, fact: Fact) -> None:
        """Let *fact* be durable on its way to control; raises ``Error``."""
        await self.outbox.add(pack_fact(fact))

    def maybe_destination(self, wanted: DestinationID) -> DestinationEntry | None:
        """Return a destination as control last told of it, or ``None``."""
        snapshot = self.snapshot()
        return None if snapshot is None else snapshot.maybe_destination(wanted)

    def keep_ms(self, account: AccountID) -> int:
        """Return how long undelivered content of *account* is kept at most."""
        snapshot = self.snapshot()
        found = None if snapshot is None else snapshot.maybe_account(account)
        asked_ms = 0 if found is None else found.limits.content_keep_ms
        return asked_ms or int(self.timing.keep_s * 1_000)

    def particulars(self, record: UploadRecord) -> Particulars:
        """Return what the record keeps sealed; raises :class:`Damaged`."""
        key = self.region.metadata.get(record.names_kid)
        if key is None:
            raise Damaged(Reason.KEY)
        try:
            return open_particulars(key, record.upload, record.names)
        except Broken as broken:
            raise Damaged(broken.reason) from broken
