"""What an owner may do with destinations, workflows and credentials.

The rule: the account comes from whoever signed in, never from what was sent; and what is still
needed by something else is not removed.
"""

from dataclasses import dataclass, field, replace
from typing import NoReturn

from control.accounts import buckets, model
from control.accounts.destinations import Clash, Destination, DestinationKind, address
from control.accounts.model import Credential, CredentialKind
from control.accounts.workflows import Plan, Workflow, check
from control.keystore import KeyStore
from control.unit_of_work import UnitOfWork
from zentransfer.credential import inner_hash
from zentransfer.errors import Code, Error
from zentransfer.ids import (
    AccountID,
    CredentialID,
    DestinationID,
    IdMaker,
    Kind,
    RandomBytes,
    WorkflowID,
    credential_name,
    credential_secret,
)
from zentransfer.limits import (
    ACCOUNT_CREDENTIALS_MAX,
    ACCOUNT_DESTINATIONS_MAX,
    ACCOUNT_WORKFLOWS_MAX,
)
from zentransfer.sealed_secret import S3Secret, packed


@dataclass(frozen=True, slots=True)
class Tools:
    """What handlers need beside the database; ``folder_roots`` bound folder destinations.

    ``allow_private_destinations`` is the laboratory's switch for servers on its own machine.
    """

    ids: IdMaker
    keys: KeyStore
    random_bytes: RandomBytes
    folder_roots: tuple[str, ...]
    allow_private_destinations: bool = False


@dataclass(frozen=True, slots=True)
class Server:
    """What an owner says of the server of a bucket; what is not said is ``None``."""

    endpoint: str | None = None
    region: str | None = None
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class MakeDestination:
    """Add a place for the files of *account_id*."""

    account_id: AccountID
    kind: DestinationKind
    label: str
    address: str
    clash: Clash = Clash.KEEP_BOTH
    server: Server = Server()


@dataclass(frozen=True, slots=True)
class ChangeSecret:
    """Put another secret in the place of a destination's, from the *version* that was seen."""

    account_id: AccountID
    destination_id: DestinationID
    version: int
    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class MakeWorkflow:
    """Add a plan for the files of *account_id*."""

    account_id: AccountID
    plan: Plan


@dataclass(frozen=True, slots=True)
class ChangeWorkflow:
    """Make the next version of a workflow, from the *version* that its owner has seen."""

    account_id: AccountID
    workflow_id: WorkflowID
    version: int
    plan: Plan


@dataclass(frozen=True, slots=True)
class IssueCredential:
    """Make a credential; without a workflow it gets the account's oldest one."""

    account_id: AccountID
    kind: CredentialKind
    label: str
    folder: str | None = None
    workflow_id: WorkflowID | None = None
    require_tls: bool = False
    not_after_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Issued:
    """A new credential and its secret, which is nowhere else and is shown once."""

    credential: Credential
    secret: str

    def __repr__(self) -> str:
        return f"Issued({self.credential.id})"


async def make_destination(
    command: MakeDestination, uow: UnitOfWork, now_ms: int, tools: Tools
) -> Destination:
    """Add a destination; raises ``Error``: INVALID, QUOTA."""
    made = Destination(
        id=DestinationID(tools.ids.make(Kind.DESTINATION)),
        account_id=command.account_id,
        version=1,
        kind=command.kind,
        label=model.label(command.label),
        address=address(command.kind, command.address, tools.folder_roots),
        clash=command.clash,
        created_ms=now_ms,
    )
    made = _with_server(made, command.server, tools)
    count = await uow.workflows.count_destinations(command.account_id)
    _require_room(count, ACCOUNT_DESTINATIONS_MAX)
    await uow.workflows.add_destination(made)
    return made


async def change_secret(command: ChangeSecret, uow: UnitOfWork, tools: Tools) -> Destination:
    """Make the next version of a destination, with another secret.

    Raises ``Error``: INVALID, NOT_FOUND, CONFLICT if it moved on.
    """
    held = await uow.workflows.maybe_destination(command.account_id, command.destination_id)
    if held is None:
        _not_found()
    if held.kind is not DestinationKind.S3:
        raise Error(Code.INVALID, "a destination of this kind has no secret")
    secret = buckets.secret(command.access_key_id, command.secret_access_key)
    if held.version != command.version:
        raise Error(Code.CONFLICT, "somebody has changed the destination; read it again")
    changed = replace(
        held,
        version=held.version + 1,
        secret_sealed=_sealed(held.account_id, held.id, secret, tools),
    )
    await uow.workflows.put_secret(changed)
    return changed


async def remove_destination(
    owner: AccountID, wanted: DestinationID, uow: UnitOfWork, now_ms: int
) -> None:
    """Remove a destination; raises ``Error``: NOT_FOUND, CONFLICT while a workflow names it."""
    if await uow.workflows.maybe_destination(owner, wanted) is None:
        _not_found()
    for one in await uow.workflows.workflows(owner, ACCOUNT_WORKFLOWS_MAX):
        if wanted in one.plan.destinations:
            raise Error(Code.CONFLICT, "a workflow sends files there; change the workflow first")
    await uow.workflows.remove_destination(owner, wanted, now_ms)


async def make_workflow(
    command: MakeWorkflow, uow: UnitOfWork, now_ms: int, tools: Tools
) -> Workflow:
    """Add a workflow; raises ``Error``: INVALID, NOT_FOUND, QUOTA."""
    plan = await _checked(command.plan, command.account_id, uow)
    count = await uow.workflows.count_workflows(command.account_id)
    _require_room(count, ACCOUNT_WORKFLOWS_MAX)
    made = WorkflowID(tools.ids.make(Kind.WORKFLOW))
    workflow = Workflow(made, command.account_id, 1, plan, now_ms)
    await uow.workflows.add_workflow(workflow)
    return workflow


