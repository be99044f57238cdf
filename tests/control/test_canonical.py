from dataclasses import dataclass, make_dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.canonical import canonical, digest


@dataclass(frozen=True)
class Pair:
    left: Any
    right: Any


@dataclass(frozen=True)
class Couple:
    left: Any
    right: Any


VALUES = st.recursive(
    st.none() | st.integers() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.builds(Pair, inner, inner),
    max_leaves=6,
)


@given(VALUES, VALUES)
def test_equal_values_and_only_those_have_one_form(one: object, other: object) -> None:
    assert (canonical(one) == canonical(other)) == (one == other)
    assert (digest(one) == digest(other)) == (one == other)


@given(VALUES, VALUES)
def test_other_classes_have_another_form(left: object, right: object) -> None:
    assert canonical(Pair(left, right)) != canonical(Couple(left, right))


@pytest.mark.parametrize("value", [1.5, [1], {"a": 1}, object()])
def test_what_has_no_one_form_is_our_mistake(value: object) -> None:
    with pytest.raises(AssertionError):
        canonical(value)


def test_a_field_that_a_later_release_adds_changes_nothing_that_is_kept() -> None:
    later = make_dataclass("Pair", [("left", Any), ("right", Any), ("added", int, 0)], frozen=True)
    assert canonical(later(1, 2)) == canonical(Pair(1, 2))
    assert canonical(later(1, 2, 3)) != canonical(Pair(1, 2))
