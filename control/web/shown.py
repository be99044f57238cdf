"""From the truth to what the API shows: one function per noun.

The rule: a file's name is opened here and nowhere else, for the members of its own account.
"""

from control.accounts.destinations import Destination
from control.accounts.handlers import Issued
from control.accounts.model import Credential, CredentialKind
from control.accounts.workflows import Condition, Plan, Rule, Workflow
from control.keystore import KeyStore
from control.uploads.advice import advice
from control.uploads.model import (
    DeletionReason,
    DeletionReceipt,
    Delivery,
    DeliveryState,
    Event,
    Outcome,
    OutcomeState,
    Receiving,
    Upload,
    UploadState,
)
from control.web.bodies import (
    ConditionBody,
    CredentialBody,
    DeliveryBody,
    DestinationBody,
    EventBody,
    IssuedBody,
    NewWorkflow,
    ReceiptBody,
    RuleBody,
    UploadBody,
    WholeUploadBody,
    WorkflowBody,
    maybe_rfc3339,
    rfc3339,
)
from zentransfer.credential import token
from zentransfer.errors import Code, Error
from zentransfer.ids import DestinationID
from zentransfer.limits import UPLOAD_EVENTS_SHOWN_MAX
from zentransfer.sealed_name import FileName


def destination(one: Destination) -> DestinationBody:
    """Show a destination."""
    return DestinationBody(
        id=one.id,
        version=one.version,
        kind=one.kind,
        label=one.label,
        address=one.address,
        clash=one.clash,
        endpoint=one.endpoint,
        region=one.store_region,
        created_at=rfc3339(one.created_ms),
    )


def workflow(one: Workflow) -> WorkflowBody:
    """Show a workflow."""
    return WorkflowBody(
        id=one.id,
        version=one.version,
        name=one.plan.name,
        folder=one.plan.folder,
        rules=[_rule(rule) for rule in one.plan.rules],
        destinations=list(one.plan.destinations),
        created_at=rfc3339(one.created_ms),
    )


def plan(body: NewWorkflow) -> Plan:
    """Return the plan that somebody sent."""
    rules = [
        Rule(
            tuple(Condition(one.kind, one.pattern, one.negated) for one in rule.conditions),
            tuple(map(DestinationID, rule.destinations)),
            rule.priority,
        )
        for rule in body.rules
    ]
    destinations = tuple(map(DestinationID, body.destinations))
    return Plan(body.name, body.folder, tuple(rules), destinations)


def credential(one: Credential) -> CredentialBody:
    """Show a credential."""
    return CredentialBody.model_validate(_credential(one))


def issued(one: Issued) -> IssuedBody:
    """Show a new credential with its secret."""
    is_program = one.credential.kind is CredentialKind.API
    shown = token(one.credential.name, one.secret) if is_program else None
    return IssuedBody.model_validate(
        {**_credential(one.credential), "secret": one.secret, "token": shown}
    )


def upload(one: Upload | Receiving, keys: KeyStore) -> UploadBody:
    """Show an upload, one that has no end yet too."""
    return UploadBody.model_validate(_shown(one, keys))


def whole_upload(one: Upload | Receiving, events: list[Event], keys: KeyStore) -> WholeUploadBody:
    """Show an upload with its timeline, and with its receipt when its content is gone."""
    begun = EventBody(at=rfc3339(created_ms(one)), type="upload.begun", detail="")
    is_cut = len(events) >= UPLOAD_EVENTS_SHOWN_MAX  # and then this is not the newest either
    found = isinstance(one, Upload) and one.receipt
    more = {
        "receipt": receipt(found) if found else None,
        "events": [*([] if is_cut else [begun]), *map(event, events), *_gone_at_once(one)],
    }
    return WholeUploadBody.model_validate({**_shown(one, keys), **more})


def _gone_at_once(one: Upload | Receiving) -> list[EventBody]:
    """Return the last event of an upload that left nothing to destroy: its outcome tells of it."""
    if isinstance(one, Receiving) or not one.outcome.destroyed_ms:
        return []
    at = rfc3339(one.outcome.destroyed_ms)
    return [EventBody(at=at, type="content.destroyed", detail=DeletionReason.UNFINISHED)]


def created_ms(one: Upload | Receiving) -> int:
    """Return when an upload began, by its node's clock (UTC milliseconds)."""
    return one.created_ms if isinstance(one, Receiving) else one.outcome.created_ms


