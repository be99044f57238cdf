"""The control plane as a program: ``python -m control``."""

from functools import partial
from pathlib import Path

import click

from control import node
from control.settings import ControlSettings
from zentransfer import service, settings


@click.command(epilog="Example: python -m control --settings control.toml")
@click.option("--settings", "path", type=click.Path(path_type=Path), help="A TOML file.")
@click.option("--check", is_flag=True, help="Print the effective settings and exit.")
def main(path: Path | None, *, check: bool) -> None:
    """Run the control plane: pages, API and the listener that nodes dial."""
    with service.starting("control"):
        chosen = settings.load(ControlSettings, path)
    if check:
        click.echo(settings.effective(chosen), nl=False)
        return
    service.run(
        partial(node.main, settings=chosen),
        process="control",
        uvloop=False,
        drain_deadline_s=chosen.drain_deadline_s,
    )


if __name__ == "__main__":
    main()
