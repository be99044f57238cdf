"""The history of the tables: one Alembic revision per change, run at every start.

The rule: a revision that was released is never edited; expand first, contract in the next release.
A database that a newer release wrote is refused, not guessed at.
"""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

_HERE: Final = Path(__file__).parent


class NewerDatabase(Exception):
    """The database holds a revision that this release does not know."""


def migrate(connection: Connection) -> None:
    """Bring the tables up to this release, inside the transaction that *connection* is in.

    Raises :class:`NewerDatabase`; nothing is changed then.
    """
    config = Config()
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    config.attributes["connection"] = connection
    _require_known(connection, ScriptDirectory.from_config(config))
    command.upgrade(config, "head")


def _require_known(connection: Connection, script: ScriptDirectory) -> None:
    known = {revision.revision for revision in script.walk_revisions()}
    found = MigrationContext.configure(connection).get_current_heads()
    if not known.issuperset(found):
        raise NewerDatabase("the database was written by a newer release")
