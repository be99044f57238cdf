from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.sftp.order import InOrder
from zentransfer.errors import Code, Error
from zentransfer.limits import SFTP_AHEAD_BYTES_MAX, SFTP_AHEAD_WRITES_MAX


@given(st.lists(st.binary(max_size=5), max_size=40), st.integers(), st.integers(0, 1 << 40))
def test_writes_in_any_order_come_out_in_the_order_of_their_offsets(
    parts: list[bytes], seed: int, begin: int
) -> None:
    offset, writes = begin, list[tuple[int, bytes]]()
    for part in parts:
        writes.append((offset, part))
        offset += len(part)
    Random(seed).shuffle(writes)
    order = InOrder(begin)
    out = b"".join(b"".join(order.put(*write)) for write in writes)
    assert out == b"".join(parts)
    assert order.next == offset
    assert not order.has_gap


@given(st.lists(st.tuples(st.integers(0, 12), st.binary(min_size=1, max_size=4)), max_size=12))
def test_no_byte_comes_out_twice_and_none_is_skipped(writes: list[tuple[int, bytes]]) -> None:
    order, out = InOrder(), b""
    for offset, data in writes:
        try:
            out += b"".join(order.put(offset, data))
        except Error:
            break
    else:
        assert order.next == len(out)
    for place in range(len(out)):
        assert any(at <= place < at + len(data) for at, data in writes)


@pytest.mark.reaches("SFTP_AHEAD_BYTES_MAX")
def test_a_gap_that_is_too_wide_is_refused() -> None:
    order = InOrder(5)
    assert order.put(5 + SFTP_AHEAD_BYTES_MAX - 1, b"x") == []
    with pytest.raises(Error) as refused:
        order.put(5 + SFTP_AHEAD_BYTES_MAX, b"x")
    assert refused.value.code is Code.OFFSET_MISMATCH
    assert order.has_gap


@pytest.mark.reaches("SFTP_AHEAD_WRITES_MAX")
def test_too_many_writes_before_their_turn_are_refused() -> None:
    order = InOrder()
    for place in range(SFTP_AHEAD_WRITES_MAX):
        order.put(1 + place, b"x")
    with pytest.raises(Error):
        order.put(2 + SFTP_AHEAD_WRITES_MAX, b"x")


def test_bytes_that_overlap_what_waits_are_refused() -> None:
    order = InOrder()
    order.put(2, b"cd")
    with pytest.raises(Error):
        order.put(0, b"abx")
