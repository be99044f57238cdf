"""The delivery process: it alone opens what is stored, delivers it, and destroys it.

It has no port: the service manager hears how it is doing.  The rule: the private half of the
region's keys is read in this process only, and used only behind the audit log.
"""

import os
from contextlib import ExitStack
from ipaddress import ip_network
from pathlib import Path
from random import SystemRandom
from typing import Final

from edge.audit import AuditLog, open_audit
from edge.audit_chain import ChainBroken
from edge.facts import DeletionReason
from edge.guard import Guard, Policy, Resolver
from edge.guard_proxy import Proxy
from edge.keeping import Keeping, open_keeping
from edge.keys import RegionPublicKeys, load_public_keys
from edge.link_state import Asked, SealingKey, Verb
from edge.place import KEYS_FOLDER, RUN_FOLDER
from edge.private_keys import KeyFiles
from edge.process import Process
from edge.region_named import maybe_region_state
from edge.region_state import Event, Notice, Told
from edge.settings import Delivery, EdgeSettings
from edge.workflow.deliver import Deliverer
from edge.workflow.destinations.kinds import Kinds, Network
from edge.workflow.destinations.secrets import Secrets
from edge.workflow.run import Holder
from edge.workflow.site import Site, Timing
from edge.workflow.versions import Versions
from edge.workflow.wake import Listener
from zentransfer.clock import SystemClock
from zentransfer.disk import RealDisk
from zentransfer.errors import Code, Error
from zentransfer.ids import DeliveryID, EpochID, IdMaker, Kind, UploadID, parse
from zentransfer.service import CannotStart, Service, Stage

AUDIT_FOLDER: Final = "audit"

_FIRST: Final = "delivery-0"  # has the socket; the others find what they do by looking


async def main(service: Service, settings: EdgeSettings, process: str) -> None:
    """Live as the delivery process named *process* until *service* stops.

    Raises :class:`zentransfer.service.CannotStart` for a missing right or key, a taken place, an
    audit log that is not whole, and a malformed address.
    """
    self = DeliveryProcess(settings, process)
    self.make_folders()
    await self.take_place(service)
    await self.prepare(service)
    await self.start(service)
    self.serve(service)
    await service.until_stopping()


