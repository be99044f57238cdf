"""What a process of a node knows of control's truth, as of a version, and how it changes.  Pure.

The rule: a snapshot is **one content, whole or not at all**.  A delta is applied to a copy, and
what results must have the digest that control promised; else the last good one keeps serving.
Control forms the same digest over the same entries, so names of classes and fields here are a part
of it.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeVar, cast

from zentransfer.errors import Code, Error
from zentransfer.ids import (
    AccountID,
    CredentialID,
    CredentialName,
    DestinationID,
    Region,
    WorkflowID,
)
from zentransfer.limits import SNAPSHOT_PAST_WORKFLOWS_MAX


class Entity(StrEnum):
    """The lists of a snapshot."""

    KNOB = "knob"
    ACCOUNT = "account"
    CREDENTIAL = "credential"
    WORKFLOW = "workflow"
    DESTINATION = "destination"
    TICKET_KEY = "ticket_key"


class AccountState(StrEnum):
    """Whether an account may upload."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    CLOSED = "closed"


class CredentialKind(StrEnum):
    """Who shows a credential: a camera (FTP, FTPS, SFTP), or a program (HTTP)."""

    FTP = "ftp"
    API = "api"


class ConditionKind(StrEnum):
    """What a condition looks at."""

    CREDENTIAL = "credential"
    FOLDER = "folder"
    NAME = "name"
    MEDIA_TYPE = "media_type"


class DestinationKind(StrEnum):
    """How a destination is spoken to."""

    FOLDER = "folder"
    S3 = "s3"
    GCS = "gcs"
    AZURE = "azure"
    SFTP = "sftp"
    FTP = "ftp"
    WEBDAV = "webdav"
    DROPBOX = "dropbox"
    GOOGLE_DRIVE = "google_drive"
    ONEDRIVE = "onedrive"
    WEBHOOK = "webhook"
    EMAIL = "email"


class Clash(StrEnum):
    """What happens when another file has the name at the destination."""

    KEEP_BOTH = "keep_both"
    REPLACE = "replace"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a plan allows; 0 means the node's own default.  Sizes in bytes, times in ms."""

    upload_bytes_max: int = 0
    uploads_in_flight_max: int = 0
    connections_max: int = 0
    uploads_per_minute_max: int = 0
    first_slice_bytes: int = 0
    overdraft_bytes: int = 0
    unfinished_keep_ms: int = 0
    content_keep_ms: int = 0


@dataclass(frozen=True, slots=True)
class Knob:
    """A live limit, rate or switch, in the unit that its name ends in; a switch is 0 or 1."""

    id: str
    value: int


