from dataclasses import replace

import pytest

from control.accounts.traces import TraceBook, TraceLine
from tests.control.builders import account, fixed
from zentransfer.errors import Code, Error
from zentransfer.ids import CredentialID, Kind, NodeID, ProcessName
from zentransfer.limits import (
    TRACE_AGAIN_S,
    TRACE_LINES_MAX,
    TRACE_S,
    TRACES_MAX,
    TRACES_PER_ACCOUNT_MAX,
)

NINA, OLA = account("nina").id, account("ola").id
CAMERA = CredentialID(fixed(Kind.CREDENTIAL, "camera"))
LINE = TraceLine(CAMERA, NINA, NodeID("fr-1"), ProcessName("ingest-0"), 1, 5, b"sealed")
LASTS_MS = int(TRACE_S * 1000)


def code_of(book: TraceBook, owner: str, credential: str, now_ms: int = 0) -> Code | None:
    try:
        book.open(type(NINA)(owner), CredentialID(credential), now_ms)
    except Error as refused:
        return refused.code
    return None


def test_lines_of_an_open_trace_are_kept_in_order_and_go_with_it() -> None:
    book = TraceBook()
    assert book.open(NINA, CAMERA, 100) == 100 + LASTS_MS
    assert book.take([LINE, replace(LINE, session=2)], 200) == {NINA}
    found = book.behind(NINA, CAMERA, 0)
    assert [one.line.session for one in found] == [1, 2]
    assert book.behind(NINA, CAMERA, found[0].number) == found[1:]
    assert book.live(200) == {CAMERA: LASTS_MS - 100}
    assert book.until_ms(NINA, CAMERA, 100 + LASTS_MS) is None
    book.trim(100 + LASTS_MS)
    assert book.behind(NINA, CAMERA, 0) == []
    assert book.live(100 + LASTS_MS) == {}


def test_another_account_sees_and_ends_nothing() -> None:
    book = TraceBook()
    book.open(NINA, CAMERA, 0)
    book.take([LINE], 0)
    assert book.until_ms(OLA, CAMERA, 0) is None
    assert book.behind(OLA, CAMERA, 0) == []
    assert not book.close(OLA, CAMERA)
    assert book.close(NINA, CAMERA)
    assert not book.close(NINA, CAMERA)


def test_what_nobody_asked_for_is_not_kept() -> None:
    book = TraceBook()
    assert book.take([LINE], 0) == set()
    book.open(NINA, CAMERA, 0)
    assert book.behind(NINA, CAMERA, 0) == []
    assert book.take([replace(LINE, account_id=OLA)], 0) == set()
    assert book.take([LINE], LASTS_MS) == set()


def test_one_that_is_open_goes_on_and_keeps_its_lines() -> None:
    book = TraceBook()
    book.open(NINA, CAMERA, 0)
    book.take([LINE], 0)
    again_ms = int(TRACE_AGAIN_S * 1000)
    assert book.open(NINA, CAMERA, again_ms - 1) == LASTS_MS
    assert book.open(NINA, CAMERA, again_ms) == again_ms + LASTS_MS
    assert len(book.behind(NINA, CAMERA, 0)) == 1


def test_a_number_that_was_not_given_yet_is_of_an_earlier_life() -> None:
    book = TraceBook()
    book.open(NINA, CAMERA, 0)
    assert book.resumed(7) == 0
    book.take([LINE] * 7, 0)
    assert [book.resumed(number) for number in (0, 1, 7, 8)] == [0, 1, 7, 0]


@pytest.mark.reaches("TRACE_LINES_MAX")
def test_the_oldest_lines_are_forgotten() -> None:
    book = TraceBook()
    book.open(NINA, CAMERA, 0)
    for number in range(TRACE_LINES_MAX + 5):
        book.take([replace(LINE, session=number)], 0)
    found = book.behind(NINA, CAMERA, 0)
    assert len(found) == TRACE_LINES_MAX
    assert found[0].line.session == 5


@pytest.mark.reaches("TRACES_PER_ACCOUNT_MAX")
def test_an_account_traces_only_so_many_at_once() -> None:
    book = TraceBook()
    for number in range(TRACES_PER_ACCOUNT_MAX):
        assert code_of(book, NINA, f"cr_{number}") is None
    assert code_of(book, NINA, "cr_0") is None
    assert code_of(book, NINA, CAMERA) is Code.QUOTA
    assert code_of(book, OLA, CAMERA) is None
    assert code_of(book, NINA, "cr_x", LASTS_MS) is None


def test_all_accounts_together_trace_only_so_many() -> None:
    book = TraceBook()
    for number in range(TRACES_MAX):
        assert code_of(book, f"ac_{number}", f"cr_{number}") is None
    assert code_of(book, NINA, CAMERA) is Code.OVERLOADED
