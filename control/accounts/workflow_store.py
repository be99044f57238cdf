"""Destinations and workflows in the database.

The rule: every question has the account as its predicate.  What is removed stays as a row with its
time, and so do old versions, because uploads and deliveries refer to them.
"""

import dataclasses
import json
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, Table, and_, delete, func, insert, select, update

from control.accounts.destinations import Clash, Destination, DestinationKind
from control.accounts.store import in_region
from control.accounts.workflows import Condition, ConditionKind, Plan, Rule, Workflow
from control.connection import Connection
from control.paging import Position, page
from control.tables import account, destination, destination_secret, workflow, workflow_version
from zentransfer.ids import AccountID, DestinationID, Region, WorkflowID

_CURRENT: Final = select(
    workflow,
    workflow_version.c.name,
    workflow_version.c.folder,
    workflow_version.c.rules,
    workflow_version.c.destinations,
).join_from(
    workflow,
    workflow_version,
    and_(
        workflow_version.c.workflow_id == workflow.c.id,
        workflow_version.c.version == workflow.c.version,
    ),
)


class WorkflowStore:
    """Destinations and workflows, inside the open transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add_destination(self, new: Destination) -> None:
        """Add a destination."""
        await self._connection.change(insert(destination), [dataclasses.asdict(new)])

    async def destinations(
        self, owner: AccountID, count: int, after: Position | None = None
    ) -> list[Destination]:
        """Return up to *count* destinations of *owner*, oldest first."""
        order = (destination.c.created_ms, destination.c.id)
        mine = select(destination).where(_present(destination, owner))
        rows = await self._connection.rows(page(mine, order, count, after))
        return list(map(_destination, rows))

    async def all_destinations(self, region: Region) -> list[Destination]:
        """Return the destinations of all accounts that may use *region*."""
        statement = select(destination).join(account).where(in_region(region))
        present = statement.where(destination.c.deleted_ms.is_(None))
        return list(map(_destination, await self._connection.rows(present)))

    async def maybe_destination(
        self, owner: AccountID, wanted: DestinationID
    ) -> Destination | None:
        """Return a destination of *owner*, or ``None``."""
        mine = and_(_present(destination, owner), destination.c.id == wanted)
        rows = await self._connection.rows(select(destination).where(mine))
        return next(map(_destination, rows), None)

    async def put_secret(self, changed: Destination) -> None:
        """Put the secret and the version of *changed* in the place of those that were there."""
        mine = and_(_present(destination, changed.account_id), destination.c.id == changed.id)
        values = {"version": changed.version, "secret_sealed": changed.secret_sealed}
        await self._connection.change(update(destination).where(mine).values(values))

    async def remove_destination(
        self, owner: AccountID, wanted: DestinationID, now_ms: int
    ) -> bool:
        """Remove a destination of *owner*, and its secret; return whether there was one."""
        mine = and_(_present(destination, owner), destination.c.id == wanted)
        put = update(destination).where(mine).values(deleted_ms=now_ms, secret_sealed=None)
        of_mine = destination_secret.c.destination_id.in_(select(destination.c.id).where(mine))
        await self._connection.change(delete(destination_secret).where(of_mine))
        return await self._connection.change(put) > 0

    async def count_destinations(self, owner: AccountID) -> int:
        """Return how many destinations *owner* has."""
        return await self._count(destination, owner)

    async def add_workflow(self, new: Workflow) -> None:
        """Add a workflow with its first version."""
        row = {
            "id": new.id,
            "account_id": new.account_id,
            "version": new.version,
            "created_ms": new.created_ms,
        }
        await self._connection.change(insert(workflow), [row])
        await self._connection.change(insert(workflow_version), [_version(new, new.created_ms)])

    async def put_version(self, new: Workflow, now_ms: int) -> None:
        """Add the next version of a workflow and make it the current one."""
        await self._connection.change(insert(workflow_version), [_version(new, now_ms)])
        mine = and_(_present(workflow, new.account_id), workflow.c.id == new.id)
        await self._connection.change(update(workflow).where(mine).values(version=new.version))

    async def workflows(
        self, owner: AccountID, count: int, after: Position | None = None
    ) -> list[Workflow]:
        """Return up to *count* workflows of *owner* at their current version, oldest first."""
        order = (workflow.c.created_ms, workflow.c.id)
        mine = _CURRENT.where(_present(workflow, owner))
        return list(map(_workflow, await self._connection.rows(page(mine, order, count, after))))

    async def all_workflows(self, region: Region) -> list[Workflow]:
        """Return the current workflows of all accounts that may use *region*."""
        statement = _CURRENT.join(account, account.c.id == workflow.c.account_id)
        present = statement.where(in_region(region), workflow.c.deleted_ms.is_(None))
        return list(map(_workflow, await self._connection.rows(present)))

    async def maybe_workflow(self, owner: AccountID, wanted: WorkflowID) -> Workflow | None:
        """Return a workflow of *owner* at its current version, or ``None``."""
        mine = and_(_present(workflow, owner), workflow.c.id == wanted)
        return next(map(_workflow, await self._connection.rows(_CURRENT.where(mine))), None)

    async def remove_workflow(self, owner: AccountID, wanted: WorkflowID, now_ms: int) -> bool:
        """Remove a workflow of *owner*; return whether there was one."""
        mine = and_(_present(workflow, owner), workflow.c.id == wanted)
        put = update(workflow).where(mine).values(deleted_ms=now_ms)
        return await self._connection.change(put) > 0

    async def count_workflows(self, owner: AccountID) -> int:
        """Return how many workflows *owner* has."""
        return await self._count(workflow, owner)

    async def _count(self, table: Table, owner: AccountID) -> int:
        statement = select(func.count().label("count")).select_from(table)
        rows = await self._connection.rows(statement.where(_present(table, owner)))
        return int(rows[0]["count"])


def _present(table: Table, owner: AccountID) -> ColumnElement[bool]:
    return and_(table.c.account_id == owner, table.c.deleted_ms.is_(None))


def _version(new: Workflow, now_ms: int) -> dict[str, object]:
    return {
        "workflow_id": new.id,
        "version": new.version,
        "name": new.plan.name,
        "folder": new.plan.folder,
        "rules": json.dumps([dataclasses.asdict(rule) for rule in new.plan.rules]),
        "destinations": json.dumps(new.plan.destinations),
        "made_ms": now_ms,
    }


def _workflow(row: RowMapping) -> Workflow:
    rules: list[dict[str, Any]] = json.loads(row["rules"])
    destinations: list[Any] = json.loads(row["destinations"])
    plan = Plan(row["name"], row["folder"], tuple(map(_rule, rules)), tuple(destinations))
    return Workflow(row["id"], row["account_id"], row["version"], plan, row["created_ms"])


def _rule(kept: dict[str, Any]) -> Rule:
    conditions: list[dict[str, Any]] = kept["conditions"]
    return Rule(
        tuple(
            Condition(ConditionKind(one["kind"]), one["pattern"], one["negated"])
            for one in conditions
        ),
        tuple(kept["destinations"]),
        kept["priority"],
    )


def _destination(row: RowMapping) -> Destination:
    return Destination(
        id=row["id"],
        account_id=row["account_id"],
        version=row["version"],
        kind=DestinationKind(row["kind"]),
        label=row["label"],
        address=row["address"],
        clash=Clash(row["clash"]),
        created_ms=row["created_ms"],
        endpoint=row["endpoint"],
        store_region=row["store_region"],
        secret_sealed=row["secret_sealed"],
    )