@dataclass(frozen=True, slots=True)
class AccountEntry:
    """A customer, without anything that says who it is.

    ``name_key`` (raw X25519, named by ``name_kid``) is what names of files are sealed to.  A
    credential is void once ``epoch`` is higher than its own.
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
    """What a camera or a program signs in with; ``name`` is looked up, ``verifier`` compared.

    ``pepper_kid`` names the pepper of the region that the verifier was made with.
    """

    id: CredentialID
    name: CredentialName
    account_id: AccountID
    kind: CredentialKind
    verifier: bytes = field(repr=False)
    pepper_kid: str
    workflow_id: WorkflowID
    folder: str
    not_after_ms: int | None
    require_tls: bool
    epoch: int


@dataclass(frozen=True, slots=True)
class Condition:
    """One test of a rule; ``*`` in the pattern stands for any run of characters."""

    kind: ConditionKind
    pattern: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """Where a file goes that meets all conditions; without a destination it goes nowhere."""

    conditions: tuple[Condition, ...]
    destinations: tuple[DestinationID, ...]
    priority: bool = False


@dataclass(frozen=True, slots=True)
class WorkflowEntry:
    """An account's plan for its files, as of a version.

    The first rule that holds decides; without rules every destination gets the file.
    """

    id: WorkflowID
    version: int
    account_id: AccountID
    rules: tuple[Rule, ...]
    destinations: tuple[DestinationID, ...]


@dataclass(frozen=True, slots=True)
class DestinationEntry:
    """Where an account wants its files.

    ``endpoint`` (scheme, host and port) and ``store_region`` (its word for the bucket's place) are
    empty where the kind has none.  ``secret`` is sealed to the region's key ``secret_kid``.
    """

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
    """What verifies tickets that nodes of ``region`` sign: raw Ed25519, its kid, its time (UTC)."""

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

E = TypeVar("E", bound=Entry)


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


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The content of one region as of a version; made by :func:`snapshot_of`.

    ``digest`` is that of the content alone.  ``past`` are workflows in versions that an upload may
    still bear, oldest first; they are this process's own memory and no part of the content.
    ``names`` are the credentials by name, ``pepper_kids`` what their verifiers were made with.
    """

    region: Region
    version: int
    created_ms: int
    content: Content = field(repr=False)
    digest: bytes
    past: tuple[WorkflowEntry, ...] = field(repr=False)
    names: Mapping[CredentialName, CredentialEntry] = field(repr=False)
    pepper_kids: frozenset[str] = field(repr=False)

    def maybe_account(self, wanted: AccountID) -> AccountEntry | None:
        """Return an account, or ``None``."""
        return self._maybe((Entity.ACCOUNT, wanted), AccountEntry)

    def maybe_credential(self, wanted: CredentialID) -> CredentialEntry | None:
        """Return a credential by its id, or ``None``; :attr:`names` has them by name."""
        return self._maybe((Entity.CREDENTIAL, wanted), CredentialEntry)

    def maybe_workflow(self, wanted: WorkflowID, version: int = 0) -> WorkflowEntry | None:
        """Return a workflow in its newest version, or in *version* if that is still known."""
        newest = self._maybe((Entity.WORKFLOW, wanted), WorkflowEntry)
        if version == 0 or (newest is not None and newest.version == version):
            return newest
        named = (one for one in self.past if (one.id, one.version) == (wanted, version))
        return next(named, None)

    def maybe_destination(self, wanted: DestinationID) -> DestinationEntry | None:
        """Return a destination, or ``None``."""
        return self._maybe((Entity.DESTINATION, wanted), DestinationEntry)

    def maybe_ticket_key(self, kid: str) -> TicketKeyEntry | None:
        """Return what verifies the tickets of the key *kid*, or ``None``."""
        return self._maybe((Entity.TICKET_KEY, kid), TicketKeyEntry)

    def knob(self, name: str, default: int) -> int:
        """Return the value of a knob, *default* where control does not turn it."""
        found = self._maybe((Entity.KNOB, name), Knob)
        return default if found is None else found.value

    def _maybe(self, key: Key, kind: type[E]) -> E | None:
        found = self.content.get(key)
        return found if isinstance(found, kind) else None


def snapshot_of(
    region: Region,
    version: int,
    created_ms: int,
    entries: Iterable[Entry],
    past: Iterable[WorkflowEntry] = (),
) -> Snapshot:
    """Return the snapshot of *entries*; of two with one id the later counts."""
    content = {(_ENTITY[type(entry)], str(entry.id)): entry for entry in entries}
    return _snapshot(region, version, created_ms, content, past)


def applied(old: Snapshot, delta: Delta) -> Snapshot:
    """Return *old* changed by *delta*; what an upload may still bear of workflows is kept.

    Raises ``Error``: VERSION_MISMATCH for another version's or region's delta, DAMAGED when what
    results is not what it promises.
    """
    if (old.region, old.version) != (delta.region, delta.from_version):
        raise Error(Code.VERSION_MISMATCH, "the delta is for another version")
    content = dict(old.content)
    for key in delta.removals:
        content.pop(key, None)
    content.update({(_ENTITY[type(entry)], str(entry.id)): entry for entry in delta.puts})
    new = _snapshot(delta.region, delta.to_version, delta.created_ms, content, ())
    if new.digest != delta.digest:
        raise Error(Code.DAMAGED, "the delta does not give what it promises")
    return succeeding(old, new)


def succeeding(old: Snapshot | None, new: Snapshot) -> Snapshot:
    """Return *new*, with the workflows of *old* that it has no more or in another version."""
    if old is None:
        return new
    gone = [
        entry
        for key, entry in old.content.items()
        if isinstance(entry, WorkflowEntry) and new.content.get(key) != entry
    ]
    past = (*old.past, *gone)[-SNAPSHOT_PAST_WORKFLOWS_MAX:]
    return dataclasses.replace(new, past=past)


def digest_of(content: Content) -> bytes:
    """Return SHA-256 over *content*, the same for the same entries in every process.

    For each entry, sorted by its key: the length of its canonical form (u64), and that form.
    """
    found = hashlib.sha256()
    for key in sorted(content):
        entry = canonical(content[key])
        found.update(len(entry).to_bytes(8, "big"))
        found.update(entry)
    return found.digest()


# The names and defaults of the fields of each class; what has no default equals nothing else.
_FIELDS: Final[Mapping[type[object], tuple[tuple[str, object], ...]]] = {
    kind: tuple((one.name, cast("object", one.default)) for one in dataclasses.fields(kind))
    for kind in (*_ENTITY, Limits, Rule, Condition)
}
_ENCODE: Final = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode


def canonical(value: object) -> bytes:
    """Return *value* (a dataclass of text, numbers, bytes, tuples and dataclasses) as JSON.

    A dataclass is a map of its name to its fields; a field that has its default is left out, so
    that a field which a later release adds changes no digest.  Bytes are hexadecimal.
    """
    return _ENCODE(_plain(value)).encode()


def _snapshot(
    region: Region,
    version: int,
    created_ms: int,
    content: dict[Key, Entry],
    past: Iterable[WorkflowEntry],
) -> Snapshot:
    names = {entry.name: entry for entry in content.values() if isinstance(entry, CredentialEntry)}
    kept = MappingProxyType(content)
    return Snapshot(
        region=region,
        version=version,
        created_ms=created_ms,
        content=kept,
        digest=digest_of(kept),
        past=tuple(past),
        names=MappingProxyType(names),
        pepper_kids=frozenset(entry.pepper_kid for entry in names.values()),
    )


def _plain(value: object) -> object:
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, tuple):
        return [_plain(item) for item in cast("tuple[object, ...]", value)]
    given = ((name, getattr(value, name), default) for name, default in _FIELDS[type(value)])
    named = {name: _plain(item) for name, item, default in given if item != default}
    return {type(value).__name__: named}
