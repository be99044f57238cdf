"""What a region's nodes shall know: built from the truth, numbered, and sent as changes.  Pure.

The rule: **nothing personal has a place here** (law 11).  An entry holds opaque ids, verifiers,
limits and plans; labels, addresses of people and secrets have no field.  A version is one content:
the same content keeps its version, another one gets the next, and a delta turns one into the other
or is refused.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from control.accounts.destinations import Clash, Destination, DestinationKind
from control.accounts.model import Account, AccountState, Credential, CredentialKind, Limits
from control.accounts.workflows import Rule, Workflow
from control.canonical import canonical
from zentransfer.errors import Code, Error
from zentransfer.ids import (
    AccountID,
    CredentialID,
    CredentialName,
    DestinationID,
    Region,
    WorkflowID,
)


class Entity(StrEnum):
    """The lists of a snapshot."""

    KNOB = "knob"
    ACCOUNT = "account"
    CREDENTIAL = "credential"
    WORKFLOW = "workflow"
    DESTINATION = "destination"
    TICKET_KEY = "ticket_key"


@dataclass(frozen=True, slots=True)
class Knob:
    """A live limit, rate or switch, in the unit that its name ends in; a switch is 0 or 1."""

    id: str
    value: int


@dataclass(frozen=True, slots=True)
class AccountEntry:
    """A customer, without anything that says who it is.

    ``name_key`` (raw X25519, named by ``name_kid``) is what names of files are sealed to.
    """

    id: AccountID
    state: AccountState
    limits: Limits
    pin: Region | None
    epoch: int
    name_kid: str
    name_key: bytes


@dataclass(frozen=True, slots=True)
class CredentialEntry:
    """What a camera or a program signs in with; ``name`` is looked up, ``verifier`` compared."""

    id: CredentialID
    name: CredentialName
    account_id: AccountID
    kind: CredentialKind
    verifier: bytes
    pepper_kid: str
    workflow_id: WorkflowID
    folder: str
    not_after_ms: int | None
    require_tls: bool
    epoch: int


@dataclass(frozen=True, slots=True)
class WorkflowEntry:
    """An account's plan for its files, as of a version."""

    id: WorkflowID
    version: int
    account_id: AccountID
    rules: tuple[Rule, ...]
    destinations: tuple[DestinationID, ...]


@dataclass(frozen=True, slots=True)
class DestinationEntry:
    """Where an account wants its files; its secret is sealed to the region, never open."""

    id: DestinationID
    version: int
    account_id: AccountID
    kind: DestinationKind
    address: str
    clash: Clash
    endpoint: str = ""
    store_region: str = ""
    secret_kid: str = ""
    secret: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class TicketKeyEntry:
    """What verifies hand-over tickets that nodes of ``region`` sign: raw Ed25519, ``id`` its kid.

    Tickets are refused before ``not_before_ms`` and after ``not_after_ms`` (UTC), if that is given.
    """

    id: str
    region: Region
    key: bytes
    not_before_ms: int = 0
    not_after_ms: int | None = None


Entry = Knob | AccountEntry | CredentialEntry | WorkflowEntry | DestinationEntry | TicketKeyEntry
Key = tuple[Entity, str]
Content = Mapping[Key, Entry]

_ENTITY: Final[Mapping[type[Entry], Entity]] = MappingProxyType(
    {
        Knob: Entity.KNOB,
        AccountEntry: Entity.ACCOUNT,
        CredentialEntry: Entity.CREDENTIAL,
        WorkflowEntry: Entity.WORKFLOW,
        DestinationEntry: Entity.DESTINATION,
        TicketKeyEntry: Entity.TICKET_KEY,
    }
)


