from dataclasses import replace

import pytest

from control.accounts.workflows import Condition, ConditionKind, Plan, Rule, check
from zentransfer.errors import Code, Error
from zentransfer.ids import DestinationID
from zentransfer.limits import (
    PATTERN_CHARS_MAX,
    RULE_CONDITIONS_MAX,
    WORKFLOW_DESTINATIONS_MAX,
    WORKFLOW_RULES_MAX,
)

MANY = tuple(DestinationID(f"ds_{number}") for number in range(WORKFLOW_DESTINATIONS_MAX + 1))
NAME = Condition(ConditionKind.NAME, "*.jpg")
RULE = Rule((NAME,), MANY[:1])
PLAN = Plan("Everything", "", (RULE,), MANY[:2])


def code_of(plan: Plan) -> Code | None:
    try:
        check(plan, MANY)
    except Error as wrong:
        return wrong.code
    return None


def test_a_plan_within_its_limits_is_taken() -> None:
    assert code_of(PLAN) is None
    assert code_of(Plan("Nothing", "", (), ())) is None
    assert code_of(replace(PLAN, rules=(replace(RULE, destinations=()),))) is None


@pytest.mark.reaches("WORKFLOW_DESTINATIONS_MAX")
@pytest.mark.reaches("WORKFLOW_RULES_MAX")
@pytest.mark.reaches("RULE_CONDITIONS_MAX")
@pytest.mark.reaches("PATTERN_CHARS_MAX")
def test_every_list_and_pattern_has_a_longest() -> None:
    pattern = replace(NAME, pattern="x" * PATTERN_CHARS_MAX)
    full_rule = Rule((pattern,) * RULE_CONDITIONS_MAX, MANY[:-1])
    full = Plan("Full", "", (full_rule,) * WORKFLOW_RULES_MAX, MANY[:-1])
    assert code_of(full) is None
    too_long = replace(pattern, pattern=pattern.pattern + "x")
    for fuller in (
        replace(full, destinations=MANY),
        replace(full, rules=(*full.rules, full_rule)),
        replace(full, rules=(replace(full_rule, conditions=(*full_rule.conditions, NAME)),)),
        replace(full, rules=(replace(full_rule, conditions=(too_long,)),)),
    ):
        assert code_of(fuller) is Code.INVALID


@pytest.mark.parametrize(
    "plan",
    [
        replace(PLAN, destinations=(MANY[0], MANY[0])),
        replace(PLAN, rules=(Rule((), MANY[:1]),)),
        replace(PLAN, rules=(Rule((NAME,), MANY[4:5]),)),
        replace(PLAN, rules=(Rule((NAME,), (MANY[0], MANY[0])),)),
        replace(PLAN, rules=(Rule((replace(NAME, pattern=""),), MANY[:1]),)),
        replace(PLAN, rules=(Rule((replace(NAME, pattern="a\n"),), MANY[:1]),)),
    ],
)
def test_a_plan_that_means_nothing_is_refused(plan: Plan) -> None:
    assert code_of(plan) is Code.INVALID


def test_a_destination_of_somebody_else_is_not_there() -> None:
    with pytest.raises(Error) as caught:
        check(PLAN, MANY[:1])
    assert caught.value.code is Code.NOT_FOUND
