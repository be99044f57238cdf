"""``zentransfer status``: what runs, and whether each process is ready.

The rule: a number proves nothing.  Only a process with the command line that ready.json stands for
is ours; one that cannot be asked is said to run, never to be ready.  While ready.json is away, the
launcher's own run/system.json says what runs; nothing runs only when no launcher does.
"""

import asyncio
import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, cast

import psutil

from ops import launcher, readiness, ready, running
from ops.console import Console
from ops.programs import RUN_FOLDER
from ops.ready import Ready
from zentransfer.limits import READY_FILE_BYTES_MAX

_AWAY: Final = MappingProxyType(
    {
        running.WAITING: "has not started yet",
        running.STARTING: "does not say yet that it is ready",
        running.DRAINING: "finishes what it has begun",
        running.AWAY: "ended; the launcher starts it again",
        running.ENDED: "has left",
    }
)


class CannotTell(Exception):
    """There is nothing to ask: *what* says why, *cure* what to do."""

    def __init__(self, what: str, cure: str) -> None:
        super().__init__(f"{what} {cure}")
        self.what = what
        self.cure = cure


@dataclass(frozen=True)
class System:
    """A system that runs: where everything is, and how its launcher says that each process is.

    ``states`` is by process name, and empty where every process serves: ready.json said so.
    """

    document: Ready
    states: Mapping[str, str] = field(default_factory=dict[str, str])

    def serves(self, name: str) -> bool:
        """Say whether the process called *name* serves, as far as its launcher knows."""
        return self.states.get(name, running.SERVING) == running.SERVING

    def doors(self) -> list[str]:
        """Return the base URLs of the nodes that take bytes now."""
        return [
            edge["http"].rstrip("/")
            for region, edge in self.document["edges"].items()
            if any(self.serves(f"{region}-{name}") for name in edge["readyz"])
        ]


@dataclass(frozen=True)
class Row:
    """One process: its name, its pid, where it answers, or ``None`` if it has no listener.

    *words* and *settings* are how its command line must look: ``edge ingest`` and ``fr.toml``.
    """

    name: str
    pid: int
    words: tuple[str, ...]
    settings: str
    ready_url: str | None


@dataclass(frozen=True)
class State:
    """What is said of one process: a word, whether that is good, and why."""

    word: str
    is_good: bool
    why: str = ""


def read(folder: Path) -> System:
    """Return what is known of the system in *folder*; raises :class:`CannotTell`."""
    with _understanding(folder / ready.FILE_NAME) as path, suppress(FileNotFoundError):
        document = cast(Ready, json.loads(_text(path)))
        list(rows(document))
        return System(document)
    by = launcher.maybe_of_folder(folder)
    if by is None:
        raise CannotTell(f"Nothing runs in {folder}.", f"Start it: zentransfer up --dir {folder}")
    with _understanding(running.of_folder(folder)) as path, suppress(FileNotFoundError):
        found = cast(running.Running, json.loads(_text(path)))
        list(rows(found["system"]))
        return System(found["system"], dict(found["states"]))
    raise CannotTell(f"A launcher (pid {by.pid}) just begins or ends in {folder}.", "Ask again.")


def _text(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(READY_FILE_BYTES_MAX)


@contextmanager
def _understanding(path: Path) -> Generator[Path]:
    """Turn what is wrong with the document at *path* into a :class:`CannotTell`."""
    try:
        yield path
    except PermissionError:
        raise CannotTell(
            f"{path} cannot be read: Permission denied.",
            "Ask as the user who started the system, or as root.",
        ) from None
    except OSError as exc:
        raise CannotTell(
            f"{path} cannot be read: {exc.strerror}.", "Start the system again."
        ) from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise CannotTell(f"{path} is not a document of ours.", "Start the system again.") from None


def rows(document: Ready) -> Iterator[Row]:
    """Yield the processes of *document*, control first."""
    control = document["control"]
    url = f"{control['url']}/readyz"
    yield Row("control", int(control["pid"]), ("control",), "control.toml", url)
    for region, edge in document["edges"].items():
        for process, pid in edge["pids"].items():
            kind, _, index = process.partition("-")
            words = ("edge", kind, "--index", index)
            asked = edge["readyz"].get(process)
            yield Row(f"{region}-{process}", int(pid), words, f"{region}.toml", asked)


def show(system: System, folder: Path, console: Console) -> bool:
    """Look at every process of *folder*, write the table, and return whether all of them are well.

    One with a listener is well when it is ready, one without when it runs.
    """
    known = list(rows(system.document))
    states = [_known(row, folder / RUN_FOLDER, system) for row in known]
    with asyncio.Runner() as runner:
        urls = {row.ready_url for row, at in zip(known, states, strict=True) if at.is_good}
        answers = runner.run(readiness.ask_all(url for url in urls if url))
    lines: list[tuple[str, ...]] = []
    for place, row in enumerate(known):
        if states[place].is_good and row.ready_url in answers:
            answer = answers[row.ready_url]
            word = "ready" if answer.ready else "not ready"
            states[place] = State(word, answer.ready, answer.detail)
        state = states[place]
        lines.append((row.name, str(row.pid or ""), state.word, state.why))
    console.table(("process", "pid", "state", "why"), lines)
    return all(state.is_good for state in states)


def _known(row: Row, run_folder: Path, system: System) -> State:
    """Return what the launcher says of the process of *row*, or the kernel if it is to serve."""
    if system.serves(row.name):
        return _looked_at(row, run_folder)
    word = system.states[row.name]
    return State(word, is_good=False, why=_AWAY.get(word, ""))


def _looked_at(row: Row, run_folder: Path) -> State:
    """Return what the kernel says of the process of *row*, which nobody is asked for."""
    try:
        process = psutil.Process(row.pid)
        line, what = process.cmdline(), process.status()
    except psutil.NoSuchProcess:
        return State("not ready", is_good=False, why="does not run")
    except psutil.Error:
        return State("not ready", is_good=False, why="this user may not look at it")
    if what == psutil.STATUS_ZOMBIE:
        return State("not ready", is_good=False, why="does not run")
    if not _is_ours(row, line, run_folder):
        return State("not ready", is_good=False, why="does not run; its pid is another program's")
    if what in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP):
        return State("stopped", is_good=False, why=f"kill -CONT {row.pid} lets it go on")
    return State("runs", is_good=True)


def _is_ours(row: Row, line: Sequence[str], run_folder: Path) -> bool:
    """Say whether *line* is the command line that the launcher starts the process of *row* with."""
    start = line.index("-m") + 1 if "-m" in line else 0
    if not start or tuple(line[start : start + len(row.words)]) != row.words:
        return False
    settings = Path(line[-1])
    with suppress(OSError):  # by the folder itself: its path may lead through a link
        return settings.name == row.settings and settings.parent.samefile(run_folder)
    return False
