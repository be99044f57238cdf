"""Uploads in the database: rows that facts write, and what their owner reads.

The rule: every question of an owner has the account as its predicate, so a foreign id and an
unknown one are the same nothing.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import RowMapping, and_, insert, or_, select

from control.connection import Connection, upsert
from control.facts.plan import Known, NewEvent, NewOutcome, NewReceipt
from control.paging import Position, page
from control.tables import account, delivery, event, outcome, receipt
from control.uploads.model import (
    DeletionReason,
    DeletionReceipt,
    Delivery,
    DeliveryChange,
    DeliveryState,
    Door,
    Event,
    Outcome,
    OutcomeState,
    SealedName,
    Upload,
)
from zentransfer.ids import AccountID, DeliveryID, NodeID, OutcomeID, Region, UploadID
from zentransfer.limits import UPLOAD_EVENTS_SHOWN_MAX


class UploadStore:
    """Outcomes, deliveries, receipts and events, inside the open transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # -- for facts ---------------------------------------------------------------------------

    async def known(
        self,
        accounts: Iterable[AccountID],
        uploads: Iterable[UploadID],
        outcomes: Iterable[OutcomeID],
        deliveries: Iterable[DeliveryID],
        facts: Iterable[str],
    ) -> Known:
        """Return what the database holds of these ids."""
        found = Known()
        rows = self._connection.rows
        for row in await rows(select(account.c.id).where(account.c.id.in_(list(accounts)))):
            found.accounts.add(row["id"])
        named, by_id = list(uploads), list(outcomes)
        columns = outcome.c.upload_id, outcome.c.id, outcome.c.account_id, outcome.c.fact_digest
        mine = or_(outcome.c.upload_id.in_(named), outcome.c.id.in_(by_id))
        for row in await rows(select(*columns).where(mine)):
            found.outcomes[row["upload_id"]] = row["fact_digest"]
            found.outcome_ids[row["id"]] = row["upload_id"]
            found.owners[row["upload_id"]] = row["account_id"]
        wanted = or_(delivery.c.upload_id.in_(named), delivery.c.id.in_(list(deliveries)))
        for row in await rows(select(delivery).where(wanted)):
            found.deliveries[row["id"]] = _delivery(row)
            found.owners[row["upload_id"]] = row["account_id"]
        for row in await rows(select(receipt).where(receipt.c.upload_id.in_(named))):
            found.receipts[row["upload_id"]] = row["fact_digest"]
            found.owners[row["upload_id"]] = row["account_id"]
        seen = select(event.c.id, event.c.fact_digest).where(event.c.id.in_(list(facts)))
        found.events = {row["id"]: row["fact_digest"] for row in await rows(seen)}
        return found

    async def add_outcomes(self, new: Sequence[NewOutcome], node: NodeID, now_ms: int) -> None:
        """Add outcomes; raises ``IntegrityError`` for an upload that has one."""
        rows = [_outcome_row(one, node, now_ms) for one in new]
        await self._connection.change(insert(outcome), rows)

    async def put_deliveries(self, changed: Iterable[Delivery]) -> None:
        """Put deliveries in the place of what was known of them."""
        statement = upsert(delivery)
        put = statement.on_conflict_do_update(
            index_elements=["id"],
            set_={
                name: statement.excluded[name]
                for name in ("state", "attempt", "fence", "error", "due_ms", "size_bytes", "node")
            }
            | {
                "changed_ms": statement.excluded.changed_ms,
                "digest": statement.excluded.digest,
            },
        )
        await self._connection.change(put, [_delivery_row(one) for one in changed])

    async def add_receipts(self, new: Sequence[NewReceipt], now_ms: int) -> None:
        """Add deletion receipts; raises ``IntegrityError`` for an upload that has one."""
        rows = [_receipt_row(one, now_ms) for one in new]
        await self._connection.change(insert(receipt), rows)

    async def add_events(self, new: Sequence[NewEvent], now_ms: int) -> None:
        """Add lines to the timelines, in this order."""
        rows = [
            {
                "id": one.id,
                "fact_digest": one.fact_digest,
                "account_id": one.account_id,
                "upload_id": one.upload_id,
                "type": one.type,
                "detail": one.detail,
                "at_ms": one.at_ms,
                "received_ms": now_ms,
            }
            for one in new
        ]
        await self._connection.change(insert(event), rows)

    # -- for owners --------------------------------------------------------------------------

    async def page(self, owner: AccountID, count: int, after: Position | None) -> list[Upload]:
        """Return up to *count* uploads of *owner*, the newest first, from behind *after*."""
        order = (outcome.c.created_ms, outcome.c.upload_id)
        mine = select(outcome).where(outcome.c.account_id == owner)
        statement = page(mine, order, count, after, newest_first=True)
        return await self._whole(owner, await self._connection.rows(statement))

    async def maybe_upload(self, owner: AccountID, upload: UploadID) -> Upload | None:
        """Return an upload of *owner*, or ``None``."""
        mine = and_(outcome.c.account_id == owner, outcome.c.upload_id == upload)
        found = await self._connection.rows(select(outcome).where(mine))
        return next(iter(await self._whole(owner, found)), None)

    async def ended(self, uploads: Iterable[UploadID]) -> set[UploadID]:
        """Return those of *uploads* that have an outcome, whoever owns them."""
        named = outcome.c.upload_id.in_(list(uploads))
        rows = await self._connection.rows(select(outcome.c.upload_id).where(named))
        return {UploadID(row["upload_id"]) for row in rows}

    async def maybe_delivery(self, owner: AccountID, wanted: DeliveryID) -> Delivery | None:
        """Return a delivery of *owner*, or ``None``."""
        mine = and_(delivery.c.account_id == owner, delivery.c.id == wanted)
        rows = await self._connection.rows(select(delivery).where(mine))
        return next(map(_delivery, rows), None)

    async def timeline(self, owner: AccountID, upload: UploadID) -> list[Event]:
        """Return the newest events of an upload of *owner*, the oldest of them first."""
        mine = and_(event.c.account_id == owner, event.c.upload_id == upload)
        statement = (
            select(event).where(mine).order_by(event.c.number.desc()).limit(UPLOAD_EVENTS_SHOWN_MAX)
        )
        newest = [_event(row) for row in await self._connection.rows(statement)]
        return sorted(newest, key=lambda one: (one.at_ms, one.number))

    async def events_after(self, owner: AccountID, number: int, count: int) -> list[Event]:
        """Return up to *count* events of *owner* whose number is above *number*, in order."""
        mine = and_(event.c.account_id == owner, event.c.number > number)
        statement = select(event).where(mine).order_by(event.c.number).limit(count)
        return [_event(row) for row in await self._connection.rows(statement)]

    async def last_event(self, owner: AccountID) -> int:
        """Return the number of the newest event of *owner*; 0 without any."""
        statement = (
            select(event.c.number)
            .where(event.c.account_id == owner)
            .order_by(event.c.number.desc())
            .limit(1)
        )
        rows = await self._connection.rows(statement)
        return int(rows[0]["number"]) if rows else 0

    async def _whole(self, owner: AccountID, found: Sequence[RowMapping]) -> list[Upload]:
        """Return the uploads of these outcome rows with their deliveries and receipts."""
        named = [row["upload_id"] for row in found]
        if not named:
            return []
        deliveries = defaultdict[str, list[Delivery]](list)
        mine = and_(delivery.c.account_id == owner, delivery.c.upload_id.in_(named))
        for row in await self._connection.rows(select(delivery).where(mine)):
            deliveries[row["upload_id"]].append(_delivery(row))
        mine = and_(receipt.c.account_id == owner, receipt.c.upload_id.in_(named))
        rows = await self._connection.rows(select(receipt).where(mine))
        receipts = {row["upload_id"]: _receipt(row) for row in rows}
        return [
            Upload(
                _outcome(row),
                NodeID(row["node"]),
                tuple(sorted(deliveries[row["upload_id"]], key=lambda one: one.change.delivery_id)),
                receipts.get(row["upload_id"]),
            )
            for row in found
        ]


