import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.ftp.listing import FACTS, facts, listed, long_line, parse_stamp, stamp
from edge.ftp.view import ROOT, Entry, Stands, View
from zentransfer.errors import Code, Error
from zentransfer.ids import UploadID

NOW_MS = 1_795_400_000_000  # 2026-11-23
FILE = Entry(UploadID("up_abc"), 1_234, NOW_MS, NOW_MS - 3_600_000, Stands.WHOLE)


@given(st.integers(min_value=0, max_value=253_402_300_799))
def test_a_time_comes_back_as_it_was(seconds: int) -> None:
    assert parse_stamp(stamp(seconds * 1000)) == seconds * 1000


@pytest.mark.parametrize(
    "text", ["", "2026", "20261332000000", "2026112310150x", "20261123101500.1234567", "²" * 14]
)
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Error) as raised:
        parse_stamp(text)
    assert raised.value.code is Code.INVALID


def test_a_part_of_a_second_is_passed_over() -> None:
    assert parse_stamp("19700101000001.999") == 1_000


def test_facts_are_those_that_feat_names() -> None:
    line = facts("x y", FILE, NOW_MS)
    given_, name = line.rstrip().split("; ", 1)
    assert name == "x y"
    assert tuple(fact.partition("=")[0] for fact in given_.split(";")) == FACTS
    assert "perm=adfw" in line, "no r: nothing is served back"
    assert facts("d", None, NOW_MS).startswith("type=dir;modify=2026")


@pytest.mark.parametrize(
    ("age_ms", "day"),
    [(0, "Nov 23 "), (200 * 86_400_000, "May  7  2026"), (-86_400_000, "Nov 24  2026")],
)
def test_a_line_of_list_is_that_of_ls(age_ms: int, day: str) -> None:
    entry = Entry(UploadID("up_abc"), 5, NOW_MS, NOW_MS - age_ms, Stands.WHOLE)
    line = long_line("x", entry, NOW_MS)
    assert line.startswith("-rw-------   1 owner    group           5 ")
    assert day in line
    assert line.endswith(" x")


def test_a_listing_keeps_names_byte_for_byte() -> None:
    view = View(lambda: NOW_MS)
    name = b"caf\xe9".decode(errors="surrogateescape")
    view.note(("A", name), FILE)
    assert listed("NLST", view, ("A",), None) == b"caf\xe9\r\n"
    assert listed("NLST", view, ROOT, None) == b"A\r\n"
    assert listed("LIST", view, ("A", name), FILE).endswith(b" caf\xe9\r\n")
    assert listed("MLSD", view, ("A",), None).count(b"\r\n") == 3
    assert listed("NLST", view, ("B",), None) == b""
