"""Which programs one machine runs, and the settings each is given.  Pure.

The rule: what the launcher decides (ports, folders, names) stands in the program's settings file,
and a variable that would override it is refused, because the launcher would no longer know.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Final

from ops import ports
from zentransfer.ids import Region

# A folder named control or edge where the launcher is started must not be run in our place.
_SAFELY: Final = ("-P",)

RUN_FOLDER: Final = "run"  # in the folder of all data

_CONTROL: Final = "ZT_CONTROL_"
_EDGE: Final = "ZT_EDGE_"

Table = Mapping[str, "str | int | float | list[str] | Table"]


class Leaves(IntEnum):
    """The order in which programs leave at a stop: who takes bytes in goes first."""

    FIRST = 1
    THEN = 2
    LAST = 3


@dataclass(frozen=True)
class Program:
    """One program to keep running: its name, its command line, where it says it is ready.

    *prefix* is that of the variables which are its settings. *ready_url* is ``None`` for a process
    without a listener: READY=1 is all it says.  *listeners* are the ports whose sockets it is
    given, by the names that it knows them by.
    """

    name: str
    command: tuple[str, ...]
    leaves: Leaves
    prefix: str
    ready_url: str | None = None
    listeners: Mapping[str, ports.Port] = field(default_factory=dict[str, ports.Port])

    @property
    def live_url(self) -> str | None:
        """Return where it says that it lives, whatever an operator made of its readiness."""
        return self.ready_url and self.ready_url.removesuffix("/readyz") + "/livez"


@dataclass(frozen=True)
class Preparation:
    """One program that makes, once, what others need at their start, and ends."""

    name: str
    command: tuple[str, ...]
    prefix: str


@dataclass(frozen=True)
class Plan:
    """What a system is made of: programs, and the settings files they read, by file name.

    *preparations* run to their end before any program starts.  *successors* are the programs that
    can take over from others while these still serve, by the names of those: a place has one
    process at a time, so they take turns with two indexes.  One that is its own successor is ended
    before it starts again.
    """

    preparations: tuple[Preparation, ...]
    programs: tuple[Program, ...]
    files: Mapping[str, Table]
    overridable: tuple[tuple[str, Table], ...]  # prefix of the variables, and what they may not set
    successors: Mapping[str, Program] = field(default_factory=dict[str, Program])


@dataclass(frozen=True)
class Place:
    """Where and how large a system is."""

    folder: Path  # absolute
    base: int
    regions: tuple[Region, ...]
    drain_deadline_s: float
    database: Path | None = None  # of addresses, for the choice of a region
    workers: int = 1  # ingest processes of each region
    options: tuple[str, ...] = ()  # as typed, but --base: for whoever is to start it otherwise

    def ports(self, region: Region) -> ports.RegionPorts:
        """Return the ports of *region*."""
        return ports.region(self.base, region, self.workers)

    @property
    def run_folder(self) -> Path:
        """Return the folder of settings files and the lock."""
        return self.folder / RUN_FOLDER

    @property
    def control_folder(self) -> Path:
        """Return the folder of what control keeps."""
        return self.folder / "control"

    @property
    def delivered(self) -> Path:
        """Return the folder below which the destinations of kind folder lie."""
        return self.folder / "delivered"


def node_name(region: Region) -> str:
    """Return the name of the one node that a machine runs in *region*."""
    return f"{region}-1"


def plan(place: Place, python: str) -> Plan:
    """Return the programs of the system at *place*, run by the interpreter *python*."""
    control = _control_settings(place)
    edges = {region: _edge_settings(place, region) for region in place.regions}
    programs = [_control(place, python)]
    successors: dict[str, Program] = {}
    for region in place.regions:
        delivery = _delivery(place, python, region)
        both = [_ingest(place, python, region, index) for index in range(2 * place.workers)]
        programs += [*both[: place.workers], delivery]
        turned = both[place.workers :] + both[: place.workers]
        successors |= {one.name: other for one, other in zip(both, turned, strict=True)}
        successors[delivery.name] = delivery
    files = {"control.toml": control} | {f"{r}.toml": table for r, table in edges.items()}
    overridable = [(_CONTROL, control), *((_EDGE, table) for table in edges.values())]
    keys = tuple(_keys(place, python, region) for region in place.regions)
    return Plan(keys, tuple(programs), files, tuple(overridable), successors)


def _keys(place: Place, python: str, region: Region) -> Preparation:
    settings = str(place.run_folder / f"{region}.toml")
    command = (python, *_SAFELY, "-m", "edge", "keys", "--settings", settings)
    return Preparation(f"{region}-keys", command, _EDGE)


def _control(place: Place, python: str) -> Program:
    settings = str(place.run_folder / "control.toml")
    url = f"http://{ports.LOOPBACK}:{ports.control(place.base).http.number}/readyz"
    command = (python, *_SAFELY, "-m", "control", "--settings", settings)
    return Program("control", command, Leaves.LAST, _CONTROL, url)


def _ingest(place: Place, python: str, region: Region, index: int) -> Program:
    of_region = place.ports(region)
    return Program(
        f"{region}-ingest-{index}",
        _command(place, python, region, "ingest", index),
        Leaves.FIRST,
        _EDGE,
        # Its own listener: whoever answers at the door that workers share may be another one.
        readyz_url(of_region, index),
        of_region.doors,
    )


def _delivery(place: Place, python: str, region: Region) -> Program:
    command = _command(place, python, region, "delivery", 0)
    return Program(f"{region}-delivery-0", command, Leaves.THEN, _EDGE)


def _command(
    place: Place, python: str, region: Region, program: str, index: int
) -> tuple[str, ...]:
    settings = str(place.run_folder / f"{region}.toml")
    start = (python, *_SAFELY, "-m", "edge", program)
    return (*start, "--index", str(index), "--settings", settings)


def _listener(port: ports.Port) -> Table:
    return {"host": ports.LOOPBACK, "port": port.number}


def _control_settings(place: Place) -> Table:
    of_control = ports.control(place.base)
    return {
        "data_dir": str(place.control_folder),
        "folder_roots": [str(place.delivered)],
        "http": _listener(of_control.http),
        "grpc": _listener(of_control.grpc),
        "route": _route(place),
    }


def _edge_settings(place: Place, region: Region) -> Table:
    of_region = place.ports(region)
    tls = place.folder / region / "tls"  # the node makes it itself
    return {
        "region": str(region),
        "node": node_name(region),
        "workers": place.workers,
        "data_dir": str(place.folder / region),
        "pepper_file": str(place.control_folder / "keys" / "peppers" / region),
        "drain_deadline_s": place.drain_deadline_s,
        "http": _listener(of_region.http),
        "ftp": {
            **_listener(of_region.ftp),
            "passive_first": of_region.passive.start,
            "passive_last": of_region.passive.stop - 1,
        },
        "tls": {"certificate_file": str(tls / "node.crt"), "key_file": str(tls / "node.key")},
        "ftps": {"port": of_region.ftps.number},
        "sftp": _listener(of_region.sftp),
        "metrics": _listener(of_region.metrics[0]),
        "delivery": {"folder_roots": [str(place.delivered)]},
        "control": {"address": f"{ports.LOOPBACK}:{ports.control(place.base).grpc.number}"},
        "route": _route(place),
    }


def _route(place: Place) -> Table:
    """Return where clients are sent, the same for every plane."""
    doors = {str(region): place.ports(region) for region in place.regions}
    database = {} if place.database is None else {"database": str(place.database)}
    return {
        **database,
        "http": {region: http_url(each) for region, each in doors.items()},
        "ftp": {region: ftp_address(each) for region, each in doors.items()},
        # On one machine every door has both names: by this one it is that of no region.
        "entry": [f"localhost:{each.http.number}" for each in doors.values()],
    }


def http_url(of_region: ports.RegionPorts) -> str:
    """Return the URL of a region's HTTP door."""
    return f"http://{ports.LOOPBACK}:{of_region.http.number}"


