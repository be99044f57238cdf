"""The command ``zentransfer send``: its options, and where it finds control and the token.

The rule: the token is best kept off the command line, where every user of the machine reads it.
"""

import asyncio
import os
import sys
from pathlib import Path
from random import Random
from typing import Final

import click
from pydantic import SecretStr

from ops import status
from ops.send import names
from ops.send.client import Waits, is_private, is_url
from ops.send.files import TooMany, wanted
from ops.send.report import EXIT_INTERRUPTED
from ops.send.run import NobodyAnswers, Plan, Run
from ops.send.screen import screen
from ops.send.sending import Patience
from ops.send.settings import SendSettings
from ops.status import System
from zentransfer import settings
from zentransfer.ids import Region
from zentransfer.limits import SEND_AT_ONCE_MAX, SEND_TOKEN_BYTES_MAX

# A line with a lone backspace tells click to keep the lines of that paragraph as they are.
_EXAMPLES: Final = """\b
Examples:
  zentransfer send *.jpg                      to the system of ./var, the nearest region
  zentransfer send -r shoot --folder 2026     shoot/a.jpg arrives as 2026/shoot/a.jpg
  zentransfer send big.mov --region fr --no-wait
  zentransfer send *.jpg --control https://zt.example --token-file ~/.zt-token --json

\b
Exit codes: 0 all delivered (with --no-wait: uploaded), 1 something failed,
2 wrong usage, 3 all taken but a delivery waits and goes on by itself,
130 interrupted.  ZT_SEND_TOKEN, ZT_SEND_CONTROL and the other
settings of --check come from the environment too.
"""


_UNFOLLOWED: Final = (
    "files are sent all the same, and unless it is back soon their deliveries cannot be followed."
)


@click.command("send", epilog=_EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="FILE...")
@click.option(
    "--region",
    type=click.Choice(["auto", *map(str, Region)]),
    help="Where to; auto is the nearest, and moves on when it does not answer [auto].",
)
@click.option("-r", "--recursive", is_flag=True, help="Send what is in folders too.")
@click.option("--folder", metavar="NAME", help="Virtual folder to put all of it below.")
@click.option(
    "--at-once", type=click.IntRange(1, SEND_AT_ONCE_MAX), help="Files on their way at once [4]."
)
@click.option("--no-wait", is_flag=True, help="Return when uploaded; do not follow deliveries.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0, 604_800, min_open=True),
    metavar="SECONDS",
    help="How long to wait for deliveries [3600].",
)
@click.option("--json", "in_json", is_flag=True, help="Print one JSON line a file, and a summary.")
@click.option("--dir", type=click.Path(path_type=Path), help="Folder of a system here [var].")
@click.option("--control", metavar="URL", help="The control plane; else ready.json in --dir says.")
@click.option(
    "--token-file", type=click.Path(path_type=Path), help="File that holds the API token."
)
@click.option(
    "--token", help="The token itself. Others see it in ps: rather use --token-file, ZT_SEND_TOKEN."
)
@click.option("--settings", "path", type=click.Path(path_type=Path), help="A TOML file.")
@click.option("--check", "only_check", is_flag=True, help="Print the settings, send nothing.")
@click.option(
    "--lab-client", metavar="ADDRESS", hidden=True, help="Where a lab is to think we are."
)
def send(  # noqa: PLR0913 - one argument an option that is not a setting
    files: tuple[Path, ...],
    *,
    recursive: bool,
    no_wait: bool,
    in_json: bool,
    path: Path | None,
    only_check: bool,
    lab_client: str | None,
    **options: object,
) -> None:
    """Send files to the nearest region and follow them until they are delivered.

    Several go at once, each resumes where it was cut, and none is delivered twice. What cannot be
    sent is said, and the others go on.
    """
    chosen = _chosen(path, options)
    if only_check:
        click.echo(settings.effective(chosen), nl=False)
        return
    if not files:
        raise click.UsageError("Name the files to send, such as: zentransfer send *.jpg")
    try:
        folder = names.checked_folder(names.text(os.fsencode(chosen.folder)))
    except ValueError as exc:
        raise click.BadParameter(str(exc), param_hint="--folder") from exc
    try:
        found = wanted(files, folder=folder, recursive=recursive)
    except TooMany as exc:
        raise click.UsageError(str(exc)) from exc
    if not found:
        raise click.UsageError("There is no file in what you named.")
    control, nodes, token, source = _whereabouts(chosen)
    plan = Plan(
        files=found,
        control=control,
        nodes=nodes,
        token=token,
        region=None if chosen.region == "auto" else Region(chosen.region),
        lab_client=lab_client,
        at_once=chosen.at_once,
        waits=Waits(chosen.stall_s, chosen.answer_s),
        patience=Patience(give_up_s=chosen.patience_s),
        follow_s=0 if no_wait else chosen.timeout_s,
        in_json=in_json,
        hint=f"the token came from {source}; copy a new one into a file and name it: --token-file",
    )
    with asyncio.Runner() as runner:
        try:
            code = runner.run(_run(plan))
        except NobodyAnswers as exc:
            raise click.ClickException(names.shown(str(exc))) from exc
        except KeyboardInterrupt:  # before there was anything to report, or the second one
            code = EXIT_INTERRUPTED
    sys.exit(code)


