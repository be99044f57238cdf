import json
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from control.accounts.destinations import Clash, DestinationKind
from control.accounts.handlers import (
    ChangeWorkflow,
    IssueCredential,
    MakeDestination,
    MakeWorkflow,
    Tools,
    change_workflow,
    issue_credential,
    make_destination,
    make_workflow,
    remove_destination,
    remove_workflow,
    revoke_credential,
)
from control.accounts.model import Account, AccountState, CredentialKind
from control.accounts.signin import signed_in
from control.accounts.workflows import Condition, ConditionKind, Plan, Rule
from control.database import MemoryDatabase
from control.unit_of_work import UnitOfWork
from tests.control.builders import NOW_MS, account, credential, destination, tools, workflow
from tests.support.sim import simulate
from zentransfer.credential import token
from zentransfer.errors import Code, Error
from zentransfer.ids import CredentialID, CredentialName, DestinationID, WorkflowID
from zentransfer.limits import (
    ACCOUNT_CREDENTIALS_MAX,
    ACCOUNT_DESTINATIONS_MAX,
    ACCOUNT_WORKFLOWS_MAX,
)

NINA, OLA = account("nina"), account("ola")
Case = Callable[[UnitOfWork, Tools], Coroutine[Any, Any, None]]


def in_one_transaction(case: Case) -> None:
    async def run() -> None:
        kit = await tools()
        async with MemoryDatabase().write() as uow:
            for one in (NINA, OLA):
                await uow.accounts.add(one)
                await kit.keys.make_account(one.id)
            await case(uow, kit)

    simulate(run())


async def code_of(answer: Awaitable[object]) -> Code | None:
    try:
        await answer
    except Error as wrong:
        return wrong.code
    return None


def folder(owner: Account = NINA, label: str = "Desk", address: str = "/srv/a") -> MakeDestination:
    return MakeDestination(owner.id, DestinationKind.FOLDER, label, address, Clash.FAIL)


def to(*destinations: DestinationID, name: str = "All") -> Plan:
    return Plan(name, "", (), destinations)


def test_a_destination_is_made_listed_and_removed() -> None:
    async def case(uow: UnitOfWork, kit: Tools) -> None:
        made = await make_destination(folder(label=" Desk "), uow, NOW_MS, kit)
        assert (made.label, made.address, made.clash) == ("Desk", "/srv/a", Clash.FAIL)
        assert await uow.workflows.destinations(NINA.id, 9) == [made]
        assert await uow.workflows.destinations(OLA.id, 9) == []
        assert await code_of(remove_destination(OLA.id, made.id, uow, NOW_MS)) is Code.NOT_FOUND
        await remove_destination(NINA.id, made.id, uow, NOW_MS)
        assert await uow.workflows.destinations(NINA.id, 9) == []
        assert await code_of(remove_destination(NINA.id, made.id, uow, NOW_MS)) is Code.NOT_FOUND

    in_one_transaction(case)


def test_a_destination_that_cannot_be_is_refused() -> None:
    async def case(uow: UnitOfWork, kit: Tools) -> None:
        for wrong in (
            folder(label=""),
            folder(address="/etc"),
            replace(folder(), kind=DestinationKind.S3),
        ):
            assert await code_of(make_destination(wrong, uow, NOW_MS, kit)) is Code.INVALID

    in_one_transaction(case)


def test_what_is_needed_is_not_removed() -> None:
    async def case(uow: UnitOfWork, kit: Tools) -> None:
        desk = await make_destination(folder(), uow, NOW_MS, kit)
        flow = await make_workflow(MakeWorkflow(NINA.id, to(desk.id)), uow, NOW_MS, kit)
        issued = await issue_credential(
            IssueCredential(NINA.id, CredentialKind.FTP, "Z9"), uow, NOW_MS, kit
        )
        assert await code_of(remove_destination(NINA.id, desk.id, uow, NOW_MS)) is Code.CONFLICT
        assert await code_of(remove_workflow(NINA.id, flow.id, uow, NOW_MS)) is Code.CONFLICT
        await revoke_credential(NINA.id, issued.credential.id, uow, NOW_MS)
        await remove_workflow(NINA.id, flow.id, uow, NOW_MS)
        await remove_destination(NINA.id, desk.id, uow, NOW_MS)
        assert await uow.accounts.credentials(NINA.id, 9) == []
        assert await uow.workflows.workflows(NINA.id, 9) == []

    in_one_transaction(case)


