from dataclasses import replace

from edge.facts import Door, OutcomeState, SealedName
from edge.outcome import committed_outcome, maybe_outcome
from edge.particulars import Fate, Particulars
from edge.record import Ending, ManifestPlace, Mark, UploadRecord
from edge.seal.record import Walked
from zentransfer.errors import Code
from zentransfer.ids import AccountID, CredentialID, OutcomeID, Region, UploadID, WorkflowID
from zentransfer.sealed_name import FileName

RECORD = UploadRecord(
    upload=UploadID("up_a"),
    account=AccountID("ac_a"),
    region=Region.FR,
    created_ms=1_000,
    door="http",
    dialect="plain",
    credential=CredentialID("cr_a"),
    length=70,
)
KNOWN = Particulars(FileName("", "x"), sealed_name=SealedName("kid", b"sealed"), digest=bytes(32))
ENDING = Ending(WorkflowID("wf_a"), 3, 2_000, OutcomeID("oc_a"))
PLACE = ManifestPlace(bytes(32), 8_192, 1)


def test_an_upload_that_goes_on_has_no_outcome() -> None:
    assert maybe_outcome(RECORD, KNOWN) is None


def test_the_record_tells_the_very_outcome_that_was_told_at_the_commit() -> None:
    told = committed_outcome(RECORD, KNOWN, ENDING, 70)
    record = RECORD.committed(PLACE, 70, ENDING)
    assert maybe_outcome(record, KNOWN) == told
    assert maybe_outcome(record.destroying(), KNOWN) == told
    assert told.state is OutcomeState.COMMITTED
    assert told.error is None
    assert (told.workflow_id, told.workflow_version) == ("wf_a", 3)
    assert (told.size_bytes, told.digest, told.door) == (70, bytes(32), Door.HTTP)


def test_an_upload_that_was_given_up_tells_its_durable_bytes_and_why() -> None:
    marked = replace(RECORD, mark=Mark.at(40, Walked.begin(40)))
    record = marked.ended(Ending(ended_ms=2_000, outcome=OutcomeID("oc_a"))).destroying()
    known = replace(KNOWN, fate=Fate(OutcomeState.FAILED, Code.TIMEOUT))
    outcome = maybe_outcome(record, known)
    assert outcome is not None
    assert (outcome.state, outcome.error) == (OutcomeState.FAILED, Code.TIMEOUT)
    assert (outcome.size_bytes, outcome.digest) == (40, None)
    assert (outcome.workflow_id, outcome.workflow_version) == (None, 0)


def test_an_end_whose_reason_is_gone_is_our_own_fault() -> None:
    record = RECORD.ended(Ending(ended_ms=2_000, outcome=OutcomeID("oc_a"))).destroying()
    outcome = maybe_outcome(record, KNOWN)
    assert outcome is not None
    assert (outcome.state, outcome.error) == (OutcomeState.FAILED, Code.INTERNAL)
