"""How an upload ended, as its record tells it: the one maker of outcomes.  Pure.

The rule: the outcome is a function of the durable record, so that ingest after the commit, the
sweep after a crash and delivery before it destroys all tell the very same one (law 3).
"""

from edge.facts import Door, Outcome, OutcomeState
from edge.particulars import Fate, Particulars
from edge.record import Ending, UploadRecord
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

    Once the sealed part is destroyed, so is the outcome's source: tell it before.
    """
    ending = record.ending
    if ending.outcome is None:
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
    )