def metrics_url(of_region: ports.RegionPorts, index: int) -> str:
    """Return where the ingest process *index* of a region shows its metrics."""
    return f"http://{ports.LOOPBACK}:{of_region.metrics[index].number}/metrics"


def readyz_url(of_region: ports.RegionPorts, index: int) -> str:
    """Return where the ingest process *index* of a region says whether it is ready."""
    return f"http://{ports.LOOPBACK}:{of_region.metrics[index].number}/readyz"


def ftp_address(of_region: ports.RegionPorts) -> str:
    """Return ``host:port`` of a region's FTP door."""
    return address(of_region.ftp)


def address(port: ports.Port) -> str:
    """Return ``host:port``."""
    return f"{ports.LOOPBACK}:{port.number}"


def overriding(names: Iterable[str], wanted: Plan) -> list[str]:
    """Return those variables, by name, that would override what *wanted* sets."""
    set_by_us = {
        (prefix + "__".join(path)).upper()
        for prefix, table in wanted.overridable
        for path in _paths(table)
    }
    return sorted(name for name in names if name.upper() in set_by_us)


def _paths(table: Table, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of each group and key of *table*."""
    for key, value in table.items():
        yield (*above, key)
        if isinstance(value, Mapping):
            yield from _paths(value, (*above, key))


def toml(table: Table) -> str:
    """Return *table* as TOML: of each group its keys first, then the groups in it."""
    return "\n".join(_lines(table, ())) + "\n"


def _lines(table: Table, above: tuple[str, ...]) -> Iterator[str]:
    for key, value in table.items():
        if not _is_group(value):
            yield f"{key} = {_literal(value)}"
    for name, group in table.items():
        if isinstance(group, Mapping):
            path = (*above, name)
            yield from ("", f"[{'.'.join(path)}]")
            yield from _lines(group, path)


def _is_group(value: object) -> bool:
    return isinstance(value, Mapping)


def _literal(value: object) -> str:
    # JSON and TOML write numbers and text alike, but for one character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
