from dataclasses import replace
from random import Random

import pytest

from control.uploads.model import Receiving
from control.uploads.receiving import ReceivingBook, place
from tests.control.builders import FR_1, NOW_MS, account
from zentransfer.ids import IdMaker, Kind, Region, UploadID
from zentransfer.limits import RECEIVING_KEPT_MAX, RECEIVING_KEPT_S, UNFINISHED_S

NINA = account("nina").id
MAKE = IdMaker(Random(5).randbytes).make


def coming(created_ms: int = NOW_MS, **changes: object) -> Receiving:
    made = Receiving(
        upload_id=UploadID(MAKE(Kind.UPLOAD)),
        account_id=NINA,
        node=FR_1,
        region=Region.FR,
        name=None,
        created_ms=created_ms,
        received_bytes=10,
        announced_bytes=None,
        durable=True,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # any field of it


def test_what_a_node_says_is_shown_to_its_owner_and_to_nobody_else() -> None:
    book, one = ReceivingBook(), coming()
    book.take([one], 1, NOW_MS)
    assert book.maybe(NINA, one.upload_id) == one
    other = account("ola").id
    assert book.maybe(other, one.upload_id) is None
    assert book.newest(other, 10, None) == []
    book.take([replace(one, account_id=other)], 2, NOW_MS)
    assert book.maybe(other, one.upload_id) is None, "an upload keeps its owner"


def test_what_came_never_goes_back() -> None:
    book, one = ReceivingBook(), coming()
    for received in (10, 30, 20):
        book.take([replace(one, received_bytes=received)], 1, NOW_MS)
    (shown,) = book.newest(NINA, 10, None)
    assert shown.received_bytes == 30


def test_what_is_durable_outlives_its_stream_and_nothing_else_does() -> None:
    book = ReceivingBook()
    kept, fleeting, moved = coming(), coming(durable=False), coming(durable=False)
    book.take([kept, fleeting, moved], 1, NOW_MS)
    book.take([moved], 2, NOW_MS)
    book.closed(1)
    assert {one.upload_id for one in book.newest(NINA, 10, None)} == {
        kept.upload_id,
        moved.upload_id,
    }
    book.closed(2)
    assert book.newest(NINA, 10, None) == [kept]
    book.ended([kept.upload_id, kept.upload_id])
    assert len(book) == 0
    assert book.newest(NINA, 10, None) == []


def test_the_newest_come_first_page_by_page() -> None:
    book = ReceivingBook()
    book.take([coming(NOW_MS + n // 2) for n in range(9)], 1, NOW_MS)
    seen: list[Receiving] = []
    while found := book.newest(NINA, 2, place(seen[-1]) if seen else None):
        seen += found
    assert len(seen) == 9
    assert seen == sorted(seen, key=place, reverse=True)


@pytest.mark.reaches("RECEIVING_KEPT_S")
def test_what_nobody_speaks_of_any_more_is_forgotten_after_it_has_expired() -> None:
    book, lost, kept = ReceivingBook(), coming(), coming()
    book.take([lost, kept], 1, NOW_MS)
    later_ms = NOW_MS + int(UNFINISHED_S * 1_000)
    book.take([kept], 1, later_ms)
    assert len(book) == 2
    book.take([], 1, NOW_MS + int(RECEIVING_KEPT_S * 1_000) + 1)
    assert book.newest(NINA, 10, None) == [kept]


@pytest.mark.reaches("RECEIVING_KEPT_MAX")
def test_so_many_are_kept_and_those_told_longest_ago_go_first() -> None:
    book, first = ReceivingBook(), coming()
    book.take([first], 1, NOW_MS)
    base = coming()
    named = (UploadID(f"up_{n}") for n in range(RECEIVING_KEPT_MAX))
    book.take([replace(base, upload_id=one) for one in named], 1, NOW_MS)
    assert len(book) == RECEIVING_KEPT_MAX
    assert book.maybe(NINA, first.upload_id) is None
