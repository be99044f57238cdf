"""The command ``zentransfer doctor``: its options, and where it finds the password.

The rule: a password is best kept off the command line, where every user of the machine reads it;
so there is no option that takes one.
"""

import asyncio
import sys
from pathlib import Path
from random import SystemRandom
from typing import Final

import click

from ops.console import Console
from ops.doctor.diagnosis import diagnosis
from ops.doctor.report import document, show
from ops.doctor.secured import contexts
from ops.doctor.seen import SECURE_PORT, Mode, Seen, Wanted
from ops.doctor.settings import DoctorSettings
from ops.doctor.steps import exit_code
from ops.doctor.visit import SignIn, Trust, Visit
from zentransfer import settings
from zentransfer.clock import SystemClock
from zentransfer.limits import DOCTOR_ANSWER_S, DOCTOR_IDLE_S_MAX, DOCTOR_PASSWORD_BYTES_MAX

PASSWORD_VARIABLE: Final = "ZT_DOCTOR_PASSWORD"  # noqa: S105 - the name of one
_CLEAR_PORT: Final = 21
_INTERRUPTED: Final = 130

# A line with a lone backspace tells click to keep the lines of that paragraph as they are.
_EXAMPLES: Final = f"""\b
Examples:
  zentransfer doctor ftp fr.ftp.example.com
  zentransfer doctor ftp fr.ftp.example.com --user k7mqn2rt --password-file camera.txt
  zentransfer doctor ftp 127.0.0.1 --port 8221 --user k7mqn2rt --tls none --upload

\b
Without --password-file the password is read from {PASSWORD_VARIABLE}, else asked for.
Exit codes: 0 a camera would get through, 1 something is wrong, 2 wrong usage,
130 interrupted.
"""

_CONTEXT: Final = {"help_option_names": ["-h", "--help"]}


@click.group("doctor", context_settings=_CONTEXT)
def doctor() -> None:
    """Find out why a camera cannot send, and say what cures it."""


@doctor.command("ftp", epilog=_EXAMPLES, context_settings=_CONTEXT)
@click.argument("host")
@click.option("--port", type=click.IntRange(1, 65_535), help="Port [21; 990 with --tls implicit].")
@click.option("--user", help="Name that the camera signs in with.")
@click.option(
    "--password-file",
    type=click.Path(path_type=Path),
    help="File whose first line is the password.",
)
@click.option(
    "--tls",
    "mode",
    type=click.Choice([str(one) for one in Mode]),
    default="auto",
    help="How the camera is set to encrypt [auto: TLS if it is offered].",
)
@click.option("--upload", is_flag=True, help="Send a tiny test file; it goes through the workflow.")
@click.option(
    "--idle",
    "idle_s",
    type=click.FloatRange(0, DOCTOR_IDLE_S_MAX),
    metavar="SECONDS",
    default=0,
    help="Be silent for so long, and see whether the connection lives.",
)
@click.option("--insecure", is_flag=True, help="Send the password in spite of a bad certificate.")
@click.option(
    "--ca-file", type=click.Path(path_type=Path), help="Roots to trust beside the usual ones (PEM)."
)
@click.option(
    "--http-port",
    type=click.IntRange(0, 65_535),
    default=80,
    help="Port of HTTP on that host, to compare clocks [80]; 0 for none.",
)
@click.option(
    "--timeout",
    "patience_s",
    type=click.FloatRange(0, 120, min_open=True),
    metavar="SECONDS",
    default=DOCTOR_ANSWER_S,
    help="How long to wait for each answer [15].",
)
@click.option("--json", "in_json", is_flag=True, help="Print one JSON document.")
def ftp(  # noqa: PLR0913 - one argument an option
    host: str,
    *,
    port: int | None,
    user: str | None,
    password_file: Path | None,
    mode: str,
    upload: bool,
    idle_s: float,
    insecure: bool,
    ca_file: Path | None,
    http_port: int,
    patience_s: float,
    in_json: bool,
) -> None:
    """Connect to HOST as a camera would, and say step by step what is right and what is wrong.

    Nothing is left at the server but with --upload.
    """
    if user is None and upload:
        raise click.UsageError("--upload needs --user.")
    wanted = Wanted(
        host=_host(host),
        port=port or (SECURE_PORT if mode == Mode.IMPLICIT else _CLEAR_PORT),
        mode=Mode(mode),
        has_credential=user is not None,
        uploads=upload,
        idle_s=idle_s,
        is_insecure=insecure,
        http_port=http_port,
    )
    sign_in = None if user is None else SignIn(user, _password(password_file))
    visit = Visit(wanted, sign_in, _trust(ca_file), SystemClock(), SystemRandom(), patience_s)
    steps = diagnosis(_made(visit))
    if in_json:
        click.echo(document(steps))
    else:
        show(steps, Console(sys.stdout))
    sys.exit(exit_code(steps))


def _made(visit: Visit) -> Seen:
    with asyncio.Runner() as runner:
        try:
            return runner.run(visit.made())
        except KeyboardInterrupt:
            sys.exit(_INTERRUPTED)


def _host(text: str) -> str:
    """Return the host in *text*; a camera wants a bare name, and so do we."""
    if "/" in text or "@" in text or not text.strip():
        raise click.UsageError("Give the bare name of the server, without ftp:// and without path.")
    return text.strip().strip("[]")


def _password(path: Path | None) -> str:
    """Return the password from the file, the environment, or whoever sits there."""
    if path is None:
        held = _settings().password
        if held is not None:
            return held.get_secret_value()
        return str(click.prompt("Password", hide_input=True, err=True))
    try:
        with path.open("rb") as opened:
            content = opened.read(DOCTOR_PASSWORD_BYTES_MAX + 1)
        if len(content) > DOCTOR_PASSWORD_BYTES_MAX:
            raise click.UsageError(f"{path} is too long to be the file of a password.")
        return content.decode().partition("\n")[0].rstrip("\r")
    except (OSError, UnicodeError) as exc:
        raise click.UsageError(f"{path} cannot be read: {exc}.") from exc


def _settings() -> DoctorSettings:
    try:
        return settings.load(DoctorSettings, None)
    except settings.SettingsError as exc:
        raise click.UsageError(str(exc)) from exc


def _trust(ca_file: Path | None) -> Trust:
    try:
        return Trust(*contexts(ca_file))
    except OSError as exc:  # ssl.SSLError too: no certificate in it
        raise click.UsageError(f"{ca_file} holds no certificates: {exc}.") from exc
