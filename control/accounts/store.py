"""Accounts, members and credentials in the database.

The rule: every question about what belongs to an account has the account as its predicate.  A
revoked credential stays as a row, because uploads refer to it by id.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, and_, bindparam, func, insert, or_, select, update

from control.accounts.model import (
    Account,
    AccountState,
    Credential,
    CredentialKind,
    Limits,
    Member,
)
from control.connection import Connection
from control.paging import Position, page
from control.tables import account, credential, member
from zentransfer.ids import AccountID, CredentialID, CredentialName, Region

_HOUR_MS: Final = 3_600_000


class AccountStore:
    """Accounts, members and credentials, inside the open transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, new: Account) -> None:
        """Add an account."""
        row = {
            "id": new.id,
            "state": new.state,
            "pin": new.pin,
            "epoch": new.epoch,
            "limits": json.dumps(dataclasses.asdict(new.limits)),
            "created_ms": new.created_ms,
        }
        await self._connection.change(insert(account), [row])

    async def put(self, changed: Account) -> None:
        """Put *changed* in the place of the account with its id."""
        values = {
            "state": changed.state,
            "pin": changed.pin,
            "epoch": changed.epoch,
            "limits": json.dumps(dataclasses.asdict(changed.limits)),
        }
        where = account.c.id == changed.id
        await self._connection.change(update(account).where(where).values(values))

    async def maybe_account(self, wanted: AccountID) -> Account | None:
        """Return an account, or ``None``."""
        rows = await self._connection.rows(select(account).where(account.c.id == wanted))
        return next(map(_account, rows), None)

    async def allowed_in(self, region: Region) -> list[Account]:
        """Return the accounts that may use *region*: those pinned to it and those not pinned."""
        rows = await self._connection.rows(select(account).where(in_region(region)))
        return list(map(_account, rows))

    async def add_member(self, new: Member) -> None:
        """Add a person; raises ``IntegrityError`` when the address is taken."""
        await self._connection.change(insert(member), [dataclasses.asdict(new)])

    async def add_credential(self, new: Credential) -> None:
        """Add a credential; raises ``IntegrityError`` when its name is taken."""
        row = dataclasses.asdict(new) | {"require_tls": int(new.require_tls)}
        await self._connection.change(insert(credential), [row])

    async def maybe_credential(self, name: CredentialName) -> Credential | None:
        """Return the credential that is signed in with as *name*, also a revoked one."""
        rows = await self._connection.rows(select(credential).where(credential.c.name == name))
        return next(map(_credential, rows), None)

    async def maybe_owned(self, owner: AccountID, wanted: CredentialID) -> Credential | None:
        """Return a credential of *owner* by its id, ``None`` for a revoked one too."""
        statement = select(credential).where(_live(owner), credential.c.id == wanted)
        return next(map(_credential, await self._connection.rows(statement)), None)

    async def credentials(
        self, owner: AccountID, count: int, after: Position | None = None
    ) -> list[Credential]:
        """Return up to *count* credentials of *owner* that are not revoked, oldest first."""
        order = (credential.c.created_ms, credential.c.id)
        statement = page(select(credential).where(_live(owner)), order, count, after)
        return list(map(_credential, await self._connection.rows(statement)))

    async def count_credentials(self, owner: AccountID) -> int:
        """Return how many credentials of *owner* are not revoked."""
        statement = select(func.count().label("count")).select_from(credential)
        rows = await self._connection.rows(statement.where(_live(owner)))
        return int(rows[0]["count"])

    async def all_credentials(self, region: Region) -> list[Credential]:
        """Return the credentials, not revoked, of all accounts that may use *region*."""
        statement = select(credential).join(account).where(in_region(region))
        live = statement.where(credential.c.revoked_ms.is_(None))
        return list(map(_credential, await self._connection.rows(live)))

    async def revoke(self, owner: AccountID, wanted: CredentialID, now_ms: int) -> bool:
        """Revoke a credential of *owner*; return whether there was one to revoke."""
        put = update(credential).where(_live(owner), credential.c.id == wanted)
        return await self._connection.change(put.values(revoked_ms=now_ms)) > 0

    async def used(self, last_ms: Mapping[CredentialID, int]) -> None:
        """Note when credentials were last used, to the hour; never backwards."""
        put = (
            update(credential)
            .where(credential.c.id == bindparam("used_id"))
            .where(func.coalesce(credential.c.last_used_ms, -1) < bindparam("used_ms"))
            .values(last_used_ms=bindparam("used_ms"))
        )
        rows = [
            {"used_id": one, "used_ms": at_ms // _HOUR_MS * _HOUR_MS}
            for one, at_ms in last_ms.items()
        ]
        await self._connection.change(put, rows)


def in_region(region: Region) -> ColumnElement[bool]:
    """Return the predicate on accounts for those that may use *region*."""
    return or_(account.c.pin.is_(None), account.c.pin == region)


def _live(owner: AccountID) -> ColumnElement[bool]:
    return and_(credential.c.account_id == owner, credential.c.revoked_ms.is_(None))


def _account(row: RowMapping) -> Account:
    limits: dict[str, Any] = json.loads(row["limits"])
    return Account(
        id=row["id"],
        state=AccountState(row["state"]),
        pin=Region(row["pin"]) if row["pin"] else None,
        epoch=row["epoch"],
        limits=Limits(**limits),
        created_ms=row["created_ms"],
    )


def _credential(row: RowMapping) -> Credential:
    return Credential(
        id=row["id"],
        account_id=row["account_id"],
        kind=CredentialKind(row["kind"]),
        name=row["name"],
        label=row["label"],
        inner_sealed=row["inner_sealed"],
        workflow_id=row["workflow_id"],
        folder=row["folder"],
        require_tls=bool(row["require_tls"]),
        epoch=row["epoch"],
        created_ms=row["created_ms"],
        not_after_ms=row["not_after_ms"],
        revoked_ms=row["revoked_ms"],
        last_used_ms=row["last_used_ms"],
    )
