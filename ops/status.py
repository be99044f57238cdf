"""``zentransfer status``: what runs, and whether each process is ready."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from ops import readiness, ready
from ops.console import Console
from ops.ready import Ready
from zentransfer.limits import READY_FILE_BYTES_MAX


class CannotTell(Exception):
    """There is nothing to ask; the text says why and what to do."""


@dataclass(frozen=True)
class Row:
    """One process: its name, its pid, where it answers, or ``None`` if it has no listener."""

    name: str
    pid: int
    ready_url: str | None


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
    yield Row("control", int(control["pid"]), f"{control['url']}/readyz")
    for region, edge in document["edges"].items():
        for process, pid in edge["pids"].items():
            has_listener = process.startswith("ingest")
            url = f"{edge['http']}/readyz" if has_listener else None
            yield Row(f"{region}-{process}", int(pid), url)


def show(document: Ready, console: Console) -> bool:
    """Ask every process, write the table, and return whether all of them are ready."""
    known = list(rows(document))
    urls = {row.ready_url for row in known if row.ready_url}
    with asyncio.Runner() as runner:
        answers = runner.run(readiness.ask_all(urls))
    states = [_state(row, answers) for row in known]
    lines = [
        (row.name, str(row.pid), "ready" if state.ready else "not ready", state.detail)
        for row, state in zip(known, states, strict=True)
    ]
    console.table(("process", "pid", "state", "why"), lines)
    return all(state.ready for state in states)


def _state(row: Row, answers: dict[str, readiness.Answer]) -> readiness.Answer:
    if row.ready_url:
        return answers[row.ready_url]
    if psutil.pid_exists(row.pid):
        return readiness.Answer(ready=True, detail="runs; it has no listener to ask")
    return readiness.Answer(ready=False, detail="does not run")
