"""A snapshot as bytes for a process's own disk.  Pure.

The rule: what is read back is the content whose digest was written, or nothing.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from edge.seal.packing import Fields, Malformed, Packable, pack, unpack
from edge.snapshot import (
    AccountEntry,
    AccountState,
    Clash,
    Condition,
    ConditionKind,
    CredentialEntry,
    CredentialKind,
    DestinationEntry,
    DestinationKind,
    Entry,
    Knob,
    Limits,
    Rule,
    Snapshot,
    TicketKeyEntry,
    WorkflowEntry,
    snapshot_of,
)
from zentransfer.ids import (
    AccountID,
    CredentialID,
    CredentialName,
    DestinationID,
    Region,
    WorkflowID,
)
from zentransfer.limits import (
    DESTINATION_ADDRESS_CHARS_MAX,
    DESTINATION_SECRET_BYTES_MAX,
    FOLDER_CHARS_MAX,
    PATTERN_CHARS_MAX,
    RULE_CONDITIONS_MAX,
    SNAPSHOT_ENTRIES_MAX,
    SNAPSHOT_PAST_WORKFLOWS_MAX,
    WORKFLOW_DESTINATIONS_MAX,
    WORKFLOW_RULES_MAX,
)

_MAGIC: Final = b"ZTSNP\x01"
_WORD_CHARS_MAX: Final = 64
_KEY_BYTES: Final = 32


def pack_snapshot(snapshot: Snapshot) -> bytes:
    """Return the stored form of *snapshot*."""
    entries = snapshot.content.values()
    return _MAGIC + pack(
        {
            "region": snapshot.region,
            "version": snapshot.version,
            "created_ms": snapshot.created_ms,
            "digest": snapshot.digest,
            "knobs": [[one.id, one.value] for one in entries if isinstance(one, Knob)],
            "accounts": [_packed_account(one) for one in entries if isinstance(one, AccountEntry)],
            "credentials": [
                _packed_credential(one) for one in entries if isinstance(one, CredentialEntry)
            ],
            "workflows": _packed_workflows(
                one for one in entries if isinstance(one, WorkflowEntry)
            ),
            "destinations": [
                _packed_destination(one) for one in entries if isinstance(one, DestinationEntry)
            ],
            "past": _packed_workflows(snapshot.past),
            "ticket_keys": [
                _packed_ticket_key(one) for one in entries if isinstance(one, TicketKeyEntry)
            ],
        }
    )


def unpack_snapshot(data: bytes) -> Snapshot:
    """Return the snapshot in *data*; raises :class:`edge.seal.packing.Malformed`."""
    if not data.startswith(_MAGIC):
        raise Malformed("no snapshot, or one of another format")
    fields = unpack(memoryview(data)[len(_MAGIC) :])
    try:
        snapshot = snapshot_of(
            Region(_word(fields, "region")),
            fields.number("version"),
            fields.number("created_ms"),
            _entries(fields),
            map(_workflow, fields.rows("past", SNAPSHOT_PAST_WORKFLOWS_MAX)),
        )
    except Malformed:
        raise
    except ValueError as wrong:  # a word that is no member of ours
        raise Malformed("a field has no meaning") from wrong
    if snapshot.digest != fields.data("digest", _KEY_BYTES):
        raise Malformed("the content is not what was stored")
    return snapshot


def _entries(fields: Fields) -> list[Entry]:
    def rows(name: str) -> list[Fields]:
        return fields.rows(name, SNAPSHOT_ENTRIES_MAX)

    entries: list[Entry] = [Knob(_word(row, "0"), row.number("1")) for row in rows("knobs")]
    entries += map(_account, rows("accounts"))
    entries += map(_credential, rows("credentials"))
    entries += map(_workflow, rows("workflows"))
    entries += map(_destination, rows("destinations"))
    if fields.has("ticket_keys"):  # a snapshot of an older release has none
        entries += map(_ticket_key, rows("ticket_keys"))
    return entries


def _packed_account(one: AccountEntry) -> list[Packable]:
    limits = one.limits
    return [
        one.id,
        one.state,
        one.pin,
        one.epoch,
        one.name_kid,
        one.name_key,
        limits.upload_bytes_max,
        limits.uploads_in_flight_max,
        limits.connections_max,
        limits.uploads_per_minute_max,
        limits.first_slice_bytes,
        limits.overdraft_bytes,
        limits.unfinished_keep_ms,
        limits.content_keep_ms,
    ]


def _account(row: Fields) -> AccountEntry:
    return AccountEntry(
        id=AccountID(_word(row, "0")),
        state=AccountState(_word(row, "1")),
        pin=Region(_word(row, "2")) if row.has("2") else None,
        epoch=row.number("3"),
        name_kid=_word(row, "4"),
        name_key=row.data("5", _KEY_BYTES),
        limits=Limits(*(row.number(str(place)) for place in range(6, 14))),
    )


def _packed_credential(one: CredentialEntry) -> list[Packable]:
    return [
        one.id,
        one.name,
        one.account_id,
        one.kind,
        one.verifier,
        one.pepper_kid,
        one.workflow_id,
        one.folder,
        one.not_after_ms,
        one.require_tls,
        one.epoch,
    ]


def _credential(row: Fields) -> CredentialEntry:
    return CredentialEntry(
        id=CredentialID(_word(row, "0")),
        name=CredentialName(_word(row, "1")),
        account_id=AccountID(_word(row, "2")),
        kind=CredentialKind(_word(row, "3")),
        verifier=row.data("4", _KEY_BYTES),
        pepper_kid=_word(row, "5"),
        workflow_id=WorkflowID(_word(row, "6")),
        folder=row.text("7", FOLDER_CHARS_MAX),
        not_after_ms=row.number("8") if row.has("8") else None,
        require_tls=row.flag("9"),
        epoch=row.number("10"),
    )


def _packed_workflows(workflows: Iterable[WorkflowEntry]) -> list[Packable]:
    return [
        [
            one.id,
            one.version,
            one.account_id,
            [[*one.destinations]],
            [_packed_rule(rule) for rule in one.rules],
        ]
        for one in workflows
    ]


def _packed_rule(rule: Rule) -> list[Packable]:
    conditions: list[Packable] = [[one.kind, one.pattern, one.negated] for one in rule.conditions]
    return [conditions, [[*rule.destinations]], rule.priority]


def _workflow(row: Fields) -> WorkflowEntry:
    return WorkflowEntry(
        id=WorkflowID(_word(row, "0")),
        version=row.number("1"),
        account_id=AccountID(_word(row, "2")),
        destinations=_destinations(row, "3"),
        rules=tuple(_rule(rule) for rule in row.rows("4", WORKFLOW_RULES_MAX)),
    )


def _rule(row: Fields) -> Rule:
    conditions = tuple(
        Condition(ConditionKind(_word(one, "0")), one.text("1", PATTERN_CHARS_MAX), one.flag("2"))
        for one in row.rows("0", RULE_CONDITIONS_MAX)
    )
    return Rule(conditions, _destinations(row, "1"), row.flag("2"))


def _destinations(row: Fields, name: str) -> tuple[DestinationID, ...]:
    found = [_word(one, place) for one in row.rows(name, 1) for place in one.names()]
    if len(found) > WORKFLOW_DESTINATIONS_MAX:
        raise Malformed("more destinations than a workflow has")
    return tuple(map(DestinationID, found))


def _packed_destination(one: DestinationEntry) -> list[Packable]:
    place: list[Packable] = [
        *(one.id, one.version, one.account_id, one.kind, one.address, one.clash)
    ]
    server: list[Packable] = [one.endpoint, one.store_region, one.secret_kid, one.secret]
    return [*place, *server] if any(server) else place


def _destination(row: Fields) -> DestinationEntry:
    place = DestinationEntry(
        id=DestinationID(_word(row, "0")),
        version=row.number("1"),
        account_id=AccountID(_word(row, "2")),
        kind=DestinationKind(_word(row, "3")),
        address=row.text("4", DESTINATION_ADDRESS_CHARS_MAX),
        clash=Clash(_word(row, "5")),
    )
    if not row.has("6"):  # one without a server; older releases wrote all of them so
        return place
    return replace(
        place,
        endpoint=row.text("6", DESTINATION_ADDRESS_CHARS_MAX),
        store_region=_word(row, "7"),
        secret_kid=_word(row, "8"),
        secret=row.data("9", DESTINATION_SECRET_BYTES_MAX),
    )


def _packed_ticket_key(one: TicketKeyEntry) -> list[Packable]:
    return [one.id, one.region, one.key, one.not_before_ms, one.not_after_ms]


def _ticket_key(row: Fields) -> TicketKeyEntry:
    return TicketKeyEntry(
        id=_word(row, "0"),
        region=Region(_word(row, "1")),
        key=row.data("2", _KEY_BYTES),
        not_before_ms=row.number("3"),
        not_after_ms=row.number("4") if row.has("4") else None,
    )


def _word(fields: Fields, name: str) -> str:
    return fields.text(name, _WORD_CHARS_MAX)
