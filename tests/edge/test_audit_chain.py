from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.audit_chain import (
    START,
    ChainBroken,
    Destruction,
    Entry,
    Head,
    Opening,
    attempts,
    head_at,
    line,
    verify,
)

WORDS = st.text(max_size=20)
OPENINGS = st.builds(
    Opening,
    at_ms=st.integers(0, 2**60),
    process=WORDS,
    delivery=WORDS,
    fence=st.integers(1, 99),
    upload=WORDS,
    kid=WORDS,
    segments=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)),
)
ENTRIES = OPENINGS | st.builds(
    Destruction, st.integers(0, 2**60), WORDS, WORDS, WORDS, WORDS, WORDS
)


def chained(entries: list[Entry]) -> tuple[list[bytes], Head]:
    head, lines = START, list[bytes]()
    for entry in entries:
        text, head = line(head, entry)
        lines.append(text)
    return lines, head


@given(st.lists(ENTRIES, max_size=8))
def test_a_chain_as_it_was_written_is_whole(entries: list[Entry]) -> None:
    lines, head = chained(entries)
    assert verify(lines) == head
    assert head.sequence == len(entries)
    if lines:
        assert head_at(lines[-1]) == head
        assert verify(lines[3:], None) == (head if lines[3:] else START)


@given(st.lists(ENTRIES, min_size=2, max_size=8), st.data())
def test_a_change_anywhere_is_noticed(entries: list[Entry], data: st.DataObject) -> None:
    lines, head = chained(entries)
    which = data.draw(st.integers(0, len(lines) - 1))
    text = bytearray(lines[which])
    text[data.draw(st.integers(0, len(text) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    changed = [*lines[:which], bytes(text), *lines[which + 1 :]]
    try:
        assert verify(changed) != head
    except ChainBroken as broken:
        assert broken.sequence in (which + 1, which + 2)  # noqa: PT017


@given(st.lists(OPENINGS, min_size=2, max_size=8), st.data())
def test_a_line_that_is_removed_added_or_moved_is_noticed(
    entries: list[Opening], data: st.DataObject
) -> None:
    lines, head = chained(list(entries))
    which = data.draw(st.integers(0, len(lines) - 2))
    removed = lines[:which] + lines[which + 1 :]
    doubled = [*lines[: which + 1], lines[which], *lines[which + 1 :]]
    moved = [*lines[:which], lines[which + 1], lines[which], *lines[which + 2 :]]
    for changed in (removed, doubled, moved):
        with pytest.raises(ChainBroken):
            verify(changed)
    # What is missing at the end only a head that was told elsewhere can tell.
    assert verify(lines[:-1]) != head


@given(st.lists(OPENINGS, min_size=3, max_size=6))
def test_a_line_that_was_made_anew_breaks_the_next_one(entries: list[Opening]) -> None:
    lines, _ = chained(list(entries))
    forged, _ = line(START, replace(entries[0], kid="other kid"))
    with pytest.raises(ChainBroken):
        verify([forged, *lines[1:]])


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"\xff", b'{"sequence":1,"previous":"zz"}'])
def test_what_is_no_line_is_none(text: bytes) -> None:
    with pytest.raises(ChainBroken):
        verify([text])
    with pytest.raises(ChainBroken):
        head_at(text)


def test_openings_are_counted_by_attempt() -> None:
    one = Opening(1, "fr-1/delivery-0", "de_a", 1, "x", "k1", (1, 1, 1))
    entries: list[Entry] = [
        one,
        replace(one, kid="k2"),  # another key of the same attempt
        replace(one, fence=2),
        replace(one, upload="y"),
        Destruction(2, "fr-1/delivery-0", "ru_a", "x", "delivered", ""),
    ]
    lines, _ = chained(entries)
    assert attempts(lines, "x") == 2
    assert attempts(lines, "y") == 1
    assert attempts(lines, "z") == 0
