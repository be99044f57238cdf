"""The ingest process: the node's doors, its metrics listener and its link to control.

The rule: it seals and cannot open.  The private keys are denied to it by the kernel before
anything else happens, and it reads the public half only.
"""

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from edge import capacity, landlock
from edge.doors import FLEETING, listen, open_doors
from edge.expiry import Expiry
from edge.http.tus import DIALECT as TUS
from edge.intake import Intake, Tools
from edge.keys import PRIVATE_FOLDER, PUBLIC_FOLDER, RegionPublicKeys, load_public_keys
from edge.meters import IntakeMeters
from edge.pepper import PepperFile
from edge.place import KEYS_FOLDER, RUN_FOLDER, SINK_FOLDER
from edge.process import Process, make_folder
from edge.resumable import Resumables
from edge.settings import EdgeSettings
from edge.settling import Settling
from edge.sinks.directory import DirectorySink
from edge.sweep import Sweep
from edge.wakeup import Knocker
from zentransfer import ids, log
from zentransfer.clock import SystemClock
from zentransfer.disk import RealDisk
from zentransfer.errors import Code
from zentransfer.limits import INTAKE_CUT_S
from zentransfer.service import CannotStart, Service, Stage

DENIED: Final = (PRIVATE_FOLDER, "root")
"""The folders of keys that this process shuts off: those of :mod:`edge.private_keys`."""


async def main(service: Service, settings: EdgeSettings, process: str) -> None:
    """Live as the ingest process named *process* until *service* stops.

    Raises :class:`zentransfer.service.CannotStart` for a taken port or place, a missing right,
    missing keys of the region, and a malformed address of control.
    """
    listeners = listen(settings)
    self = Process(settings, process)
    self.make_folders()
    make_folder(_pepper_path(settings).parent)  # to be there before anything is shut off
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
    sink = DirectorySink(settings.data_dir / SINK_FOLDER, keys, os.urandom)
    left = await self.take_place(service, sink)
    knocker = Knocker(settings.data_dir / RUN_FOLDER)
    resumables = Resumables(_intake(self, sink, keys, knocker, files))
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
        sink.close()

    service.on_leave(Stage.DRAIN, "uploads", drain)
    service.on_leave(Stage.CLOSE, "sink", close)
    began = resumables.unfinished.began
    sweep = Sweep(intake, left, ids.node(settings.node), FLEETING, began)

    async def look_after() -> None:
        await sweep.run()
        await Expiry(resumables, frozenset({TUS})).run()

    service.tasks.create_task(look_after())
    service.tasks.create_task(intake.mend())
    self.under_way = lambda: intake.in_flight
    IntakeMeters(intake, self.registry)
    return resumables


def _intake(
    self: Process, sink: DirectorySink, keys: RegionPublicKeys, knocker: Knocker, files: int
) -> Intake:
    """Return what admits uploads and ends them, and let ``/readyz`` say what it lacks."""
    settings, clock = self.settings, SystemClock()
    pepper = PepperFile(_pepper_path(settings))
    self.health.add("snapshot", self.snapshots.check)
    self.health.add("pepper", lambda: pepper.check(_pepper_kids(self)))
    return Intake(
        Tools(
            region=settings.region,
            taken_by=f"{settings.node}/{self.name}",
            sink=sink,
            outbox=self.outbox,
            settling=Settling(sink, keys, self.outbox, clock, os.urandom, knocker.wake),
            snapshots=self.snapshots,
            pepper=pepper.maybe,
            clock=clock,
            random_bytes=os.urandom,
            is_admitting=lambda: self.duty.admits,
            free_bytes=lambda: capacity.free_bytes(settings.data_dir),
            in_flight_max=capacity.uploads_for(files),
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
