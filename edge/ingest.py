"""The ingest process: the node's doors, its metrics listener and its link to control.

The rule: it seals and cannot open.  The private keys are denied to it by the kernel before
anything else happens, and it reads the public half only.
"""

import asyncio
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from edge import capacity, landlock
from edge.adoption import Adoption
from edge.doors import FLEETING, listen, open_doors
from edge.expiry import Expiry
from edge.handover import Signer
from edge.http.tus import DIALECT as TUS
from edge.intake import Intake, Tools
from edge.keeping import Keeping, open_keeping
from edge.keys import PRIVATE_FOLDER, PUBLIC_FOLDER, RegionPublicKeys, load_public_keys
from edge.link_state import VerifyingKey
from edge.meters import IntakeMeters
from edge.neighbours import Neighbours
from edge.pepper import PepperFile
from edge.place import KEYS_FOLDER, RUN_FOLDER, Left
from edge.pressure import LoopLag
from edge.process import Process, make_folder, new_epoch
from edge.region_local import LocalRegionState
from edge.region_named import maybe_region_state
from edge.region_state import Event, Notice
from edge.resumable import Resumables
from edge.settings import EdgeSettings
from edge.settling import Settling
from edge.sftp.bounds import FOLDER as SFTP_FOLDER
from edge.sftp.renaming import HELD as SFTP_HELD
from edge.sinks.base import Sink
from edge.sweep import Sweep
from edge.traced import Tracing
from edge.wakeup import Knocker, Wake
from zentransfer import ids, log
from zentransfer.clock import SystemClock
from zentransfer.disk import RealDisk
from zentransfer.errors import Code
from zentransfer.ids import UploadID
from zentransfer.limits import INTAKE_CUT_S
from zentransfer.service import CannotStart, Service, Stage

DENIED: Final = (PRIVATE_FOLDER, "root")
"""The folders of keys that this process shuts off: those of :mod:`edge.private_keys`."""


async def main(service: Service, settings: EdgeSettings, process: str) -> None:
    """Live as the ingest process named *process* until *service* stops.

    Raises :class:`zentransfer.service.CannotStart` for a taken port or place, a missing right,
    missing keys of the region, and a malformed address of control.
    """
    self = Process(settings, process)
    listeners = listen(settings, self.index)
    self.make_folders()
    for needed in (_pepper_path(settings).parent, settings.data_dir / SFTP_FOLDER):
        make_folder(needed)  # to be there before anything is shut off
    _deny_private_keys(self)
    keys = _public_keys(settings.data_dir / KEYS_FOLDER)
    files = capacity.ask_for_files()
    resumables = await _resumables(self, service, keys, files)
    await self.start(service)
    await open_doors(self, service, listeners, resumables, keys, files)
    self.serve(service)
    await service.until_stopping()


def _deny_private_keys(self: Process) -> None:
    """Shut the private half of the region's keys off from this process, for ever."""
    keys = self.settings.data_dir / KEYS_FOLDER
    restriction = landlock.deny([keys / name for name in DENIED])
    self.health.add("landlock", lambda: (restriction.is_denied, restriction.detail), required=False)
    if restriction.is_denied:
        log.fact("process.restricted")
    else:
        log.fact("process.unrestricted", state=restriction.state)


