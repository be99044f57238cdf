"""The account of a fresh system: so that a machine works a minute after it was set up.

The rule: what the account is made of is written down first, in a file of the key store (0600), and
then made; so a start that is cut short is taken up by the next one, with the same secrets.
"""

import json
from dataclasses import asdict, dataclass

from control.accounts.destinations import Clash, Destination, DestinationKind
from control.accounts.handlers import Tools, inner_column
from control.accounts.model import (
    Account,
    AccountState,
    Credential,
    CredentialKind,
    Limits,
    Member,
    Role,
)
from control.accounts.workflows import Plan, Workflow
from control.unit_of_work import Database
from zentransfer.credential import inner_hash, token
from zentransfer.disk import Disk, read_all, write_atomic
from zentransfer.errors import Code, Error
from zentransfer.ids import (
    AccountID,
    CredentialID,
    CredentialName,
    DestinationID,
    Kind,
    MemberID,
    WorkflowID,
    credential_name,
    credential_secret,
)
from zentransfer.limits import FIRST_ACCOUNT_BYTES_MAX

_FILE = "first-account.json"


@dataclass(frozen=True, slots=True)
class FirstAccount:
    """Everything that the account is made of, its secrets included."""

    id: AccountID
    member_id: MemberID
    email: str
    destination_id: DestinationID
    folder: str
    workflow_id: WorkflowID
    api_id: CredentialID
    api_name: CredentialName
    api_secret: str
    ftp_id: CredentialID
    ftp_name: CredentialName
    ftp_secret: str
    made_ms: int

    @property
    def api_token(self) -> str:
        """The bearer token of the program's credential."""
        return token(self.api_name, self.api_secret)

    def __repr__(self) -> str:
        return f"FirstAccount({self.id})"


async def first_account(
    database: Database, disk: Disk, folder: str, now_ms: int, tools: Tools
) -> FirstAccount:
    """Return the first account of this system; the first call makes it.

    It has an API token, an FTP credential, the destination *folder* (an absolute path) and a
    workflow that sends everything there.  *disk* is the key store's.  Raises ``Error``,
    ``OSError``.
    """
    if not disk.exists(_FILE):
        planned = _planned(folder, now_ms, tools)
        await write_atomic(disk, _FILE, json.dumps(asdict(planned)).encode())
    first = _parsed(read_all(disk, _FILE, FIRST_ACCOUNT_BYTES_MAX))
    async with database.read() as uow:
        is_there = await uow.accounts.maybe_account(first.id) is not None
    if not is_there:
        await tools.keys.make_account(first.id)
        await _make(first, database, tools)
    return first


def _planned(folder: str, now_ms: int, tools: Tools) -> FirstAccount:
    make, chance = tools.ids.make, tools.random_bytes
    return FirstAccount(
        id=AccountID(make(Kind.ACCOUNT)),
        member_id=MemberID(make(Kind.MEMBER)),
        email="owner@localhost",
        destination_id=DestinationID(make(Kind.DESTINATION)),
        folder=folder,
        workflow_id=WorkflowID(make(Kind.WORKFLOW)),
        api_id=CredentialID(make(Kind.CREDENTIAL)),
        api_name=credential_name(chance),
        api_secret=credential_secret(chance),
        ftp_id=CredentialID(make(Kind.CREDENTIAL)),
        ftp_name=credential_name(chance),
        ftp_secret=credential_secret(chance),
        made_ms=now_ms,
    )


def _parsed(content: bytes) -> FirstAccount:
    try:
        return FirstAccount(**json.loads(content))
    except (ValueError, TypeError) as wrong:
        raise Error(Code.DAMAGED, "the file of the first account cannot be read") from wrong


async def _make(first: FirstAccount, database: Database, tools: Tools) -> None:
    at_ms = first.made_ms
    account = Account(first.id, AccountState.ACTIVE, None, 1, Limits(), at_ms)
    email = tools.keys.seal(
        first.id, f"member.email_sealed:{first.member_id}", first.email.encode()
    )
    hashed = tools.keys.address_hash(first.email)
    folder = Destination(
        id=first.destination_id,
        account_id=first.id,
        version=1,
        kind=DestinationKind.FOLDER,
        label="Delivered",
        address=first.folder,
        clash=Clash.KEEP_BOTH,
        created_ms=at_ms,
    )
    plan = Plan("Everything", "", (), (folder.id,))
    async with database.write() as uow:
        await uow.accounts.add(account)
        member = Member(first.member_id, first.id, Role.OWNER, email, hashed, at_ms)
        await uow.accounts.add_member(member)
        await uow.workflows.add_destination(folder)
        await uow.workflows.add_workflow(Workflow(first.workflow_id, first.id, 1, plan, at_ms))
        for credential in _credentials(first, tools):
            await uow.accounts.add_credential(credential)


def _credentials(first: FirstAccount, tools: Tools) -> list[Credential]:
    issued = (
        (CredentialKind.API, "First program", first.api_id, first.api_name, first.api_secret),
        (CredentialKind.FTP, "First camera", first.ftp_id, first.ftp_name, first.ftp_secret),
    )
    return [
        Credential(
            id=made,
            account_id=first.id,
            kind=kind,
            name=name,
            label=label,
            inner_sealed=tools.keys.seal(first.id, inner_column(made), inner_hash(secret)),
            workflow_id=first.workflow_id,
            folder="",
            require_tls=False,
            epoch=1,
            created_ms=first.made_ms,
        )
        for kind, label, made, name, secret in issued
    ]