@dataclass(frozen=True, slots=True)
class Truth:
    """What control knows of the accounts that a region may serve.

    ``name_keys`` (kid and key) and ``verifiers`` are what the key store makes of it; an account
    without a key is being erased and is left out, and so is a credential without a verifier.
    ``secrets`` (kid and sealed bytes) are those of destinations, sealed to the region.
    ``ticket_keys`` are those of every region: each takes what the others hand over.
    """

    accounts: Iterable[Account]
    credentials: Iterable[Credential]
    workflows: Iterable[Workflow]
    destinations: Iterable[Destination]
    name_keys: Mapping[AccountID, tuple[str, bytes]]
    verifiers: Mapping[CredentialID, bytes]
    pepper_kid: str
    knobs: Iterable[Knob] = ()
    secrets: Mapping[DestinationID, tuple[str, bytes]] = field(
        default_factory=dict[DestinationID, tuple[str, bytes]]
    )
    ticket_keys: Iterable[TicketKeyEntry] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The content of one region as of a version; ``digest`` is that of the content alone."""

    region: Region
    version: int
    created_ms: int
    content: Content = field(repr=False)
    digest: bytes

    def entries(self, entity: Entity) -> list[Entry]:
        """Return one list of the snapshot, sorted by id."""
        keys = sorted(key for key in self.content if key[0] is entity)
        return [self.content[key] for key in keys]


@dataclass(frozen=True, slots=True)
class Delta:
    """The changes from one version to another, and the digest of the content that results."""

    region: Region
    from_version: int
    to_version: int
    created_ms: int
    puts: tuple[Entry, ...]
    removals: tuple[Key, ...]
    digest: bytes


def content_for(region: Region, truth: Truth) -> Content:
    """Return what nodes of *region* shall know: only accounts that may use it, and their things."""
    allowed = {
        account.id: account
        for account in truth.accounts
        if account.pin in (None, region) and account.id in truth.name_keys
    }
    entries: list[Entry] = [*truth.knobs, *truth.ticket_keys]
    entries += [_account(one, truth) for one in allowed.values()]
    for credential in truth.credentials:
        owner = allowed.get(credential.account_id)
        if owner is not None and _may_sign_in(credential, owner, truth):
            entries.append(_credential(credential, truth))
    entries += [_workflow(one) for one in truth.workflows if one.account_id in allowed]
    entries += [_destination(one, truth) for one in truth.destinations if one.account_id in allowed]
    return MappingProxyType({_key(entry): entry for entry in entries})


def digest_of(content: Content) -> bytes:
    """Return SHA-256 over *content*, the same for the same entries in every process."""
    found = hashlib.sha256()
    for key in sorted(content):
        entry = canonical(content[key])
        found.update(len(entry).to_bytes(8, "big"))
        found.update(entry)
    return found.digest()


def maybe_delta(old: Snapshot, new: Snapshot) -> Delta | None:
    """Return what turns *old* into *new*; ``None`` when it does not lead forward."""
    if old.region is not new.region or old.version >= new.version:
        return None
    puts = [
        new.content[key]
        for key in sorted(new.content)
        if key not in old.content or old.content[key] != new.content[key]
    ]
    removals = sorted(old.content.keys() - new.content.keys())
    return Delta(
        region=new.region,
        from_version=old.version,
        to_version=new.version,
        created_ms=new.created_ms,
        puts=tuple(puts),
        removals=tuple(removals),
        digest=new.digest,
    )


def applied(old: Snapshot, delta: Delta) -> Snapshot:
    """Return *old* changed by *delta*.

    Raises ``Error``: VERSION_MISMATCH for another version's or region's delta, DAMAGED when what
    results is not what it promises.
    """
    if (old.region, old.version) != (delta.region, delta.from_version):
        raise Error(Code.VERSION_MISMATCH, "the delta is for another version")
    changed = dict(old.content)
    for key in delta.removals:
        changed.pop(key, None)
    changed.update((_key(entry), entry) for entry in delta.puts)
    content = MappingProxyType(changed)
    if digest_of(content) != delta.digest:
        raise Error(Code.DAMAGED, "the delta does not give what it promises")
    return Snapshot(old.region, delta.to_version, delta.created_ms, content, delta.digest)


def _key(entry: Entry) -> Key:
    return (_ENTITY[type(entry)], entry.id)


def _may_sign_in(credential: Credential, owner: Account, truth: Truth) -> bool:
    return (
        credential.id in truth.verifiers
        and credential.revoked_ms is None
        and credential.epoch >= owner.epoch
        and owner.state is not AccountState.CLOSED
    )


def _account(account: Account, truth: Truth) -> AccountEntry:
    kid, key = truth.name_keys[account.id]
    return AccountEntry(
        id=account.id,
        state=account.state,
        limits=account.limits,
        pin=account.pin,
        epoch=account.epoch,
        name_kid=kid,
        name_key=key,
    )


def _credential(credential: Credential, truth: Truth) -> CredentialEntry:
    return CredentialEntry(
        id=credential.id,
        name=credential.name,
        account_id=credential.account_id,
        kind=credential.kind,
        verifier=truth.verifiers[credential.id],
        pepper_kid=truth.pepper_kid,
        workflow_id=credential.workflow_id,
        folder=credential.folder,
        not_after_ms=credential.not_after_ms,
        require_tls=credential.require_tls,
        epoch=credential.epoch,
    )


def _workflow(workflow: Workflow) -> WorkflowEntry:
    plan = workflow.plan
    return WorkflowEntry(
        workflow.id, workflow.version, workflow.account_id, plan.rules, plan.destinations
    )


def _destination(destination: Destination, truth: Truth) -> DestinationEntry:
    kid, secret = truth.secrets.get(destination.id, ("", b""))
    return DestinationEntry(
        id=destination.id,
        version=destination.version,
        account_id=destination.account_id,
        kind=destination.kind,
        address=destination.address,
        clash=destination.clash,
        endpoint=destination.endpoint or "",
        store_region=destination.store_region or "",
        secret_kid=kid,
        secret=secret,
    )
