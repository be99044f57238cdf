"""``zentransfer status``: what runs, and whether each process is ready.

The rule: a number proves nothing.  Only a process with the command line that ready.json stands for
is ours; one that cannot be asked is said to run, never to be ready.
"""

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from ops import readiness, ready
from ops.console import Console
from ops.programs import RUN_FOLDER
from ops.ready import Ready
from zentransfer.limits import READY_FILE_BYTES_MAX


class CannotTell(Exception):
    """There is nothing to ask; the text says why and what to do."""


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


def read(folder: Path) -> Ready:
    """Return what ready.json in *folder* says; raises :class:`CannotTell`."""
    path = folder / ready.FILE_NAME
    try:
        with path.open("rb") as file:
            document: Ready = json.loads(file.read(READY_FILE_BYTES_MAX))
            list(rows(document))
    except FileNotFoundError:
        raise CannotTell(
            f"Nothing is ready in {folder}: there is no {ready.FILE_NAME}. "
            f"Start it: zentransfer up --dir {folder}"
        ) from None
    except OSError as exc:
        raise CannotTell(f"{path} cannot be read: {exc.strerror}.") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise CannotTell(f"{path} is not a document of ours. Start the system again.") from None
    return document


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


def show(document: Ready, folder: Path, console: Console) -> bool:
    """Look at every process of *folder*, write the table, and return whether all of them are well.

    One with a listener is well when it is ready, one without when it runs.
    """
    known = list(rows(document))
    states = [_looked_at(row, folder / RUN_FOLDER) for row in known]
    with asyncio.Runner() as runner:
        urls = {row.ready_url for row, at in zip(known, states, strict=True) if at.is_good}
        answers = runner.run(readiness.ask_all(url for url in urls if url))
    lines: list[tuple[str, ...]] = []
    for place, row in enumerate(known):
        if row.ready_url in answers:
            answer = answers[row.ready_url]
            word = "ready" if answer.ready else "not ready"
            states[place] = State(word, answer.ready, answer.detail)
        state = states[place]
        lines.append((row.name, str(row.pid), state.word, state.why))
    console.table(("process", "pid", "state", "why"), lines)
    return all(state.is_good for state in states)


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
    return State("runs", is_good=True, why="it has no listener to ask")


def _is_ours(row: Row, line: Sequence[str], run_folder: Path) -> bool:
    """Say whether *line* is the command line that the launcher starts the process of *row* with."""
    start = line.index("-m") + 1 if "-m" in line else 0
    if not start or tuple(line[start : start + len(row.words)]) != row.words:
        return False
    settings = Path(line[-1])
    with suppress(OSError):  # by the folder itself: its path may lead through a link
        return settings.name == row.settings and settings.parent.samefile(run_folder)
    return False