async def _run(plan: Plan) -> int:
    shown = screen(sys.stdout, sys.stderr, in_json=plan.in_json)
    return await Run(plan, shown, Random()).run()


def _chosen(path: Path | None, options: dict[str, object]) -> SendSettings:
    """Return the settings: the file's, over them the environment's, over them the *options*."""
    given = {name: value for name, value in options.items() if value is not None}
    try:
        # The options are of their types already: click checked them.
        return settings.load(SendSettings, path).model_copy(update=_typed(given))
    except settings.SettingsError as exc:
        raise click.UsageError(str(exc)) from exc


def _typed(given: dict[str, object]) -> dict[str, object]:
    token = given.pop("token", None)
    return given if token is None else {**given, "token": SecretStr(str(token)), "token_file": None}


def _whereabouts(chosen: SendSettings) -> tuple[str, list[str], str, str]:
    """Return the URLs of control and of nodes that are known, the token, and where that is from."""
    token, source = _token(chosen), _source(chosen)
    system = None if chosen.control and token else _system(chosen)
    document = None if system is None else system.document
    control = chosen.control or (document["control"]["url"] if document else "")
    control = control.rstrip("/")
    if not is_url(control):
        raise click.UsageError("--control is a URL such as https://zt.example")
    if not token:
        account = document["account"] if document else None
        token = account["api_token"] if account and not chosen.control else ""
        source = f"the system in {chosen.dir}"
    if not token:
        raise click.UsageError("There is no token; name --token-file, or set ZT_SEND_TOKEN")
    if not is_private(control):
        click.echo("Note: without TLS (https) others on the way can read the token.", err=True)
    if system is not None and not system.serves("control"):
        click.echo(f"Note: control is away; {_UNFOLLOWED}", err=True)
    return control, [] if system is None else system.doors(), token, source


def _system(chosen: SendSettings) -> System | None:
    if chosen.control:
        return None
    try:
        return status.read(chosen.dir)
    except status.CannotTell as exc:
        said = f"{exc.what} For a system elsewhere name --control and --token-file. {exc.cure}"
        raise click.ClickException(said) from exc


def _source(chosen: SendSettings) -> str:
    """Return in words where the token of :func:`_token` comes from."""
    if chosen.token is not None:
        return "--token or ZT_SEND_TOKEN"
    return str(chosen.token_file)


def _token(chosen: SendSettings) -> str:
    """Return the token that was given, or nothing; on one line, as a header is."""
    token = chosen.token.get_secret_value() if chosen.token else ""
    if not token and chosen.token_file is not None:
        try:
            with chosen.token_file.expanduser().open("rb") as file:
                token = file.read(SEND_TOKEN_BYTES_MAX + 1).decode()
        except OSError as exc:
            why = (exc.strerror or "it cannot be read").lower()
            raise click.UsageError(f"{chosen.token_file}: {why}; correct --token-file") from None
        except UnicodeDecodeError:
            raise click.UsageError(
                f"{chosen.token_file}: is no text; correct --token-file"
            ) from None
    token = token.strip()
    is_word = token.isascii() and token.isprintable() and " " not in token
    if not is_word or len(token) > SEND_TOKEN_BYTES_MAX:
        raise click.UsageError("The token is not one word; copy it again from your account page")
    return token
