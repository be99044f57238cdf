"""The programs of a node: ``python -m edge ingest`` and ``python -m edge delivery``.

The rule: a process imports what it runs and not what the others do, which halves its start.
"""

import asyncio
from functools import partial
from importlib import import_module
from pathlib import Path

import click

from edge.settings import EdgeSettings
from zentransfer import service, settings

PROGRAMS = {"ingest": "edge.ingest", "delivery": "edge.delivery"}  # each has its main there
KEYS = "keys"


@click.command(epilog="Example: python -m edge ingest --index 0 --settings us.toml")
@click.argument("program", type=click.Choice([*PROGRAMS, KEYS]))
@click.option("--index", default=0, type=click.IntRange(0, 99), help="Which of its kind this is.")
@click.option("--settings", "path", type=click.Path(path_type=Path), help="A TOML file.")
@click.option("--check", is_flag=True, help="Print the effective settings and exit.")
def main(program: str, index: int, path: Path | None, *, check: bool) -> None:
    """Run one process of a node: ingest takes bytes in, delivery sends them on.

    keys makes the region's keys and the node's own certificate, unless they are there, and ends.
    """
    process = program if program == KEYS else f"{program}-{index}"
    with service.starting(process):
        chosen = settings.load(EdgeSettings, path)
    if check:
        click.echo(settings.effective(chosen), nl=False)
        return
    if program == KEYS:
        make_keys = import_module("edge.region_keys").make_keys
        with service.starting(process), asyncio.Runner() as runner:
            runner.run(make_keys(chosen))
        return
    service.run(
        partial(import_module(PROGRAMS[program]).main, settings=chosen, process=process),
        process=process,
        uvloop=program == "ingest",
        drain_deadline_s=chosen.drain_deadline_s,
    )


if __name__ == "__main__":
    main()
