"""`make bench-http`: the HTTP door beside nginx, @tus/server, tuspyserver and bare aiohttp.

The rule: a number of ours stands for content that is sealed, framed and durable when the answer
comes; the peers' numbers do not.  Load and server have a core each; CPU seconds come before speed.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from ops.bench import machine, peers, report
from ops.bench.peers import BenchFailed, Server
from ops.bench.report import OURS, Bound, Run

ROOT: Final = Path(__file__).parents[2]
GIB: Final = 1 << 30
MIB: Final = 1 << 20
_RUN_S: Final = 600.0  # for one load against one server

NGINX: Final = "nginx dav"
TUNED: Final = "nginx dav, 1 MiB buffer"
TUS: Final = "@tus/server"
TUSPY: Final = "tuspyserver"
BARE: Final = "aiohttp, bare"


@dataclass(frozen=True, slots=True)
class Load:
    """*count* uploads of *size* bytes over *connections*, at *rate* bytes a second each or freely.

    *is_shared* lets slow servers take a part of it only.
    """

    name: str
    count: int
    connections: int
    size: int
    rate: int = 0
    is_shared: bool = False

    def scaled(self, scale: float) -> "Load":
        """Return it smaller, for a quick look."""
        if self.count == 1:
            return Load(self.name, 1, 1, int(self.size * scale))
        count = max(int(self.count * scale), 1)
        many = min(self.connections, count)
        return Load(self.name, count, many, self.size, self.rate, self.is_shared)


BIG: Final = Load("1 x 1 GiB", 1, 1, GIB)
MIDDLE: Final = Load("2,000 x 1 MiB", 2_000, 32, MIB, is_shared=True)
SMALL: Final = Load("20,000 x 10 KiB", 20_000, 32, 10_240, is_shared=True)
SLOW: Final = Load("5,000 slow clients, 20 KiB/s", 5_000, 5_000, 204_800, 20_480)
LOADS: Final = (BIG, MIDDLE, SMALL, SLOW)

GOALS: Final = (
    *(Bound(BIG.name, "gib_s", 3, peer) for peer in (NGINX, TUS, TUSPY)),
    *(Bound(BIG.name, "cpu_s_gib", 0.35, peer, is_most=True) for peer in (NGINX, TUS, TUSPY)),
    Bound(BIG.name, "gib_s", 1.1, TUNED),
    Bound(BIG.name, "cpu_s_gib", 0.9, TUNED, is_most=True),
    Bound(MIDDLE.name, "uploads_s", 1, NGINX),
    Bound(MIDDLE.name, "uploads_s", 10, TUS),
    Bound(SMALL.name, "uploads_s", 3, TUS),
    Bound(SMALL.name, "uploads_s", 0.35, NGINX),
    Bound(SLOW.name, "rss_mib", 512, is_most=True),
)
"""What we want; a miss is said."""

FLOORS: Final = (
    Bound(BIG.name, "cpu_s_gib", 1.2, NGINX, is_most=True),
    Bound(BIG.name, "cpu_s_gib", 0.6, BARE, is_most=True),
    Bound(BIG.name, "gib_s", 1.0, BARE),
    Bound(MIDDLE.name, "uploads_s", 0.1, NGINX),
    Bound(SMALL.name, "uploads_s", 0.02, NGINX),
    Bound(SLOW.name, "rss_mib", 1_024, is_most=True),
)
"""What was reached, and a little under it; a miss fails the command."""


@click.command()
@click.option("--rounds", envvar="BENCH_ROUNDS", default=3, type=click.IntRange(1, 99))
@click.option("--scale", envvar="BENCH_SCALE", default=1.0, type=click.FloatRange(0.001, 1))
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="On the disk to measure.")
@click.option("--only", default="", help="Loads by the begin of their names, comma separated.")
def main(rounds: int, scale: float, folder: Path | None, only: str) -> None:
    """Measure all servers under all loads, and write docs/bench/http.*; 1 if a floor is missed.

    A scale below 1 is a quick look, whose report is printed and not kept.
    """
    loads = [each for each in LOADS if not only or each.name.startswith(tuple(only.split(",")))]
    try:
        with _place(folder) as place:
            runs, header = _measured(place, [each.scaled(scale) for each in loads], rounds)
    except BenchFailed as failed:
        raise SystemExit(f"make bench-http: {failed}") from failed
    middle = report.medians(runs)
    goals, floors = report.judged(GOALS, middle), report.judged(FLOORS, middle)
    page = report.markdown("HTTP door: speed beside peers", header, middle, goals)
    click.echo(page)
    if scale == 1.0 and not only:
        _keep(page, report.document(header, runs, goals, floors), middle)
    missed = [each.text for each in floors if not each.holds]
    if missed:
        raise SystemExit("make bench-http: under the floor:\n" + "\n".join(missed))


def _measured(
    place: Path, loads: list[Load], rounds: int
) -> tuple[dict[tuple[str, str], list[Run]], dict[str, str]]:
    runs: dict[tuple[str, str], list[Run]] = {}
    steal = 0.0
    header = {
        **machine.described(),
        "disk": machine.file_system(place),
        "load before": " ".join(f"{each:.2f}" for each in os.getloadavg()),
        "rounds": f"{rounds}, alternating; medians",
        "ours": "sealed, framed with CRC-32C, durable before the answer, started by `zentransfer "
        "up`; control and delivery rest",
    }
    with ExitStack() as stack:
        load = _compiled(place)
        servers = list(_started(stack, ROOT / ".cache" / "bench", place))
        for number in range(rounds):
            for each in loads:
                for server in servers if number % 2 == 0 else reversed(servers):
                    run, stolen = _run(load, each, server, place)
                    steal = max(steal, stolen)
                    runs.setdefault((each.name, server.name), []).append(run)
                    said = f"{run.uploads_s:,.0f}/s, {run.cpu_s_gib:.2f} CPU s/GiB"
                    click.echo(f"round {number + 1}: {each.name}, {server.name}: {said}", err=True)
    return runs, header | {"steal": f"{steal:.1%} of the machine at most"}


def _started(stack: ExitStack, cache: Path, place: Path) -> Iterator[Server]:
    """Start every server in a folder of its own."""
    starts: list[Callable[[], Server]] = [
        lambda: peers.start_ours(place / "ours"),
        lambda: peers.start_nginx(cache, place / "nginx", is_tuned=False),
        lambda: peers.start_nginx(cache, place / "tuned", is_tuned=True),
        lambda: peers.start_bare(place / "bare"),
        lambda: peers.start_tus(cache, place / "tus"),
        lambda: peers.start_tuspy(cache, place / "tuspy"),
    ]
    for start in starts:
        server = start()
        stack.callback(server.end)
        yield server


def _run(load: Path, each: Load, server: Server, place: Path) -> tuple[Run, float]:
    """Run one load against one server; returns what it took, and the share of steal."""
    heads = place / "heads"
    heads.write_text(server.heads.replace("%d", str(each.size)), encoding="utf-8", newline="")
    count = max(int(each.count * server.share), each.connections) if each.is_shared else each.count
    os.sync()  # nobody pays for what others left to be written
    words = ["127.0.0.1", server.port, server.mode, count, each.connections, each.size, each.rate]
    with machine.watched(server.pids) as used:
        done = subprocess.run(  # noqa: S603 - our own program
            ["taskset", "-c", str(machine.LOAD_CORE), load, *map(str, words), heads],  # noqa: S607
            capture_output=True,
            timeout=_RUN_S,
            check=False,
        )
    if done.returncode:
        said = done.stderr.decode(errors="replace")
        raise BenchFailed(f"{server.name} did not take {each.name}: {said}")
    took = json.loads(done.stdout)
    shutil.rmtree(server.kept, ignore_errors=True)
    if server.name != OURS:
        server.kept.mkdir()
    gib = count * each.size / GIB
    run = Run(
        gib_s=gib / took["seconds"],
        uploads_s=count / took["seconds"],
        cpu_s_gib=used.cpu_s / gib,
        cpu_us_upload=used.cpu_s / count * 1e6,
        p99_ms=took["p99_s"] * 1e3,
        rss_mib=used.rss_mib,
        load_share=took["cpu_s"] / took["seconds"],
    )
    return run, used.steal_share


def _compiled(place: Path) -> Path:
    program = place / "load"
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise BenchFailed("no C compiler: apt-get install gcc libc6-dev")
    source = Path(__file__).parent / "load.c"
    subprocess.run([compiler, "-O2", "-o", program, source], check=True)  # noqa: S603 - found above
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
    (folder / "http.md").write_text(page, encoding="utf-8")
    (folder / "http.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    shown = {
        BIG.name: "cpu_s_gib",
        MIDDLE.name: "uploads_s",
        SMALL.name: "uploads_s",
        SLOW.name: "rss_mib",
    }
    picture = report.svg("HTTP door beside peers", middle, shown)
    (folder / "http.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
