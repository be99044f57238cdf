"""Snapshots as control sends them: protobuf messages, as entries of ``edge.snapshot``.

The rule: what this release does not know is passed over, and never guessed.  An entry of a kind or
with a word of a newer release is left out.  A condition that is not known never holds: its rule
stays, because a workflow without rules sends everything everywhere.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Protocol, TypeVar

from edge.snapshot import (
    AccountEntry,
    AccountState,
    Clash,
    Condition,
    ConditionKind,
    CredentialEntry,
    CredentialKind,
    Delta,
    DestinationEntry,
    DestinationKind,
    Entity,
    Entry,
    Key,
    Knob,
    Limits,
    Rule,
    Snapshot,
    TicketKeyEntry,
    WorkflowEntry,
    snapshot_of,
)
from zentransfer import ids
from zentransfer.errors import Code, Error
from zentransfer.ids import (
    AccountID,
    CredentialID,
    CredentialName,
    DestinationID,
    Kind,
    Region,
    WorkflowID,
)
from zentransfer.v1 import snapshot_pb2, types_pb2

_REGION: Final = MappingProxyType(
    {
        types_pb2.REGION_US: Region.US,
        types_pb2.REGION_FR: Region.FR,
        types_pb2.REGION_SG: Region.SG,
    }
)

W = TypeVar("W", bound=StrEnum)
M = TypeVar("M")


class _Enum(Protocol):
    """An enum of the wire."""

    def Value(self, name: str, /) -> int:  # noqa: N802  # protobuf's own name
        """Return the number of a word."""
        ...


def _words(wire: _Enum, prefix: str, ours: Iterable[W]) -> Mapping[int, W]:
    """Return our words by their numbers: those of the wire are the same, in capitals."""
    return MappingProxyType({wire.Value(f"{prefix}_{one.upper()}"): one for one in ours})


_ACCOUNT: Final = _words(snapshot_pb2.AccountState, "ACCOUNT_STATE", AccountState)
_CREDENTIAL: Final = _words(snapshot_pb2.CredentialKind, "CREDENTIAL_KIND", CredentialKind)
_CONDITION: Final = _words(snapshot_pb2.ConditionKind, "CONDITION_KIND", ConditionKind)
_DESTINATION: Final = _words(snapshot_pb2.DestinationKind, "DESTINATION_KIND", DestinationKind)
_CLASH: Final = _words(snapshot_pb2.Clash, "CLASH", Clash)
_ENTITY: Final = _words(snapshot_pb2.Entity, "ENTITY", Entity)

_NEVER: Final = Condition(ConditionKind.NAME, "*", negated=True)


def snapshot(data: bytes) -> Snapshot:
    """Return the snapshot that *data* serialises; raises ``Error(INVALID)``."""
    try:
        message = snapshot_pb2.Snapshot.FromString(data)
    except Exception as wrong:  # the library has its own, and no common base
        raise Error(Code.INVALID, "the snapshot cannot be read") from wrong
    region = _REGION.get(message.region)
    if region is None:
        raise Error(Code.MISDIRECTED, "the snapshot is for no region that is known here")
    return snapshot_of(region, message.version, message.created_ms, _entries(message))


def delta(message: snapshot_pb2.Delta, region: Region) -> Delta:
    """Return the changes that control sends to a node of *region*; raises ``Error(INVALID)``."""
    puts: list[Entry] = []
    removals: list[Key] = []
    for change in message.changes:
        kind = change.WhichOneof("body")
        if kind == "remove":
            entity = _ENTITY.get(change.remove.entity)
            if entity is not None:
                removals.append((entity, change.remove.id))
        elif kind in _PUTS:
            puts += _known([getattr(change, kind)], _PUTS[kind])
    return Delta(
        region=region,
        from_version=message.from_version,
        to_version=message.to_version,
        created_ms=message.created_ms,
        puts=tuple(puts),
        removals=tuple(removals),
        digest=message.digest.value,
    )


def _entries(message: snapshot_pb2.Snapshot) -> list[Entry]:
    entries: list[Entry] = []
    entries += _known(message.knobs, _knob)
    entries += _known(message.accounts, _account)
    entries += _known(message.credentials, _credential)
    entries += _known(message.workflows, _workflow)
    entries += _known(message.destinations, _destination)
    entries += _known(message.ticket_keys, _ticket_key)
    return entries


def _known(messages: Iterable[M], parse: Callable[[M], Entry]) -> list[Entry]:
    found: list[Entry] = []
    for one in messages:
        try:
            found.append(parse(one))
        except KeyError:  # a word of a newer release
            continue
    return found


def _knob(message: snapshot_pb2.Knob) -> Knob:
    return Knob(message.name, message.value)


def _account(message: snapshot_pb2.Account) -> AccountEntry:
    limits = message.limits
    return AccountEntry(
        id=AccountID(ids.parse(Kind.ACCOUNT, message.id)),
        state=_ACCOUNT[message.state],
        limits=Limits(
            upload_bytes_max=limits.upload_bytes_max,
            uploads_in_flight_max=limits.uploads_in_flight_max,
            connections_max=limits.connections_max,
            uploads_per_minute_max=limits.uploads_per_minute_max,
            first_slice_bytes=limits.first_slice_bytes,
            overdraft_bytes=limits.overdraft_bytes,
            unfinished_keep_ms=limits.unfinished_keep_ms,
            content_keep_ms=limits.content_keep_ms,
        ),
        pin=_REGION[message.pin] if message.pin else None,
        epoch=message.epoch,
        name_kid=message.name_key.kid,
        name_key=message.name_key.public_key,
    )


def _credential(message: snapshot_pb2.Credential) -> CredentialEntry:
    return CredentialEntry(
        id=CredentialID(ids.parse(Kind.CREDENTIAL, message.id)),
        name=CredentialName(message.name),
        account_id=AccountID(ids.parse(Kind.ACCOUNT, message.account_id)),
        kind=_CREDENTIAL[message.kind],
        verifier=message.verifier,
        pepper_kid=message.pepper_kid,
        workflow_id=WorkflowID(ids.parse(Kind.WORKFLOW, message.workflow_id)),
        folder=message.folder,
        not_after_ms=message.not_after_ms or None,
        require_tls=message.require_tls,
        epoch=message.epoch,
    )


def _workflow(message: snapshot_pb2.Workflow) -> WorkflowEntry:
    return WorkflowEntry(
        id=WorkflowID(ids.parse(Kind.WORKFLOW, message.id)),
        version=message.version,
        account_id=AccountID(ids.parse(Kind.ACCOUNT, message.account_id)),
        rules=tuple(map(_rule, message.rules)),
        destinations=_ids(message.destination_ids),
    )


def _rule(message: snapshot_pb2.Rule) -> Rule:
    conditions = tuple(map(_condition, message.conditions))
    return Rule(conditions, _ids(message.destination_ids), message.priority)


def _condition(message: snapshot_pb2.Condition) -> Condition:
    kind = _CONDITION.get(message.kind)
    return _NEVER if kind is None else Condition(kind, message.pattern, message.negated)


def _destination(message: snapshot_pb2.Destination) -> DestinationEntry:
    return DestinationEntry(
        id=DestinationID(ids.parse(Kind.DESTINATION, message.id)),
        version=message.version,
        account_id=AccountID(ids.parse(Kind.ACCOUNT, message.account_id)),
        kind=_DESTINATION[message.kind],
        address=message.address,
        clash=_CLASH[message.naming.clash],
        endpoint=message.endpoint,
        store_region=message.store_region,
        secret_kid=message.secret.kid,
        secret=message.secret.ciphertext,
    )


def _ticket_key(message: snapshot_pb2.TicketKey) -> TicketKeyEntry:
    if message.key.suite != types_pb2.KEY_SUITE_ED25519:
        raise KeyError(message.key.suite)  # a suite of a newer release
    return TicketKeyEntry(
        id=message.key.kid,
        region=_REGION[message.region],
        key=message.key.public_key,
        not_before_ms=message.not_before_ms,
        not_after_ms=message.not_after_ms or None,
    )


def _ids(names: Iterable[str]) -> tuple[DestinationID, ...]:
    return tuple(DestinationID(ids.parse(Kind.DESTINATION, name)) for name in names)


_PUTS: Final[Mapping[str, Callable[..., Entry]]] = MappingProxyType(
    {
        "knob": _knob,
        "account": _account,
        "credential": _credential,
        "workflow": _workflow,
        "destination": _destination,
        "ticket_key": _ticket_key,
    }
)