def _outcome_row(new: NewOutcome, node: NodeID, now_ms: int) -> dict[str, object]:
    one = new.outcome
    return {
        "upload_id": one.upload_id,
        "id": one.id,
        "fact_digest": new.fact_digest,
        "account_id": one.account_id,
        "credential_id": one.credential_id,
        "state": one.state,
        "error": one.error,
        "size_bytes": one.size_bytes,
        "digest": one.digest,
        "region": one.region,
        "node": node,
        "door": one.door,
        "name_kid": one.name.kid if one.name else None,
        "name_sealed": one.name.ciphertext if one.name else None,
        "workflow_id": one.workflow_id,
        "workflow_version": one.workflow_version,
        "created_ms": one.created_ms,
        "ended_ms": one.ended_ms,
        "received_ms": now_ms,
        "announced_bytes": one.announced_bytes,
        "destroyed_ms": one.destroyed_ms or None,
    }


def _outcome(row: RowMapping) -> Outcome:
    name = SealedName(row["name_kid"], row["name_sealed"]) if row["name_kid"] else None
    return Outcome(
        id=row["id"],
        upload_id=row["upload_id"],
        account_id=row["account_id"],
        credential_id=row["credential_id"],
        state=OutcomeState(row["state"]),
        error=row["error"],
        size_bytes=row["size_bytes"],
        digest=row["digest"],
        region=Region(row["region"]),
        door=Door(row["door"]),
        name=name,
        workflow_id=row["workflow_id"],
        workflow_version=row["workflow_version"],
        created_ms=row["created_ms"],
        ended_ms=row["ended_ms"],
        announced_bytes=row["announced_bytes"],
        destroyed_ms=row["destroyed_ms"] or 0,
    )