def receipt(one: DeletionReceipt) -> ReceiptBody:
    """Show a deletion receipt, so that its signature can be checked from what is shown."""
    return ReceiptBody(
        upload=one.upload_id,
        account=one.account_id,
        run=one.run_id,
        reason=one.reason,
        region=one.region,
        size=one.size_bytes,
        keys_destroyed_at=rfc3339(one.keys_destroyed_ms),
        removed_at=rfc3339(one.removed_ms),
        undelivered=list(one.undelivered),
        audit_sequence=one.audit_sequence if one.signature else None,
        audit_hash=one.audit_hash.hex() or None,
        signature=one.signature.hex() or None,
        root_key=one.root_key.hex() or None,
    )


def event(one: Event) -> EventBody:
    """Show one line of a timeline."""
    return EventBody(at=rfc3339(one.at_ms), type=one.type, detail=one.detail)


def _rule(rule: Rule) -> RuleBody:
    return RuleBody(
        conditions=[
            ConditionBody(kind=one.kind, pattern=one.pattern, negated=one.negated)
            for one in rule.conditions
        ],
        destinations=list(rule.destinations),
        priority=rule.priority,
    )


def _credential(one: Credential) -> dict[str, object]:
    # Noted to the hour, which may have begun before it was made.
    used_ms = None if one.last_used_ms is None else max(one.last_used_ms, one.created_ms)
    return {
        "id": one.id,
        "kind": one.kind,
        "name": one.name,
        "label": one.label,
        "folder": one.folder,
        "workflow": one.workflow_id,
        "require_tls": one.require_tls,
        "created_at": rfc3339(one.created_ms),
        "expires_at": maybe_rfc3339(one.not_after_ms),
        "last_used_at": maybe_rfc3339(used_ms),
    }


def _shown(one: Upload | Receiving, keys: KeyStore) -> dict[str, object]:
    return _receiving(one, keys) if isinstance(one, Receiving) else _upload(one, keys)


def _receiving(one: Receiving, keys: KeyStore) -> dict[str, object]:
    return {
        **_named(one, keys),
        "size": one.announced_bytes,
        "received": one.received_bytes,
        "node": one.node,
        "state": UploadState.RECEIVING,
        "outcome": None,
        "error": None,
        "committed_at": None,
        "destroyed_at": None,
        "digest": None,
        "deliveries": [],
    }


def _upload(one: Upload, keys: KeyStore) -> dict[str, object]:
    outcome = one.outcome
    is_committed = outcome.state is OutcomeState.COMMITTED
    return {
        **_named(outcome, keys),
        "size": outcome.size_bytes if is_committed else outcome.announced_bytes,
        "received": outcome.size_bytes,
        "node": one.node,
        "state": one.state,
        "outcome": outcome.state,
        "error": Code(outcome.error) if outcome.error else None,
        "committed_at": rfc3339(outcome.ended_ms) if is_committed else None,
        "destroyed_at": maybe_rfc3339(one.destroyed_ms),
        "digest": f"sha256:{one.digest.hex()}" if one.digest else None,
        "deliveries": [_delivery(each) for each in one.deliveries],
    }


def _named(one: Outcome | Receiving, keys: KeyStore) -> dict[str, object]:
    name = _maybe_name(one, keys)
    return {
        "id": one.upload_id,
        "name": name.name if name else None,
        "folder": name.folder if name else None,
        "region": one.region,
        "created_at": rfc3339(one.created_ms),
    }


def _delivery(one: Delivery) -> DeliveryBody:
    change = one.change
    is_delivered = change.state is DeliveryState.DELIVERED
    return DeliveryBody(
        id=change.delivery_id,
        destination=change.destination_id,
        state=change.state,
        attempts=change.attempt,
        error=Code(change.error) if change.error else None,
        advice=advice(change),
        delivered_at=rfc3339(one.changed_ms) if is_delivered else None,
    )


def _maybe_name(one: Outcome | Receiving, keys: KeyStore) -> FileName | None:
    """Return the file's name; ``None`` if none came, or if its key is gone or another one."""
    if one.name is None:
        return None
    try:
        return keys.open_name(one.account_id, one.upload_id, one.name.ciphertext)
    except Error:
        return None
