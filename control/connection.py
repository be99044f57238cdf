"""What a store needs of a database: statements inside the one open transaction.

The rule: a store never commits.  Whether what it did lasts is decided by the unit of work alone.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from sqlalchemy import Executable, RowMapping
from sqlalchemy.dialects.sqlite import insert as upsert

__all__ = ["Connection", "Values", "upsert"]  # PostgreSQL's insert has the same conflict clauses

Values = Mapping[str, object]
"""One row to write, by column."""


class Connection(Protocol):
    """The open transaction."""

    async def rows(self, statement: Executable) -> Sequence[RowMapping]:
        """Return all rows that *statement* gives; the statement bounds how many."""
        ...

    async def change(self, statement: Executable, many: Sequence[Values] | None = None) -> int:
        """Run *statement*, once per row of *many* if given; return how many rows changed.

        Raises ``sqlalchemy.exc.IntegrityError`` when the database refuses one; nothing of that row
        is left, and the transaction can go on.
        """
        ...

    def savepoint(self) -> AbstractAsyncContextManager[None]:
        """Undo what the block did if it raises, without ending the transaction."""
        ...
