"""How an upload ended, as its record tells it: the one maker of outcomes.  Pure.

The rule: the outcome is a function of the durable record, so that ingest after the commit, the
sweep after a crash and delivery before it destroys all tell the very same one (law 3).
"""

from edge.facts import DeletionReason, DeletionReceipt, Door, Fact, Outcome, OutcomeState
from edge.particulars import Fate, Particulars
from edge.record import Ending, UploadRecord
from edge.workflow.plan import receipt_id
from zentransfer.errors import Code

_UNTOLD = Fate(OutcomeState.FAILED, Code.INTERNAL)


def committed_outcome(
    record: UploadRecord, known: Particulars, ending: Ending, size: int
) -> Outcome:
    """Return the outcome of an upload of *size* bytes that was committed with *ending*.

    *record* is any value of its record: what makes the outcome never changes in it.
    """
    assert ending.outcome is not None, "an end has the id of its outcome before it comes"
    return Outcome(
        id=ending.outcome,
        upload_id=record.upload,
        account_id=record.account,
        credential_id=record.credential,
        state=OutcomeState.COMMITTED,
        error=None,
        size_bytes=size,
        digest=known.digest,
        region=record.region,
        door=Door(record.door),
        name=known.sealed_name,
        workflow_id=ending.workflow,
        workflow_version=ending.workflow_version,
        created_ms=record.created_ms,
        ended_ms=ending.ended_ms,
    )


def maybe_outcome(record: UploadRecord, known: Particulars) -> Outcome | None:
    """Return the outcome that *record* tells, with what it keeps sealed; ``None`` before its end.

    And none of a partial: its finals are what their owner knows of.

    Once the sealed part is destroyed, so is the outcome's source: tell it before.
    """
    ending = record.ending
    if ending.outcome is None or record.is_partial:
        return None
    if record.manifest is not None:
        return committed_outcome(record, known, ending, record.size)
    fate = known.fate or _UNTOLD
    return Outcome(
        id=ending.outcome,
        upload_id=record.upload,
        account_id=record.account,
        credential_id=record.credential,
        state=fate.state,
        error=fate.error,
        size_bytes=record.mark.offset if record.mark else 0,
        digest=None,
        region=record.region,
        door=Door(record.door),
        name=known.sealed_name,
        workflow_id=None,
        workflow_version=0,
        created_ms=record.created_ms,
        ended_ms=ending.ended_ms,
        announced_bytes=record.length,
    )


def gone_fact(record: UploadRecord) -> Fact:
    """Return the fact that nothing is left of an upload that never was whole, by its tombstone.

    No signature: the process that destroyed it has no key to sign with, and none to open it either.
    """
    assert record.gone_ms, "the time is durable before it is told"
    receipt = DeletionReceipt(
        upload_id=record.upload,
        account_id=record.account,
        run_id=None,
        reason=DeletionReason.UNFINISHED,
        region=record.region,
        size_bytes=record.size,
        keys_destroyed_ms=record.gone_ms,
        removed_ms=record.gone_ms,
    )
    return Fact(receipt_id(record.upload), record.gone_ms, receipt)
