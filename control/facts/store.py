"""Cursors and quarantine in the database: how far each outbox is, and what was set aside."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import and_, func, insert, select

from control.connection import Connection, upsert
from control.facts.plan import SetAside
from control.tables import fact_quarantine, node_cursor
from zentransfer.ids import EpochID, NodeID, ProcessName
from zentransfer.limits import FACT_QUARANTINE_MAX


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far one outbox is: every fact up to *sequence* is applied, *quarantined* set aside."""

    node: NodeID
    epoch: EpochID
    process: ProcessName
    sequence: int = 0
    quarantined: int = 0


class FactStore:
    """Cursors and quarantine, inside the open transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def cursor(self, node: NodeID, epoch: EpochID, process: ProcessName) -> Cursor:
        """Return how far that outbox is; at 0 if nothing of it was ever applied."""
        mine = and_(node_cursor.c.node == node, node_cursor.c.epoch == epoch)
        for row in await self._connection.rows(select(node_cursor).where(mine)):
            return Cursor(node, epoch, process, row["sequence"], row["quarantined"])
        return Cursor(node, epoch, process)

    async def move(self, to: Cursor, now_ms: int) -> None:
        """Put *to* in the place of what was known of that outbox."""
        row = {
            "node": to.node,
            "epoch": to.epoch,
            "process": to.process,
            "sequence": to.sequence,
            "quarantined": to.quarantined,
            "moved_ms": now_ms,
        }
        changed = {name: row[name] for name in ("process", "sequence", "quarantined", "moved_ms")}
        put = upsert(node_cursor).values(row)
        await self._connection.change(
            put.on_conflict_do_update(index_elements=["node", "epoch"], set_=changed)
        )

    async def add_aside(
        self, node: NodeID, epoch: EpochID, aside: Sequence[SetAside], now_ms: int
    ) -> None:
        """Keep what was set aside, as long as fewer than FACT_QUARANTINE_MAX rows are kept.

        The oldest stay: they show how the trouble began; the cursor counts all of them.
        """
        if not aside:
            return
        rows = await self._connection.rows(
            select(func.count().label("n")).select_from(fact_quarantine)
        )
        room = max(FACT_QUARANTINE_MAX - int(rows[0]["n"]), 0)
        kept = [
            {
                "node": node,
                "epoch": epoch,
                "sequence": one.sequence,
                "fact_id": one.fact_id,
                "kind": one.kind,
                "reason": one.reason,
                "body": one.body,
                "received_ms": now_ms,
            }
            for one in aside[:room]
        ]
        await self._connection.change(insert(fact_quarantine), kept)

    async def quarantined(self, count: int) -> list[SetAside]:
        """Return up to *count* facts that were set aside, for an operator."""
        rows = await self._connection.rows(select(fact_quarantine).limit(count))
        return [
            SetAside(row["sequence"], row["fact_id"], row["kind"], row["reason"], row["body"])
            for row in rows
        ]