def test_an_edit_makes_the_next_version_and_keeps_the_last() -> None:
    async def case(uow: UnitOfWork, kit: Tools) -> None:
        desk = await make_destination(folder(), uow, NOW_MS, kit)
        first = await make_workflow(MakeWorkflow(NINA.id, to(desk.id)), uow, NOW_MS, kit)
        rule = Rule((Condition(ConditionKind.NAME, "*.jpg", negated=True),), (desk.id,), True)
        plan = Plan("Photos", "a/b", (rule,), (desk.id,))
        changed = await change_workflow(ChangeWorkflow(NINA.id, first.id, 1, plan), uow, NOW_MS)
        assert (changed.version, changed.plan) == (2, plan)
        assert await uow.workflows.maybe_workflow(NINA.id, first.id) == changed
        late = change_workflow(ChangeWorkflow(NINA.id, first.id, 1, to()), uow, NOW_MS)
        assert await code_of(late) is Code.CONFLICT
        foreign = change_workflow(ChangeWorkflow(OLA.id, first.id, 2, to()), uow, NOW_MS)
        assert await code_of(foreign) is Code.NOT_FOUND
        kept = await uow.connection.rows(
            text("SELECT version, name FROM workflow_version ORDER BY version")
        )
        assert [(row["version"], row["name"]) for row in kept] == [(1, "All"), (2, "Photos")]

    in_one_transaction(case)


def test_a_workflow_sends_to_its_own_account_only() -> None:
    async def case(uow: UnitOfWork, kit: Tools) -> None:
        foreign = await make_destination(folder(OLA), uow, NOW_MS, kit)
        made = make_workflow(MakeWorkflow(NINA.id, to(foreign.id)), uow, NOW_MS, kit)
        assert await code_of(made) is Code.NOT_FOUND
        removed = await make_destination(folder(), uow, NOW_MS, kit)
        await remove_destination(NINA.id, removed.id, uow, NOW_MS)
        made = make_workflow(MakeWorkflow(NINA.id, to(removed.id)), uow, NOW_MS, kit)
        assert await code_of(made) is Code.NOT_FOUND

    in_one_transaction(case)


def test_a_programs_token_signs_in_until_it_is_revoked() -> None:
    async def case(uow: UnitOfWork, kit: Tools) -> None:
        await make_workflow(MakeWorkflow(NINA.id, to()), uow, NOW_MS, kit)
        issued = await issue_credential(
            IssueCredential(NINA.id, CredentialKind.API, "Script", not_after_ms=NOW_MS + 9),
            uow,
            NOW_MS,
            kit,
        )
        assert issued.secret not in repr(issued)
        assert issued.secret not in repr(issued.credential)
        good = token(issued.credential.name, issued.secret)
        caller = await signed_in(good, uow, NOW_MS, kit.keys)
        assert (caller.account_id, caller.credential_id) == (NINA.id, issued.credential.id)
        wrong = token(issued.credential.name, "a" * 20)
        unknown = token(CredentialName("a" * 8), issued.secret)
        for bad in (wrong, unknown, "", "zt_", good.upper(), good + "a"):
            answer = signed_in(bad, uow, NOW_MS, kit.keys)
            assert await code_of(answer) is Code.UNAUTHENTICATED
        late = signed_in(good, uow, NOW_MS + 9, kit.keys)
        assert await code_of(late) is Code.UNAUTHENTICATED
        assert (
            await code_of(revoke_credential(OLA.id, issued.credential.id, uow, NOW_MS))
            is Code.NOT_FOUND
        )
        await signed_in(good, uow, NOW_MS, kit.keys)
        await revoke_credential(NINA.id, issued.credential.id, uow, NOW_MS)
        again = revoke_credential(NINA.id, issued.credential.id, uow, NOW_MS)
        assert await code_of(again) is Code.NOT_FOUND
        over = signed_in(good, uow, NOW_MS, kit.keys)
        assert await code_of(over) is Code.UNAUTHENTICATED

    in_one_transaction(case)


def test_a_cameras_credential_opens_no_api() -> None:
    async def case(uow: UnitOfWork, kit: Tools) -> None:
        await make_workflow(MakeWorkflow(NINA.id, to()), uow, NOW_MS, kit)
        issued = await issue_credential(
            IssueCredential(NINA.id, CredentialKind.FTP, "Z9"), uow, NOW_MS, kit
        )
        shown = token(issued.credential.name, issued.secret)
        assert await code_of(signed_in(shown, uow, NOW_MS, kit.keys)) is Code.UNAUTHENTICATED

    in_one_transaction(case)


@pytest.mark.parametrize("end", ["epoch", "closed", "key"])
def test_the_end_of_an_account_ends_its_credentials(end: str) -> None:
    async def case(uow: UnitOfWork, kit: Tools) -> None:
        await make_workflow(MakeWorkflow(NINA.id, to()), uow, NOW_MS, kit)
        issued = await issue_credential(
            IssueCredential(NINA.id, CredentialKind.API, "Script"), uow, NOW_MS, kit
        )
        shown = token(issued.credential.name, issued.secret)
        await signed_in(shown, uow, NOW_MS, kit.keys)
        match end:
            case "epoch":
                await uow.accounts.put(replace(NINA, epoch=2))
            case "closed":
                await uow.accounts.put(replace(NINA, state=AccountState.CLOSED))
            case _:
                await kit.keys.destroy_account(NINA.id)
        assert await code_of(signed_in(shown, uow, NOW_MS, kit.keys)) is Code.UNAUTHENTICATED

    in_one_transaction(case)


