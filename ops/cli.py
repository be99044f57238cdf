"""The command ``zentransfer``: one machine's system, and questions to it.

The rule: what a person can get wrong is one line that names it and the cure, never a traceback.
"""

import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import cast

import click

from geo.settings import database_path
from ops import check, preflight, status, up
from ops.console import Console
from ops.programs import Place, plan
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
  zentransfer doctor ftp fr.ftp.example.com
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

_CONTEXT = {"help_option_names": ["-h", "--help"]}
_ELSEWHERE = {"doctor": "ops.doctor.command", "geo": "ops.geo", "send": "ops.send.command"}


class _Commands(click.Group):
    """Commands of which some are imported when they are asked for: half a second each."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names."""
        return sorted([*super().list_commands(ctx), *_ELSEWHERE])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of that name, if there is one."""
        if cmd_name not in _ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        found: click.Command = getattr(import_module(_ELSEWHERE[cmd_name]), cmd_name)
        return found


class _Count(click.IntRange):
    """A whole number within bounds; what is none is told these bounds."""

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return *value* as a number."""
        try:
            return super().convert(int(value), param, ctx)
        except (ValueError, click.BadParameter):
            self.fail(f"{value!r} is no whole number from {self.min} to {self.max}.", param, ctx)


def _regions(_: click.Context, __: click.Parameter, value: str | None) -> tuple[Region, ...] | None:
    """Return the regions that *value* names; fails with the words that are known."""
    if value is None:
        return None
    words = [word.strip() for word in value.split(",")]
    if not all(word in list(Region) for word in words) or len(set(words)) < len(words):
        raise click.BadParameter(f"{value!r}: name regions out of us, fr, sg, each once.")
    return tuple(map(Region, words))


@click.group(cls=_Commands, epilog=_EXAMPLES, context_settings=_CONTEXT)
@click.version_option(version("zentransfer"), prog_name="zentransfer")
def main() -> None:
    """Run ZenTransfer on one machine, and ask what it does."""


@main.command("up", epilog=_UP_EXAMPLES, context_settings=_CONTEXT)
@click.option("--dir", type=click.Path(path_type=Path), help="Folder of all data [var].")
@click.option("--base", type=_Count(1, PORT_BASE_MAX), help="First port [8000].")
@click.option(
    "--regions", metavar="us,fr,sg", callback=_regions, help="Regions to start [us,fr,sg]."
)
@click.option(
    "--workers",
    type=_Count(1, INGEST_WORKERS_MAX),
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
    typed = _typed({**options, "settings": path})
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
        options=typed,
    )
    wanted = plan(place, sys.executable)
    if not only_check:
        up.run(chosen, place, wanted)
    with service.starting(up.TITLE):
        said = list(check.report(chosen, place, wanted))
    click.echo("\n".join(said))


def _typed(options: Mapping[str, object]) -> tuple[str, ...]:
    """Return the *options* as they are typed, but the base: for advice on how to start anew."""
    words: list[str] = []
    for name, value in options.items():
        if value is None or name == "base":
            continue
        many = cast("tuple[object, ...]", value) if isinstance(value, tuple) else (value,)
        text = ",".join(map(str, many))
        words += [f"--{name.removesuffix('_s')}", text]
    return tuple(words)


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
    is "stopped". One that is "away" ended and is started again by itself, "starting" and "draining"
    ones come and go; while there is one of these, ready.json is not there.
    """
    with service.starting("zentransfer status"):
        asked = _folder(folder)
    try:
        system = status.read(asked)
    except status.CannotTell as exc:
        raise click.ClickException(str(exc)) from exc
    sys.exit(0 if status.show(system, asked, Console(sys.stdout)) else 1)


def run() -> int:
    """Run the command with the words of the command line; return its exit code.

    Raises ``KeyboardInterrupt``, of which click would make a failure.
    """
    try:
        code = main(prog_name="zentransfer", standalone_mode=False)
    except click.Abort:
        raise KeyboardInterrupt from None
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code
    return code if isinstance(code, int) else 0
