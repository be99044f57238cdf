"""The verbs of the API: each reads, decides and answers in a few lines.

The rule: the account comes from the caller alone, and what belongs to another one is not there.
What a verb changes is committed before it is answered.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from pydantic import BaseModel

from control.accounts import handlers as accounts
from control.paging import Position
from control.uploads import handlers as uploads
from control.uploads.commands import Command
from control.uploads.model import Receiving, Upload
from control.web import shown
from control.web.bodies import (
    AskedBody,
    ChangedWorkflow,
    DestinationBody,
    IssuedBody,
    NewCredential,
    NewDestination,
    NewSecret,
    NewWorkflow,
    ProbedBody,
    WholeUploadBody,
    WorkflowBody,
)
from control.web.request import Call, cursor_behind, named, place
from control.web.routes import Page, Services
from zentransfer.errors import Code, Error
from zentransfer.ids import (
    CredentialID,
    DeliveryID,
    DestinationID,
    Kind,
    UploadID,
    WorkflowID,
)

T = TypeVar("T")


# -- destinations ----------------------------------------------------------------------------------


async def list_destinations(on: Services, call: Call) -> Page:
    """Answer a page of the account's destinations."""
    count, after = place(call.request)
    async with on.database.read() as uow:
        found = await uow.workflows.destinations(call.caller.account_id, count + 1, after)
    return _page(found, count, shown.destination, lambda one: (one.created_ms, one.id))


async def make_destination(on: Services, call: Call) -> DestinationBody:
    """Add a destination."""
    sent = call.sent(NewDestination)
    server = accounts.Server(sent.endpoint, sent.region, sent.access_key_id, sent.secret_access_key)
    command = accounts.MakeDestination(
        call.caller.account_id, sent.kind, sent.label, sent.address, sent.clash, server
    )
    async with on.database.write() as uow:
        made = await accounts.make_destination(command, uow, call.now_ms, on.tools)
    on.changed()
    return shown.destination(made)


async def change_secret(on: Services, call: Call) -> DestinationBody:
    """Put another key in the place of a destination's: its next version."""
    wanted = DestinationID(named(call.request, Kind.DESTINATION))
    sent = call.sent(NewSecret)
    command = accounts.ChangeSecret(
        account_id=call.caller.account_id,
        destination_id=wanted,
        version=sent.version,
        access_key_id=sent.access_key_id,
        secret_access_key=sent.secret_access_key,
    )
    async with on.database.write() as uow:
        changed = await accounts.change_secret(command, uow, on.tools)
    on.changed()
    return shown.destination(changed)


async def remove_destination(on: Services, call: Call) -> None:
    """Remove a destination."""
    wanted = DestinationID(named(call.request, Kind.DESTINATION))
    async with on.database.write() as uow:
        await accounts.remove_destination(call.caller.account_id, wanted, uow, call.now_ms)
    on.changed()


async def test_destination(on: Services, call: Call) -> ProbedBody:
    """Try a destination; the answer says how it went."""
    wanted = DestinationID(named(call.request, Kind.DESTINATION))
    async with on.database.read() as uow:
        found = await uow.workflows.maybe_destination(call.caller.account_id, wanted)
    if found is None:
        raise Error(Code.NOT_FOUND)
    probed = await on.probe(found)
    ok = None if probed.code is None and not probed.tried else probed.code is None
    return ProbedBody(ok=ok, tried=probed.tried, code=probed.code, detail=probed.detail)


# -- workflows -------------------------------------------------------------------------------------


async def list_workflows(on: Services, call: Call) -> Page:
    """Answer a page of the account's workflows."""
    count, after = place(call.request)
    async with on.database.read() as uow:
        found = await uow.workflows.workflows(call.caller.account_id, count + 1, after)
    return _page(found, count, shown.workflow, lambda one: (one.created_ms, one.id))


async def make_workflow(on: Services, call: Call) -> WorkflowBody:
    """Add a workflow."""
    command = accounts.MakeWorkflow(call.caller.account_id, shown.plan(call.sent(NewWorkflow)))
    async with on.database.write() as uow:
        made = await accounts.make_workflow(command, uow, call.now_ms, on.tools)
    on.changed()
    return shown.workflow(made)


async def change_workflow(on: Services, call: Call) -> WorkflowBody:
    """Make the next version of a workflow."""
    wanted = WorkflowID(named(call.request, Kind.WORKFLOW))
    sent = call.sent(ChangedWorkflow)
    plan = shown.plan(sent)
    command = accounts.ChangeWorkflow(call.caller.account_id, wanted, sent.version, plan)
    async with on.database.write() as uow:
        changed = await accounts.change_workflow(command, uow, call.now_ms)
    on.changed()
    return shown.workflow(changed)


