"""The ledger in the database.

The rule: a transaction is one statement.  Its row carries all its lines, and triggers of the
database refuse it unless they balance, write the postings from it, and refuse every other way to
make, change or remove a posting.  So no program, ours or another, can leave half a transaction.
"""

import json
from collections import Counter
from collections.abc import Sequence

from sqlalchemy import func, insert, select

from control.billing.ledger import Transaction, TransactionID, Unit
from control.connection import Connection
from control.tables import ledger_transaction, posting


class LedgerStore:
    """The ledger, inside the transaction of the database that *connection* is in."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def enter(self, transactions: Sequence[Transaction], now_ms: int) -> int:
        """Enter those of *transactions* that are not in the ledger yet; return how many were new.

        Two with one id count as one.  Raises ``IntegrityError`` when the database refuses a line.
        """
        fresh = {one.id: one for one in transactions}
        for known in await self._known(list(fresh)):
            del fresh[known]
        rows = [_row(one, now_ms) for one in fresh.values()]
        await self._connection.change(insert(ledger_transaction), rows)
        return len(rows)

    async def balance(self, ledger_account: str) -> Counter[Unit]:
        """Return debits minus credits of *ledger_account* by unit."""
        total = func.sum(posting.c.debit) - func.sum(posting.c.credit)
        statement = (
            select(posting.c.unit, total.label("total"))
            .where(posting.c.ledger_account == ledger_account)
            .group_by(posting.c.unit)
        )
        rows = await self._connection.rows(statement)
        return Counter({Unit(row["unit"]): int(row["total"]) for row in rows})

    async def totals(self) -> Counter[Unit]:
        """Return the sum of all debits by unit, for checks; it equals that of all credits."""
        statement = select(posting.c.unit, func.sum(posting.c.debit).label("total")).group_by(
            posting.c.unit
        )
        rows = await self._connection.rows(statement)
        return Counter({Unit(row["unit"]): int(row["total"]) for row in rows})

    async def _known(self, wanted: Sequence[TransactionID]) -> list[TransactionID]:
        if not wanted:
            return []
        statement = select(ledger_transaction.c.id).where(ledger_transaction.c.id.in_(wanted))
        return [TransactionID(row["id"]) for row in await self._connection.rows(statement)]


def _row(transaction: Transaction, now_ms: int) -> dict[str, object]:
    lines = [
        {
            "account": one.ledger_account,
            "unit": one.unit,
            "debit": one.debit,
            "credit": one.credit,
        }
        for one in transaction.postings
    ]
    return {
        "id": transaction.id,
        "cause": transaction.cause,
        "cause_id": transaction.cause_id,
        "at_ms": transaction.at_ms,
        "entered_ms": now_ms,
        "lines": json.dumps(lines, separators=(",", ":")),
    }
