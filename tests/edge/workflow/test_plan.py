import re
from dataclasses import replace
from fnmatch import translate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.facts import DeletionReason
from edge.particulars import Particulars
from edge.record import Ending, State, UploadRecord
from edge.snapshot import Condition, ConditionKind, Rule, WorkflowEntry
from edge.workflow.plan import chosen, delivery_id, matches, planned, receipt_id, run_id
from edge.workflow.run import RunState
from tests.support.delivery_site import ACCOUNT, WORKFLOW, destination_id
from zentransfer.ids import CredentialID, Kind, OutcomeID, Region, UploadID, parse
from zentransfer.sealed_name import FileName

A, B, C = (destination_id(number) for number in range(3))
CAMERA = CredentialID("cr_" + "a" * 26)
UPLOAD = UploadID("up_" + "a" * 26)


def workflow(*rules: Rule, destinations: tuple[object, ...] = (A, B)) -> WorkflowEntry:
    return WorkflowEntry(WORKFLOW, 3, ACCOUNT, rules, destinations)  # type: ignore[arg-type]


def condition(kind: str, pattern: str, *, negated: bool = False) -> Condition:
    return Condition(ConditionKind(kind), pattern, negated)


def known(
    name: str = "IMG_1.JPG", folder: str = "cup/final", media: str = "image/jpeg"
) -> Particulars:
    return Particulars(FileName(folder, name), media_type=media)


def record() -> UploadRecord:
    return UploadRecord(
        UPLOAD,
        ACCOUNT,
        Region.FR,
        created_ms=5,
        credential=CAMERA,
        state=State.COMMITTED,
        size=77,
        ending=Ending(WORKFLOW, 3, 1_000, OutcomeID("oc_" + "a" * 26)),
    )


def test_without_rules_every_destination_gets_the_file() -> None:
    assert chosen(workflow(), CAMERA, known()).destinations == (A, B)


def test_the_first_rule_that_holds_decides() -> None:
    rules = (
        Rule((condition("name", "*.cr3"),), (A,)),
        Rule((condition("name", "*.jpg"), condition("folder", "cup/*")), (B,), priority=True),
        Rule((condition("name", "*"),), (A, B)),
    )
    choice = chosen(workflow(*rules), CAMERA, known())
    assert (choice.destinations, choice.is_urgent) == ((B,), True)
    assert chosen(workflow(*rules), CAMERA, known("a.CR3")).destinations == (A,)
    assert chosen(workflow(*rules), CAMERA, known(folder="x")).destinations == (A, B)


@pytest.mark.parametrize(
    ("test", "holds"),
    [
        (condition("credential", CAMERA), True),
        (condition("credential", "cr_*"), False),
        (condition("media_type", "image/*"), True),
        (condition("media_type", "video/*", negated=True), True),
        (condition("folder", "CUP/final"), True),
        (condition("folder", "cup", negated=False), False),
        (condition("name", "img_?.jpg"), False),
    ],
)
def test_conditions_look_at_what_they_say(test: Condition, *, holds: bool) -> None:
    choice = chosen(
        workflow(Rule((test,), (A,)), Rule((condition("name", "*"),), (B,))), CAMERA, known()
    )
    assert choice.destinations == ((A,) if holds else (B,))


def test_what_nobody_chose_is_kept_and_what_was_sent_nowhere_is_not() -> None:
    none_holds = workflow(Rule((condition("name", "*.cr3"),), (A,)))
    nowhere = workflow(Rule((condition("name", "*"),), ()))
    switched_off = workflow(Rule((condition("name", "*"),), (C,)))
    for kept in (None, workflow(destinations=()), none_holds, switched_off):
        choice = chosen(kept, CAMERA, known())
        assert (choice.destinations, choice.is_kept) == ((), True)
        run = planned(record(), kept, known(), keep_ms=60_000)
        assert (run.state, run.keep_until_ms) == (RunState.OPEN, 61_000)
    run = planned(record(), nowhere, known(), keep_ms=60_000)
    assert (run.state, run.reason) == (RunState.ERASABLE, DeletionReason.DELIVERED)


def test_a_plan_is_the_same_whoever_makes_it() -> None:
    one = planned(record(), workflow(), known(), 60_000)
    other = planned(replace(record(), fence=9, names=b"x"), workflow(), known(), 60_000)
    assert one == other
    assert one.id == run_id(UPLOAD)
    assert [d.id for d in one.deliveries] == [delivery_id(UPLOAD, A), delivery_id(UPLOAD, B)]
    assert (one.size_bytes, one.workflow_version, one.account) == (77, 3, ACCOUNT)


@given(st.binary(min_size=1, max_size=4), st.integers(0, 7), st.integers(0, 7))
def test_ids_are_ids_and_differ_where_their_things_do(seed: bytes, one: int, other: int) -> None:
    upload = UploadID("up_" + seed.hex().translate(str.maketrans("0189", "wxyz")).ljust(26, "a"))
    first, second = (delivery_id(upload, destination_id(n)) for n in (one, other))
    assert parse(Kind.DELIVERY, first) == first
    assert parse(Kind.RUN, run_id(upload))
    assert parse(Kind.RECEIPT, receipt_id(upload))
    assert (first == second) == (one == other)


PATTERNS = st.text(st.sampled_from("aB*.é"), max_size=12)


@given(PATTERNS, st.text(st.sampled_from("abB.éx"), max_size=16))
def test_a_star_is_any_run_of_characters(pattern: str, text: str) -> None:
    like = re.compile(translate(pattern), re.IGNORECASE | re.DOTALL)
    assert matches(pattern, text) == (like.match(text) is not None)


def test_no_pattern_takes_long() -> None:
    assert not matches("*a" * 100 + "b", "a" * 255)
    assert matches("*a" * 100, "a" * 255)
