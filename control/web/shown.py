"""From the truth to what the API shows: one function per noun.

The rule: a file's name is opened here and nowhere else, for the members of its own account.
"""

from control.accounts.destinations import Destination
from control.accounts.handlers import Issued
from control.accounts.model import Credential, CredentialKind
from control.accounts.workflows import Condition, Plan, Rule, Workflow
from control.keystore import KeyStore
from control.uploads.model import (
    DeletionReceipt,
    Delivery,
    DeliveryState,
    Event,
    OutcomeState,
    Upload,
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


def upload(one: Upload, keys: KeyStore) -> UploadBody:
    """Show an upload."""
    return UploadBody.model_validate(_upload(one, keys))


def whole_upload(one: Upload, events: list[Event], keys: KeyStore) -> WholeUploadBody:
    """Show an upload with its timeline, and with its receipt when its content is gone."""
    more = {
        "receipt": receipt(one.receipt) if one.receipt else None,
        "events": [event(each) for each in events],
    }
    return WholeUploadBody.model_validate({**_upload(one, keys), **more})


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
        "last_used_at": maybe_rfc3339(one.last_used_ms),
    }


def _upload(one: Upload, keys: KeyStore) -> dict[str, object]:
    outcome = one.outcome
    name = _maybe_name(one, keys)
    is_committed = outcome.state is OutcomeState.COMMITTED
    return {
        "id": outcome.upload_id,
        "name": name.name if name else None,
        "folder": name.folder if name else None,
        "size": outcome.size_bytes,
        "received": outcome.size_bytes,
        "region": outcome.region,
        "node": one.node,
        "state": one.state,
        "created_at": rfc3339(outcome.created_ms),
        "committed_at": rfc3339(outcome.ended_ms) if is_committed else None,
        "destroyed_at": maybe_rfc3339(one.receipt.removed_ms if one.receipt else None),
        "digest": f"sha256:{outcome.digest.hex()}" if outcome.digest else None,
        "deliveries": [_delivery(each) for each in one.deliveries],
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
        delivered_at=rfc3339(one.changed_ms) if is_delivered else None,
    )


def _maybe_name(one: Upload, keys: KeyStore) -> FileName | None:
    """Return the file's name; ``None`` if none came, or if its key is gone or another one."""
    sealed = one.outcome.name
    if sealed is None:
        return None
    try:
        return keys.open_name(one.outcome.account_id, one.outcome.upload_id, sealed.ciphertext)
    except Error:
        return None
