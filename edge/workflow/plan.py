"""From a workflow and a whole upload to a run: who gets it, and under which ids.  Pure.

The rule: the same upload and the same version of its workflow give the same run, ids included,
whoever plans it and however often; so two processes that plan at once plan one thing.
"""

import hashlib
from dataclasses import dataclass

from edge.facts import DeletionReason
from edge.particulars import Particulars
from edge.record import UploadRecord
from edge.snapshot import Condition, ConditionKind, Rule, WorkflowEntry
from edge.workflow.run import Delivery, Run
from zentransfer.ids import DeliveryID, DestinationID, IdMaker, Kind, RunID, UploadID


@dataclass(frozen=True, slots=True)
class Choice:
    """Where a file goes.  ``is_kept``: nobody said so, and nothing is thrown away unasked."""

    destinations: tuple[DestinationID, ...]
    is_kept: bool = False
    is_urgent: bool = False


def chosen(workflow: WorkflowEntry | None, credential: str, known: Particulars) -> Choice:
    """Return where *workflow* sends a file that came by *credential*, named as *known* says.

    The first rule that holds decides, also when it says nowhere.  Without rules every destination
    gets the file.  Where rules stand and none holds, or where there is no destination at all,
    nobody chose: the content is kept to its policy's end.
    """
    if workflow is None:
        return Choice((), is_kept=True)
    for rule in workflow.rules:
        if all(_holds(condition, credential, known) for condition in rule.conditions):
            return _of_rule(rule, workflow)
    destinations = () if workflow.rules else workflow.destinations
    return Choice(destinations, is_kept=not destinations)


def planned(
    record: UploadRecord, workflow: WorkflowEntry | None, known: Particulars, keep_ms: int
) -> Run:
    """Return the run of a committed upload, which may keep its content for *keep_ms*."""
    choice = chosen(workflow, record.credential or "", known)
    begun_ms = record.ending.ended_ms
    run = Run(
        id=run_id(record.upload),
        upload=record.upload,
        account=record.account,
        workflow=record.ending.workflow,
        workflow_version=record.ending.workflow_version,
        size_bytes=record.size,
        created_ms=begun_ms,
        keep_until_ms=begun_ms + keep_ms,
        deliveries=tuple(
            Delivery(delivery_id(record.upload, each), each) for each in choice.destinations
        ),
        is_kept=choice.is_kept,
        is_urgent=choice.is_urgent,
    )
    if known.is_withdrawn:
        return run.stopped(DeletionReason.CANCELLED, begun_ms)
    return run.settled()


def run_id(upload: UploadID) -> RunID:
    """Return the id of the one run that *upload* can have."""
    return RunID(_derived(Kind.RUN, upload))


def delivery_id(upload: UploadID, destination: DestinationID) -> DeliveryID:
    """Return the id of the one delivery of *upload* to *destination*."""
    return DeliveryID(_derived(Kind.DELIVERY, upload, destination))


def receipt_id(upload: UploadID) -> str:
    """Return the id of the one deletion receipt of *upload*."""
    return _derived(Kind.RECEIPT, upload)


def _of_rule(rule: Rule, workflow: WorkflowEntry) -> Choice:
    # A destination that was switched off since is not in the workflow any more.
    kept = tuple(each for each in rule.destinations if each in workflow.destinations)
    return Choice(kept, is_kept=bool(rule.destinations) and not kept, is_urgent=rule.priority)


def _holds(condition: Condition, credential: str, known: Particulars) -> bool:
    return _is_like(condition, credential, known) is not condition.negated


def _is_like(condition: Condition, credential: str, known: Particulars) -> bool:
    match condition.kind:
        case ConditionKind.CREDENTIAL:
            return condition.pattern == credential
        case ConditionKind.FOLDER:
            return matches(condition.pattern, known.name.folder)
        case ConditionKind.NAME:
            return matches(condition.pattern, known.name.name)
        case ConditionKind.MEDIA_TYPE:
            return matches(condition.pattern, known.media_type)


def matches(pattern: str, text: str) -> bool:
    """Say whether *text* is like *pattern*, in any case; ``*`` is any run of characters.

    Each piece between stars is looked for once, from left to right, so that no pattern of a
    stranger's takes longer than the two lengths multiplied.
    """
    pieces = pattern.casefold().split("*")
    text = text.casefold()
    first, last = pieces[0], pieces[-1]
    if len(pieces) == 1:
        return text == first
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    at, end = len(first), len(text) - len(last)
    for piece in pieces[1:-1]:
        found = text.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True


def _derived(kind: Kind, *names: str) -> str:
    """Return an id of *kind* that follows from *names*, which are ids of ours."""
    digest = hashlib.sha256("\n".join((kind, *names)).encode()).digest()
    return IdMaker(lambda count: digest[:count]).make(kind)
