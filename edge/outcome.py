"""How an upload ended, as its record tells it: the one maker of outcomes.  Pure.

The rule: the outcome is a function of the durable record, so that ingest after the commit, the
sweep after a crash and delivery before it destroys all tell the very same one (law 3).
"""

from typing import Final

from edge.facts import Door, Outcome, OutcomeState
from edge.particulars import Particulars
from edge.record import UploadRecord
from zentransfer.errors import Code

_DOORS: Final = frozenset(Door)


def maybe_outcome(record: UploadRecord, known: Particulars) -> Outcome | None:
    """Return the outcome that *record* tells, with what is *known* of it; ``None`` before its end.

    *known* must be what the record keeps sealed; once that is destroyed, so is the outcome's source.
    """
    ending = record.ending
    if ending.outcome is None:
        return None
    is_committed = record.manifest is not None
    fate = known.fate
    return Outcome(
        id=ending.outcome,
        upload_id=record.upload,
        account_id=record.account,
        credential_id=record.credential,
        state=_state(known, is_committed=is_committed),
        error=None if is_committed else (fate.error if fate else Code.INTERNAL),
        size_bytes=record.size if is_committed else (record.mark.offset if record.mark else 0),
        digest=known.digest if is_committed else None,
        region=record.region,
        door=Door(record.door) if record.door in _DOORS else Door.HTTP,
        name=known.sealed_name,
        workflow_id=ending.workflow if is_committed else None,
        workflow_version=ending.workflow_version if is_committed else 0,
        created_ms=record.created_ms,
        ended_ms=ending.ended_ms,
    )


def _state(known: Particulars, *, is_committed: bool) -> OutcomeState:
    if is_committed:
        return OutcomeState.COMMITTED
    return known.fate.state if known.fate else OutcomeState.FAILED