class DeliveryProcess(Process):
    """A process of a node that delivers; ``deliverer`` is there from :meth:`prepare` on."""

    deliverer: Deliverer
    proxy: Proxy
    keeping: Keeping

    async def prepare(self, service: Service) -> None:
        """Open what a delivery stands on, and work for as long as *service* lives.

        Raises :class:`CannotStart`.
        """
        with ExitStack() as opened:
            site = await self._site(opened)
            self.deliverer = deliverer = Deliverer(site, lambda: self.duty.finishes)
            if self.name == _FIRST:
                folder = self.settings.data_dir / RUN_FOLDER
                opened.callback(Listener(folder, deliverer.wake).close)
            self._hear_of_others(service)
            kept = opened.pop_all()
        self.under_way = lambda: deliverer.due

        async def close() -> None:
            await deliverer.halt()
            kept.close()

        service.on_leave(Stage.DRAIN, "deliveries", deliverer.drain)
        service.on_leave(Stage.GIVE_BACK_LEASES, "leases", deliverer.give_back)
        service.on_leave(Stage.CLOSE, "deliveries", close)
        self.health.add("sink", self.keeping.state)
        service.tasks.create_task(self.proxy.run())
        service.tasks.create_task(self.keeping.tend())
        service.tasks.create_task(deliverer.run())

    def _hear_of_others(self, service: Service) -> None:
        """Be told of what became whole on the region's other nodes, where that is set up."""
        state = maybe_region_state(self.settings)
        if state is None:
            return

        def hear(told: Told) -> None:
            if isinstance(told, Notice) and told.event is Event.WHOLE:
                self.deliverer.wake(told.upload)

        state.listen(hear)
        self.health.add("neighbours", state.check, required=False)
        service.tasks.create_task(state.run())

    async def act(self, asked: Asked, /) -> None:
        """Take in hand what control asks for a delivery or an upload; idempotent."""
        match asked.verb:
            case Verb.RETRY:
                await self.deliverer.retry(DeliveryID(parse(Kind.DELIVERY, asked.subject)))
            case Verb.CANCEL:
                upload = UploadID(parse(Kind.UPLOAD, asked.subject))
                await self.deliverer.stop(upload, DeletionReason.CANCELLED)
            case Verb.ERASE:
                raise Error(Code.METHOD_NOT_ALLOWED, "accounts are not erased here yet")
            case Verb.TRACE:
                raise Error(Code.METHOD_NOT_ALLOWED, "what a camera says is heard by ingest")

    async def _site(self, stack: ExitStack) -> Site:
        settings = self.settings
        data = _disk(stack, settings.data_dir)
        public, private = _keys(_disk(stack, settings.data_dir / KEYS_FOLDER))
        audit = await self._audit(data)
        stack.callback(audit.close)
        self.keeping = await open_keeping(settings, public)
        stack.callback(self.keeping.close)
        resolver = Resolver()
        stack.callback(resolver.close)
        self.proxy = Proxy(Guard(_policy(settings), resolver), os.urandom)
        secrets = Secrets(settings.region, private.destination_key)
        self.destination_key = SealingKey(public.destination_kid, public.destination)
        kinds = Kinds(settings.delivery.folder_roots, network=Network(secrets, self.proxy))
        stack.callback(kinds.close)
        return Site(
            me=Holder(f"{settings.node}/{self.name}", _new_epoch()),
            region=public,
            sink=self.keeping.sink,
            runs=self.keeping.runs,
            outbox=self.outbox,
            audit=audit,
            keys=private,
            root=private.root_key(),
            destinations=kinds,
            snapshot=lambda: self.snapshots.current,
            workflow=Versions(data, self.snapshots, self.name, settings.region).maybe,
            clock=SystemClock(),
            random=SystemRandom(),
            timing=_timing(settings.delivery),
        )

    async def _audit(self, data: RealDisk) -> AuditLog:
        try:
            return await open_audit(data, f"{AUDIT_FOLDER}/{self.name}", _new_epoch)
        except ChainBroken as broken:
            raise CannotStart(
                "The audit log was changed or is damaged.",
                f"Keep {self.settings.data_dir / AUDIT_FOLDER} as evidence, and move it away.",
            ) from broken


def _keys(disk: RealDisk) -> tuple[RegionPublicKeys, KeyFiles]:
    """Return both halves of the region's keys; raises :class:`CannotStart` if one is missing."""
    private = KeyFiles(disk)
    try:
        public = load_public_keys(disk)
        private.root_key()
    except (OSError, ValueError) as wrong:
        raise CannotStart(
            "The region's keys cannot be read.",
            "They are made by `zentransfer up`; delivery needs private/ and root/ too.",
            temporary=True,
        ) from wrong
    return public, private


def _policy(settings: EdgeSettings) -> Policy:
    return Policy(
        ports=settings.delivery.ports,
        networks=tuple(map(ip_network, settings.delivery.refused_networks)),
        is_lab=settings.lab.allow_private_destinations,
    )


def _timing(wanted: Delivery) -> Timing:
    return Timing(
        sweep_s=wanted.sweep_s,
        lease_s=wanted.lease_s,
        renew_s=wanted.renew_s,
        retry_first_s=wanted.retry_first_s,
        retry_max_s=wanted.retry_max_s,
        stall_s=wanted.stall_s,
        keep_s=wanted.keep_s,
    )


def _disk(stack: ExitStack, folder: Path) -> RealDisk:
    disk = RealDisk(folder)
    stack.callback(disk.close)
    return disk


def _new_epoch() -> EpochID:
    return EpochID(IdMaker(os.urandom).make(Kind.EPOCH))