async def _resumables(
    self: Process, service: Service, keys: RegionPublicKeys, files: int
) -> Resumables:
    """Return what takes uploads, with all that it stands on, and tell *service* how it ends."""
    settings = self.settings
    keeping = await open_keeping(settings, keys)
    self.health.add("sink", keeping.state)
    left = await self.take_place(service, keeping.sink)
    knocker = Knocker(settings.data_dir / RUN_FOLDER)
    run = settings.data_dir / RUN_FOLDER
    state = maybe_region_state(settings) or LocalRegionState(run, self.name)
    self.region_state = state
    signer = Signer(keys.origin, settings.region)
    self.ticket_key = VerifyingKey(signer.kid, signer.public)

    def wake(upload: UploadID) -> None:
        knocker.wake(upload)
        state.tell(Notice(Event.WHOLE, upload, 0))

    lag = LoopLag()
    service.tasks.create_task(lag.run())
    resumables = Resumables(_intake(self, keeping, keys, wake, files, lag))
    intake = resumables.intake

    async def drain() -> None:
        allowed_s = settings.drain_deadline_s
        with suppress(TimeoutError):
            async with asyncio.timeout(max(allowed_s - INTAKE_CUT_S, allowed_s / 2)):
                await intake.until_idle()
        intake.cut(Code.DRAINING)  # whoever is late fails, and that is told too
        await intake.until_idle()

    async def close() -> None:
        await resumables.unfinished.held.close()
        knocker.close()
        keeping.close()

    service.on_leave(Stage.DRAIN, "uploads", drain)
    service.on_leave(Stage.CLOSE, "sink", close)
    service.tasks.create_task(_look_after(self, resumables, left, keeping.sink))
    service.tasks.create_task(intake.mend())
    service.tasks.create_task(keeping.tend())
    me = f"{settings.node}/{self.name}"
    neighbours = Neighbours(state, resumables.unfinished, keeping.sink, me)
    self.health.add("neighbours", state.check, required=False)
    service.tasks.create_task(neighbours.run())
    service.tasks.create_task(state.run())
    self.under_way = lambda: intake.in_flight
    self.receiving = intake.begun
    self.tracing = Tracing(lambda: self.snapshots.current, SystemClock())
    IntakeMeters(intake, self.registry)
    return resumables


async def _look_after(self: Process, resumables: Resumables, left: Left, sink: Sink) -> None:
    """See to what dead processes left and to what never ends by itself, for ever."""
    adoption = Adoption(self.disk, self.place, self.outbox, new_epoch, left.living)
    node = ids.node(self.settings.node)
    began = resumables.unfinished.began

    def is_anothers(taken_by: str) -> bool:
        return taken_by in {f"{node}/{process}" for process in adoption.living}

    expiry = Expiry(resumables, frozenset({TUS, SFTP_HELD}), is_anothers)

    async def see_to(left: Left) -> None:
        uploads = tuple([one async for one in sink.uploads()])
        await Sweep(resumables.intake, replace(left, uploads=uploads), node, FLEETING, began).run()
        await expiry.look(finishes=True)

    await Sweep(resumables.intake, left, node, FLEETING, began).run()
    async with asyncio.TaskGroup() as group:
        group.create_task(expiry.run())
        group.create_task(adoption.run(see_to))


def _intake(
    self: Process, keeping: Keeping, keys: RegionPublicKeys, wake: Wake, files: int, lag: LoopLag
) -> Intake:
    """Return what admits uploads and ends them, and let ``/readyz`` say what it lacks."""
    settings, clock, sink = self.settings, SystemClock(), keeping.sink
    pepper = PepperFile(_pepper_path(settings))
    self.health.add("snapshot", self.snapshots.check)
    self.health.add("pepper", lambda: pepper.check(_pepper_kids(self)))
    return Intake(
        Tools(
            region=settings.region,
            taken_by=f"{settings.node}/{self.name}",
            sink=sink,
            outbox=self.outbox,
            settling=Settling(sink, keys, self.outbox, clock, os.urandom, wake),
            snapshots=self.snapshots,
            pepper=pepper.maybe,
            clock=clock,
            random_bytes=os.urandom,
            is_admitting=lambda: self.duty.admits,
            free_bytes=keeping.room_bytes,
            in_flight_max=capacity.uploads_for(files),
            lag_s=lag.standing_s,
        )
    )


def _public_keys(folder: Path) -> RegionPublicKeys:
    try:
        return load_public_keys(RealDisk(folder))
    except (OSError, ValueError) as wrong:
        raise CannotStart(
            "The region's public keys cannot be read.",
            "They are made by `zentransfer up`, or copied from the region's other nodes.",
            temporary=True,
        ) from wrong


def _pepper_path(settings: EdgeSettings) -> Path:
    return settings.pepper_file or settings.data_dir / KEYS_FOLDER / PUBLIC_FOLDER / "pepper"


def _pepper_kids(self: Process) -> frozenset[str]:
    snapshot = self.snapshots.current
    return frozenset() if snapshot is None else snapshot.pepper_kids