def _delivery_row(one: Delivery) -> dict[str, object]:
    change = one.change
    return {
        "id": change.delivery_id,
        "account_id": change.account_id,
        "upload_id": change.upload_id,
        "run_id": change.run_id,
        "destination_id": change.destination_id,
        "state": change.state,
        "attempt": change.attempt,
        "fence": change.fence,
        "error": change.error,
        "due_ms": change.due_ms,
        "size_bytes": change.size_bytes,
        "node": one.node,
        "changed_ms": one.changed_ms,
        "digest": change.digest,
    }


def _delivery(row: RowMapping) -> Delivery:
    change = DeliveryChange(
        delivery_id=row["id"],
        run_id=row["run_id"],
        upload_id=row["upload_id"],
        account_id=row["account_id"],
        destination_id=row["destination_id"],
        state=DeliveryState(row["state"]),
        attempt=row["attempt"],
        fence=row["fence"],
        error=row["error"],
        due_ms=row["due_ms"],
        size_bytes=row["size_bytes"],
        digest=row["digest"],
    )
    return Delivery(change, NodeID(row["node"]), row["changed_ms"])


def _receipt_row(new: NewReceipt, now_ms: int) -> dict[str, object]:
    one = new.receipt
    return {
        "upload_id": one.upload_id,
        "fact_digest": new.fact_digest,
        "account_id": one.account_id,
        "run_id": one.run_id,
        "reason": one.reason,
        "region": one.region,
        "size_bytes": one.size_bytes,
        "keys_destroyed_ms": one.keys_destroyed_ms,
        "removed_ms": one.removed_ms,
        "undelivered": json.dumps(one.undelivered),
        "audit_sequence": one.audit_sequence if one.signature else None,
        "audit_hash": one.audit_hash or None,
        "signature": one.signature or None,
        "root_key": one.root_key or None,
        "received_ms": now_ms,
    }


def _receipt(row: RowMapping) -> DeletionReceipt:
    undelivered: list[Any] = json.loads(row["undelivered"])
    return DeletionReceipt(
        upload_id=row["upload_id"],
        account_id=row["account_id"],
        run_id=row["run_id"],
        reason=DeletionReason(row["reason"]),
        region=Region(row["region"]),
        size_bytes=row["size_bytes"],
        keys_destroyed_ms=row["keys_destroyed_ms"],
        removed_ms=row["removed_ms"],
        undelivered=tuple(undelivered),
        audit_sequence=row["audit_sequence"] or 0,
        audit_hash=row["audit_hash"] or b"",
        signature=row["signature"] or b"",
        root_key=row["root_key"] or b"",
    )


def _event(row: RowMapping) -> Event:
    return Event(
        row["number"], UploadID(row["upload_id"]), row["at_ms"], row["type"], row["detail"]
    )
