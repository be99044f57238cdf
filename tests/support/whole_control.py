"""Control with its books, which outlive its crashes; and the owner who asks it for things."""

import asyncio
from collections.abc import Mapping
from random import Random
from typing import Any

from sqlalchemy import Table, select

from control.accounts.handlers import (
    ChangeWorkflow,
    IssueCredential,
    change_workflow,
    issue_credential,
    revoke_credential,
)
from control.accounts.model import CredentialKind
from control.accounts.workflows import Plan
from control.rpc.fleet import DEFAULT_TIMING
from control.tables import delivery, outcome
from control.uploads.handlers import cancel_upload, retry_delivery
from edge.snapshot import Snapshot as EdgeSnapshot
from tests.control.builders import destination
from tests.support.books import Books, Life, SlowDatabase
from tests.support.fleet import CONTROL, LoopClock
from tests.support.meeting import FETCH, MakeIntake
from tests.support.whole_model import Model
from zentransfer.credential import Pepper, Shown
from zentransfer.errors import Error
from zentransfer.ids import CredentialID, DeliveryID, DestinationID, Region, UploadID, WorkflowID
from zentransfer.network import MemoryNetwork

COMMIT_S = 1.0  # seconds: that a commit takes at most, and as long again before it is known
REGION = Region.FR


class Control:
    """The truth over one memory database, in one life after the other."""

    def __init__(
        self, random: Random, model: Model, network: MemoryNetwork, make_intake: MakeIntake
    ) -> None:
        self.random = random
        self.model = model
        self.network = network
        self.life: Life | None = None
        self.clock = LoopClock()
        self.shown: dict[CredentialID, Shown] = {}  # that may be used
        self.revoked: dict[CredentialID, Shown] = {}
        self._make_intake = make_intake
        self._task: asyncio.Task[None] | None = None

    async def set_up(self) -> None:
        """Make the account: two destinations, a workflow to both, a credential."""
        self.books = await Books.open()
        self.pepper: Pepper = await self.books.kit.keys.pepper(REGION)
        owner = self.books.owner
        async with self.books.database.write() as uow:
            await uow.workflows.add_destination(destination(owner, "archive"))
            self.destinations = sorted(
                one.id for one in await uow.workflows.destinations(owner.id, 10)
            )
            (held,) = await uow.workflows.workflows(owner.id, 2)
        self.workflow: WorkflowID = held.id
        self.model.versions[held.version] = frozenset(held.plan.destinations)
        await self.change_workflow(self.destinations)
        await self.issue()

    # --- lives

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Begin a life unless there is one."""
        if self._task is None:
            self._task = tasks.create_task(self._live())

    async def _live(self) -> None:
        chance = Random(self.random.getrandbits(64))
        database = SlowDatabase(self.books.database, chance, COMMIT_S)
        async with asyncio.TaskGroup() as group:
            intake = self._make_intake(database, group)
            life = Life(self.books, database, DEFAULT_TIMING, intake)
            await life.publisher.refresh()
            self.life = life
            life.publisher.touch()  # its owner may have acted since it looked, as no API lets one
            self.network.listen(CONTROL, life.service.serve_stream)
            self.network.listen(FETCH, life.serve_fetch)
            await life.run()

    async def crash(self) -> None:
        """End this life, with all that was not committed."""
        self.network.crash(CONTROL)
        self.network.crash(FETCH)
        task, self._task, self.life = self._task, None, None
        if task is not None:
            task.cancel()
        await asyncio.sleep(0)  # what was cancelled has gone
        await asyncio.sleep(0)

    def is_newest(self, held: EdgeSnapshot | None) -> bool:
        """Say whether a process that holds *held* has the newest snapshot."""
        if self.life is None or held is None:
            return False
        newest = self.life.publisher.current(REGION)
        # What an owner did a moment ago may be in the books and not yet published.
        told = all(held.maybe_credential(one) is not None for one in self.shown)
        told = told and all(held.maybe_credential(one) is None for one in self.revoked)
        return told and (held.version, held.digest) == (newest.version, newest.digest)

    # --- what an owner does

    async def issue(self) -> None:
        """Issue a credential, for use from now on."""
        command = IssueCredential(self.books.owner.id, CredentialKind.API, "made")
        async with self.books.database.write() as uow:
            made = await issue_credential(command, uow, self.clock.now_ms(), self.books.kit)
        self.shown[made.credential.id] = Shown(made.credential.name, made.secret)
        self._touch()

    async def revoke(self) -> None:
        """Revoke the oldest credential, once another one is there."""
        await self.issue()
        oldest = next(iter(self.shown))
        async with self.books.database.write() as uow:
            await revoke_credential(self.books.owner.id, oldest, uow, self.clock.now_ms())
        self.revoked[oldest] = self.shown.pop(oldest)
        self._touch()

    async def change_workflow(self, to: list[DestinationID]) -> None:
        """Make the next version of the workflow, which sends everything *to* these."""
        owner = self.books.owner.id
        plan = Plan("all", "", (), tuple(to))
        async with self.books.database.write() as uow:
            held = await uow.workflows.maybe_workflow(owner, self.workflow)
            assert held is not None
            command = ChangeWorkflow(owner, held.id, held.version, plan)
            changed = await change_workflow(command, uow, self.clock.now_ms())
        self.model.versions[changed.version] = frozenset(to)
        self._touch()

    async def cancel(self) -> None:
        """Give up some upload that control knows of."""
        rows = [row["upload_id"] for row in await self.rows(outcome)]
        if rows and self.life is not None:
            upload = UploadID(self.random.choice(rows))
            await self._ask(upload, None)

    async def retry(self) -> None:
        """Try some delivery again that waits, or has failed."""
        waiting = [row["id"] for row in await self.rows(delivery) if row["state"] != "delivered"]
        if waiting and self.life is not None:
            await self._ask(None, DeliveryID(self.random.choice(waiting)))

    async def _ask(self, upload: UploadID | None, which: DeliveryID | None) -> None:
        owner, ids, now_ms = self.books.owner.id, self.books.kit.ids, self.clock.now_ms()
        try:
            async with self.books.database.write() as uow:
                if upload is not None:
                    command = await cancel_upload(owner, upload, uow, now_ms, ids)
                    self.model.cancelled.add(upload)
                else:
                    assert which is not None
                    command = await retry_delivery(owner, which, uow, now_ms, ids)
            if self.life is not None:
                await self.life.service.send(command)
        except Error as refused:
            self.model.trace.append(f"asked in vain: {refused.code}")

    def _touch(self) -> None:
        if self.life is not None:
            self.life.publisher.touch()

    # --- what is seen

    async def rows(self, table: Table) -> list[Mapping[str, Any]]:
        """Return all rows of *table*."""
        async with self.books.database.read() as uow:
            found = await uow.connection.rows(select(table))
        return [dict(row) for row in found]
