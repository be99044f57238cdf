from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.billing.ledger import Unit, balances
from control.billing.usage import accepted_account, maybe_usage, usage_account
from control.uploads.model import OutcomeState
from tests.control.builders import account, outcome
from zentransfer.ids import Region


@given(st.integers(0, 2**40), st.sampled_from(Region))
def test_a_committed_upload_costs_its_bytes_and_one_file(size: int, region: Region) -> None:
    usage = maybe_usage(outcome(account(), size_bytes=size, region=region), at_ms=7)
    assert usage is not None
    assert usage.at_ms == 7
    found = balances([usage])
    mine, theirs = usage_account(account().id), accepted_account(region)
    assert found[mine, Unit.BYTE] == size == -found[theirs, Unit.BYTE]
    assert found[mine, Unit.FILE] == 1 == -found[theirs, Unit.FILE]


@pytest.mark.parametrize("state", sorted(set(OutcomeState) - {OutcomeState.COMMITTED}))
def test_an_upload_that_did_not_commit_costs_nothing(state: OutcomeState) -> None:
    assert maybe_usage(outcome(account(), state=state), at_ms=7) is None


def test_the_transaction_is_that_of_the_outcome_alone() -> None:
    first = outcome(account())
    same, other = replace(first, size_bytes=5), outcome(account(), "other")
    ids = {usage.id for one in (first, same) if (usage := maybe_usage(one, 0))}
    assert len(ids) == 1
    assert (another := maybe_usage(other, 0))
    assert another.id not in ids
