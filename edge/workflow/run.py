"""One execution of a workflow for one upload: its deliveries, their leases, its end.  Pure.

The rule: a run changes by these transitions only, each from one value to another, and **every one
that belongs to an attempt names its fence**.  A fence is never given twice, so an attempt that lost
its lease can change nothing any more, whatever it still believes.

Times are UTC milliseconds of the machine that the run records lie on.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from edge.audit_chain import START, Head
from edge.facts import DeletionReason, DeliveryState
from zentransfer.errors import Code
from zentransfer.ids import AccountID, DeliveryID, DestinationID, RunID, UploadID, WorkflowID

ENDED: Final = frozenset({DeliveryState.DELIVERED, DeliveryState.CANCELLED, DeliveryState.FAILED})
_SETTLED: Final = frozenset({DeliveryState.DELIVERED, DeliveryState.CANCELLED})
_OPEN_AGAIN: Final = frozenset({DeliveryState.WAIT, DeliveryState.PARKED, DeliveryState.FAILED})


class RunState(StrEnum):
    """Where a run stands; a state to the left never follows one to its right."""

    OPEN = "open"
    ERASABLE = "erasable"
    """Nothing is to be delivered any more: the content goes."""
    ERASED = "erased"
    """The content is gone, and the receipt, which stands here, is to be told."""


class Fault(StrEnum):
    """Whom an error speaks about, and so what becomes of the delivery."""

    TEMPORARY = "temporary"
    """It may work later: try again after a pause."""
    OBJECT = "object"
    """This object will never be taken as it is: the delivery fails."""
    DESTINATION = "destination"
    """Nothing is taken there until somebody acts: all its deliveries are parked."""


class LeaseLost(Exception):
    """Somebody else has the lease, or nobody: what was done under it does not count."""


class NotDue(Exception):
    """There is nothing to take: it waits, or somebody else does it."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who takes leases: a process by its lasting name, and this life of it."""

    process: str
    life: str


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to try, until ``until_ms`` or until a higher fence."""

    process: str = ""
    life: str = ""
    until_ms: int = 0

    def free_ms(self, me: Holder) -> int:
        """Return when *me* may take it: when it ran out, at once if an earlier life held it."""
        return 0 if self.process == me.process and self.life != me.life else self.until_ms

    def is_free(self, me: Holder, now_ms: int) -> bool:
        """Say whether *me* may take it now."""
        return self.free_ms(me) <= now_ms


NO_LEASE: Final = Lease()


@dataclass(frozen=True, slots=True)
class Delivery:
    """One object to one destination.

    ``attempt`` and ``fence`` count the running one too.  ``due_ms`` is when to try while it waits.
    ``ref`` is what the destination remembers it by.  ``changes`` counts what there was to tell, the
    last at ``changed_ms``, and ``told`` up to which of them it is told.  ``digest`` is the SHA-256
    of what went there, where that was computed on the way.
    """

    id: DeliveryID
    destination: DestinationID
    state: DeliveryState = DeliveryState.WAIT
    attempt: int = 0
    fence: int = 0
    due_ms: int = 0
    lease: Lease = NO_LEASE
    error: Code | None = None
    ref: str = ""
    size_bytes: int = 0
    changes: int = 0
    changed_ms: int = 0
    told: int = 0
    digest: bytes | None = None

    @property
    def is_ended(self) -> bool:
        """Whether nothing more is tried by itself."""
        return self.state in ENDED

    @property
    def has_news(self) -> bool:
        """Whether something about it is not told yet."""
        return self.told < self.changes

    def is_claimable(self, me: Holder, now_ms: int) -> bool:
        """Say whether *me* may begin an attempt now."""
        if self.state is DeliveryState.RUN:
            return self.lease.is_free(me, now_ms)
        return not self.is_ended and self.waits_until_ms(now_ms) <= now_ms

    def waits_until_ms(self, now_ms: int) -> int:
        """Return when to try it while it waits; now, if the clock has gone back since it began to.

        Nobody knows then how long it has waited.
        """
        return now_ms if now_ms < self.changed_ms else self.due_ms


@dataclass(frozen=True, slots=True)
class Gone:
    """When the content went: its keys, then its bytes; and the audit chain's end just then.

    ``signature`` is the region's, of the receipt, by the key whose public half is ``root_key``;
    both are empty if an older program wrote this down.
    """

    keys_destroyed_ms: int
    removed_ms: int
    audit: Head = START
    signature: bytes = b""
    root_key: bytes = b""


@dataclass(frozen=True, slots=True)
class Run:
    """All that is to be done with one whole upload of ``size_bytes``.

    ``is_kept`` means that nothing was chosen by anybody: the content waits for ``keep_until_ms``
    instead of going at once.  ``is_urgent`` ones go ahead of others.  ``lease`` and ``fence`` are
    those of the erasing.
    """

    id: RunID
    upload: UploadID
    account: AccountID
    workflow: WorkflowID | None
    workflow_version: int
    size_bytes: int
    created_ms: int
    keep_until_ms: int
    deliveries: tuple[Delivery, ...]
    is_kept: bool = False
    is_urgent: bool = False
    state: RunState = RunState.OPEN
    reason: DeletionReason | None = None
    fence: int = 0
    lease: Lease = NO_LEASE
    gone: Gone | None = None

    @property
    def pending(self) -> int:
        """How many deliveries are still to end."""
        return sum(not delivery.is_ended for delivery in self.deliveries)

    @property
    def undelivered(self) -> tuple[DestinationID, ...]:
        """The destinations that did not get it, or not yet."""
        missed = (d for d in self.deliveries if d.state is not DeliveryState.DELIVERED)
        return tuple(delivery.destination for delivery in missed)

    def delivery(self, wanted: DeliveryID) -> Delivery:
        """Return one of the deliveries; raises ``KeyError``."""
        for delivery in self.deliveries:
            if delivery.id == wanted:
                return delivery
        raise KeyError(wanted)

    @property
    def is_untried(self) -> bool:
        """Whether a delivery still waits for its first attempt."""
        return any(d.state is DeliveryState.WAIT and not d.attempt for d in self.deliveries)

    def next_ms(self, me: Holder, now_ms: int) -> int:
        """Return when there is something for *me* to do, if nobody changes anything.

        A parked delivery has no time of its own: its destination says when.
        """
        if self.state is not RunState.OPEN:
            return self.lease.free_ms(me)
        running = (d.lease.free_ms(me) for d in self.deliveries if d.state is DeliveryState.RUN)
        waits = (d for d in self.deliveries if d.state is DeliveryState.WAIT)
        waiting = (delivery.waits_until_ms(now_ms) for delivery in waits)
        return min([self.keep_until_ms, *running, *waiting])

    # -- one delivery's attempt

    def claimed(self, which: DeliveryID, me: Holder, now_ms: int, lease_ms: int) -> "Run":
        """Return the run with an attempt of *me* begun, under a new fence; raises ``NotDue``."""
        held = self.delivery(which)
        if self.state is not RunState.OPEN or not held.is_claimable(me, now_ms):
            raise NotDue
        begun = replace(
            held,
            attempt=held.attempt + 1,
            fence=held.fence + 1,
            lease=Lease(me.process, me.life, now_ms + lease_ms),
        )
        return self._with(_changed(begun, DeliveryState.RUN, now_ms))

    def renewed(self, which: DeliveryID, fence: int, now_ms: int, lease_ms: int) -> "Run":
        """Return the run with the attempt's lease extended; raises :class:`LeaseLost`."""
        held = self._held(which, fence)
        return self._with(replace(held, lease=replace(held.lease, until_ms=now_ms + lease_ms)))

    def delivered(self, which: DeliveryID, fence: int, now_ms: int, ref: str) -> "Run":
        """Return the run with the object at its destination; raises :class:`LeaseLost`."""
        held = replace(self._held(which, fence), ref=ref, size_bytes=self.size_bytes)
        return self._with(_changed(held, DeliveryState.DELIVERED, now_ms)).settled()

    def measured(self, which: DeliveryID, digest: bytes | None) -> "Run":
        """Return the run with the *digest* of what was just delivered, if it is known."""
        return self._with(replace(self.delivery(which), digest=digest))

    def postponed(
        self, which: DeliveryID, fence: int, now_ms: int, error: Code, due_ms: int
    ) -> "Run":
        """Return the run with the attempt failed for now; raises :class:`LeaseLost`."""
        held = self._held(which, fence)
        return self._with(_changed(held, DeliveryState.WAIT, now_ms, error, due_ms))

    def parked(self, which: DeliveryID, fence: int, now_ms: int, error: Code) -> "Run":
        """Return the run with the delivery held back until its destination works again.

        Either the attempt under *fence* found its destination closed, or none was begun and the
        fence is that of the last one.  Raises :class:`LeaseLost`.
        """
        held = self.delivery(which)
        if held.fence != fence or held.is_ended:
            raise LeaseLost
        return self._with(_changed(held, DeliveryState.PARKED, now_ms, error))

    def failed(self, which: DeliveryID, fence: int, now_ms: int, error: Code) -> "Run":
        """Return the run with the delivery given up; raises :class:`LeaseLost`.

        The content stays until the run's end, so that the owner can let it be tried again.
        """
        return self._with(
            _changed(self._held(which, fence), DeliveryState.FAILED, now_ms, error)
        ).settled()

    def released(self, which: DeliveryID, fence: int, now_ms: int) -> "Run":
        """Return the run with the attempt given back unfinished; raises :class:`LeaseLost`."""
        held = self._held(which, fence)
        back = replace(held, attempt=held.attempt - 1)
        return self._with(_changed(back, DeliveryState.WAIT, now_ms, None, now_ms))

    # -- what the owner or the policy wants

    def retried(self, which: DeliveryID, now_ms: int) -> "Run":
        """Return the run with the delivery due at once; raises ``NotDue`` if it cannot be."""
        held = self.delivery(which)
        if self.state is not RunState.OPEN or held.state not in _OPEN_AGAIN:
            raise NotDue
        return self._with(_changed(held, DeliveryState.WAIT, now_ms, None, now_ms))

    def stopped(self, reason: DeletionReason, now_ms: int) -> "Run":
        """Return the run ended by its owner or its policy; what is under way loses its lease.

        Of an ended run the first reason stays.
        """
        if self.state is not RunState.OPEN:
            return self
        state, error = DeliveryState.CANCELLED, None
        if reason is DeletionReason.EXPIRED:
            state, error = DeliveryState.FAILED, Code.TIMEOUT
        deliveries = tuple(
            delivery
            if delivery.is_ended
            else _changed(replace(delivery, fence=delivery.fence + 1), state, now_ms, error)
            for delivery in self.deliveries
        )
        return replace(self, deliveries=deliveries, state=RunState.ERASABLE, reason=reason)

    def expired(self, me: Holder, now_ms: int) -> "Run":
        """Return the run ended if its time is over; an attempt under way is waited for.

        So is a first one: a node that was down for the whole time throws nothing away untried.
        """
        is_busy = any(
            delivery.state is DeliveryState.RUN and not delivery.lease.is_free(me, now_ms)
            for delivery in self.deliveries
        )
        if now_ms < self.keep_until_ms or is_busy or self.is_untried:
            return self
        return self.stopped(DeletionReason.EXPIRED, now_ms)

    def settled(self) -> "Run":
        """Return the run, erasable if every delivery ended well."""
        states = {delivery.state for delivery in self.deliveries}
        if self.state is not RunState.OPEN or self.is_kept or not states <= _SETTLED:
            return self
        only_cancelled = states == {DeliveryState.CANCELLED}
        reason = DeletionReason.CANCELLED if only_cancelled else DeletionReason.DELIVERED
        return replace(self, state=RunState.ERASABLE, reason=reason)

    def told(self, which: DeliveryID, changes: int) -> "Run":
        """Return the run with the first *changes* of the delivery told."""
        held = self.delivery(which)
        return self._with(replace(held, told=max(held.told, min(changes, held.changes))))

    # -- the end of the content

    def erasing(self, me: Holder, now_ms: int, lease_ms: int) -> "Run":
        """Return the run with the erasing taken by *me*, under a new fence; raises ``NotDue``."""
        if self.state is RunState.OPEN or not self.lease.is_free(me, now_ms):
            raise NotDue
        lease = Lease(me.process, me.life, now_ms + lease_ms)
        return replace(self, fence=self.fence + 1, lease=lease)

    def erased(self, fence: int, gone: Gone) -> "Run":
        """Return the run whose content is gone; raises :class:`LeaseLost`."""
        if self.fence != fence or self.state is RunState.OPEN:
            raise LeaseLost
        if self.gone is not None:  # told again, it must be the same
            return self
        return replace(self, state=RunState.ERASED, gone=gone)

    def is_held(self, which: DeliveryID, fence: int) -> bool:
        """Say whether the attempt under *fence* has not lost its lease to another."""
        held = self.delivery(which)
        return held.fence == fence and held.state is DeliveryState.RUN

    def _held(self, which: DeliveryID, fence: int) -> Delivery:
        if not self.is_held(which, fence):
            raise LeaseLost
        return self.delivery(which)

    def _with(self, changed: Delivery) -> "Run":
        deliveries = tuple(changed if d.id == changed.id else d for d in self.deliveries)
        return replace(self, deliveries=deliveries)


Transition = Callable[[Run], Run]


def _changed(
    delivery: Delivery,
    state: DeliveryState,
    now_ms: int,
    error: Code | None = None,
    due_ms: int = 0,
) -> Delivery:
    """Return *delivery* in a new state, which is news; only a running one keeps its lease."""
    return replace(
        delivery,
        state=state,
        error=error,
        due_ms=due_ms,
        lease=delivery.lease if state is DeliveryState.RUN else NO_LEASE,
        changes=delivery.changes + 1,
        changed_ms=now_ms,
    )