async def change_workflow(command: ChangeWorkflow, uow: UnitOfWork, now_ms: int) -> Workflow:
    """Make the next version; raises ``Error``: INVALID, NOT_FOUND, CONFLICT if it moved on."""
    held = await uow.workflows.maybe_workflow(command.account_id, command.workflow_id)
    if held is None:
        _not_found()
    plan = await _checked(command.plan, command.account_id, uow)
    if held.version != command.version:
        raise Error(Code.CONFLICT, "somebody has changed the workflow; read it again")
    changed = Workflow(held.id, held.account_id, held.version + 1, plan, held.created_ms)
    await uow.workflows.put_version(changed, now_ms)
    return changed


async def remove_workflow(
    owner: AccountID, wanted: WorkflowID, uow: UnitOfWork, now_ms: int
) -> None:
    """Remove a workflow; raises ``Error``: NOT_FOUND, CONFLICT while a credential names it."""
    if await uow.workflows.maybe_workflow(owner, wanted) is None:
        _not_found()
    for one in await uow.accounts.credentials(owner, ACCOUNT_CREDENTIALS_MAX):
        if one.workflow_id == wanted:
            raise Error(Code.CONFLICT, "a credential sends files through it; revoke that first")
    await uow.workflows.remove_workflow(owner, wanted, now_ms)


async def issue_credential(
    command: IssueCredential, uow: UnitOfWork, now_ms: int, tools: Tools
) -> Issued:
    """Make a credential and its secret.

    Raises ``Error``: INVALID, NOT_FOUND, QUOTA, FAILED_PRECONDITION without any workflow.
    """
    account = await uow.accounts.maybe_account(command.account_id)
    if account is None:
        _not_found()
    label = model.label(command.label)
    workflow = await _workflow(command, uow)
    if command.not_after_ms is not None and command.not_after_ms <= now_ms:
        raise Error(Code.INVALID, "a credential that is over already is of no use")
    _require_room(await uow.accounts.count_credentials(account.id), ACCOUNT_CREDENTIALS_MAX)
    made = CredentialID(tools.ids.make(Kind.CREDENTIAL))
    secret = credential_secret(tools.random_bytes)
    folder = workflow.plan.folder if command.folder is None else command.folder
    credential = Credential(
        id=made,
        account_id=account.id,
        kind=command.kind,
        name=credential_name(tools.random_bytes),
        label=label,
        inner_sealed=tools.keys.seal(account.id, inner_column(made), inner_hash(secret)),
        workflow_id=workflow.id,
        folder=model.folder(folder),
        require_tls=command.require_tls,
        epoch=account.epoch,
        created_ms=now_ms,
        not_after_ms=command.not_after_ms,
    )
    await uow.accounts.add_credential(credential)
    return Issued(credential, secret)


async def revoke_credential(
    owner: AccountID, wanted: CredentialID, uow: UnitOfWork, now_ms: int
) -> None:
    """Revoke a credential, for good; raises ``Error(NOT_FOUND)``."""
    if not await uow.accounts.revoke(owner, wanted, now_ms):
        _not_found()


def secret_column(destination: DestinationID) -> str:
    """Return the place that the secret of a destination is sealed for."""
    return f"destination.secret_sealed:{destination}"


def inner_column(credential: CredentialID) -> str:
    """Return the place that the inner hash of a credential is sealed for."""
    return f"credential.inner_sealed:{credential}"


def _with_server(made: Destination, server: Server, tools: Tools) -> Destination:
    """Return *made* with what its kind needs of a server; raises ``Error(INVALID)``."""
    if made.kind is not DestinationKind.S3:
        if server != Server():
            raise Error(Code.INVALID, "a folder has no endpoint, region or key")
        return made
    region = buckets.store_region(server.region)
    secret = buckets.secret(server.access_key_id, server.secret_access_key)
    is_lab = tools.allow_private_destinations
    return replace(
        made,
        endpoint=buckets.endpoint(server.endpoint, region, is_lab=is_lab),
        store_region=region,
        secret_sealed=_sealed(made.account_id, made.id, secret, tools),
    )


def _sealed(owner: AccountID, of: DestinationID, secret: S3Secret, tools: Tools) -> bytes:
    return tools.keys.seal(owner, secret_column(of), packed(secret))


async def _workflow(command: IssueCredential, uow: UnitOfWork) -> Workflow:
    if command.workflow_id is not None:
        found = await uow.workflows.maybe_workflow(command.account_id, command.workflow_id)
        return found if found is not None else _not_found("there is no such workflow")
    for oldest in await uow.workflows.workflows(command.account_id, 1):
        return oldest
    raise Error(Code.FAILED_PRECONDITION, "make a workflow first: a credential sends through one")


async def _checked(plan: Plan, owner: AccountID, uow: UnitOfWork) -> Plan:
    owned = await uow.workflows.destinations(owner, ACCOUNT_DESTINATIONS_MAX)
    check(plan, {one.id for one in owned})
    return Plan(model.label(plan.name), model.folder(plan.folder), plan.rules, plan.destinations)


def _require_room(count: int, most: int) -> None:
    if count >= most:
        raise Error(Code.QUOTA, f"an account has at most {most} of these; remove one first")


def _not_found(detail: str = "") -> NoReturn:
    raise Error(Code.NOT_FOUND, detail)
