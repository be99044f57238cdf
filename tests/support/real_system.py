"""Control, ingest and delivery of one node in France, as the programs they are; curl as its client.

Each program is started, killed and started again by itself, behind another one (strace, nsenter)
where that is wanted.
"""

import hashlib
import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, Final

import psutil

from edge.private_keys import make_region_keys
from tests.support.ingest_node import Answer
from tests.support.ports import free_ports
from tests.support.real_loop import real_loop
from tests.support.waiting import until
from zentransfer import service
from zentransfer.disk import RealDisk
from zentransfer.ids import Region

KID: Final = "fr-2026-11"
PROGRAMS: Final = ("control", "ingest", "delivery")


def made(folder: Path, name: str, size: int, seed: int | None = None) -> Path:
    """Return a new file of *size* random bytes, the same for the same *seed*."""
    path = folder / name
    random, left = Random(size if seed is None else seed), size
    with path.open("wb") as file:
        while left:
            left -= file.write(random.randbytes(min(left, 1 << 20)))
    return path


def digest(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class System:
    """A control and one node, in folders of their own below *folder*.

    ``view`` is where the test sees *folder*: elsewhere, if the programs have mounts of their own.
    ``prefix`` is what every program is started behind.
    """

    def __init__(
        self,
        folder: Path,
        *,
        edge: str = "",
        delivery: str = "",
        prefix: tuple[str, ...] = (),
        view: Path | None = None,
    ) -> None:
        self.folder = folder
        self.prefix = prefix
        self.view = view or folder
        self.delivered = self.view / "delivered"
        self.node = self.view / "fr"
        self.http, self.metrics, self.pages, self.grpc = free_ports(4)
        self.temporary = self.view / "tmp"
        self.temporary.mkdir()
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self._ready_before = 0
        (folder / "control.toml").write_text(
            f'data_dir = "{folder}/control"\nfolder_roots = ["{folder}/delivered"]\n'
            f"[http]\nport = {self.pages}\n[grpc]\nport = {self.grpc}\n"
        )
        (folder / "edge.toml").write_text(
            f'region = "fr"\nnode = "fr-1"\ndata_dir = "{folder}/fr"\n'
            f'pepper_file = "{folder}/control/keys/peppers/fr"\n'
            f"[http]\nport = {self.http}\n{edge}\n[ftp]\nport = 0\n"
            f"[metrics]\nport = {self.metrics}\n"
            f'[control]\naddress = "127.0.0.1:{self.grpc}"\n'
            f'[delivery]\nfolder_roots = ["{folder}/delivered"]\nsweep_s = 0.5\n'
            f"retry_first_s = 1\nretry_max_s = 2\nlease_s = 4\nrenew_s = 1\n{delivery}\n"
        )
        real_loop(self._make_keys())

    async def _make_keys(self) -> None:
        (self.node / "keys").mkdir(parents=True, mode=0o700)
        disk = RealDisk(self.node / "keys")
        await make_region_keys(disk, Region.FR, KID, Random(1).randbytes)
        disk.close()

    # --- programs ---

    def start(self, name: str, *prefix: str) -> float:
        """Start a program and wait until it serves; returns how long that took, in seconds."""
        began = time.perf_counter()
        self.launch(name, *prefix)
        self.await_up(name)
        return time.perf_counter() - began

    def launch(self, name: str, *prefix: str, entry: tuple[str, ...] = ()) -> None:
        """Start a program behind *prefix*; *entry* runs it another way than by its module."""
        program = ("control",) if name == "control" else ("edge", name)
        settings = "control.toml" if name == "control" else "edge.toml"
        self._ready_before = len(self.facts(name, "process.ready"))
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [
                    *(*self.prefix, *prefix, sys.executable),
                    *(entry or ("-m", *program)),
                    *("--settings", str(self.folder / settings)),
                ],
                stdin=subprocess.DEVNULL,
                stderr=log,
                env={
                    **service.inherited(),
                    "PYTHONASYNCIODEBUG": "",
                    "TMPDIR": f"{self.folder}/tmp",
                },
            )

    def await_up(self, name: str) -> None:
        """Wait until a program that was launched does its work."""
        until(lambda: self.has_ended(name) or self.is_up(name), f"{name} is up", 60)
        assert not self.has_ended(name), (self.folder / f"{name}.log").read_text()

    def start_all(self) -> None:
        """Start the three programs and wait until they can take a file and deliver it."""
        for name in PROGRAMS:
            self.launch(name)
            self.await_up(name)
        until(self.is_serving, "ingest serves", 60)
        until(self.knows, "delivery knows", 60)

    def knows(self) -> bool:
        """Say whether delivery is linked and knows its owners, by control or by ingest."""
        folder = self.node / "snapshot" / "delivery-0"
        is_told = folder.exists() and any(folder.iterdir())
        return is_told and bool(self.facts("delivery", "link.up"))

    def is_up(self, name: str) -> bool:
        """Say whether a program does its work."""
        match name:
            case "control":
                return self.status(self.pages, "/readyz") == 200
            case "ingest":
                return self.status(self.http, "/livez") == 200
            case _:
                return len(self.facts(name, "process.ready")) > self._ready_before

    def is_serving(self) -> bool:
        return self.status(self.http, "/readyz") == 200

    def stop(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        """End a program; one that is asked to leave leaves well."""
        process = self.running.pop(name)
        process.send_signal(how)
        code = process.wait(60)
        assert code == (0 if how is signal.SIGTERM else -how), (name, code)

    def has_ended(self, name: str) -> bool:
        return self.running[name].poll() is not None

    def end(self, name: str) -> None:
        """End a program at once, and what it was started behind."""
        process = self.running.pop(name)
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()  # the traced one first, else it would live on
        process.kill()
        process.wait()

    def close(self) -> None:
        for name in list(self.running):
            self.end(name)

    def pid(self, name: str) -> int:
        """Return the id of the program itself, behind whatever it was started."""
        process = psutil.Process(self.running[name].pid)
        return [process, *process.children(recursive=True)][-1].pid

    def facts(self, program: str, name: str) -> list[dict[str, Any]]:
        """Return the lines of a program's log that tell of *name*."""
        log = self.folder / f"{program}.log"
        lines = log.read_text().splitlines() if log.exists() else []
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [fact for fact in found if fact["fact"] == name]

    def status(self, port: int, path: str) -> int:
        """Return the status that *path* answers with; 0 if nobody does."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as answer:
            with answer:
                return int(answer.code)
        except OSError:
            return 0

    # --- what an owner does ---

    @property
    def account(self) -> dict[str, str]:
        found: dict[str, str] = json.loads(
            (self.folder / "control" / "first-account.json").read_text()
        )
        return found

    @property
    def token(self) -> str:
        return self.account["api_token"]

    def api(self, method: str, path: str, body: object = None) -> Any:
        request = urllib.request.Request(
            f"http://localhost:{self.pages}/api/v1{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self.token}",
                "Content-Type": "application/json",
            },
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def route(self, label: str, folder: Path) -> str:
        """Make a folder destination, a workflow and a credential; returns its token."""
        desk = self.api(
            "POST", "/destinations", {"kind": "folder", "label": label, "address": str(folder)}
        )
        plan = self.api("POST", "/workflows", {"name": label, "destinations": [desk["id"]]})
        shown = self.api(
            "POST", "/credentials", {"kind": "api", "label": label, "workflow": plan["id"]}
        )
        return str(shown["token"])

    def put(self, name: str, content: Path, token: str, *options: str) -> Answer:
        """Send a file with curl and return the answer; status 0 if there was none."""
        sending = self.sending(name, content, token, *options)
        return Answer(sending.communicate(timeout=240)[0])

    def sending(
        self, name: str, content: Path, token: str, *options: str
    ) -> subprocess.Popen[bytes]:
        """Begin to send a file with curl, its digest announced (RFC 9530) unless *options* do."""
        field = f"Repr-Digest: sha-256=:{b64encode(bytes.fromhex(digest(content))).decode()}:"
        announced = [] if any("Repr-Digest" in each for each in options) else ["-H", field]
        return subprocess.Popen(
            [
                *("curl", "-sS", "-i", "--max-time", "240", "-T", str(content)),
                *("-H", f"Authorization: Bearer {token}"),
                *(*announced, *options),
                f"http://127.0.0.1:{self.http}/in/{name}",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def uploads(self) -> list[dict[str, Any]]:
        """Return every upload of the account that control has heard of."""
        found: list[dict[str, Any]] = []
        page = self.api("GET", "/uploads")
        found += page["items"]
        while page["next"]:
            page = self.api("GET", f"/uploads?cursor={page['next']}")
            found += page["items"]
        return found

    def upload(self, name: str) -> dict[str, Any] | None:
        named = [one["id"] for one in self.uploads() if one["name"] == name]
        return self.api("GET", f"/uploads/{named[0]}") if named else None

    def is_destroyed(self, name: str) -> bool:
        found = self.upload(name)
        return found is not None and found["state"] == "destroyed"

    def sealed_files(self) -> list[Path]:
        """Return what is left in the sink of sealed content."""
        return [path for path in self.files() if _starts_with(path, b"ZTSEG")]

    def files(self) -> list[Path]:
        """Return every file of the sink."""
        return [path for path in (self.node / "sink").rglob("*") if path.is_file()]


def _starts_with(path: Path, magic: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except FileNotFoundError:
        return False  # it went meanwhile