async def remove_workflow(on: Services, call: Call) -> None:
    """Remove a workflow."""
    wanted = WorkflowID(named(call.request, Kind.WORKFLOW))
    async with on.database.write() as uow:
        await accounts.remove_workflow(call.caller.account_id, wanted, uow, call.now_ms)
    on.changed()


# -- credentials -----------------------------------------------------------------------------------


async def list_credentials(on: Services, call: Call) -> Page:
    """Answer a page of the account's credentials."""
    count, after = place(call.request)
    async with on.database.read() as uow:
        found = await uow.accounts.credentials(call.caller.account_id, count + 1, after)
    return _page(found, count, shown.credential, lambda one: (one.created_ms, one.id))


async def issue_credential(on: Services, call: Call) -> IssuedBody:
    """Make a credential and show its secret, this once."""
    sent = call.sent(NewCredential)
    ends = sent.expires_at
    command = accounts.IssueCredential(
        account_id=call.caller.account_id,
        kind=sent.kind,
        label=sent.label,
        folder=sent.folder,
        workflow_id=WorkflowID(sent.workflow) if sent.workflow is not None else None,
        require_tls=sent.require_tls,
        not_after_ms=int(ends.timestamp() * 1000) if ends is not None else None,
    )
    async with on.database.write() as uow:
        issued = await accounts.issue_credential(command, uow, call.now_ms, on.tools)
    on.changed()
    return shown.issued(issued)


async def revoke_credential(on: Services, call: Call) -> None:
    """Revoke a credential, for good."""
    wanted = CredentialID(named(call.request, Kind.CREDENTIAL))
    async with on.database.write() as uow:
        await accounts.revoke_credential(call.caller.account_id, wanted, uow, call.now_ms)
    if on.traces.close(call.caller.account_id, wanted):
        on.trace(wanted, 0)  # its sessions may go on for a while, unheard from now on
        on.feed.notify({call.caller.account_id})
    on.changed()


# -- uploads ---------------------------------------------------------------------------------------


async def list_uploads(on: Services, call: Call) -> Page:
    """Answer a page of the account's uploads, the newest first."""
    count, after = place(call.request)
    owner = call.caller.account_id
    async with on.database.read() as uow:
        ended = await uow.uploads.page(owner, count + 1, after)
        under_way = await uploads.receiving_page(owner, count + 1, after, uow, on.receiving)
    both: list[Upload | Receiving] = [*ended, *under_way]
    both.sort(key=_created, reverse=True)
    return _page(both[: count + 1], count, lambda one: shown.upload(one, on.tools.keys), _created)


async def show_upload(on: Services, call: Call) -> WholeUploadBody:
    """Answer one upload with its timeline."""
    wanted, owner = UploadID(named(call.request, Kind.UPLOAD)), call.caller.account_id
    async with on.database.read() as uow:
        found = await uploads.maybe_upload(owner, wanted, uow, on.receiving)
        if found is None:
            raise Error(Code.NOT_FOUND)
        events = await uow.uploads.timeline(owner, wanted)
    return shown.whole_upload(found, events, on.tools.keys)


async def cancel_upload(on: Services, call: Call) -> AskedBody:
    """Ask to give up an upload and its deliveries."""
    wanted = UploadID(named(call.request, Kind.UPLOAD))
    owner, ids = call.caller.account_id, on.tools.ids
    async with on.database.write() as uow:
        found = await uploads.maybe_upload(owner, wanted, uow, on.receiving)
        if isinstance(found, Receiving):
            raise Error(Code.CONFLICT, "the upload is still being received; its sender can end it")
        command = await uploads.cancel_upload(owner, wanted, uow, call.now_ms, ids)
    return await _sent(on, command)


async def retry_delivery(on: Services, call: Call) -> AskedBody:
    """Ask to try a delivery again, now."""
    wanted = DeliveryID(named(call.request, Kind.DELIVERY))
    owner, ids = call.caller.account_id, on.tools.ids
    async with on.database.write() as uow:
        command = await uploads.retry_delivery(owner, wanted, uow, call.now_ms, ids)
    return await _sent(on, command)


async def _sent(on: Services, command: Command) -> AskedBody:
    await on.commands.send(command)
    on.feed.notify({command.account_id})
    return AskedBody(command=command.id, kind=command.kind.value)


def _created(upload: Upload | Receiving) -> Position:
    named = upload if isinstance(upload, Receiving) else upload.outcome
    return named.created_ms, named.upload_id


def _page(
    found: Sequence[T],
    count: int,
    show: Callable[[T], BaseModel],
    at: Callable[[T], Position],
) -> Page:
    """Return a page of *count* items; one more was asked for, to know whether there are more."""
    items = found[:count]
    following = cursor_behind(at(items[-1])) if len(found) > count else None
    return Page([show(one) for one in items], following)
