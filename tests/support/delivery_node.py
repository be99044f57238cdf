"""A node's folder with whole uploads in it, and real delivery processes that come and go."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Coroutine
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any, Final, TypeVar

from edge.audit import stored_lines
from edge.audit_chain import verify
from edge.facts import DeletionReceipt, DeliveryChange, DeliveryState, Fact, Outcome
from edge.keys import load_public_keys
from edge.outbox import open_outbox
from edge.particulars import Particulars, seal_particulars
from edge.private_keys import make_region_keys
from edge.record import Ending, State, UploadRecord
from edge.sinks.directory import DirectorySink
from edge.snapshot import Snapshot
from edge.snapshot_file import open_snapshot_file
from tests.support.delivery_site import ACCOUNT, WORKFLOW, destination_id, facts_of, snapshot
from tests.support.programs import as_in_service
from tests.support.waiting import until
from tests.support.writing import fill
from zentransfer.clock import SystemClock
from zentransfer.disk import RealDisk
from zentransfer.ids import (
    DestinationID,
    EpochID,
    IdMaker,
    Kind,
    OutcomeID,
    Region,
    UploadID,
)
from zentransfer.sealed_name import FileName

T = TypeVar("T")

KID: Final = "fr-2026-11"
NAMES: Final = ("delivery-0", "delivery-1")


def run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner() as runner:
        return runner.run(work)


@dataclass(frozen=True)
class Whole:
    """An upload that was committed: its content, and its path at each destination."""

    upload: UploadID
    content: bytes
    path: str


@dataclass
class DeliveryNode:
    """The data folder of a node in fr; ``destinations`` are folders beside it."""

    folder: Path
    destinations: int = 1
    sweep_s: float = 0.5
    extra: str = ""
    sent: list[Whole] = field(default_factory=list[Whole])
    running: list[subprocess.Popen[bytes]] = field(default_factory=list[subprocess.Popen[bytes]])

    def __post_init__(self) -> None:
        self._ready_before: dict[int, int] = {}
        self.data = self.folder / "fr"
        self.delivered = self.folder / "delivered"
        self.random = Random(11)
        self.ids = IdMaker(os.urandom)
        self.addresses = {
            destination_id(n): str(self.delivered / str(n)) for n in range(self.destinations)
        }
        for each in self.addresses.values():
            Path(each).mkdir(parents=True)
        for name in ("sink", "keys", "outbox", "snapshot", "run"):
            (self.data / name).mkdir(parents=True)
        self.settings = self.folder / "edge.toml"
        self.settings.write_text(
            f'region = "fr"\nnode = "fr-1"\ndata_dir = "{self.data}"\ndrain_deadline_s = 20\n'
            f'[control]\naddress = "127.0.0.1:1"\n'
            f"[delivery]\nsweep_s = {self.sweep_s}\nlease_s = 4\nrenew_s = 1\nretry_first_s = 0.3\n"
            f'retry_max_s = 1\nfolder_roots = ["{self.delivered}"]\n{self.extra}\n'
        )
        self.disk = RealDisk(self.data)
        keys = RealDisk(self.data / "keys")
        run(make_region_keys(keys, Region.FR, KID, os.urandom))
        self.public = load_public_keys(keys)
        keys.close()
        self.sink = DirectorySink(self.data / "sink", self.public, os.urandom)
        self.tell(snapshot(self.addresses))

    def tell(self, found: Snapshot) -> None:
        """Let every delivery process know *found*, as control would."""
        for name in NAMES:
            run(open_snapshot_file(self.disk, f"snapshot/{name}", Region.FR).keep(found))

    def commit(self, content: bytes, name: str, folder: str = "") -> Whole:
        """Let an upload be whole, as ingest leaves it, without a knock."""
        return run(self._commit(content, name, folder))

    async def _commit(self, content: bytes, name: str, folder: str) -> Whole:
        upload = UploadID(self.ids.make(Kind.UPLOAD))
        now_ms = SystemClock().now_ms()
        record = UploadRecord(upload, ACCOUNT, Region.FR, now_ms, door="http", dialect="plain")
        kid = self.public.metadata_kid
        sealed = seal_particulars(
            self.public.metadata[kid],
            upload,
            Particulars(FileName(folder, name), taken_by="fr-1/ingest-0"),
            os.urandom(12),
        )
        writer = await (await self.sink.create(record.named(sealed, kid))).writer()
        fill(writer, content)
        ending = Ending(WORKFLOW, 1, now_ms, OutcomeID(self.ids.make(Kind.OUTCOME)))
        await writer.finish(sha256(content).digest(), ending)
        whole = Whole(upload, content, f"{folder}/{name}".lstrip("/"))
        self.sent.append(whole)
        return whole

    def start(self, index: int = 0, *prefix: str) -> subprocess.Popen[bytes]:
        """Start a delivery process, behind *prefix* if that is given; it may not be ready yet."""
        self._ready_before[index] = len(self.said("process.ready", index))
        with (self.folder / f"delivery-{index}.log").open("ab") as log:
            process = subprocess.Popen(
                [
                    *prefix,
                    *(sys.executable, "-m", "edge", "delivery"),
                    *("--index", str(index), "--settings", str(self.settings)),
                ],
                stdin=subprocess.DEVNULL,
                env=as_in_service(),
                stderr=log,
            )
        self.running.append(process)
        return process

    def leave(self, process: subprocess.Popen[bytes], index: int = 0) -> None:
        """End a process by a signal once it is ready: it drains and says that all is well."""
        before = self._ready_before[index]
        until(
            lambda: len(self.said("process.ready", index)) > before or process.poll() is not None,
            "ready",
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(45) == 0

    def stop(self) -> None:
        """End every process at once, and let go of the folder."""
        for process in self.running:
            process.kill()
            process.wait()
        self.running.clear()
        self.sink.close()
        self.disk.close()

    def log(self, index: int = 0) -> list[dict[str, Any]]:
        path = self.folder / f"delivery-{index}.log"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines if line.startswith("{")]

    def said(self, fact: str, index: int = 0) -> list[dict[str, Any]]:
        return [line for line in self.log(index) if line["fact"] == fact]

    def state(self, upload: UploadID) -> State:
        return run(self.sink.record(upload)).value.state

    def is_quiet(self) -> bool:
        """Say whether every upload is gone and no run is left."""
        if any(self.state(whole.upload) is not State.DESTROYED for whole in self.sent):
            return False
        return not [path for path in (self.data / "sink" / "runs").rglob("up_*") if path.is_file()]

    def until_quiet(self, within_s: float = 45.0) -> None:
        until(self.is_quiet, "everything is delivered and gone", within_s)

    def objects(self, destination: DestinationID | None = None) -> dict[str, bytes]:
        root = Path(self.addresses[destination or destination_id(0)])
        files = (path for path in root.rglob("*") if path.is_file())
        return {str(path.relative_to(root)): path.read_bytes() for path in files}

    def facts(self) -> list[Fact]:
        """Return what the processes, which must be over, have told so far."""
        found: list[Fact] = []
        for name in NAMES:
            if (self.data / "outbox" / name).is_dir():
                found += run(self._facts(name))
        return found

    async def _facts(self, name: str) -> list[Fact]:
        outbox = await open_outbox(self.disk, f"outbox/{name}", self._epoch)
        try:
            return facts_of(outbox)
        finally:
            outbox.close()

    def _epoch(self) -> EpochID:
        return EpochID(self.ids.make(Kind.EPOCH))

    def check(self) -> None:
        """Assert that all was delivered once, told once, audited, and that nothing is left."""
        expected = {whole.path: whole.content for whole in self.sent}
        for destination in self.addresses:
            assert self.objects(destination) == expected
        by_id: dict[str, Fact] = {}
        for fact in self.facts():
            assert by_id.setdefault(fact.id, fact) == fact, "one id, two facts"
        bodies = [fact.body for fact in by_id.values()]
        uploads = sorted(whole.upload for whole in self.sent)
        for kind in (Outcome, DeletionReceipt):
            assert sorted(one.upload_id for one in bodies if isinstance(one, kind)) == uploads
        done = [
            (one.upload_id, one.destination_id)
            for one in bodies
            if isinstance(one, DeliveryChange) and one.state is DeliveryState.DELIVERED
        ]
        assert sorted(done) == sorted((u, d) for u in uploads for d in self.addresses)
        left = [path for path in (self.data / "sink").rglob("*") if path.suffix == ".seg"]
        assert left == []
        for name in NAMES:
            if self.disk.exists(f"audit/{name}"):
                verify(stored_lines(self.disk, f"audit/{name}"))
