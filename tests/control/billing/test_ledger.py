from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.billing.ledger import (
    AMOUNT_MAX,
    Cause,
    Posting,
    Transaction,
    Unbalanced,
    Unit,
    balances,
    corrected,
    moved,
)

AMOUNTS = st.integers(1, AMOUNT_MAX)
ACCOUNTS = st.sampled_from(("usage:a", "usage:b", "accepted:fr", "accepted:us"))


@st.composite
def transactions(draw: st.DrawFn) -> Transaction:
    postings: tuple[Posting, ...] = ()
    for _ in range(draw(st.integers(1, 5))):
        postings += moved(
            draw(st.sampled_from(Unit)), draw(AMOUNTS), debit=draw(ACCOUNTS), credit=draw(ACCOUNTS)
        )
    return Transaction(Cause.OUTCOME, draw(st.text(max_size=30)), 0, postings)


@given(st.lists(transactions(), max_size=8))
def test_all_balances_add_up_to_nothing_in_each_unit(entered: list[Transaction]) -> None:
    total = dict.fromkeys(Unit, 0)
    for (_, unit), amount in balances(entered).items():
        total[unit] += amount
    assert set(total.values()) == {0}


@given(st.lists(transactions(), max_size=5))
def test_a_correction_takes_back_everything(entered: list[Transaction]) -> None:
    taken_back = [corrected(one, 1) for one in entered]
    assert not any(balances([*entered, *taken_back]).values())
    assert [one.id for one in taken_back] == [corrected(one, 2).id for one in entered]


@given(transactions(), st.integers(0, 9), st.integers(1, 1000))
def test_a_transaction_with_one_changed_amount_cannot_be_made(
    good: Transaction, index: int, more: int
) -> None:
    lines = list(good.postings)
    line = lines[index % len(lines)]
    changed = line.credit + more if line.credit else line.debit + more
    if changed > AMOUNT_MAX:
        return
    side = "credit" if line.credit else "debit"
    lines[index % len(lines)] = Posting(line.ledger_account, line.unit, **{side: changed})
    with pytest.raises(Unbalanced):
        Transaction(good.cause, good.cause_id, 0, tuple(lines))


@pytest.mark.parametrize(
    "amounts",
    [
        {},
        {"debit": 1, "credit": 1},
        {"debit": -1},
        {"credit": -1},
        {"debit": 5, "credit": -5},
        {"debit": AMOUNT_MAX + 1},
    ],
)
def test_a_posting_has_one_amount_above_zero(amounts: dict[str, Any]) -> None:
    with pytest.raises(Unbalanced):
        Posting("usage:a", Unit.BYTE, **amounts)


def test_units_do_not_balance_one_another() -> None:
    with pytest.raises(Unbalanced):
        Transaction(
            Cause.OUTCOME,
            "x",
            0,
            (Posting("a", Unit.BYTE, debit=1), Posting("b", Unit.FILE, credit=1)),
        )


def test_a_transaction_has_lines() -> None:
    with pytest.raises(Unbalanced):
        Transaction(Cause.OUTCOME, "x", 0, ())


@given(st.text(max_size=20), st.text(max_size=20))
def test_the_id_is_that_of_the_cause(one: str, other: str) -> None:
    postings = moved(Unit.FILE, 1, debit="a", credit="b")
    first, second = (Transaction(Cause.OUTCOME, name, 0, postings).id for name in (one, other))
    assert (first == second) == (one == other)
    assert len(first) == 29
    assert Transaction(Cause.CORRECTION, one, 0, postings).id != first


def test_nothing_moved_is_no_posting() -> None:
    assert moved(Unit.BYTE, 0, debit="a", credit="b") == ()
