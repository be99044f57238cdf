"""What happens to an account's files after they are whole.  Pure.

The rule: a version never changes.  An edit makes the next one, so that an upload which was stamped
with a version is delivered by that one, wherever and whenever it runs.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from zentransfer.errors import Code, Error
from zentransfer.ids import AccountID, DestinationID, WorkflowID
from zentransfer.limits import (
    PATTERN_CHARS_MAX,
    RULE_CONDITIONS_MAX,
    WORKFLOW_DESTINATIONS_MAX,
    WORKFLOW_RULES_MAX,
)


class ConditionKind(StrEnum):
    """What a condition looks at."""

    CREDENTIAL = "credential"
    FOLDER = "folder"
    NAME = "name"
    MEDIA_TYPE = "media_type"


@dataclass(frozen=True, slots=True)
class Condition:
    """One test of a rule; ``*`` in the pattern stands for any run of characters."""

    kind: ConditionKind
    pattern: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """Where a file goes that meets all conditions; without a destination it goes nowhere."""

    conditions: tuple[Condition, ...]
    destinations: tuple[DestinationID, ...]
    priority: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What an owner edits: one version's content.

    The first rule that holds decides; without rules every destination gets the file.  ``folder``
    is the virtual folder of credentials that name none.
    """

    name: str
    folder: str
    rules: tuple[Rule, ...]
    destinations: tuple[DestinationID, ...]


@dataclass(frozen=True, slots=True)
class Workflow:
    """An account's plan for its files, as of a version."""

    id: WorkflowID
    account_id: AccountID
    version: int
    plan: Plan
    created_ms: int


def check(plan: Plan, owned: Collection[DestinationID]) -> None:
    """Raise ``Error`` unless *plan* is within its limits and names only *owned* destinations.

    ``INVALID`` for what is malformed; ``NOT_FOUND`` for a destination that is not the account's.
    """
    _require(
        len(plan.destinations) <= WORKFLOW_DESTINATIONS_MAX
        and len(plan.rules) <= WORKFLOW_RULES_MAX,
        "the workflow has too many rules or destinations",
    )
    _require(_are_different(plan.destinations), "a destination is named twice")
    for rule in plan.rules:
        _check_rule(rule, plan.destinations)
    if not set(plan.destinations) <= set(owned):
        raise Error(Code.NOT_FOUND, "there is no such destination")


def _check_rule(rule: Rule, offered: Sequence[DestinationID]) -> None:
    _require(0 < len(rule.conditions) <= RULE_CONDITIONS_MAX, "a rule has too few or many tests")
    _require(
        set(rule.destinations) <= set(offered), "a rule names a destination the workflow has not"
    )
    _require(_are_different(rule.destinations), "a rule names a destination twice")
    for condition in rule.conditions:
        _require(
            0 < len(condition.pattern) <= PATTERN_CHARS_MAX and condition.pattern.isprintable(),
            "a pattern is empty, too long or not printable",
        )


def _are_different(named: Sequence[DestinationID]) -> bool:
    return len(set(named)) == len(named)


def _require(holds: bool, detail: str) -> None:
    if not holds:
        raise Error(Code.INVALID, detail)
