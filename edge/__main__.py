"""The programs of a node: ``python -m edge ingest`` and ``python -m edge delivery``."""

import asyncio
from functools import partial
from pathlib import Path

import click

from edge import delivery, ingest
from edge.region_keys import make_keys
from edge.settings import EdgeSettings
from zentransfer import service, settings

PROGRAMS = {"ingest": ingest.main, "delivery": delivery.main}
KEYS = "keys"


@click.command(epilog="Example: python -m edge ingest --index 0 --settings us.toml")
@click.argument("program", type=click.Choice([*PROGRAMS, KEYS]))
@click.option("--index", default=0, type=click.IntRange(0, 99), help="Which of its kind this is.")
@click.option("--settings", "path", type=click.Path(path_type=Path), help="A TOML file.")
@click.option("--check", is_flag=True, help="Print the effective settings and exit.")
def main(program: str, index: int, path: Path | None, *, check: bool) -> None:
    """Run one process of a node: ingest takes bytes in, delivery sends them on.

    keys makes the region's keys, unless they are there, and ends.
    """
    process = program if program == KEYS else f"{program}-{index}"
    with service.starting(process):
        chosen = settings.load(EdgeSettings, path)
    if check:
        click.echo(settings.effective(chosen), nl=False)
        return
    if program == KEYS:
        with service.starting(process), asyncio.Runner() as runner:
            runner.run(make_keys(chosen))
        return
    service.run(
        partial(PROGRAMS[program], settings=chosen, process=process),
        process=process,
        uvloop=program == "ingest",
        drain_deadline_s=chosen.drain_deadline_s,
    )


if __name__ == "__main__":
    main()
