import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from zentransfer.errors import Code, Error
from zentransfer.versions import MISMATCH, OURS, Versions, agreed

RANGES = st.builds(
    lambda least, more: Versions(least, least + more), st.integers(0, 9), st.integers(0, 3)
)


def test_we_agree_with_ourselves() -> None:
    assert agreed(OURS, OURS) == OURS.most


@given(RANGES, RANGES)
def test_the_lower_of_the_highest_is_spoken_if_both_can(control: Versions, node: Versions) -> None:
    shared = set(range(control.least, control.most + 1)) & set(range(node.least, node.most + 1))
    assume(shared)
    assert agreed(control, node) == max(shared) == agreed(node, control)


@given(RANGES, RANGES)
def test_who_shares_no_version_is_told_both_ranges_and_the_cure(
    control: Versions, node: Versions
) -> None:
    assume(control.most < node.least or node.most < control.least)
    with pytest.raises(Error) as refused:
        agreed(control, node)
    assert refused.value.code is Code.VERSION_MISMATCH
    detail = refused.value.detail
    assert re.fullmatch(MISMATCH, detail)
    assert f"control speaks versions {control}, the process {node}" in detail
    assert detail.endswith("update control" if control.most < node.least else "update the node")


def test_the_longest_ranges_of_the_wire_fit_a_detail() -> None:
    most = 2**32 - 1  # the wire's uint32
    with pytest.raises(Error) as refused:
        agreed(Versions(most, most), Versions(most - 1, most - 1))
    assert re.fullmatch(MISMATCH, refused.value.detail)


@pytest.mark.parametrize("empty", [Versions(2, 1), Versions(1, 0)])
def test_an_empty_range_is_malformed(empty: Versions) -> None:
    with pytest.raises(Error) as refused:
        agreed(OURS, empty)
    assert refused.value.code is Code.INVALID


def test_a_program_that_gives_no_range_shares_none() -> None:
    with pytest.raises(Error) as refused:
        agreed(OURS, Versions(0, 0))
    assert refused.value.code is Code.VERSION_MISMATCH