def test_a_credential_sends_through_a_workflow_of_its_account() -> None:
    ask = IssueCredential(NINA.id, CredentialKind.FTP, "Z9")

    async def case(uow: UnitOfWork, kit: Tools) -> None:
        nowhere = issue_credential(ask, uow, NOW_MS, kit)
        assert await code_of(nowhere) is Code.FAILED_PRECONDITION
        plan = Plan("First", "sports", (), ())
        first = await make_workflow(MakeWorkflow(NINA.id, plan), uow, NOW_MS, kit)
        later = await make_workflow(MakeWorkflow(NINA.id, to()), uow, NOW_MS + 1, kit)
        foreign = await make_workflow(MakeWorkflow(OLA.id, to()), uow, NOW_MS, kit)
        issued = await issue_credential(ask, uow, NOW_MS, kit)
        assert (issued.credential.workflow_id, issued.credential.folder) == (first.id, "sports")
        chosen = await issue_credential(
            replace(ask, workflow_id=later.id, folder="/a/b/"), uow, NOW_MS, kit
        )
        assert (chosen.credential.workflow_id, chosen.credential.folder) == (later.id, "a/b")
        for unknown in (foreign.id, WorkflowID("wf_" + "a" * 26)):
            answer = issue_credential(replace(ask, workflow_id=unknown), uow, NOW_MS, kit)
            assert await code_of(answer) is Code.NOT_FOUND
        for wrong in (
            replace(ask, label=""),
            replace(ask, folder="../a"),
            replace(ask, not_after_ms=NOW_MS),
        ):
            assert await code_of(issue_credential(wrong, uow, NOW_MS, kit)) is Code.INVALID

    in_one_transaction(case)


def test_no_secret_and_no_inner_hash_is_in_the_database() -> None:
    async def case(uow: UnitOfWork, kit: Tools) -> None:
        await make_workflow(MakeWorkflow(NINA.id, to()), uow, NOW_MS, kit)
        issued = await issue_credential(
            IssueCredential(NINA.id, CredentialKind.API, "Script"), uow, NOW_MS, kit
        )
        (row,) = await uow.connection.rows(text("SELECT * FROM credential"))
        kept = json.dumps({name: repr(value) for name, value in row.items()})
        assert issued.secret not in kept

    in_one_transaction(case)


@pytest.mark.reaches("ACCOUNT_DESTINATIONS_MAX")
@pytest.mark.reaches("ACCOUNT_WORKFLOWS_MAX")
@pytest.mark.reaches("ACCOUNT_CREDENTIALS_MAX")
def test_an_account_has_only_so_many_of_each() -> None:
    async def case(uow: UnitOfWork, kit: Tools) -> None:
        for number in range(ACCOUNT_DESTINATIONS_MAX):
            await uow.workflows.add_destination(destination(NINA, number))
        for number in range(ACCOUNT_WORKFLOWS_MAX):
            await uow.workflows.add_workflow(workflow(NINA, number))
        for number in range(ACCOUNT_CREDENTIALS_MAX):
            one = credential(workflow(NINA, 0), f"{number:08}", id=CredentialID(f"cr_{number}"))
            await uow.accounts.add_credential(one)
        ask = IssueCredential(NINA.id, CredentialKind.FTP, "Z9")
        for answer in (
            make_destination(folder(), uow, NOW_MS, kit),
            make_workflow(MakeWorkflow(NINA.id, to()), uow, NOW_MS, kit),
            issue_credential(ask, uow, NOW_MS, kit),
        ):
            assert await code_of(answer) is Code.QUOTA
        assert await code_of(make_destination(folder(OLA), uow, NOW_MS, kit)) is None
        first = (await uow.workflows.destinations(NINA.id, 1))[0]
        await remove_destination(NINA.id, first.id, uow, NOW_MS)
        assert await code_of(make_destination(folder(), uow, NOW_MS, kit)) is None

    in_one_transaction(case)


def test_use_is_noted_to_the_hour_and_never_backwards() -> None:
    hour_ms = 3_600_000
    one = credential(workflow(NINA))

    async def case(uow: UnitOfWork, _: Tools) -> None:
        await uow.workflows.add_workflow(workflow(NINA))
        await uow.accounts.add_credential(one)
        for at_ms, noted_ms in ((5 * hour_ms + 7, 5 * hour_ms), (3 * hour_ms, 5 * hour_ms)):
            await uow.accounts.used({one.id: at_ms})
            held = await uow.accounts.maybe_credential(one.name)
            assert held is not None
            assert held.last_used_ms == noted_ms

    in_one_transaction(case)


def test_pages_of_a_list_hold_everything_once() -> None:
    async def case(uow: UnitOfWork, _: Tools) -> None:
        for number in range(10):
            await uow.workflows.add_destination(
                destination(NINA, number, created_ms=NOW_MS + number % 3)
            )
        seen: list[str] = []
        after = None
        while found := await uow.workflows.destinations(NINA.id, 3, after):
            seen += [one.id for one in found]
            after = (found[-1].created_ms, found[-1].id)
        assert len(seen) == len(set(seen)) == 10

    in_one_transaction(case)
