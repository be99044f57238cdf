"""Snapshots as nodes get them: what ``control.fleet.snapshot`` holds, as protobuf messages.

The rule: every list is sorted by id and the bytes are deterministic, so that the digest of a
reference is the same in every process.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from control.accounts.destinations import Clash, DestinationKind
from control.accounts.model import AccountState, CredentialKind
from control.accounts.workflows import ConditionKind, Rule
from control.fleet.snapshot import (
    AccountEntry,
    CredentialEntry,
    Delta,
    DestinationEntry,
    Entity,
    Entry,
    Key,
    Knob,
    Snapshot,
    TicketKeyEntry,
    WorkflowEntry,
)
from zentransfer.ids import Region
from zentransfer.v1 import snapshot_pb2, types_pb2

REGION: Final = MappingProxyType(
    {
        Region.US: types_pb2.REGION_US,
        Region.FR: types_pb2.REGION_FR,
        Region.SG: types_pb2.REGION_SG,
    }
)
_ACCOUNT: Final[Mapping[AccountState, snapshot_pb2.AccountState]] = MappingProxyType(
    {
        AccountState.ACTIVE: snapshot_pb2.ACCOUNT_STATE_ACTIVE,
        AccountState.SUSPENDED: snapshot_pb2.ACCOUNT_STATE_SUSPENDED,
        AccountState.CLOSED: snapshot_pb2.ACCOUNT_STATE_CLOSED,
    }
)
_CREDENTIAL: Final[Mapping[CredentialKind, snapshot_pb2.CredentialKind]] = MappingProxyType(
    {
        CredentialKind.FTP: snapshot_pb2.CREDENTIAL_KIND_FTP,
        CredentialKind.API: snapshot_pb2.CREDENTIAL_KIND_API,
    }
)
_CONDITION: Final[Mapping[ConditionKind, snapshot_pb2.ConditionKind]] = MappingProxyType(
    {
        ConditionKind.CREDENTIAL: snapshot_pb2.CONDITION_KIND_CREDENTIAL,
        ConditionKind.FOLDER: snapshot_pb2.CONDITION_KIND_FOLDER,
        ConditionKind.NAME: snapshot_pb2.CONDITION_KIND_NAME,
        ConditionKind.MEDIA_TYPE: snapshot_pb2.CONDITION_KIND_MEDIA_TYPE,
    }
)
_DESTINATION: Final[Mapping[DestinationKind, snapshot_pb2.DestinationKind]] = MappingProxyType(
    {
        DestinationKind.FOLDER: snapshot_pb2.DESTINATION_KIND_FOLDER,
        DestinationKind.S3: snapshot_pb2.DESTINATION_KIND_S3,
        DestinationKind.GCS: snapshot_pb2.DESTINATION_KIND_GCS,
        DestinationKind.AZURE: snapshot_pb2.DESTINATION_KIND_AZURE,
        DestinationKind.SFTP: snapshot_pb2.DESTINATION_KIND_SFTP,
        DestinationKind.FTP: snapshot_pb2.DESTINATION_KIND_FTP,
        DestinationKind.WEBDAV: snapshot_pb2.DESTINATION_KIND_WEBDAV,
        DestinationKind.DROPBOX: snapshot_pb2.DESTINATION_KIND_DROPBOX,
        DestinationKind.GOOGLE_DRIVE: snapshot_pb2.DESTINATION_KIND_GOOGLE_DRIVE,
        DestinationKind.ONEDRIVE: snapshot_pb2.DESTINATION_KIND_ONEDRIVE,
        DestinationKind.WEBHOOK: snapshot_pb2.DESTINATION_KIND_WEBHOOK,
        DestinationKind.EMAIL: snapshot_pb2.DESTINATION_KIND_EMAIL,
    }
)
_CLASH: Final[Mapping[Clash, snapshot_pb2.Clash]] = MappingProxyType(
    {
        Clash.KEEP_BOTH: snapshot_pb2.CLASH_KEEP_BOTH,
        Clash.REPLACE: snapshot_pb2.CLASH_REPLACE,
        Clash.FAIL: snapshot_pb2.CLASH_FAIL,
    }
)
_ENTITY: Final[Mapping[Entity, snapshot_pb2.Entity]] = MappingProxyType(
    {
        Entity.KNOB: snapshot_pb2.ENTITY_KNOB,
        Entity.ACCOUNT: snapshot_pb2.ENTITY_ACCOUNT,
        Entity.CREDENTIAL: snapshot_pb2.ENTITY_CREDENTIAL,
        Entity.WORKFLOW: snapshot_pb2.ENTITY_WORKFLOW,
        Entity.DESTINATION: snapshot_pb2.ENTITY_DESTINATION,
        Entity.TICKET_KEY: snapshot_pb2.ENTITY_TICKET_KEY,
    }
)


def serialised(snapshot: Snapshot) -> bytes:
    """Return *snapshot* as a node fetches it."""
    message = snapshot_pb2.Snapshot(
        version=snapshot.version,
        region=REGION[snapshot.region],
        created_ms=snapshot.created_ms,
    )
    for key in sorted(snapshot.content):
        match snapshot.content[key]:
            case Knob() as entry:
                message.knobs.append(_knob(entry))
            case AccountEntry() as entry:
                message.accounts.append(_account(entry))
            case CredentialEntry() as entry:
                message.credentials.append(_credential(entry))
            case WorkflowEntry() as entry:
                message.workflows.append(_workflow(entry))
            case DestinationEntry() as entry:
                message.destinations.append(_destination(entry))
            case TicketKeyEntry() as entry:
                message.ticket_keys.append(_ticket_key(entry))
    return message.SerializeToString(deterministic=True)


def delta(of: Delta, nonce: str) -> snapshot_pb2.Delta:
    """Return the message of a delta; a node answers with *nonce*."""
    return snapshot_pb2.Delta(
        from_version=of.from_version,
        to_version=of.to_version,
        nonce=nonce,
        changes=[*map(_removal, of.removals), *map(_put, of.puts)],
        digest=types_pb2.Digest(algorithm=types_pb2.DIGEST_ALGORITHM_SHA256, value=of.digest),
        created_ms=of.created_ms,
    )


def _removal(key: Key) -> snapshot_pb2.Change:
    entity, name = key
    return snapshot_pb2.Change(remove=snapshot_pb2.Removal(entity=_ENTITY[entity], id=name))


def _put(entry: Entry) -> snapshot_pb2.Change:
    match entry:
        case Knob():
            return snapshot_pb2.Change(knob=_knob(entry))
        case AccountEntry():
            return snapshot_pb2.Change(account=_account(entry))
        case CredentialEntry():
            return snapshot_pb2.Change(credential=_credential(entry))
        case WorkflowEntry():
            return snapshot_pb2.Change(workflow=_workflow(entry))
        case DestinationEntry():
            return snapshot_pb2.Change(destination=_destination(entry))
        case TicketKeyEntry():
            return snapshot_pb2.Change(ticket_key=_ticket_key(entry))


def _knob(entry: Knob) -> snapshot_pb2.Knob:
    return snapshot_pb2.Knob(name=entry.id, value=entry.value)


def _account(entry: AccountEntry) -> snapshot_pb2.Account:
    limits = entry.limits
    return snapshot_pb2.Account(
        id=entry.id,
        state=_ACCOUNT[entry.state],
        limits=snapshot_pb2.AccountLimits(
            upload_bytes_max=limits.upload_bytes_max,
            uploads_in_flight_max=limits.uploads_in_flight_max,
            connections_max=limits.connections_max,
            uploads_per_minute_max=limits.uploads_per_minute_max,
            first_slice_bytes=limits.first_slice_bytes,
            overdraft_bytes=limits.overdraft_bytes,
            unfinished_keep_ms=limits.unfinished_keep_ms,
            content_keep_ms=limits.content_keep_ms,
        ),
        pin=REGION[entry.pin] if entry.pin else types_pb2.REGION_UNSPECIFIED,
        epoch=entry.epoch,
        name_key=types_pb2.PublicKey(
            kid=entry.name_kid,
            suite=types_pb2.KEY_SUITE_HPKE_X25519,
            public_key=entry.name_key,
        ),
    )


def _credential(entry: CredentialEntry) -> snapshot_pb2.Credential:
    return snapshot_pb2.Credential(
        id=entry.id,
        name=entry.name,
        account_id=entry.account_id,
        kind=_CREDENTIAL[entry.kind],
        verifier=entry.verifier,
        pepper_kid=entry.pepper_kid,
        workflow_id=entry.workflow_id,
        folder=entry.folder,
        not_after_ms=entry.not_after_ms or 0,
        require_tls=entry.require_tls,
        epoch=entry.epoch,
    )


def _workflow(entry: WorkflowEntry) -> snapshot_pb2.Workflow:
    return snapshot_pb2.Workflow(
        id=entry.id,
        version=entry.version,
        account_id=entry.account_id,
        rules=_rules(entry.rules),
        destination_ids=entry.destinations,
    )


def _rules(rules: Iterable[Rule]) -> list[snapshot_pb2.Rule]:
    return [
        snapshot_pb2.Rule(
            conditions=[
                snapshot_pb2.Condition(
                    kind=_CONDITION[one.kind], pattern=one.pattern, negated=one.negated
                )
                for one in rule.conditions
            ],
            destination_ids=rule.destinations,
            priority=rule.priority,
        )
        for rule in rules
    ]


def _destination(entry: DestinationEntry) -> snapshot_pb2.Destination:
    return snapshot_pb2.Destination(
        id=entry.id,
        version=entry.version,
        account_id=entry.account_id,
        kind=_DESTINATION[entry.kind],
        address=entry.address,
        naming=snapshot_pb2.Naming(clash=_CLASH[entry.clash]),
        secret=_maybe_sealed(entry),
        endpoint=entry.endpoint,
        store_region=entry.store_region,
    )


def _ticket_key(entry: TicketKeyEntry) -> snapshot_pb2.TicketKey:
    return snapshot_pb2.TicketKey(
        key=types_pb2.PublicKey(
            kid=entry.id, suite=types_pb2.KEY_SUITE_ED25519, public_key=entry.key
        ),
        not_before_ms=entry.not_before_ms,
        not_after_ms=entry.not_after_ms or 0,
        region=REGION[entry.region],
    )


def _maybe_sealed(entry: DestinationEntry) -> types_pb2.Sealed | None:
    if not entry.secret:
        return None
    return types_pb2.Sealed(kid=entry.secret_kid, ciphertext=entry.secret)
