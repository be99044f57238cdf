"""`make bench-ftp`: the FTP door beside vsftpd, proftpd, pure-ftpd, pyftpdlib and stock aioftp.

The rule: a number of ours stands for content that is sealed, framed and durable when 226 comes; the
peers' numbers do not.  Load and server have a core each; CPU seconds come before speed.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import click

from ops.bench import ftp_peers, machine, report
from ops.bench.ftp_peers import (
    AIOFTP,
    AIOFTP_256,
    PROFTPD,
    PUREFTPD,
    PYFTPDLIB,
    VSFTPD,
    Server,
)
from ops.bench.peers import BenchFailed
from ops.bench.report import OURS, Bound, Run

ROOT: Final = Path(__file__).parents[2]
GIB: Final = 1 << 30
MIB: Final = 1 << 20
_RUN_S: Final = 600.0  # for one load against one server
_LOGIN_THREADS: Final = 4
_FILES: Final = 65_536  # descriptors of a server
_FILES_PER_SESSION: Final = 4  # that ours counts on: an idle one has one, a transfer more
_SESSIONS_ROW: Final = 1_000  # idle sessions that a number of the row is for


@dataclass(frozen=True, slots=True)
class Load:
    """*count* files of *size* bytes over *connections*, in the *mode* of ``ftp_load.c``, or `tls`.

    *is_shared* lets slow servers take a part of it only.
    """

    name: str
    mode: str
    count: int
    connections: int
    size: int
    is_shared: bool = False

    def scaled(self, scale: float) -> "Load":
        """Return it smaller, for a quick look."""
        if self.count == 1:
            return replace(self, size=int(self.size * scale))
        count = max(int(self.count * scale), 1)
        return replace(self, count=count, connections=min(self.connections, count))

    def bounded(self, idle_max: int) -> "Load":
        """Return it with at most *idle_max* idle sessions, which is what this machine allows."""
        return replace(self, count=min(self.count, idle_max)) if self.mode == "idle" else self

    def of(self, server: Server) -> "Load":
        """Return what of it *server* gets."""
        if self.mode == "idle":
            return replace(self, count=max(int(self.count * server.idle_share), 1))
        if self.mode == "login":
            return replace(self, count=max(int(self.count * server.login_share), self.connections))
        share = server.share if self.is_shared else 1.0
        return replace(self, count=max(int(self.count * share), self.connections))


BIG: Final = Load("1 x 1 GiB", "stor", 1, 1, GIB)
LARGE: Final = Load("1 x 256 MiB", "stor", 1, 1, 256 * MIB)
MIDDLE: Final = Load("2,000 x 1 MiB, 16 connections", "stor", 2_000, 16, MIB, is_shared=True)
SMALL: Final = Load("4,000 x 100 KB, 1 connection", "stor", 4_000, 1, 100_000, is_shared=True)
TINY: Final = Load("20,000 x 10 KiB, 16 connections", "stor", 20_000, 16, 10_240, is_shared=True)
LOGIN: Final = Load("2,000 x login and one of 10 KiB", "login", 2_000, 4, 10_240, is_shared=True)
IDLE: Final = Load("idle sessions, memory of 1,000", "idle", 10_000, _LOGIN_THREADS, 0)
TLS: Final = Load("TLS, 1 x 256 MiB", "tls", 1, 1, 256 * MIB)
LOADS: Final = (BIG, LARGE, MIDDLE, SMALL, TINY, LOGIN, IDLE, TLS)

GOALS: Final = (
    Bound(BIG.name, "gib_s", 2, VSFTPD),
    Bound(BIG.name, "cpu_s_gib", 0.6, VSFTPD, is_most=True),
    Bound(LARGE.name, "gib_s", 3.5, AIOFTP),
    Bound(LARGE.name, "gib_s", 1, PYFTPDLIB),
    Bound(LARGE.name, "gib_s", 1, VSFTPD),
    Bound(LARGE.name, "gib_s", 0.9, PUREFTPD),
    Bound(LARGE.name, "cpu_s_gib", 0.2, AIOFTP, is_most=True),
    Bound(LARGE.name, "cpu_s_gib", 0.85, PYFTPDLIB, is_most=True),
    Bound(LARGE.name, "cpu_s_gib", 0.9, VSFTPD, is_most=True),
    Bound(LARGE.name, "cpu_s_gib", 1.15, PUREFTPD, is_most=True),
    *(Bound(MIDDLE.name, "uploads_s", 1, peer) for peer in (VSFTPD, PROFTPD)),
    Bound(SMALL.name, "uploads_s", 1.5, AIOFTP),
    Bound(SMALL.name, "uploads_s", 1.4, PYFTPDLIB),
    *(Bound(SMALL.name, "uploads_s", 1, peer) for peer in (VSFTPD, PUREFTPD)),
    Bound(TINY.name, "uploads_s", 2, VSFTPD),
    Bound(LOGIN.name, "uploads_s", 8, VSFTPD),
    Bound(IDLE.name, "rss_mib", 64, is_most=True),
)
"""What we want; a miss is said."""

FLOORS: Final = (
    Bound(BIG.name, "gib_s", 1.5, AIOFTP),
    Bound(BIG.name, "cpu_s_gib", 0.6, AIOFTP, is_most=True),
    Bound(LARGE.name, "gib_s", 1.5, AIOFTP),
    Bound(LARGE.name, "cpu_s_gib", 0.6, AIOFTP, is_most=True),
    Bound(MIDDLE.name, "uploads_s", 0.1, VSFTPD),
    Bound(SMALL.name, "uploads_s", 0.05, VSFTPD),
    Bound(TINY.name, "uploads_s", 0.05, VSFTPD),
    Bound(LOGIN.name, "uploads_s", 0.3, VSFTPD),
    Bound(IDLE.name, "rss_mib", 128, is_most=True),
)
"""What was reached, and a little under it; a miss fails the command."""


@click.command()
@click.option("--rounds", envvar="BENCH_ROUNDS", default=3, type=click.IntRange(1, 99))
@click.option("--scale", envvar="BENCH_SCALE", default=1.0, type=click.FloatRange(0.001, 1))
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="On the disk to measure.")
@click.option("--only", default="", help="Loads by the begin of their names, semicolons between.")
@click.option("--without", default="", help="Servers to leave out, by name, semicolons between.")
def main(rounds: int, scale: float, folder: Path | None, only: str, without: str) -> None:
    """Measure all servers under all loads, and write docs/bench/ftp.*; 1 if a floor is missed.

    A scale below 1 is a quick look, whose report is printed and not kept.
    """
    loads = [each for each in LOADS if not only or each.name.startswith(tuple(only.split(";")))]
    idle_max = _files() // _FILES_PER_SESSION
    try:
        with _place(folder) as place:
            scaled = [each.scaled(scale).bounded(idle_max) for each in loads]
            runs, header = _measured(place, scaled, rounds, frozenset(without.split(";")))
    except BenchFailed as failed:
        raise SystemExit(f"make bench-ftp: {failed}") from failed
    middle = report.medians(runs)
    goals, floors = report.judged(GOALS, middle), report.judged(FLOORS, middle)
    page = report.markdown("FTP door: speed beside peers", header, middle, goals)
    click.echo(page)
    if scale == 1.0 and not only and not without:
        _keep(page, report.document(header, runs, goals, floors), middle)
    missed = [each.text for each in floors if not each.holds]
    if missed:
        raise SystemExit("make bench-ftp: under the floor:\n" + "\n".join(missed))


def _files() -> int:
    """Return how many files a server may open: what the idle sessions need, where we may."""
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES, _FILES))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def _measured(
    place: Path, loads: list[Load], rounds: int, without: frozenset[str]
) -> tuple[dict[tuple[str, str], list[Run]], dict[str, str]]:
    runs: dict[tuple[str, str], list[Run]] = {}
    steal = 0.0
    header = {
        **machine.described(),
        "disk": machine.file_system(place),
        "load before": " ".join(f"{each:.2f}" for each in os.getloadavg()),
        "rounds": f"{rounds}, alternating; medians",
        "ours": "sealed, framed with CRC-32C, durable before 226, started by `zentransfer up`; "
        "control and delivery rest",
        "idle sessions": "what 1,000 of them add to the server's memory, shared pages counted "
        f"once; {', '.join(f'{each.count:,}' for each in loads if each.mode == 'idle') or 'none'} "
        "were held, a twentieth of them where each is a process",
    }
    with ExitStack() as stack:
        load = _compiled(place)
        cache = ROOT / ".cache" / "bench" / "ftp"
        servers = list(_started(stack, cache, place, without))
        for number in range(rounds):
            for each in loads:
                for server in servers if number % 2 == 0 else reversed(servers):
                    if each.mode == "tls" and not server.has_tls:
                        continue
                    run, stolen = _run(load, each.of(server), server, place)
                    steal = max(steal, stolen)
                    runs.setdefault((each.name, server.name), []).append(run)
                    click.echo(
                        f"round {number + 1}: {each.name}, {server.name}: {_short(run)}", err=True
                    )
    return runs, header | {"steal": f"{steal:.1%} of the machine at most"}


def _short(run: Run) -> str:
    return f"{run.uploads_s:,.0f}/s, {run.cpu_s_gib:.2f} CPU s/GiB, {run.rss_mib:.0f} MiB"


def _started(
    stack: ExitStack, cache: Path, place: Path, without: frozenset[str]
) -> Iterator[Server]:
    """Start every server in a folder of its own."""
    tls = ftp_peers.certificate(place / "tls")
    starts: dict[str, Callable[[], Server]] = {
        OURS: lambda: ftp_peers.start_ours(place / "ours", tls),
        VSFTPD: lambda: ftp_peers.start_vsftpd(cache, place / "vsftpd", tls),
        PROFTPD: lambda: ftp_peers.start_proftpd(cache, place / "proftpd", tls),
        PUREFTPD: lambda: ftp_peers.start_pureftpd(cache, place / "pureftpd", tls),
        PYFTPDLIB: lambda: ftp_peers.start_pyftpdlib(cache, place / "pyftpdlib", tls),
        AIOFTP: lambda: ftp_peers.start_aioftp(place / "aioftp", tls, 0),
        AIOFTP_256: lambda: ftp_peers.start_aioftp(place / "aioftp256", tls, 262_144),
    }
    for name, start in starts.items():
        if name not in without:
            server = start()
            stack.callback(server.end)
            yield server


def _run(load: Path, each: Load, server: Server, place: Path) -> tuple[Run, float]:
    """Run one load against one server; returns what it took, and the share of steal."""
    os.sync()  # nobody pays for what others left to be written
    if each.mode == "idle":
        return _idled(load, each, server, place), 0.0
    words: list[object] = [server.port, each.mode, each.count, each.connections, each.size]
    command: list[object] = [load, *words, server.user, server.password]
    if each.mode == "tls":
        of_tls = [sys.executable, "-P", "-m", "ops.bench.ftp_tls"]
        command = [*of_tls, server.port, each.size, server.user, server.password]
    with _loading(command, place / "load.said") as loading:
        if each.mode == "stor" and _line(loading) != b"ready\n":
            raise BenchFailed(f"{server.name} did not sign in: {_said(place)}")
        with machine.watched(server.pids) as used:
            answer, _ = loading.communicate(b"\n", timeout=_RUN_S)
    if loading.returncode:
        raise BenchFailed(f"{server.name} did not take {each.name}: {_said(place)}")
    took = json.loads(answer)
    _emptied(server.kept)
    gib = each.count * each.size / GIB
    run = Run(
        gib_s=gib / took["seconds"],
        uploads_s=each.count / took["seconds"],
        cpu_s_gib=used.cpu_s / gib,
        cpu_us_upload=used.cpu_s / each.count * 1e6,
        p99_ms=took["p99_s"] * 1e3,
        rss_mib=used.rss_mib,
        load_share=took["cpu_s"] / took["seconds"],
    )
    return run, used.steal_share


def _loading(command: list[object], said: Path) -> "subprocess.Popen[bytes]":
    """Start a load on its core; what goes wrong stands in *said*."""
    with said.open("wb") as errors:
        return subprocess.Popen(  # noqa: S603 - our own program
            ["taskset", "-c", str(machine.LOAD_CORE), *map(str, command)],  # noqa: S607
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=ROOT,
        )


def _line(loading: "subprocess.Popen[bytes]") -> bytes:
    assert loading.stdout is not None, "it was asked for"
    return loading.stdout.readline()


def _said(place: Path) -> str:
    return (place / "load.said").read_text(encoding="utf-8", errors="replace")[-500:]


def _idled(load: Path, each: Load, server: Server, place: Path) -> Run:
    """Hold sessions that say nothing; the memory is what a thousand of them add."""
    words = [load, server.port, "idle", each.count, each.connections, 0]
    before = machine.memory_mib(server.pids)
    with (
        machine.watched(server.pids) as used,
        _loading([*words, server.user, server.password], place / "load.said") as holding,
    ):
        if _line(holding) != b"ready\n":
            raise BenchFailed(f"{server.name} did not take {each.name}: {_said(place)}")
        added = machine.memory_mib(server.pids) - before
    return Run(
        gib_s=0.0,
        uploads_s=0.0,
        cpu_s_gib=0.0,
        cpu_us_upload=used.cpu_s / each.count * 1e6,
        p99_ms=0.0,
        rss_mib=added * _SESSIONS_ROW / each.count,
        load_share=0.0,
    )


def _emptied(folder: Path) -> None:
    """Remove the files that a peer took; the folder is its own, with the rights that it has."""
    if folder.is_dir():
        for each in folder.iterdir():
            each.unlink()


def _compiled(place: Path) -> Path:
    program = place / "load"
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise BenchFailed("no C compiler: apt-get install gcc libc6-dev")
    source = Path(__file__).parent / "ftp_load.c"
    words: list[str | Path] = [compiler, "-O2", "-pthread", "-o", program, source]
    subprocess.run(words, check=True)  # noqa: S603 - found above
    return program


@contextmanager
def _place(folder: Path | None) -> Generator[Path]:
    """Yield a folder of this run alone, which goes with it."""
    made = Path(tempfile.mkdtemp(prefix="zentransfer-bench-", dir=folder))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _keep(page: str, document: dict[str, object], middle: report.Medians) -> None:
    folder = ROOT / "docs" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ftp.md").write_text(page, encoding="utf-8")
    (folder / "ftp.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    shown = {
        BIG.name: "cpu_s_gib",
        MIDDLE.name: "uploads_s",
        SMALL.name: "uploads_s",
        TINY.name: "uploads_s",
        LOGIN.name: "uploads_s",
        IDLE.name: "rss_mib",
        TLS.name: "cpu_s_gib",
    }
    picture = report.svg("FTP door beside peers", middle, shown)
    (folder / "ftp.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
