"""A real ingest process with a prepared data folder, and curl to speak to it."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from edge.keys import RegionPublicKeys, load_public_keys
from edge.private_keys import KeyFiles, make_region_keys
from edge.snapshot import Snapshot
from edge.snapshot_file import open_snapshot_file
from tests.support.ports import free_ports
from tests.support.programs import as_in_service
from tests.support.snapshots import Customer
from tests.support.waiting import until
from zentransfer.credential import pepper_file
from zentransfer.disk import RealDisk

T = TypeVar("T")


class Answer:
    """What curl got: the last status, all headers of the last response, the body."""

    def __init__(self, raw: bytes) -> None:
        self.statuses: list[int] = []
        rest = raw
        head = b""
        while rest.startswith(b"HTTP/"):
            head, _, rest = rest.partition(b"\r\n\r\n")
            self.statuses.append(int(head.split(b" ", 2)[1]))
        lines = head.decode("latin-1").split("\r\n")[1:]
        self.headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        self.body = rest

    @property
    def status(self) -> int:
        return self.statuses[-1] if self.statuses else 0

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


class IngestNode:
    """The folder of a node in fr, and its ingest process while it runs."""

    def __init__(self, folder: Path, customer: Customer | None = None, extra: str = "") -> None:
        self.folder = folder
        self.customer = customer or Customer()
        self.data = folder / "fr"
        self.http, self.metrics, control = free_ports(3)
        self.https = 0  # where it ends TLS itself, if it was told to
        self.settings = folder / "edge.toml"
        ftp = "" if "[ftp]" in extra else "[ftp]\nport = 0\n"
        self.settings.write_text(
            f'region = "fr"\nnode = "fr-1"\ndata_dir = "{self.data}"\n'
            f"[http]\nport = {self.http}\n{extra}\n{ftp}[metrics]\nport = {self.metrics}\n"
            f'[control]\naddress = "127.0.0.1:{control}"\n'
        )
        self.running: list[subprocess.Popen[bytes]] = []

    def prepare(self, snapshot: Snapshot | None = None) -> "IngestNode":
        """Make keys, pepper and snapshot as the launcher and the link would."""
        prepare_data(self.data, self.customer, snapshot or self.customer.snapshot())
        return self

    def start(self, *prefix: str, wait: bool = True, index: int = 0) -> subprocess.Popen[bytes]:
        """Start the process, behind *prefix* if that is given."""
        with (self.folder / "ingest.log").open("ab") as log:
            process = subprocess.Popen(
                [
                    *prefix,
                    *(sys.executable, "-m", "edge", "ingest"),
                    *("--index", str(index), "--settings", str(self.settings)),
                ],
                stdin=subprocess.DEVNULL,
                env=as_in_service(),
                stderr=log,
            )
        self.running.append(process)
        if wait:
            until(lambda: self.is_ready() or process.poll() is not None, "ingest is ready")
            assert process.poll() is None, (self.folder / "ingest.log").read_text()
        return process

    def is_ready(self) -> bool:
        return self.curl("/readyz").status == 200

    def stop(self) -> None:
        for process in self.running:
            process.kill()
            process.wait()
        self.running.clear()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.http}{path}"

    def command(self, path: str, *options: str, token: str | None = None) -> list[str]:
        shown = self.customer.token if token is None else token
        return [
            *("curl", "-sS", "-i", "--max-time", "60", "--path-as-is"),
            *(["-H", f"Authorization: Bearer {shown}"] if shown else []),
            *options,
            self.url(path),
        ]

    def curl(self, path: str, *options: str, token: str | None = None) -> Answer:
        done = subprocess.run(
            self.command(path, *options, token=token), capture_output=True, check=False
        )
        return Answer(done.stdout)

    def put(self, name: str, content: Path | bytes, *options: str) -> Answer:
        if isinstance(content, bytes):
            path = self.folder / "body"
            path.write_bytes(content)
            content = path
        return self.curl(f"/in/{name}", "-T", str(content), *options)

    def facts(self, name: str) -> list[dict[str, Any]]:
        lines = (self.folder / "ingest.log").read_text().splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [fact for fact in found if fact["fact"] == name]

    def public_keys(self) -> RegionPublicKeys:
        return load_public_keys(RealDisk(self.data / "keys"))

    def key_files(self) -> KeyFiles:
        return KeyFiles(RealDisk(self.data / "keys"))


def once(main: Coroutine[Any, Any, T]) -> T:
    """Run *main* while programs of the test go on beside it."""
    with asyncio.Runner() as runner:
        return runner.run(main)


def prepare_data(data: Path, customer: Customer, snapshot: Snapshot) -> None:
    """Fill the data folder of a node with what others make for it."""

    async def make() -> None:
        (data / "keys").mkdir(parents=True, exist_ok=True)
        keys = RealDisk(data / "keys")
        await make_region_keys(keys, customer.region, "fr-2026-11", Random(1).randbytes)
        keys.close()
        disk = RealDisk(data)
        for process in ("ingest-0", "ingest-1"):
            await open_snapshot_file(disk, f"snapshot/{process}", customer.region).keep(snapshot)
        disk.close()

    once(make())
    (data / "keys" / "public" / "pepper").write_bytes(pepper_file(customer.pepper))
