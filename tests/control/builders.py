"""Things to test control with: accounts, facts and databases with good defaults."""

from dataclasses import replace
from random import Random
from typing import Any

from control.accounts.destinations import Clash, Destination, DestinationKind
from control.accounts.handlers import Tools
from control.accounts.model import Account, AccountState, Credential, CredentialKind, Limits
from control.accounts.workflows import Plan, Workflow
from control.keystore import open_keystore
from control.unit_of_work import UnitOfWork
from control.uploads.model import (
    DeletionReason,
    DeletionReceipt,
    DeliveryChange,
    DeliveryState,
    Door,
    Outcome,
    OutcomeState,
    SealedName,
)
from zentransfer.ids import (
    AccountID,
    CredentialID,
    CredentialName,
    DeliveryID,
    DestinationID,
    EpochID,
    IdMaker,
    Kind,
    NodeID,
    OutcomeID,
    ProcessName,
    Region,
    RunID,
    UploadID,
    WorkflowID,
)
from zentransfer.memory_disk import MemoryDisk

ROOTS = ("/srv",)
NOW_MS = 1_800_000_000_000
INGEST = ProcessName("ingest-0")
DELIVERY = ProcessName("delivery-0")
FR_1 = NodeID("fr-1")


def ids(seed: int = 0) -> IdMaker:
    """Return a maker whose ids are the same in every run with the same *seed*."""
    return IdMaker(Random(seed).randbytes)


async def tools(seed: int = 0) -> Tools:
    """Return what handlers need, with a key store in memory."""
    chance = Random(seed)
    keys = await open_keystore(MemoryDisk(Random(seed)), chance.randbytes)
    return Tools(IdMaker(chance.randbytes), keys, chance.randbytes, ROOTS)


def fixed(kind: Kind, name: object) -> str:
    """Return the one id of *kind* for *name*: equal names give equal ids."""
    return ids(Random(repr((kind.value, name))).getrandbits(32)).make(kind)


def account(name: object = "nina", **changes: Any) -> Account:
    """Return an account that may do everything."""
    made = Account(
        id=AccountID(fixed(Kind.ACCOUNT, name)),
        state=AccountState.ACTIVE,
        pin=None,
        epoch=1,
        limits=Limits(),
        created_ms=NOW_MS,
    )
    return replace(made, **changes)


def destination(owner: Account, name: object = "desk", **changes: Any) -> Destination:
    """Return a folder of *owner*."""
    made = Destination(
        id=DestinationID(fixed(Kind.DESTINATION, (owner.id, name))),
        account_id=owner.id,
        version=1,
        kind=DestinationKind.FOLDER,
        label=str(name),
        address=f"/srv/{name}",
        clash=Clash.KEEP_BOTH,
        created_ms=NOW_MS,
    )
    return replace(made, **changes)


def workflow(owner: Account, name: object = "all", *to: Destination) -> Workflow:
    """Return a workflow of *owner* that sends everything to all of *to*."""
    plan = Plan(str(name), "", (), tuple(one.id for one in to))
    made = WorkflowID(fixed(Kind.WORKFLOW, (owner.id, name)))
    return Workflow(made, owner.id, 1, plan, NOW_MS)


def credential(of: Workflow, name: str = "abcdefgh", **changes: Any) -> Credential:
    """Return a camera's credential for a workflow."""
    made = Credential(
        id=CredentialID(fixed(Kind.CREDENTIAL, name)),
        account_id=of.account_id,
        kind=CredentialKind.FTP,
        name=CredentialName(name),
        label="camera",
        inner_sealed=b"sealed",
        workflow_id=of.id,
        folder="",
        require_tls=False,
        epoch=1,
        created_ms=NOW_MS,
    )
    return replace(made, **changes)


async def with_account(uow: UnitOfWork, name: object = "nina") -> Account:
    """Add an account with a destination, a workflow and a credential; return it."""
    made = account(name)
    await uow.accounts.add(made)
    desk = destination(made)
    await uow.workflows.add_destination(desk)
    everything = workflow(made, "all", desk)
    await uow.workflows.add_workflow(everything)
    return made


def epoch(name: object = "outbox") -> EpochID:
    """Return the epoch of an outbox."""
    return EpochID(fixed(Kind.EPOCH, name))


def outcome(owner: Account, name: object = "upload", **changes: Any) -> Outcome:
    """Return the outcome of an upload that was committed in France."""
    made = Outcome(
        id=OutcomeID(fixed(Kind.OUTCOME, name)),
        upload_id=UploadID(fixed(Kind.UPLOAD, name)),
        account_id=owner.id,
        credential_id=None,
        state=OutcomeState.COMMITTED,
        error="",
        size_bytes=1000,
        digest=bytes(32),
        region=Region.FR,
        door=Door.HTTP,
        name=SealedName("kid", b"sealed name"),
        workflow_id=WorkflowID(fixed(Kind.WORKFLOW, (owner.id, "all"))),
        workflow_version=1,
        created_ms=NOW_MS,
        ended_ms=NOW_MS + 1000,
    )
    return replace(made, **changes)


def delivery_change(
    of: Outcome, state: DeliveryState = DeliveryState.DELIVERED, **changes: Any
) -> DeliveryChange:
    """Return a change of the first delivery of an upload."""
    made = DeliveryChange(
        delivery_id=DeliveryID(fixed(Kind.DELIVERY, of.upload_id)),
        run_id=RunID(fixed(Kind.RUN, of.upload_id)),
        upload_id=of.upload_id,
        account_id=of.account_id,
        destination_id=DestinationID(fixed(Kind.DESTINATION, (of.account_id, "desk"))),
        state=state,
        attempt=1,
        fence=1,
        error="",
        due_ms=0,
        size_bytes=of.size_bytes if state is DeliveryState.DELIVERED else 0,
    )
    return replace(made, **changes)


def receipt(of: Outcome, **changes: Any) -> DeletionReceipt:
    """Return the deletion receipt of an upload whose deliveries all succeeded."""
    made = DeletionReceipt(
        upload_id=of.upload_id,
        account_id=of.account_id,
        run_id=RunID(fixed(Kind.RUN, of.upload_id)),
        reason=DeletionReason.DELIVERED,
        region=of.region,
        size_bytes=of.size_bytes,
        keys_destroyed_ms=NOW_MS + 3000,
        removed_ms=NOW_MS + 3001,
        undelivered=(),
        audit_sequence=7,
        audit_hash=bytes(range(32)),
        signature=bytes(range(64)),
        root_key=bytes(range(1, 33)),
    )
    return replace(made, **changes)
